"""Attention, masks and experts as single nodes, through the interfaces of transformers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import masking_utils
from transformers.integrations.moe import ExpertsInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from codegen.errors import Problem, UnsupportedError
from codegen.frontend import library
from codegen.frontend.ops import Visibility

#: Name of our attention implementation: ``attn_implementation=REGISTERED``.
REGISTERED = library.NAMESPACE

#: Arguments that tell attention what its mask already says, or what does not change the numbers.
_IRRELEVANT = frozenset({
    "cache_position", "dropout", "layer_idx", "output_attentions", "output_hidden_states",
    "output_router_logits", "past_key_value", "past_key_values", "position_embeddings",
    "position_ids", "use_cache",
})  # fmt: skip


@dataclass(frozen=True)
class MaskCall:
    """How a mask was made, so that it can be made again inside a layer."""

    queries: Any
    keys: Any
    seen: Visibility
    additive: bool

    def make(self) -> Tensor:
        """The mask."""
        return library.mask(
            None, self.queries, self.keys, self.seen.causal, self.seen.window, self.seen.chunk,
            self.additive,
        )  # fmt: skip


@dataclass
class Tracing:
    """What is known about the trace that is running.

    Attributes:
        paths: Module path by identity of the module's ``__dict__`` (torch wraps modules in
            proxies while it traces, but these share the dictionary).
        masks: Masks without padding, by tensor identity; the tensors are kept alive.
        all_ones: Tensors that hold only ones, by identity.
        problems: What cannot be traced.
    """

    paths: dict[int, str] = field(default_factory=dict[int, str])
    masks: dict[int, tuple[Tensor, MaskCall]] = field(
        default_factory=dict[int, tuple[Tensor, MaskCall]]
    )
    all_ones: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    problems: list[Problem] = field(default_factory=list[Problem])

    def mask_call(self, value: object) -> MaskCall | None:
        """How ``value`` was made, if it is a mask without padding."""
        known = self.masks.get(id(value))
        return known[1] if known else None

    def path(self, module: nn.Module) -> str:
        """Path of a module of the traced model."""
        return self.paths.get(id(module.__dict__), "")

    def refuse(self, module: str, reason: str) -> UnsupportedError:
        """Notes a problem at the modelling line that is being traced; gives the error to raise."""
        problem = Problem(module, _modelling_line(), reason)
        self.problems.append(problem)
        return UnsupportedError([problem])


_CURRENT: ContextVar[Tracing] = ContextVar("llm_codegen_tracing")


@contextmanager
def tracing(model: nn.Module) -> Iterator[Tracing]:
    """Makes transformers describe attention and masks to us while ``model`` is traced."""
    state = Tracing({id(module.__dict__): path for path, module in model.named_modules()})
    token = _CURRENT.set(state)
    find_packed = masking_utils.find_packed_sequence_indices
    # Its answer is decided by data; a trace holds one sequence whose positions follow each other.
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    ALL_MASK_ATTENTION_FUNCTIONS["eager"] = _float_mask
    ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] = _bool_mask
    fused = nn.functional.scaled_dot_product_attention

    def decided(*args: Any, is_causal: bool | torch.SymBool = False, **options: Any) -> Tensor:
        # `is_causal=tokens > 1` is a question to the tracer, which torch does not accept here.
        return fused(*args, is_causal=bool(is_causal), **options)

    nn.functional.scaled_dot_product_attention = decided
    try:
        with _OnesWatch(state):
            yield state
    finally:
        nn.functional.scaled_dot_product_attention = fused
        del ALL_MASK_ATTENTION_FUNCTIONS["eager"], ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
        masking_utils.find_packed_sequence_indices = find_packed
        _CURRENT.reset(token)


class _OnesWatch(torch.overrides.TorchFunctionMode):
    """Recognises padding masks that a model makes itself: ``torch.ones`` and its conversions."""

    def __init__(self, state: Tracing) -> None:
        super().__init__()
        self.state = state

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        keeps = name in ("to", "bool", "long", "clone", "contiguous")
        if func is torch.ones or (keeps and id(args[0]) in self.state.all_ones):
            self.state.all_ones[id(made)] = made
        return made


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    state = _CURRENT.get()
    matters = {k: v for k, v in options.items() if k not in _IRRELEVANT and v is not None}
    if matters:
        names = ", ".join(sorted(matters))
        raise state.refuse(
            state.path(module), f"attention is called with {names}, whose meaning is not known"
        )
    causal = False
    if attention_mask is None:
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        if sliding_window is not None:
            raise state.refuse(
                state.path(module), "attention has a sliding window but no mask that says so"
            )
    if position_bias is not None:
        known = state.mask_call(attention_mask)
        if attention_mask is not None and (known is None or known.seen != Visibility(causal=True)):
            raise state.refuse(
                state.path(module), "attention has a position bias beside a mask of its own"
            )
        causal = causal or known is not None
        attention_mask = position_bias
    output = library.attention(
        query, key, value, attention_mask,
        s_aux if s_aux is not None else sinks,
        float(query.shape[-1] ** -0.5 if scaling is None else scaling),
        causal,
        None if softcap is None else float(softcap),
    )  # fmt: skip
    return output, None


def _bool_mask(**options: Any) -> Tensor | None:
    return _mask(additive=False, fallback=masking_utils.sdpa_mask, options=options)


def _float_mask(**options: Any) -> Tensor | None:
    return _mask(additive=True, fallback=masking_utils.eager_mask, options=options)


def _mask(
    additive: bool, fallback: Callable[..., Tensor | None], options: dict[str, Any]
) -> Tensor | None:
    state = _CURRENT.get()
    queries, keys = options["q_length"], options["kv_length"]
    padding = options.get("attention_mask")
    if padding is not None and id(padding) in state.all_ones:
        options["attention_mask"] = padding = None
    shifted = any(
        type(options.get(k, 0)) is not int or options.get(k, 0) for k in ("q_offset", "kv_offset")
    )
    seen = recognise(options.get("mask_function", masking_utils.causal_mask_function))
    if seen is None or shifted or padding is not None:
        return fallback(**{**options, "allow_is_causal_skip": False})
    call = MaskCall(queries, keys, seen, additive)
    made = call.make()
    state.masks[id(made)] = (made, call)
    return made


def recognise(function: Callable[..., Any]) -> Visibility | None:
    """Which keys a mask function of ``transformers.masking_utils`` lets a query see.

    Returns:
        None if it is not made of causal, bidirectional, sliding-window and chunk conditions that
        hold together.
    """
    code = getattr(function, "__code__", None)
    if code is masking_utils.causal_mask_function.__code__:
        return Visibility(causal=True)
    if code is masking_utils.bidirectional_mask_function.__code__:
        return Visibility()
    captured = _captured(function)
    if code is _SLIDING and isinstance(captured["sliding_window"], int):
        return Visibility(window=captured["sliding_window"])
    if code is _CHUNKED and isinstance(captured["chunk_size"], int):
        # Chunks are counted from the first token that is not padding; a trace has no padding.
        return Visibility(chunk=captured["chunk_size"])
    if code is _CONJUNCTION:
        return _conjunction([recognise(part) for part in captured["mask_functions"]])
    return None


def _conjunction(parts: list[Visibility | None]) -> Visibility | None:
    known = [part for part in parts if part is not None]
    windows = [part.window for part in known if part.window is not None]
    chunks = {part.chunk for part in known if part.chunk is not None}
    if len(known) < len(parts) or len(chunks) > 1:
        return None
    return Visibility(
        causal=any(part.causal for part in known),
        window=min(windows, default=None),
        chunk=next(iter(chunks), None),
    )


def _captured(function: Callable[..., Any]) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or not cells:
        return {}
    return {name: cell.cell_contents for name, cell in zip(code.co_freevars, cells, strict=True)}


def _inner_code(function: Callable[..., Any]) -> Any:
    return getattr(function, "__code__", None)


_SLIDING = _inner_code(masking_utils.sliding_window_overlay(1))
_CHUNKED = _inner_code(masking_utils.chunked_overlay(1, torch.zeros(1)))
_CONJUNCTION = _inner_code(masking_utils.and_masks(masking_utils.causal_mask_function))


def _modelling_line() -> str:
    ours = str(Path(__file__).parent)
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(ours) and "modeling" in Path(file).name:
            return f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def failing_line(error: BaseException) -> str:
    """``file.py:line`` of the modelling code that an exception passed through last."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename).name
        place = f"{file}:{trace.tb_lineno}" if "modeling" in file else place
        trace = trace.tb_next
    return place


def _experts(module: nn.Module, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    return library.experts(hidden, chosen, weights)


AttentionInterface.register(REGISTERED, _attention)
ExpertsInterface.register(REGISTERED, _experts)
AttentionMaskInterface.register(REGISTERED, _bool_mask)
