"""Flat forms of views, slices, splits and concatenations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import (
    aligned_shape,
    flat_order,
    flat_type,
    has_tokens,
    token_axis,
)
from codegen.frontend.raising.flat_base import flat_axis, number, reshaped
from codegen.frontend.raising.flat_elementwise import elementwise
from codegen.frontend.raising.statics import decode
from ir.graph import Node, Value
from ir.llm.shape import Concat, Permute, Slice, Split
from ir.op import lookup

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat


def view(flat: Flat, node: Node) -> None:
    """A view that keeps the tokens dimension apart from all others."""
    x, y = node.operand(0), node.result
    if not has_tokens(x.type):
        elementwise(flat, node)
        return
    before, after = (
        math.prod(map(number, v.type.shape[: token_axis(v.type.shape)])) for v in (x, y)
    )
    if before != after:
        raise ValueError(f"a view of {x.type} as {y.type} mixes tokens with another dimension")
    flat.bind(y, reshaped(flat, flat.value(x), flat_type(y.type), node))


def permute(flat: Flat, node: Node) -> None:
    """Transposes; those that only move the batch or the tokens disappear."""
    x, y = node.operand(0), node.result
    if not has_tokens(x.type):
        elementwise(flat, node)
        return
    args, _ = decode(node)
    rank = x.type.rank
    order = list(range(rank))
    if len(args) == 3:
        i, j = number(args[1]) % rank, number(args[2]) % rank
        order[i], order[j] = order[j], order[i]
    elif len(args) == 2 and isinstance(args[1], list):
        order = [number(axis) % rank for axis in args[1]]
    else:
        order.reverse()
    old = flat_order(x.type.shape)
    new = [order[axis] for axis in flat_order(y.type.shape)]
    value = flat.value(x)
    if sorted(old) == sorted(new):
        moves = tuple(old.index(axis) for axis in new)
        if moves != tuple(range(len(moves))):
            value = Permute.build(flat.graph, value, loc=node.loc, order=moves[1:]).result
    elif [a for a in old if x.type.shape[a] != 1] != [a for a in new if x.type.shape[a] != 1]:
        raise ValueError(f"a permutation of {x.type} that moves the batch dimension")
    flat.bind(y, reshaped(flat, value, flat_type(y.type), node))


def expand(flat: Flat, node: Node) -> None:
    """Repetition along dimensions of size 1; only adding a dimension of size 1 is free."""
    x, y = node.operand(0), node.result
    shape = aligned_shape(x.type.shape, y.type.shape)
    value = reshaped(flat, flat.value(x), x.type.with_shape(*shape), node)
    wanted = flat_type(y.type)
    if value.type.shape != wanted.shape:
        sizes = tuple(f"${d}" if not isinstance(d, int) else d for d in wanted.shape)
        made = lookup("aten.expand.default").build(
            flat.graph, value, loc=node.loc, types=[wanted], args=("%", sizes)
        )
        value = made.result
    flat.bind(y, value)


def repeat_interleave(flat: Flat, node: Node) -> None:
    """Every element several times in a row, along a dimension that is not tokens."""
    x, y = node.operand(0), node.result
    args, kwargs = decode(node)
    if len(args) != 3 or kwargs:
        raise ValueError("a repetition without a dimension")
    repeats, axis = number(args[1]), flat_axis(x.type, number(args[2]))
    made = lookup(node.op).build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        types=[flat_type(y.type)],
        args=("%", repeats, axis),
    )
    flat.bind(y, made.result)


def slice_(flat: Flat, node: Node) -> None:
    """``x[start:stop:step]`` along a dimension that is not tokens, or all of it."""
    x, y = node.operand(0), node.result
    if x.type.shape == y.type.shape:
        flat.bind(y, flat.value(x))
        return
    args, kwargs = decode(node)
    axis = number(args[1]) if len(args) > 1 else 0
    size = x.type.shape[axis % x.type.rank]
    if not isinstance(size, int):
        raise ValueError("it takes a part of the tokens")
    start, stop, step = (*args[2:5], *(None, None, 1)[len(args[2:5]) :])
    if kwargs:
        raise ValueError(f"unexpected arguments {sorted(kwargs)}")
    begin, end, stride = slice(
        None if start is None else number(start),
        None if stop is None else number(stop),
        1 if step is None else number(step),
    ).indices(size)
    _bind_slice(flat, node, axis, begin, end, stride)


def _bind_slice(flat: Flat, node: Node, axis: int, start: int, stop: int, step: int = 1) -> None:
    x, y = node.operand(0), node.result
    made = Slice.build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        axis=flat_axis(x.type, axis),
        start=start,
        stop=stop,
        step=step,
    )
    flat.bind(y, reshaped(flat, made.result, flat_type(y.type), node))


def select(flat: Flat, node: Node) -> None:
    """``x[..., index, ...]``: a slice of one element without its dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    axis = number(args[1]) % x.type.rank
    size = x.type.shape[axis]
    if not isinstance(size, int):
        raise ValueError("it picks one token")
    if axis == 0 and flat_order(x.type.shape)[0] != 0 and 0 not in flat_order(x.type.shape):
        flat.bind(node.result, flat.value(x))
        return
    index = number(args[2]) % size
    _bind_slice(flat, node, axis, index, index + 1)


def index(flat: Flat, node: Node) -> None:
    """``x[:, :, [i]]`` with a constant list of consecutive numbers along one dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    picks = args[1]
    if not isinstance(picks, list):
        raise ValueError("an index that is not a list")
    given = [(axis, pick) for axis, pick in enumerate(picks) if pick is not None]
    if len(given) != 1 or not isinstance(given[0][1], Value):
        raise ValueError("it picks along several dimensions at once")
    axis, pick = given[0]
    constant = flat.statics.origin(pick).data if isinstance(pick, Value) else None
    size = x.type.shape[axis]
    if constant is None and isinstance(pick, Value) and flat.statics.is_static(pick):
        constant = flat.value(pick).data
    if constant is None or not isinstance(size, int) or constant.dim() != 1:
        raise ValueError("it picks by numbers that are not constant")
    rows = [int(row) % size for row in constant.tolist()]
    if rows != list(range(rows[0], rows[0] + len(rows))):
        raise ValueError(f"it picks scattered rows {rows}")
    _bind_slice(flat, node, axis, rows[0], rows[0] + len(rows))


def split(flat: Flat, node: Node) -> None:
    """Chunks and splits along a dimension that is not tokens."""
    x = node.operand(0)
    args, kwargs = decode(node)
    last = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    axis = number(last) % x.type.rank
    sizes = tuple(number(result.type.shape[axis]) for result in node.results)
    made = Split.build(
        flat.graph, flat.value(x), loc=node.loc, axis=flat_axis(x.type, axis), sizes=sizes
    )
    for old, new in zip(node.results, made.results, strict=True):
        flat.bind(old, new)


def unbind(flat: Flat, node: Node) -> None:
    """Every element along a dimension, without that dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    axis = number(args[1]) % x.type.rank if len(args) > 1 else 0
    made = Split.build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        axis=flat_axis(x.type, axis),
        sizes=(1,) * len(node.results),
    )
    for old, new in zip(node.results, made.results, strict=True):
        flat.bind(old, reshaped(flat, new, flat_type(old.type), node))


def _join(flat: Flat, node: Node, parts: Sequence[Value], axis: int) -> None:
    made = Concat.build(flat.graph, *parts, loc=node.loc, axis=axis)
    flat.bind(node.result, reshaped(flat, made.result, flat_type(node.result.type), node))


def cat(flat: Flat, node: Node) -> None:
    """Concatenation along a dimension that is not tokens."""
    args, kwargs = decode(node)
    dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if not has_tokens(node.result.type):
        elementwise(flat, node)
        return
    parts = [flat.value(v) for v in node.inputs if v not in flat.empty]
    if len(parts) == 1:
        flat.bind(node.result, parts[0])
        return
    _join(flat, node, parts, flat_axis(node.result.type, number(dim)))


def stack(flat: Flat, node: Node) -> None:
    """Concatenation along a new dimension."""
    args, kwargs = decode(node)
    dim = number(args[1] if len(args) > 1 else kwargs.get("dim", 0))
    result = node.result.type
    axis = flat_axis(result, dim)
    parts: list[Value] = []
    for value in node.inputs:
        flat_value = flat.value(value)
        shape = [*flat_value.type.shape]
        shape.insert(axis, 1)
        parts.append(reshaped(flat, flat_value, result.with_shape(*shape), node))
    _join(flat, node, parts, axis)
