"""What the handlers of flattening share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import flat_order, has_tokens
from ir.graph import Node, Value
from ir.llm.shape import Reshape
from ir.types import TensorType

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat


def tail(type: TensorType) -> tuple[int, ...]:
    """The flat shape of a value without its tokens dimension."""
    fixed = tuple(dim for dim in type.shape[1:] if isinstance(dim, int))
    if len(fixed) != type.rank - 1:
        raise ValueError(f"{type} has more than one symbolic dimension")
    return fixed


def reshaped(flat: Flat, value: Value, wanted: TensorType, node: Node) -> Value:
    """A view of each token's elements, or the value itself where nothing changes."""
    if value.type.shape == wanted.shape:
        return value
    return Reshape.build(flat.graph, value, loc=node.loc, tail=tail(wanted)).result


def flat_axis(type: TensorType, axis: int) -> int:
    """Position, in the flat form, of a traced axis that is not the tokens axis."""
    position = flat_order(type.shape).index(axis % type.rank)
    if has_tokens(type) and position == 0:
        raise ValueError("it works across tokens, which only attention may do")
    return position


def number(value: object, kind: type = int) -> int:
    """A plain integer argument of a traced call; anything else is a ``ValueError``."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a plain number")
    return int(str(value))
