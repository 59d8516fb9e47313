"""Which ATB operation an ATen operation becomes on its own.

Only used where a model was not compiled, to say for each operation whether it is what stands in
the way: then ``op_name`` is empty, because nothing was emitted. It is a statement about the
operation alone; its shapes were not checked against the contract.
"""

from __future__ import annotations

#: Registry name of the operation by ATen base name; empty for a view.
_TYPES: dict[str, str] = {
    **dict.fromkeys(("linear", "mm", "bmm", "matmul", "addmm", "baddbmm"), "Linear"),
    **dict.fromkeys(("embedding", "index_select"), "Gather"),
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "neg", "to", "tanh", "masked_fill"),
                    "Elewise"),
    **dict.fromkeys(("silu", "gelu", "relu", "sigmoid"), "Activation"),
    **dict.fromkeys(("pow", "mean", "rsqrt", "rms_norm"), "RmsNorm"),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), "LayerNorm"),
    **dict.fromkeys(("softmax", "_softmax"), "Softmax"),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), "Split"),
    **dict.fromkeys(("transpose", "permute", "t"), "Transpose"),
    **dict.fromkeys(("repeat", "repeat_interleave"), "Repeat"),
    **dict.fromkeys(("reshape", "view", "unsqueeze", "squeeze", "flatten", "unflatten",
                     "expand"), ""),
    "cat": "Concat", "slice": "Slice", "select": "Slice",
    "scaled_dot_product_attention": "SelfAttention", "attention": "SelfAttention",
}  # fmt: skip

#: What the host computes once for all layers: masks, positions, rotary tables.
_HOST = frozenset({
    "mask", "rope_frequencies", "cos", "sin", "arange", "full", "ones", "zeros", "zeros_like",
    "ones_like", "scalar_tensor", "tril", "triu",
})  # fmt: skip

#: Module classes where nothing was traced, by the end of their names.
_CLASSES = {"Linear": "Linear", "Conv1D": "Linear", "Embedding": "Gather", "RMSNorm": "RmsNorm",
            "LayerNorm": "LayerNorm", "SiLU": "Activation", "GELU": "Activation",
            "SiLUActivation": "Activation", "GELUActivation": "Activation"}  # fmt: skip

#: Operations that only describe or cut tensors and often need no operation at all.
LAYOUT = frozenset(
    name for name, kind in _TYPES.items() if kind in ("", "Transpose", "Slice", "Split", "Repeat")
)


def base_name(type_: str) -> str:
    """``linear`` of ``aten.linear.default``; a module class as it is."""
    parts = type_.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def is_host(type_: str) -> bool:
    """Whether the host computes such an operation's result."""
    return base_name(type_) in _HOST


def counterpart(type_: str) -> str | None:
    """The ATB operation that an operation becomes on its own.

    Args:
        type_: ``aten.linear.default``, ``trace.attention``, or a module class.

    Returns:
        Its registry name, empty for a view, None if there is none.
    """
    name = base_name(type_)
    if name in _TYPES:
        return _TYPES[name]
    if "." in type_:
        return None
    return next((kind for end, kind in _CLASSES.items() if name.endswith(end)), None)
