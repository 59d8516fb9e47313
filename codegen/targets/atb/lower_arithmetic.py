"""Lowering of activations, gates and arithmetic."""

from __future__ import annotations

import math

from codegen.targets.atb import ops
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from ir.graph import Node, Value
from ir.llm.elementwise import (
    Activation,
    Add,
    Clamp,
    GatedActivation,
    Mul,
    Scale,
    Softcap,
    Sub,
)
from ir.recipe import Fill
from ir.types import TensorType

#: Kinds that are one Activation, with its parameters.
_ACTIVATIONS: dict[str, dict[str, str]] = {
    "silu": {"activation_type": "ACTIVATION_SWISH"},
    "gelu": {"activation_type": "ACTIVATION_GELU", "gelu_mode": "NONE_MODE"},
    "gelu_tanh": {"activation_type": "ACTIVATION_GELU", "gelu_mode": "TANH_MODE"},
    "quick_gelu": {"activation_type": "ACTIVATION_FAST_GELU"},
    "relu": {"activation_type": "ACTIVATION_RELU"},
    "sigmoid": {"activation_type": "ACTIVATION_SIGMOID"},
}


def product(ctx: GraphLowering, a: Value, b: Value, name: str) -> Value:
    """``a * b``."""
    return ctx.emit(ops.Elewise, a, b, elewise_type="ELEWISE_MUL", named=[name]).result


def total(ctx: GraphLowering, a: Value, b: Value, name: str) -> Value:
    """``a + b``."""
    return ctx.emit(ops.Elewise, a, b, elewise_type="ELEWISE_ADD", named=[name]).result


def difference(ctx: GraphLowering, a: Value, b: Value, name: str) -> Value:
    """``a - b``."""
    return ctx.emit(ops.Elewise, a, b, elewise_type="ELEWISE_SUB", named=[name]).result


def scaled(ctx: GraphLowering, x: Value, factor: float, name: str) -> Value:
    """``factor * x``."""
    kind = "ELEWISE_MULS"
    return ctx.emit(ops.Elewise, x, elewise_type=kind, var_attr=factor, named=[name]).result


def tanh(ctx: GraphLowering, x: Value, name: str) -> Value:
    """``tanh(x)``."""
    return ctx.emit(ops.Elewise, x, elewise_type="ELEWISE_TANH", named=[name]).result


def softcapped(ctx: GraphLowering, x: Value, cap: float, name: str, factor: float = 1.0) -> Value:
    """``cap * tanh(factor * x / cap)``."""
    shrunk = scaled(ctx, x, factor / cap, f"{name}_shrunk")
    return scaled(ctx, tanh(ctx, shrunk, f"{name}_tanh"), cap, name)


def activated(ctx: GraphLowering, x: Value, kind: str, name: str) -> Value:
    """``f(x)`` of a named non-linearity."""
    if kind == "tanh":
        return tanh(ctx, x, name)
    if kind == "relu2":
        positive = activated(ctx, x, "relu", f"{name}_relu")
        return product(ctx, positive, positive, name)
    if kind not in _ACTIVATIONS:
        raise NoLoweringError(f"there is no operation for the activation {kind}")
    return ctx.emit(ops.Activation, x, named=[name], **_ACTIVATIONS[kind]).result


@rule(Activation)
def lower_activation(ctx: GraphLowering, node: Node) -> None:
    """One operation for most kinds."""
    kind = str(node.attrs["kind"])
    ctx.bind(node.result, activated(ctx, ctx.operand(node, 0), kind, node.result.name))


@rule(GatedActivation)
def lower_gated_activation(ctx: GraphLowering, node: Node) -> None:
    """``SWIGLU_FORWARD`` for silu; otherwise the halves are cut, activated and multiplied."""
    x, kind, name = ctx.operand(node, 0), str(node.attrs["kind"]), node.result.name
    if kind == "silu":
        swiglu = "ACTIVATION_SWIGLU_FORWARD"
        made = ctx.emit(ops.Activation, x, activation_type=swiglu, named=[name]).result
    else:
        last = x.type.rank - 1
        halves = ctx.emit(ops.Split, x, split_dim=last, named=["gate", "up"])
        gate, up = halves.results
        made = product(ctx, activated(ctx, gate, kind, "active"), up, name)
    ctx.bind(node.result, made)


@rule(Add)
def lower_add(ctx: GraphLowering, node: Node) -> None:
    """An element-wise sum."""
    made = total(ctx, ctx.operand(node, 0), ctx.operand(node, 1), node.result.name)
    ctx.bind(node.result, made)


@rule(Sub)
def lower_sub(ctx: GraphLowering, node: Node) -> None:
    """An element-wise difference."""
    made = difference(ctx, ctx.operand(node, 0), ctx.operand(node, 1), node.result.name)
    ctx.bind(node.result, made)


@rule(Mul)
def lower_mul(ctx: GraphLowering, node: Node) -> None:
    """An element-wise product."""
    made = product(ctx, ctx.operand(node, 0), ctx.operand(node, 1), node.result.name)
    ctx.bind(node.result, made)


@rule(Scale)
def lower_scale(ctx: GraphLowering, node: Node) -> None:
    """A product with a number."""
    factor = float(str(node.attrs["factor"]))
    if not math.isfinite(factor):
        raise NoLoweringError(f"scaling by {factor}")
    ctx.bind(node.result, scaled(ctx, ctx.operand(node, 0), factor, node.result.name))


@rule(Softcap)
def lower_softcap(ctx: GraphLowering, node: Node) -> None:
    """``cap * tanh(x / cap)`` in three steps."""
    cap = float(str(node.attrs["cap"]))
    ctx.bind(node.result, softcapped(ctx, ctx.operand(node, 0), cap, node.result.name))


@rule(Clamp)
def lower_clamp(ctx: GraphLowering, node: Node) -> None:
    """``x - relu(x - high) + relu(low - x)``; there is no clamp.

    Between the limits nothing is added, so that the value stays exact in half precision.
    """
    x, name = ctx.operand(node, 0), node.result.name
    low, high = float(str(node.attrs["low"])), float(str(node.attrs["high"]))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NoLoweringError(f"clamping to {low}..{high}", "give both limits")
    above = difference(ctx, x, _vector(ctx, x, high), f"{name}_above")
    below = difference(ctx, _vector(ctx, x, low), x, f"{name}_below")
    excess = activated(ctx, above, "relu", f"{name}_excess")
    lack = activated(ctx, below, "relu", f"{name}_lack")
    ctx.bind(node.result, total(ctx, difference(ctx, x, excess, f"{name}_low"), lack, name))


def _vector(ctx: GraphLowering, x: Value, value: float) -> Value:
    """A constant as wide as the last dimension, to add to or subtract from ``x``."""
    size = x.type.shape[-1]
    if not isinstance(size, int):
        raise NoLoweringError(f"a constant as wide as an unknown dimension {size}")
    return ctx.weight(TensorType((size,), x.type.dtype), Fill((size,), value), f"constant_{size}")
