"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codegen.targets.atb.ops.base import (
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
    shape_of,
    text,
    type_of,
    value_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import DType, TensorType


def dequantizes(attrs: Attrs) -> bool:
    """Whether the product is of int8 tensors and scaled back to floating point."""
    return attrs["out_data_type"] != UNDEFINED_DTYPE


class Linear(AtbOp):
    """``y = x · Wᵀ + b`` (``transpose_b``), or the dequantized product of int8 tensors.

    ``x`` is ``[m, k]`` or ``[batch, m, k]``. ``weight`` is ``[n, k]``, or ``[k, n]`` without
    ``transpose_b``, and may carry the batch of ``x``, which makes it a batched product. ``bias``
    is ``[n]`` or ``[batch of the weight, n]``. ``has_bias`` is true by default.

    With ``out_data_type``: ``y = (x · Wᵀ + bias) * deq_scale`` accumulated in int32, bias int32.
    For float16 results ``deq_scale`` is int64 that holds the bits of a float32; for bfloat16 it
    is float32. ``en_accum``: ``y = accum + x · Wᵀ`` in float32 (A2 only).
    """

    name = "atb.linear"
    op_type = "Linear"
    torch_atb = "LinearParam"
    x = Tensor("``[m, k]`` or ``[batch, m, k]``.")
    weight = Tensor("``[n, k]``, ``[k, n]``, or one for each batch.", like="x")
    bias = Tensor("``[n]`` or ``[batch, n]``.", when=lambda a: bool(a["has_bias"]))
    accum = Tensor(
        "As the result.", dtypes=frozenset({DType.FLOAT32}), when=lambda a: bool(a["en_accum"])
    )
    deq_scale = Tensor("``[n]``.", when=dequantizes)
    transpose_a = Param(bool, False, json="transposeA", torch_atb="transpose_a")
    transpose_b = Param(bool, True, json="transposeB", torch_atb="transpose_b")
    has_bias = Param(bool, True, json="hasBias", torch_atb="has_bias")
    out_data_type = Param(
        str,
        UNDEFINED_DTYPE,
        choices=(UNDEFINED_DTYPE, "ACL_FLOAT16", "ACL_BF16"),
        json="outDataType",
        torch_atb="out_data_type",
        enum="AclDataType",
    )
    en_accum = Param(bool, False, json="enAccum", torch_atb="en_accum")

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        if tensor.name == "accum":
            return tensor.dtypes
        if not dequantizes(attrs):
            if soc is Soc.I310P:
                return frozenset({DType.FLOAT16})
            if tensor.name == "bias" or not (attrs["has_bias"] or attrs["en_accum"]):
                return FLOAT
            return HALF
        if tensor.name == "bias":
            return frozenset({DType.INT32})
        if tensor.name == "deq_scale":
            bf16 = attrs["out_data_type"] == "ACL_BF16"
            return frozenset({DType.FLOAT32 if bf16 else DType.INT64})
        return INT8

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, weight = type_of(node, "x"), type_of(node, "weight")
        if x.rank not in (2, 3) or weight.rank not in (2, 3) or weight.rank > x.rank:
            raise ValueError(f"x {x} and weight {weight} are not matrices or batches of them")
        if weight.rank == 3 and weight.shape[0] != x.shape[0]:
            raise ValueError(f"x {x} and weight {weight} have different batches")
        m, k = x.shape[-2:] if not node.attrs["transpose_a"] else x.shape[:-3:-1]
        n, inner = weight.shape[-2:] if node.attrs["transpose_b"] else weight.shape[:-3:-1]
        if k != inner:
            raise ValueError(f"x is {x}, the weight {weight} wants {inner} features")
        dtype = FROM_ACL.get(text(node.attrs, "out_data_type"), x.dtype)
        if node.attrs["en_accum"]:
            dtype = DType.FLOAT32
        return [TensorType((*x.shape[:-2], m, n), dtype)]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        attrs, found = node.attrs, list[str]()
        n = shape_of(node, "weight")[-2 if attrs["transpose_b"] else -1]
        for name in ("bias", "deq_scale"):
            if value_of(node, name) is not None:
                shape = shape_of(node, name)
                batches = shape_of(node, "weight")[:-2] or (1,)
                if shape != (n,) and shape != (*batches, n):
                    found.append(f"{name} {type_of(node, name)} is not [{n}]")
        if attrs["en_accum"] and attrs["has_bias"]:
            found.append("en_accum and has_bias exclude each other")
        if attrs["en_accum"] and dequantizes(attrs):
            found.append("en_accum and out_data_type exclude each other")
        if not found and attrs["en_accum"] and shape_of(node, "accum") != cls.infer(node)[0].shape:
            found.append(f"accum {type_of(node, 'accum')} does not have the shape of the result")
        if soc is Soc.I310P:
            found += _on_310p(attrs)
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, weight, bias, accum, deq_scale = inputs
        assert x is not None and weight is not None
        # int8 products are exact in float64: 2**53 is far above any k * 127 * 128.
        exact = torch.float64 if dequantizes(node.attrs) else torch.float32
        left = x.to(exact).mT if node.attrs["transpose_a"] else x.to(exact)
        right = weight.to(exact).mT if node.attrs["transpose_b"] else weight.to(exact)
        y = left @ right
        if bias is not None:
            batched = bias.dim() == 2 and y.dim() == 3
            y = y + (bias.to(exact).unsqueeze(-2) if batched else bias.to(exact))
        if deq_scale is not None:
            y = y.float() * scale_values(deq_scale)
        return [y if accum is None else y + accum]


def scale_values(deq_scale: torch.Tensor) -> torch.Tensor:
    """Dequantization scales as float32; int64 ones hold the bits of a float32."""
    if deq_scale.dtype is torch.int64:
        return deq_scale.to(torch.int32).view(torch.float32)
    return wide(deq_scale)


def _on_310p(attrs: Attrs) -> list[str]:
    if not dequantizes(attrs):
        return ["en_accum is not available on 310p"] if attrs["en_accum"] else []
    found: list[str] = []
    if attrs["out_data_type"] == "ACL_BF16":
        found.append("out_data_type ACL_BF16 is not available on 310p")
    if attrs["transpose_a"] or not attrs["transpose_b"] or not attrs["has_bias"]:
        found.append("310p wants transpose_a false, transpose_b true and has_bias true")
    return found
