"""What an operation is for, in one line for the owner of the emitted code."""

from __future__ import annotations

from codegen.targets.atb.ops.attention import is_compressed
from codegen.targets.atb.ops.norm import PreRmsNorm
from ir.graph import Node, Value
from ir.passes.name_values import module_of
from ir.recipe import Concat
from ir.types import Dim

_TO_HEADS = (0, 2, 1, 3)


def comment(node: Node) -> str:
    """A comment for a node, empty where the code says it all.

    Module and tensor names are in it, which come from files: whatever they hold, the comment is
    ASCII without line ends.
    """
    writer = _WRITERS.get(node.op)
    text = writer(node) if writer else ""
    return text.encode("unicode_escape").decode("ascii")


def _size(value: Value, axis: int = -1) -> Dim:
    return value.type.shape[axis]


def _path(node: Node) -> str:
    return node.loc.module.rpartition(".")[2]


def _linear(node: Node) -> str:
    x, weight = node.operand(0), node.operand(1)
    if weight.recipe is None:
        scores = node.attrs["transpose_b"]
        return (
            "Scores: queries times keys, head by head." if scores else "Probabilities times values."
        )
    what = _path(node)
    if isinstance(weight.recipe, Concat):
        what = _listed([module_of(source) for source in weight.recipe.sources()])
        what += " in one product"
    bias = ", with bias" if node.attrs["has_bias"] else ""
    stored = "" if node.attrs["transpose_b"] else ", weight stored [in, out]"
    return f"{what}: {_size(x)} -> {_size(node.result)} features{bias}{stored}."


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _gather(node: Node) -> str:
    if node.operand(0).recipe is not None:
        return f"{_path(node)}: one row of the table for each token."
    return "The cache blocks of each sequence."


def _rms_norm(node: Node) -> str:
    offset = ", weight stored minus one" if node.attrs["model_type"] == "GEMMA_MODEL" else ""
    return f"{_path(node)}: RMSNorm of {_size(node.result)} features{offset}."


def _pre_rms_norm(node: Node) -> str:
    size = _size(node.results[0])
    return f"Residual connection, then {_path(node)}: RMSNorm of {size} features."


def _layer_norm(node: Node) -> str:
    return f"{_path(node)}: LayerNorm of {_size(node.result)} features."


def _rope(node: Node) -> str:
    width = _size(node.operand(2))
    half = node.attrs["rotary_coeff"] == 2
    pairs = f"element i turns with i + {int(str(width)) // 2}" if half else "neighbours turn"
    who = "queries" if node.operand(0) is node.operand(1) else "queries and keys"
    return f"Rotary position embedding of {who}: {pairs}."


def _cache(node: Node) -> str:
    return "The new keys and values go to their slots of the cache, in place."


def _grouping(heads: object, kv_heads: object) -> str:
    if heads == kv_heads:
        return f"{heads} heads"
    shared = "1 key-value head" if kv_heads == 1 else f"{kv_heads} key-value heads"
    return f"{heads} query heads share {shared}"


def _self_attention(node: Node) -> str:
    heads = _grouping(node.attrs["head_num"], node.attrs["kv_head_num"])
    mask = node.operand(3).type.shape
    kind = "Causal attention" if is_compressed(node.attrs, mask) else "Attention under the mask"
    return f"{kind} within each prompt; {heads}."


def _paged_attention(node: Node) -> str:
    heads = _grouping(node.attrs["head_num"], node.attrs["kv_head_num"])
    return f"Attention of each new token over its cached sequence; {heads}."


def _activation(node: Node) -> str:
    kind = str(node.attrs["activation_type"]).removeprefix("ACTIVATION_")
    if kind == "SWIGLU_FORWARD":
        return "silu(first half) * second half: gate and up projection."
    if kind == "GELU":
        return "GELU, exact." if node.attrs["gelu_mode"] == "NONE_MODE" else "GELU, tanh form."
    return {"SWISH": "SiLU.", "FAST_GELU": "x * sigmoid(1.702 x).", "RELU": "ReLU."}.get(kind, "")


def _elewise(node: Node) -> str:
    kind = str(node.attrs["elewise_type"])
    writer = {"ELEWISE_ADD": _sum, "ELEWISE_MULS": _times}.get(kind)
    if writer is not None:
        return writer(node)
    return {"ELEWISE_MUL": "Product.", "ELEWISE_SUB": "Difference."}.get(kind, "")


def _times(node: Node) -> str:
    factor = node.attrs["var_attr"]
    if any(_is(user, "ELEWISE_TANH") for user in node.result.users):
        return f"Soft cap, cap * tanh(x / cap); here the factor in front of tanh, {factor}."
    producer = node.operand(0).producer
    if producer is not None and _is(producer, "ELEWISE_TANH"):
        return f"The cap: results stay between -{factor} and {factor}."
    return f"A constant factor of the model: {factor}."


def _sum(node: Node) -> str:
    left, right = node.operand(0), node.operand(1)
    if right.recipe is not None:
        return "Plus a vector."
    if right.name.endswith("mask"):
        return "-inf where a token may not look."
    stream = any(_is_stream(value) for value in (left, right))
    return "Residual connection." if stream else "Sum."


def _is_stream(value: Value) -> bool:
    """The residual stream comes into the layer, or is itself such a sum."""
    maker = value.producer
    if maker is None or _is(maker, "ELEWISE_ADD"):
        return True
    return maker.op == PreRmsNorm.name and value.index == 1


def _is(node: Node, kind: str) -> bool:
    return node.attrs.get("elewise_type") == kind


def _softmax(node: Node) -> str:
    return "Probabilities over the keys."


def _split(node: Node) -> str:
    sizes = " + ".join(str(_size(v, int(str(node.attrs["split_dim"])))) for v in node.results)
    return f"Cut into {sizes}."


def _concat(node: Node) -> str:
    return "Joined again."


def _slice(node: Node) -> str:
    return "A part of each row."


def _transpose(node: Node) -> str:
    before, after = _size(node.operand(0), 0), _size(node.result, 0)
    if not isinstance(before, int) and isinstance(after, int):
        return "Heads in front: each is a matrix of its own."
    if isinstance(before, int) and not isinstance(after, int):
        return "Tokens in front again."
    return "Heads before keys." if node.attrs["perm"] == _TO_HEADS else "Another order of the axes."


_WRITERS = {
    "atb.activation": _activation,
    "atb.concat": _concat,
    "atb.elewise": _elewise,
    "atb.gather": _gather,
    "atb.layer_norm": _layer_norm,
    "atb.linear": _linear,
    "atb.paged_attention": _paged_attention,
    "atb.pre_rms_norm": _pre_rms_norm,
    "atb.reshape_and_cache": _cache,
    "atb.rms_norm": _rms_norm,
    "atb.rope": _rope,
    "atb.self_attention": _self_attention,
    "atb.slice": _slice,
    "atb.softmax": _softmax,
    "atb.split": _split,
    "atb.transpose": _transpose,
}
