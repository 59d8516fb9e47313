"""Views. The tokens dimension is never touched: axes count from it, and axis 0 is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ir.graph import Attr, Node
from ir.llm.linear import given
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import TensorType, add_dims


def ints(value: Attr) -> tuple[int, ...]:
    """A tuple attribute of integers."""
    if not isinstance(value, tuple) or not all(type(item) is int for item in value):
        raise ValueError(f"{value!r} is not a tuple of integers")
    return tuple(int(str(item)) for item in value)


def checked_axis(node: Node) -> int:
    """The ``axis`` attribute, between 1 and rank - 1."""
    axis, rank = int(str(node.attrs["axis"])), node.operand(0).type.rank
    if not 1 <= axis < rank:
        raise ValueError(f"axis {axis} is not in 1..{rank - 1}")
    return axis


class Reshape(Op):
    """The same elements of each token in another shape."""

    name = "llm.reshape"
    x = Operand("``[tokens, ...]``.")
    tail = Attribute(tuple, doc="New shape without the tokens dimension.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, tail = node.operand(0).type, ints(node.attrs["tail"])
        old = [dim for dim in x.shape[1:] if isinstance(dim, int)]
        if len(old) != x.rank - 1 or math.prod(old) != math.prod(tail):
            raise ValueError(f"{x} has no view [{x.shape[0]}, {', '.join(map(str, tail))}]")
        return [x.with_shape(x.shape[0], *tail)]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x = given(inputs, 0)
        return [x.reshape(x.shape[0], *ints(node.attrs["tail"]))]


class Permute(Op):
    """The dimensions after the first in another order."""

    name = "llm.permute"
    x = Operand("``[tokens, ...]``.")
    order = Attribute(tuple, doc="A permutation of 1 .. rank - 1.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, order = node.operand(0).type, ints(node.attrs["order"])
        if sorted(order) != list(range(1, x.rank)):
            raise ValueError(f"{order} does not permute the dimensions of {x} after the first")
        return [x.with_shape(x.shape[0], *(x.shape[i] for i in order))]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0).permute(0, *ints(node.attrs["order"])).contiguous()]


class Split(Op):
    """Pieces of the given sizes along ``axis``, together all of ``x``."""

    name = "llm.split"
    x = Operand("``[tokens, ...]``.")
    axis = Attribute(int)
    sizes = Attribute(tuple)
    results = ()

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, axis, sizes = node.operand(0).type, checked_axis(node), ints(node.attrs["sizes"])
        if x.shape[axis] != sum(sizes):
            raise ValueError(f"{sizes} do not add up to dimension {axis} of {x}")
        return [x.with_shape(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        pieces = given(inputs, 0).split(list(ints(node.attrs["sizes"])), dim=checked_axis(node))
        return list(pieces)


class Slice(Op):
    """Elements ``start`` to ``stop`` along ``axis``, every ``step``-th."""

    name = "llm.slice"
    x = Operand("``[tokens, ...]``.")
    axis = Attribute(int)
    start = Attribute(int)
    stop = Attribute(int)
    step = Attribute(int, 1)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, axis = node.operand(0).type, checked_axis(node)
        start, stop, step = (int(str(node.attrs[key])) for key in ("start", "stop", "step"))
        size = x.shape[axis]
        if not isinstance(size, int) or not 0 <= start < stop <= size or step < 1:
            raise ValueError(f"[{start}:{stop}:{step}] is not a slice of dimension {axis} of {x}")
        length = len(range(start, stop, step))
        return [x.with_shape(*x.shape[:axis], length, *x.shape[axis + 1 :])]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        start, stop, step = (int(str(node.attrs[key])) for key in ("start", "stop", "step"))
        picked = torch.arange(start, stop, step)
        return [given(inputs, 0).index_select(checked_axis(node), picked)]


class Concat(Op):
    """Tensors joined along ``axis``."""

    name = "llm.concat"
    parts = Operand("Shapes that differ only along ``axis``.", variadic=True)
    axis = Attribute(int)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        axis, types = checked_axis(node), [v.type for v in node.inputs]
        total = types[0].shape[axis]
        for other in types[1:]:
            total = add_dims(total, other.shape[axis])
        return [types[0].with_shape(*types[0].shape[:axis], total, *types[0].shape[axis + 1 :])]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [torch.cat([t for t in inputs if t is not None], dim=checked_axis(node))]
