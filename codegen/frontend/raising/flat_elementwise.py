"""Flat forms of element-wise and reducing operations: the operation stays, operands are aligned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import aligned_shape, flat_type, has_tokens
from codegen.frontend.raising.flat_base import flat_axis, number, reshaped
from codegen.frontend.raising.statics import decode
from ir.graph import Attr, Node, Value
from ir.op import lookup

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat


def elementwise(flat: Flat, node: Node) -> None:
    """Keeps the ATen operation; operands are lined up as the trace broadcast them."""
    result = node.result.type
    operands: list[Value] = []
    for value in node.inputs:
        converted = flat.value(value)
        if has_tokens(result):
            shape = aligned_shape(value.type.shape, result.shape)
            if has_tokens(value.type):
                converted = reshaped(flat, converted, value.type.with_shape(*shape), node)
            elif shape != value.type.shape and value.data is None and value.type.shape:
                raise ValueError(f"a weight of type {value.type} meets an activation {result}")
            elif value.data is not None and shape != value.type.shape:
                data = value.data.reshape([int(str(dim)) for dim in shape])
                converted = flat.graph.add_constant(data, value.type.with_shape(*shape))
        operands.append(converted)
    name = node.op.split(".")
    name[1] = name[1].removesuffix("_") if not name[1].startswith("__") else name[1]
    made = flat.graph.make(
        ".".join(name), operands, node.attrs, [flat_type(result)], [node.result.name], node.loc
    )
    flat.bind(node.result, made.result)


def passthrough(flat: Flat, node: Node) -> None:
    """Copies, casts between float types (the graph is float32 throughout), dropout in eval mode."""
    value = node.operand(0)
    if value.type.dtype.is_float != node.result.type.dtype.is_float:
        elementwise(flat, node)
        return
    flat.bind(node.result, flat.value(value))


def reduction(flat: Flat, node: Node) -> None:
    """Mean, sum or maximum over dimensions that are not tokens."""
    x = node.operand(0)
    args, kwargs = decode(node)
    dims = args[1] if len(args) > 1 else None
    if not isinstance(dims, list) or not dims or kwargs:
        raise ValueError("a reduction over all dimensions")
    rank = flat_type(x.type).rank
    axes = tuple(flat_axis(x.type, number(dim)) - rank for dim in dims)
    rest: list[Attr] = [bool(item) for item in args[2:]]
    made = lookup(node.op).build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        named=[node.result.name],
        types=[flat_type(node.result.type)],
        args=("%", axes, *rest),
    )
    flat.bind(node.result, made.result)
