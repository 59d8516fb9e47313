"""Facts about a model that its owner wants to read, and the element type that it runs in."""

from __future__ import annotations

from collections import Counter

from codegen.errors import UnsupportedError
from codegen.targets.atb.host_inputs import BatchMask, CacheMask, Feed, RopeTable, SequenceMask
from codegen.targets.atb.lower_checks import contract_problems
from codegen.targets.atb.module import AtbModule
from ir.graph import Attr
from ir.types import DType

#: Tokens that the cache has room for from the beginning; it grows when it is full.
INITIAL_TOKENS = 1024


def config(module: AtbModule) -> dict[str, int]:
    """What the emitted ``Model.CONFIG`` holds.

    ``max_batch_size`` sequences of ``max_seq_len`` tokens is what the cache has room for from the
    beginning.
    """
    most = _integer(module.meta.get("max_position_embeddings"), INITIAL_TOKENS)
    return {
        "vocab_size": _integer(module.meta.get("vocab_size"), 0),
        "num_attention_heads": _integer(module.meta.get("num_attention_heads"), 0),
        "head_dim": _integer(module.meta.get("head_dim"), 0),
        "max_batch_size": 1,
        "max_seq_len": min(most, INITIAL_TOKENS),
    }


def element_type(module: AtbModule) -> tuple[DType, str]:
    """The element type that the emitted model uses, and why if it is not the checkpoint's.

    Raises:
        UnsupportedError: ATB's operations accept neither float16 nor bfloat16 here.
    """
    named = str(module.meta.get("dtype", ""))
    half = (DType.FLOAT16, DType.BFLOAT16)
    wanted = next((dtype for dtype in half if dtype.value == named), DType.BFLOAT16)
    problems = contract_problems(module, wanted)
    if not problems:
        why = "" if named == wanted.value else f"ATB computes in 16 bits; the checkpoint is {named}"
        return wanted, why
    (other,) = (dtype for dtype in half if dtype is not wanted)
    if contract_problems(module, other):
        raise UnsupportedError(problems)
    return other, f"not {wanted.value}: {problems[0].reason}"


def facts(module: AtbModule, dtype: DType, note: str) -> tuple[str, ...]:
    """Lines for the head of the model file."""
    prefill = module.functions[module.entries[0]]
    scopes = {str(call.attrs["scope"]) for call in prefill.nodes} - {""}
    kinds = {str(call.attrs["callee"]) for call in prefill.nodes if call.attrs["scope"]}
    heads, kv_heads = (module.meta.get(f"num_{kind}_heads") for kind in ("attention", "key_value"))
    lines = [
        f"{len(scopes)} layers" + (f" of {len(kinds)} kinds" if len(kinds) > 1 else ""),
        _attention(heads, kv_heads, module.meta.get("head_dim")),
        f"vocabulary of {module.meta.get('vocab_size')} tokens",
        f"element type {dtype.value}" + (f" ({note})" if note else ""),
    ]
    lines += [_rope(feed.source) for feed in module.feeds if isinstance(feed.source, RopeTable)]
    lines += _windows(module)
    return tuple(lines)


def window_of(feed: Feed) -> int | None:
    """How many tokens a token sees under a mask, None for all and for what is no mask."""
    if isinstance(feed.source, (SequenceMask, CacheMask, BatchMask)):
        return feed.source.window
    return None


def _windows(module: AtbModule) -> list[str]:
    """How many layers see how many tokens, as far as that is limited."""
    windows = {name: window_of(feed) for feed in module.feeds for name in feed.names}
    layers = [call for call in module.functions[module.entries[0]].nodes if call.attrs["scope"]]
    count = Counter(windows.get(value.name) for call in layers for value in call.inputs)
    return [
        f"sliding window of {window} tokens in {'all' if n == len(layers) else n} layers"
        for window, n in count.items()
        if window is not None
    ]


def _attention(heads: Attr, kv_heads: Attr, head_dim: Attr) -> str:
    text = f"{heads} attention heads of size {head_dim}"
    if heads != kv_heads:
        text += f", sharing {kv_heads} key-value head" + ("" if kv_heads == 1 else "s")
    return text


def _rope(table: RopeTable) -> str:
    pairs = "halves" if table.style == "half" else "neighbours"
    text = f"rotary position embedding of {table.rotary_dim} elements a head, {pairs} paired"
    if table.original_max_position is not None:
        text += f", other frequencies above {table.original_max_position} tokens"
    return text


def _integer(value: Attr, default: int) -> int:
    return value if isinstance(value, int) else default
