"""Element-wise arithmetic, casts and quantization: the types of Elewise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from codegen.targets.atb.ops.base import (
    ACL,
    FLOAT,
    FROM_ACL,
    HALF,
    INT8,
    UNDEFINED_DTYPE,
    AtbOp,
    Attrs,
    DTypes,
    Param,
    Soc,
    Tensor,
    integer,
    is_multiple,
    number,
    shape_of,
    tensor_of,
    text,
    type_of,
    wide,
)
from codegen.targets.atb.ops.norm import quantize
from ir.graph import Node
from ir.llm.elementwise import broadcast
from ir.op import Env, Tensors
from ir.types import DType, TensorType

_F16 = frozenset({DType.FLOAT16})
_INT64 = frozenset({DType.INT64})
_CASTS = FLOAT | {DType.INT32, DType.INT64}
_COMPARES = FLOAT | _INT64

Unary = Callable[[torch.Tensor], torch.Tensor]
Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_UNARY: dict[str, Unary] = {
    "ELEWISE_COS": torch.cos,
    "ELEWISE_SIN": torch.sin,
    "ELEWISE_NEG": torch.neg,
    "ELEWISE_TANH": torch.tanh,
    "ELEWISE_LOGICAL_NOT": lambda x: x == 0,
}
_BINARY: dict[str, Binary] = {
    "ELEWISE_ADD": torch.add,
    "ELEWISE_SUB": torch.sub,
    "ELEWISE_MUL": torch.mul,
    "ELEWISE_REALDIV": torch.div,
    "ELEWISE_LOGICAL_AND": lambda x, y: (x != 0) & (y != 0),
    "ELEWISE_LOGICAL_OR": lambda x, y: (x != 0) | (y != 0),
    "ELEWISE_LESS": torch.lt,
    "ELEWISE_GREATER": torch.gt,
    "ELEWISE_EQUAL": torch.eq,
}
_CHANNEL = ("ELEWISE_QUANT_PER_CHANNEL", "ELEWISE_DEQUANT_PER_CHANNEL")
_TO_INT8 = ("ELEWISE_QUANT", "ELEWISE_QUANT_PER_CHANNEL", "ELEWISE_DYNAMIC_QUANT")
_BOOLEAN = (
    "ELEWISE_LOGICAL_NOT",
    "ELEWISE_LOGICAL_AND",
    "ELEWISE_LOGICAL_OR",
    "ELEWISE_LESS",
    "ELEWISE_GREATER",
    "ELEWISE_EQUAL",
)
#: Element types of ``x`` on A2, and of ``y`` for the arithmetic types.
_DTYPES: dict[str, DTypes] = {
    "ELEWISE_CAST": _CASTS,
    "ELEWISE_MULS": FLOAT,
    "ELEWISE_COS": FLOAT,
    "ELEWISE_SIN": FLOAT,
    "ELEWISE_NEG": HALF,
    "ELEWISE_TANH": HALF,
    "ELEWISE_QUANT": _F16,
    "ELEWISE_QUANT_PER_CHANNEL": HALF,
    "ELEWISE_DEQUANT_PER_CHANNEL": INT8,
    "ELEWISE_DYNAMIC_QUANT": HALF,
    "ELEWISE_ADD": FLOAT | {DType.INT32, DType.INT64},
    "ELEWISE_SUB": HALF | _INT64,
    "ELEWISE_MUL": HALF,
    "ELEWISE_REALDIV": FLOAT,
    "ELEWISE_LOGICAL_NOT": INT8,
    "ELEWISE_LOGICAL_AND": INT8,
    "ELEWISE_LOGICAL_OR": INT8,
    "ELEWISE_LESS": _COMPARES,
    "ELEWISE_GREATER": _COMPARES,
    "ELEWISE_EQUAL": FLOAT,
}


def kind_of(attrs: Attrs) -> str:
    """The elewise type."""
    return text(attrs, "elewise_type")


class Elewise(AtbOp):
    """One element-wise operation; two operands broadcast.

    Quantization, all to int8 with saturation: ``QUANT`` is ``round(x * input_scale +
    input_offset)`` -- the kernel *multiplies*, so callers pass the reciprocal of the scale;
    ``QUANT_PER_CHANNEL`` *divides*: ``round(x / scale) + offset`` (``y`` is the scale, ``offset``
    may be empty); ``DYNAMIC_QUANT`` gives a scale per row, ``max|x| / 127``, as second result;
    ``DEQUANT_PER_CHANNEL`` is ``(x - offset) * scale``.
    """

    name = "atb.elewise"
    op_type = "Elewise"
    torch_atb = "ElewiseParam"
    x = Tensor("Any shape.")
    y = Tensor(
        "A shape that broadcasts with ``x``; the scale of the per-channel types.",
        when=lambda a: kind_of(a) in _BINARY or kind_of(a) in _CHANNEL,
    )
    offset = Tensor("int8, as ``y`` or empty.", dtypes=INT8, when=lambda a: kind_of(a) in _CHANNEL)
    elewise_type = Param(
        str,
        choices=tuple(_DTYPES),
        json="elewiseType",
        torch_atb="elewise_type",
        enum="ElewiseParam.ElewiseType",
        api_default="ELEWISE_UNDEFINED",
    )
    input_scale = Param(
        float, 1.0, json="quantParam.inputScale", torch_atb="quant_param.input_scale"
    )
    input_offset = Param(
        int, 0, json="quantParam.inputOffset", torch_atb="quant_param.input_offset"
    )
    var_attr = Param(
        float, 0.0, "Factor of MULS.", json="mulsParam.varAttr", torch_atb="muls_param.var_attr"
    )
    out_tensor_type = Param(
        str,
        UNDEFINED_DTYPE,
        "Result type of CAST.",
        choices=(UNDEFINED_DTYPE, *(ACL[d] for d in sorted(_CASTS, key=lambda d: d.value))),
        json="outTensorType",
        torch_atb="out_tensor_type",
        enum="AclDataType",
    )

    @classmethod
    def result_count(cls, attrs: Attrs) -> int:
        return 2 if kind_of(attrs) == "ELEWISE_DYNAMIC_QUANT" else 1

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        kind = kind_of(attrs)
        allowed = _DTYPES[kind]
        if tensor.name == "offset":
            allowed = INT8
        elif tensor.name == "y" and kind == "ELEWISE_DEQUANT_PER_CHANNEL":
            allowed = _F16
        return allowed - {DType.BFLOAT16} if soc is Soc.I310P else allowed

    @classmethod
    def same_type_as(cls, tensor: Tensor, attrs: Attrs) -> str:
        return "x" if tensor.name == "y" and kind_of(attrs) in _BINARY else ""

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        kind, x = kind_of(node.attrs), type_of(node, "x")
        if kind == "ELEWISE_CAST":
            return [TensorType(x.shape, FROM_ACL.get(text(node.attrs, "out_tensor_type"), x.dtype))]
        if kind in _BINARY:
            x = broadcast(x, type_of(node, "y"))
        if kind in _TO_INT8 or kind in _BOOLEAN:
            quantized = TensorType(x.shape, DType.INT8)
            if kind != "ELEWISE_DYNAMIC_QUANT":
                return [quantized]
            return [quantized, TensorType(x.shape[:-1], DType.FLOAT32)]
        if kind == "ELEWISE_DEQUANT_PER_CHANNEL":
            return [TensorType(x.shape, type_of(node, "y").dtype)]
        return [x]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        kind, x = kind_of(node.attrs), type_of(node, "x")
        found: list[str] = []
        if kind == "ELEWISE_CAST" and node.attrs["out_tensor_type"] == UNDEFINED_DTYPE:
            found.append("CAST needs out_tensor_type")
        aligned = kind not in ("ELEWISE_QUANT", "ELEWISE_QUANT_PER_CHANNEL")
        if not aligned and not is_multiple(x.shape[-1], 32):
            found.append(f"the last dimension of x {x} is not a multiple of 32")
        if kind == "ELEWISE_DYNAMIC_QUANT" and x.rank < 2:
            found.append(f"x {x} must have at least 2 dimensions")
        fitting = ((0,), shape_of(node, "y")) if kind in _CHANNEL else ()
        if kind in _CHANNEL and shape_of(node, "offset") not in fitting:
            found.append(f"offset {type_of(node, 'offset')} does not have the shape of y")
        if kind == "ELEWISE_DEQUANT_PER_CHANNEL" and soc is Soc.I310P:
            found.append("DEQUANT_PER_CHANNEL is not available on 310p")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        kind, attrs = kind_of(node.attrs), node.attrs
        x, y, offset = inputs
        assert x is not None
        exact = wide(x) if x.is_floating_point() else x
        if kind == "ELEWISE_CAST":
            dtype = FROM_ACL[text(attrs, "out_tensor_type")]
            return [exact.float() if dtype.is_float else exact.to(dtype.torch)]
        if kind == "ELEWISE_MULS":
            return [exact * number(attrs, "var_attr")]
        if kind == "ELEWISE_QUANT":
            q = wide(x) * number(attrs, "input_scale") + integer(attrs, "input_offset")
            return [q.round().clamp(-128, 127).to(torch.int8)]
        if kind == "ELEWISE_DYNAMIC_QUANT":
            scale = exact.abs().amax(-1) / 127.0
            return [quantize(exact, scale.unsqueeze(-1).clamp_min(1e-30), None), scale]
        if kind in _UNARY:
            made = _UNARY[kind](exact)
        else:
            y = tensor_of(node, inputs, "y")
            if kind == "ELEWISE_QUANT_PER_CHANNEL":
                return [quantize(x, y, offset)]
            if kind == "ELEWISE_DEQUANT_PER_CHANNEL":
                shift = 0.0 if offset is None or not offset.numel() else wide(offset)
                return [(wide(x) - shift) * wide(y)]
            made = _BINARY[kind](exact, wide(y) if y.is_floating_point() else y)
        return [made.to(torch.int8) if made.dtype is torch.bool else made]
