"""Lowering of views, cuts and joins."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.targets.atb import ops
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from ir.graph import Node, Value
from ir.llm.shape import Concat, Permute, Reshape, Slice, Split, ints

_PIECES = 3


@rule(Reshape)
def lower_reshape(ctx: GraphLowering, node: Node) -> None:
    """A view."""
    x = ctx.operand(node, 0)
    made = ctx.view(x, x.type.shape[0], *ints(node.attrs["tail"]), name=node.result.name)
    ctx.bind(node.result, made)


@rule(Permute)
def lower_permute(ctx: GraphLowering, node: Node) -> None:
    """``Transpose`` with the tokens in front."""
    perm = (0, *ints(node.attrs["order"]))
    name = node.result.name
    made = ctx.emit(ops.Transpose, ctx.operand(node, 0), perm=perm, named=[name]).result
    ctx.bind(node.result, made)


@rule(Split)
def lower_split(ctx: GraphLowering, node: Node) -> None:
    """``Split`` gives two or three pieces; more are cut off step by step."""
    names = [value.name for value in node.results]
    x, axis, sizes = ctx.operand(node, 0), int(str(node.attrs["axis"])), ints(node.attrs["sizes"])
    pieces = split(ctx, x, axis, sizes, names)
    for value, piece in zip(node.results, pieces, strict=True):
        ctx.bind(value, piece)


def split(
    ctx: GraphLowering, x: Value, axis: int, sizes: Sequence[int], names: Sequence[str]
) -> list[Value]:
    """Pieces of the given sizes along an axis."""
    if len(sizes) == 1:
        return [x]
    if len(sizes) > _PIECES:
        first, second, *rest = sizes
        one, two, more = _cut(ctx, x, axis, (first, second, sum(rest)), (*names[:2], "rest"))
        return [one, two, *split(ctx, more, axis, rest, names[2:])]
    return _cut(ctx, x, axis, tuple(sizes), names)


def _cut(
    ctx: GraphLowering, x: Value, axis: int, sizes: tuple[int, ...], names: Sequence[str]
) -> list[Value]:
    even = len(set(sizes)) == 1
    node = ctx.emit(
        ops.Split,
        x,
        split_dim=axis,
        split_num=len(sizes),
        split_sizes=() if even else sizes,
        named=list(names),
    )
    return list(node.results)


@rule(Slice)
def lower_slice(ctx: GraphLowering, node: Node) -> None:
    """``Slice`` takes neighbouring elements."""
    x, axis = ctx.operand(node, 0), int(str(node.attrs["axis"]))
    start, stop, step = (int(str(node.attrs[key])) for key in ("start", "stop", "step"))
    if step != 1:
        raise NoLoweringError(f"taking every {step}th element", "fold the slice into the weights")
    offsets = tuple(start if i == axis else 0 for i in range(x.type.rank))
    size = tuple(stop - start if i == axis else -1 for i in range(x.type.rank))
    name = node.result.name
    ctx.bind(node.result, ctx.emit(ops.Slice, x, offsets=offsets, size=size, named=[name]).result)


@rule(Concat)
def lower_concat(ctx: GraphLowering, node: Node) -> None:
    """``Concat`` joins two tensors; more are joined one after the other."""
    parts = [ctx.operand(node, i) for i in range(len(node.operands))]
    ctx.bind(node.result, joined(ctx, parts, int(str(node.attrs["axis"])), node.result.name))


def joined(ctx: GraphLowering, parts: Sequence[Value], axis: int, name: str) -> Value:
    """The parts joined along an axis."""
    made, *rest = parts
    for part in rest:
        made = ctx.emit(ops.Concat, made, part, concat_dim=axis, named=[name]).result
    return made
