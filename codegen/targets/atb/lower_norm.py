"""Lowering of normalizations."""

from __future__ import annotations

from codegen.targets.atb import ops
from codegen.targets.atb.lower_arithmetic import product, total
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from ir.graph import Node, Value
from ir.llm.norm import LayerNorm, RmsNorm
from ir.recipe import Affine, Fill
from ir.types import TensorType


@rule(RmsNorm)
def lower_rms_norm(ctx: GraphLowering, node: Node) -> None:
    """``RmsNorm`` of the plain kind; zero-centred weights are its Gemma variant.

    It multiplies by one vector. A weight for each head is therefore applied by a product after a
    norm with ones.
    """
    x, weight = ctx.operand(node, 0), ctx.optional(node, 1)
    eps, offset = float(str(node.attrs["eps"])), bool(node.attrs["unit_offset"])
    per_head = weight is not None and weight.type.rank > 1
    gamma = _filled(ctx, x, 1.0, "ones") if weight is None or per_head else weight
    made = ctx.emit(
        ops.RmsNorm,
        x,
        gamma,
        epsilon=eps,
        model_type="GEMMA_MODEL" if offset and gamma is weight else "LLAMA_MODEL",
        named=[f"{node.result.name}_unweighted" if per_head else node.result.name],
    ).result
    if weight is not None and per_head:
        if offset:
            weight = _one_plus(ctx, weight)
        made = product(ctx, made, weight, node.result.name)
    ctx.bind(node.result, made)


@rule(LayerNorm)
def lower_layer_norm(ctx: GraphLowering, node: Node) -> None:
    """``LayerNorm`` insists on weight and bias: ones and zeros where the model has none.

    A weight for each head is applied by a product after a norm with ones, likewise the bias.
    """
    x, weight, bias = ctx.operand(node, 0), ctx.optional(node, 1), ctx.optional(node, 2)
    name = node.result.name
    per_head = any(v is not None and v.type.rank > 1 for v in (weight, bias))
    plain_weight = None if per_head else weight
    plain_bias = None if per_head else bias
    axis = x.type.rank - 1
    made = ctx.emit(
        ops.LayerNorm,
        x,
        plain_weight or _filled(ctx, x, 1.0, "ones"),
        plain_bias or _filled(ctx, x, 0.0, "zeros"),
        epsilon=float(str(node.attrs["eps"])),
        begin_norm_axis=axis,
        begin_params_axis=1,
        named=[f"{name}_unweighted" if per_head else name],
    ).result
    if per_head and weight is not None:
        made = product(ctx, made, weight, name)
    if per_head and bias is not None:
        made = total(ctx, made, bias, name)
    ctx.bind(node.result, made)


def _filled(ctx: GraphLowering, x: Value, value: float, name: str) -> Value:
    size = x.type.shape[-1]
    if not isinstance(size, int):
        raise NoLoweringError(f"a norm over a dimension of unknown size {size}")
    return ctx.weight(TensorType((size,), x.type.dtype), Fill((size,), value), f"{name}_{size}")


def _one_plus(ctx: GraphLowering, weight: Value) -> Value:
    """The weight ``1 + w``, made when the checkpoint is loaded."""
    if weight.recipe is None:
        raise NoLoweringError("a zero-centred norm weight that is not a parameter")
    return ctx.weight(weight.type, Affine(weight.recipe, 1.0, 1.0), f"{weight.name}_plus_one")
