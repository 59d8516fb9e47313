"""Normalizations: RmsNorm alone, fused with the residual addition, LayerNorm."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codegen.targets.atb.ops.base import (
    FLOAT,
    HALF,
    INT8,
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
    type_of,
    value_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import DType, TensorType

_SMALLEST_EPSILON = 2e-38
_F16 = frozenset({DType.FLOAT16})


def quantizes(attrs: Attrs) -> bool:
    """Whether the result is int8."""
    return attrs["quant_type"] == "QUANT_INT8"


def quant_type(group: str, torch_group: str) -> Param:
    """The parameter ``quantType`` of one of the three layer types."""
    return Param(
        str,
        "QUANT_UNQUANT",
        "QUANT_INT8 adds scale and offset and makes the result int8.",
        choices=("QUANT_UNQUANT", "QUANT_INT8"),
        json=f"{group}.quantType",
        torch_atb=f"{torch_group}.quant_type",
        enum="QuantType",
        json_names={"QUANT_UNQUANT": "QUANT_UNDEFINED"},
    )


def epsilon(group: str, torch_group: str) -> Param:
    """The parameter ``epsilon`` of one of the three layer types."""
    return Param(
        float, 1e-5, json=f"{group}.epsilon", torch_atb=f"{torch_group}.epsilon", always=True
    )


def layer_type(kind: str, struct: str, enumeration: str) -> Param:
    """The parameter that selects the variant; it is always printed."""
    prefix = kind.rpartition("_")[0]
    return Param(
        str,
        kind,
        choices=(kind,),
        json="layerType",
        torch_atb="layer_type",
        enum=f"{struct}.{enumeration}",
        api_default=f"{prefix}_UNDEFINED",
    )


def rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x²) + eps)`` over the last dimension, in float32."""
    x = wide(x)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def quantize(y: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
    """``clip(round(y / scale) + offset)`` to int8."""
    q = torch.round(wide(y) / wide(scale))
    if offset is not None and offset.numel():
        q = q + wide(offset)
    return q.clamp(-128, 127).to(torch.int8)


def _common(node: Node, gamma: str) -> list[str]:
    """Limits that all variants of RmsNorm share."""
    x, weight = shape_of(node, "x"), shape_of(node, gamma)
    found: list[str] = []
    if not weight or weight[-1] != x[-1] or any(dim != 1 for dim in weight[:-1]):
        found.append(f"{gamma} {type_of(node, gamma)} is not [{x[-1]}]")
    if not is_multiple(x[-1], 16):
        found.append(f"the last dimension {x[-1]} is not a multiple of 16 (32 bytes)")
    if abs(number(node.attrs, "epsilon")) < _SMALLEST_EPSILON:
        found.append("epsilon must not be zero")
    for name in ("scale", "offset"):
        if value_of(node, name) is not None and shape_of(node, name) != (1,):
            found.append(f"{name} must be [1], is {type_of(node, name)}")
    return found


class RmsNorm(AtbOp):
    """``y = x / sqrt(mean(x²) + epsilon) * gamma``, mean over the last dimension.

    ``model_type`` ``GEMMA_MODEL`` multiplies by ``1 + gamma``. With ``QUANT_INT8`` operands are
    ``x, gamma, beta, scale, offset`` and the result is ``clip(round((norm + beta) / scale) +
    offset)`` in int8.
    """

    name = "atb.rms_norm"
    op_type = "RmsNorm"
    torch_atb = "RmsNormParam"
    x = Tensor("``[..., size]``.", dtypes=HALF)
    gamma = Tensor("``[size]``.", dtypes=HALF, like="x")
    beta = Tensor("``[size]``.", dtypes=HALF, like="x", when=quantizes)
    scale = Tensor("``[1]``.", dtypes=HALF, like="x", when=quantizes)
    offset = Tensor("``[1]``.", dtypes=INT8, when=quantizes)
    layer_type = layer_type("RMS_NORM_NORM", "RmsNormParam", "RmsNormType")
    quant_type = quant_type("normParam", "norm_param")
    epsilon = epsilon("normParam", "norm_param")
    model_type = Param(
        str,
        "LLAMA_MODEL",
        choices=("LLAMA_MODEL", "GEMMA_MODEL"),
        json="normParam.modelType",
        torch_atb="norm_param.model_type",
        enum="RmsNormParam.ModelType",
    )

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        return [TensorType(x.shape, DType.INT8) if quantizes(node.attrs) else x]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        found = _common(node, "gamma")
        if quantizes(node.attrs) and node.attrs["model_type"] != "LLAMA_MODEL":
            found.append("model_type cannot be set together with quant_type")
        if quantizes(node.attrs) and shape_of(node, "beta") != shape_of(node, "gamma"):
            found.append(f"beta {type_of(node, 'beta')} does not have the shape of gamma")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        gamma = wide(tensor_of(node, inputs, "gamma"))
        if node.attrs["model_type"] == "GEMMA_MODEL":
            gamma = 1.0 + gamma
        y = rms(tensor_of(node, inputs, "x"), number(node.attrs, "epsilon")) * gamma
        if not quantizes(node.attrs):
            return [y]
        y = y + wide(tensor_of(node, inputs, "beta"))
        return [quantize(y, tensor_of(node, inputs, "scale"), inputs[-1])]


def has_bias(attrs: Attrs) -> bool:
    """Whether the residual addition also adds a bias."""
    return bool(attrs["has_bias"])


class PreRmsNorm(AtbOp):
    """``res_out = x (+ bias) + res_in; y = rms_norm(res_out)``, results ``y, res_out``.

    With ``QUANT_INT8`` the operands are ``x, res_in, gamma, beta, scale, offset`` (float16 only)
    and ``y`` is int8.
    """

    name = "atb.pre_rms_norm"
    op_type = "RmsNorm"
    torch_atb = "RmsNormParam"
    x = Tensor("``[..., size]``.", dtypes=HALF)
    bias = Tensor("``[size]``.", dtypes=HALF, like="x", when=has_bias)
    res_in = Tensor("As ``x``.", dtypes=HALF, like="x")
    gamma = Tensor("``[size]``.", dtypes=HALF, like="x")
    beta = Tensor("``[size]``.", dtypes=HALF, like="x", when=quantizes)
    scale = Tensor("``[1]``.", dtypes=HALF, like="x", when=quantizes)
    offset = Tensor("``[1]``.", dtypes=INT8, when=quantizes)
    layer_type = layer_type("RMS_NORM_PRENORM", "RmsNormParam", "RmsNormType")
    quant_type = quant_type("preNormParam", "pre_norm_param")
    epsilon = epsilon("preNormParam", "pre_norm_param")
    has_bias = Param(bool, False, json="preNormParam.hasBias", torch_atb="pre_norm_param.has_bias")
    results = ("y", "res_out")

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        return _F16 if quantizes(attrs) and tensor.dtypes == HALF else tensor.allowed(soc)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        return [TensorType(x.shape, DType.INT8) if quantizes(node.attrs) else x, x]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        return _residual(node)

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        total, y = _normed_sum(node, inputs)
        if quantizes(node.attrs):
            y = y + wide(tensor_of(node, inputs, "beta"))
            y = quantize(y, tensor_of(node, inputs, "scale"), inputs[-1])
        return [y, total]


class PostRmsNorm(AtbOp):
    """``y = rms_norm(x (+ bias) + res_in)``.

    With ``QUANT_INT8`` (A2 only) the operands are ``x, res_in, gamma, scale, offset`` and the
    results ``y`` in int8 and the normed tensor itself.
    """

    name = "atb.post_rms_norm"
    op_type = "RmsNorm"
    torch_atb = "RmsNormParam"
    x = Tensor("``[..., size]``.", dtypes=HALF)
    bias = Tensor("``[size]``.", dtypes=HALF, like="x", when=has_bias)
    res_in = Tensor("As ``x``.", dtypes=HALF, like="x")
    gamma = Tensor("``[size]``.", dtypes=HALF, like="x")
    scale = Tensor("``[1]``.", dtypes=HALF, like="x", when=quantizes)
    offset = Tensor("``[1]``.", dtypes=INT8, when=quantizes)
    layer_type = layer_type("RMS_NORM_POSTNORM", "RmsNormParam", "RmsNormType")
    quant_type = quant_type("postNormParam", "post_norm_param")
    epsilon = epsilon("postNormParam", "post_norm_param")
    has_bias = Param(
        bool, False, json="postNormParam.hasBias", torch_atb="post_norm_param.has_bias"
    )

    @classmethod
    def result_count(cls, attrs: Attrs) -> int:
        return 2 if quantizes(attrs) else 1

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        return [TensorType(x.shape, DType.INT8), x] if quantizes(node.attrs) else [x]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        found = _residual(node)
        if quantizes(node.attrs) and soc is Soc.I310P:
            found.append("POSTNORM with QUANT_INT8 is not available on 310p")
        if quantizes(node.attrs) and not is_multiple(shape_of(node, "x")[-1], 32):
            found.append("with QUANT_INT8 the last dimension must be a multiple of 32")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        _, y = _normed_sum(node, inputs)
        if not quantizes(node.attrs):
            return [y]
        return [quantize(y, tensor_of(node, inputs, "scale"), inputs[-1]), y]


def _residual(node: Node) -> list[str]:
    found = _common(node, "gamma")
    if shape_of(node, "res_in") != shape_of(node, "x"):
        found.append(f"res_in {type_of(node, 'res_in')} does not have the shape of x")
    if has_bias(node.attrs) and quantizes(node.attrs):
        found.append("has_bias cannot be set together with quant_type")
    return found


def _normed_sum(
    node: Node, inputs: Sequence[torch.Tensor | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    total = wide(tensor_of(node, inputs, "x")) + wide(tensor_of(node, inputs, "res_in"))
    if has_bias(node.attrs):
        total = total + wide(tensor_of(node, inputs, "bias"))
    normed = rms(total, number(node.attrs, "epsilon")) * wide(tensor_of(node, inputs, "gamma"))
    return total, normed


class LayerNorm(AtbOp):
    """``y = (x - mean) / sqrt(var + epsilon) * gamma + beta``.

    Mean and variance are over the dimensions from ``begin_norm_axis`` on, which must be those of
    ``gamma``: 1 (or -1) for ``[tokens, hidden]``; the default 0 never fits a vector ``gamma``.
    With ``QUANT_INT8`` scale and offset follow and the result is int8.
    """

    name = "atb.layer_norm"
    op_type = "LayerNorm"
    torch_atb = "LayerNormParam"
    x = Tensor("``[..., size]``.", dtypes=FLOAT)
    gamma = Tensor("The normed dimensions.", dtypes=FLOAT, like="x")
    beta = Tensor("As ``gamma``.", dtypes=FLOAT, like="x")
    scale = Tensor("``[1]``.", dtypes=HALF, like="x", when=quantizes)
    offset = Tensor("``[1]``.", dtypes=INT8, when=quantizes)
    layer_type = layer_type("LAYER_NORM_NORM", "LayerNormParam", "LayerNormType")
    quant_type = quant_type("normParam", "norm_param")
    epsilon = epsilon("normParam", "norm_param")
    begin_norm_axis = Param(
        int, 0, json="normParam.beginNormAxis", torch_atb="norm_param.begin_norm_axis"
    )
    begin_params_axis = Param(
        int, 0, json="normParam.beginParamsAxis", torch_atb="norm_param.begin_params_axis"
    )

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        quantized_float = quantizes(attrs) and tensor.dtypes == FLOAT
        return tensor.allowed(soc) - ({DType.FLOAT32} if quantized_float else frozenset())

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        return [TensorType(x.shape, DType.INT8) if quantizes(node.attrs) else x]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        x, gamma = shape_of(node, "x"), shape_of(node, "gamma")
        axis, rank = integer(node.attrs, "begin_norm_axis"), len(x)
        found: list[str] = []
        if (axis if axis >= 0 else rank + axis) + len(gamma) != rank:
            found.append(
                f"begin_norm_axis {axis} with gamma of rank {len(gamma)} does not cover rank {rank}"
            )
        elif x[rank - len(gamma) :] != gamma:
            found.append(f"gamma {type_of(node, 'gamma')} is not the end of x {type_of(node, 'x')}")
        if shape_of(node, "beta") != gamma:
            found.append(f"beta {type_of(node, 'beta')} does not have the shape of gamma")
        if abs(number(node.attrs, "epsilon")) < _SMALLEST_EPSILON:
            found.append("epsilon must not be zero")
        if quantizes(node.attrs):
            if not is_multiple(x[-1], 16):
                found.append(f"the last dimension {x[-1]} is not a multiple of 16 (32 bytes)")
            for name in ("scale", "offset"):
                if shape_of(node, name) != (1,):
                    found.append(f"{name} must be [1], is {type_of(node, name)}")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, gamma, beta = (wide(tensor_of(node, inputs, n)) for n in ("x", "gamma", "beta"))
        dims = tuple(range(-gamma.dim(), 0))
        centred = x - x.mean(dims, keepdim=True)
        variance = centred.pow(2).mean(dims, keepdim=True)
        y = centred * torch.rsqrt(variance + number(node.attrs, "epsilon")) * gamma + beta
        if not quantizes(node.attrs):
            return [y]
        return [quantize(y, tensor_of(node, inputs, "scale"), inputs[-1])]
