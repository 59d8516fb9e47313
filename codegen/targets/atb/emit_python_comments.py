"""What an operation is for, in one line for the owner of the emitted code."""

from __future__ import annotations

from codegen.targets.atb.ops.attention import is_compressed
from ir.graph import Node, Value
from ir.recipe import Concat
from ir.types import Dim

_ELEWISE = {
    "ELEWISE_MUL": "Element-wise product.",
    "ELEWISE_SUB": "Element-wise difference.",
    "ELEWISE_TANH": "Squashes to -1..1.",
}


def comment(node: Node) -> str:
    """A comment for a node, empty where the code says it all."""
    writer = _WRITERS.get(node.op)
    return writer(node) if writer else ""


def _size(value: Value, axis: int = -1) -> Dim:
    return value.type.shape[axis]


def _path(node: Node) -> str:
    return node.loc.module.rpartition(".")[2]


def _linear(node: Node) -> str:
    x, weight = node.operand(0), node.operand(1)
    if weight.recipe is None:
        return "Batched matrix product, one for each head."
    what = _path(node)
    if isinstance(weight.recipe, Concat):
        what = f"{len(weight.recipe.parts)} projections of one tensor in one product"
    bias = ", with bias" if node.attrs["has_bias"] else ""
    stored = "" if node.attrs["transpose_b"] else ", weight stored [in, out]"
    return f"{what}: {_size(x)} -> {_size(node.result)} features{bias}{stored}."


def _gather(node: Node) -> str:
    if node.operand(0).recipe is not None:
        return f"{_path(node)}: one row of the table for each token."
    return "The cache blocks of each sequence."


def _rms_norm(node: Node) -> str:
    eps = node.attrs["epsilon"]
    offset = ", weight stored minus one" if node.attrs["model_type"] == "GEMMA_MODEL" else ""
    return f"{_path(node)}: RMSNorm over {_size(node.result)} features, epsilon {eps}{offset}."


def _layer_norm(node: Node) -> str:
    eps = node.attrs["epsilon"]
    return f"{_path(node)}: LayerNorm over {_size(node.result)} features, epsilon {eps}."


def _rope(node: Node) -> str:
    width = _size(node.operand(2))
    pairs = "element i with i + D/2" if node.attrs["rotary_coeff"] == 2 else "neighbours"
    who = "queries" if node.operand(0) is node.operand(1) else "queries and keys"
    return f"Rotary position embedding of {who}: pairs {pairs}, D = {width}."


def _cache(node: Node) -> str:
    return "The new keys and values go to their slots of the cache, in place."


def _grouping(heads: object, kv_heads: object) -> str:
    if heads == kv_heads:
        return f"{heads} heads"
    shared = "1 key-value head" if kv_heads == 1 else f"{kv_heads} key-value heads"
    kind = "MQA" if kv_heads == 1 else "GQA"
    return f"{kind}: {heads} query heads share {shared}"


def _self_attention(node: Node) -> str:
    heads = _grouping(node.attrs["head_num"], node.attrs["kv_head_num"])
    mask = node.operand(3).type.shape
    kind = "causal attention" if is_compressed(node.attrs, mask) else "attention as the mask says"
    return f"Each token over its own sequence, {kind}. {heads}."


def _paged_attention(node: Node) -> str:
    heads = _grouping(node.attrs["head_num"], node.attrs["kv_head_num"])
    return f"The new token of each sequence over its cached tokens. {heads}."


def _activation(node: Node) -> str:
    kind = str(node.attrs["activation_type"]).removeprefix("ACTIVATION_")
    if kind == "SWIGLU_FORWARD":
        return "silu(first half) * second half: gate and up projection."
    if kind == "GELU":
        return "GELU, exact." if node.attrs["gelu_mode"] == "NONE_MODE" else "GELU, tanh form."
    return {"SWISH": "SiLU.", "FAST_GELU": "x * sigmoid(1.702 x).", "RELU": "ReLU."}.get(kind, "")


def _elewise(node: Node) -> str:
    kind = str(node.attrs["elewise_type"])
    if kind == "ELEWISE_MULS":
        return f"Times {node.attrs['var_attr']}."
    if kind != "ELEWISE_ADD":
        return _ELEWISE.get(kind, "")
    if node.operand(1).recipe is not None:
        return "Plus a vector."
    if node.operand(1).name.endswith("mask"):
        return "The mask hides what a token may not see."
    return "Sum, the residual stream where it goes on."


def _softmax(node: Node) -> str:
    return "Attention probabilities over the keys."


def _split(node: Node) -> str:
    sizes = " + ".join(str(_size(v, int(str(node.attrs["split_dim"])))) for v in node.results)
    return f"Pieces: {sizes}."


_WRITERS = {
    "atb.activation": _activation,
    "atb.elewise": _elewise,
    "atb.gather": _gather,
    "atb.layer_norm": _layer_norm,
    "atb.linear": _linear,
    "atb.paged_attention": _paged_attention,
    "atb.reshape_and_cache": _cache,
    "atb.rms_norm": _rms_norm,
    "atb.rope": _rope,
    "atb.self_attention": _self_attention,
    "atb.softmax": _softmax,
    "atb.split": _split,
}
