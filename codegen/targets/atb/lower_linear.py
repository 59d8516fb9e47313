"""Lowering of table look-ups and matrix products."""

from __future__ import annotations

from codegen.targets.atb import ops
from codegen.targets.atb.host_inputs import ShiftedPositions
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from ir.graph import Node
from ir.llm.elementwise import Offset
from ir.llm.linear import Embedding, Linear


@rule(Linear)
def lower_linear(ctx: GraphLowering, node: Node) -> None:
    """``Linear`` takes matrices stored either way round, and the bias."""
    bias = ctx.optional(node, 2)
    made = ctx.emit(
        ops.Linear,
        ctx.operand(node, 0),
        ctx.operand(node, 1),
        bias,
        transpose_b=bool(node.attrs["transpose_weight"]),
        has_bias=bias is not None,
        named=[node.result.name],
    )
    ctx.bind(node.result, made.result)


@rule(Embedding)
def lower_embedding(ctx: GraphLowering, node: Node) -> None:
    """``Gather`` of table rows."""
    ids, table = ctx.operand(node, 0), ctx.operand(node, 1)
    ctx.bind(node.result, ctx.emit(ops.Gather, table, ids, named=[node.result.name]).result)


@rule(Offset)
def lower_offset(ctx: GraphLowering, node: Node) -> None:
    """Shifted positions are shifted by the caller, who makes them anyway."""
    if node.operand(0).name != "positions" or node.operand(0) not in ctx.source.inputs:
        raise NoLoweringError("only positions can be shifted by a constant")
    (shifted,) = ctx.feed(ShiftedPositions(int(str(node.attrs["value"]))))
    ctx.bind(node.result, shifted)
