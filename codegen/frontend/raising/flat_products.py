"""Flat forms of look-ups, matrix products and fused normalizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import has_tokens
from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.flat_base import number
from codegen.frontend.raising.statics import decode
from ir.graph import Node, Value
from ir.llm.linear import Embedding, Linear
from ir.llm.norm import LayerNorm, RmsNorm

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat


def embedding(flat: Flat, node: Node) -> None:
    """Table look-up; padding and scaling options do not matter in inference."""
    made = Embedding.build(
        flat.graph, flat.value(node.operand(1)), flat.value(node.operand(0)), loc=node.loc
    )
    flat.bind(node.result, made.result)


def index_select(flat: Flat, node: Node) -> None:
    """Rows of a table by a flat list of numbers."""
    args, _ = decode(node)
    if number(args[1]) != 0 or has_tokens(node.operand(0).type):
        raise ValueError("it selects along another dimension than the rows of a table")
    made = Embedding.build(
        flat.graph, flat.value(node.operand(1)), flat.value(node.operand(0)), loc=node.loc
    )
    flat.bind(node.result, made.result)


def _linear(flat: Flat, node: Node, x: Value, weight: Value, bias: Value | None) -> None:
    stored, transpose = weight, True
    producer = weight.producer
    if producer is not None and base_name(producer) in ("t", "numpy_T", "transpose", "permute"):
        stored = producer.operand(0)
    else:
        transpose = False
    operands = [flat.value(x), flat.value(stored), None if bias is None else flat.value(bias)]
    made = Linear.build(
        flat.graph, *operands, loc=node.loc, named=[node.result.name], transpose_weight=transpose
    )
    flat.bind(node.result, made.result)


def linear(flat: Flat, node: Node) -> None:
    """``aten.linear``: the weight is stored ``[out, in]``."""
    operands = [flat.value(value) for value in node.inputs]
    made = Linear.build(flat.graph, *operands, loc=node.loc, named=[node.result.name])
    flat.bind(node.result, made.result)


def matmul(flat: Flat, node: Node) -> None:
    """A product of an activation with a weight matrix."""
    x, weight = node.operand(0), node.operand(1)
    if not has_tokens(x.type) or has_tokens(weight.type) or weight.type.rank != 2:
        raise ValueError("a product of two activations outside attention")
    _linear(flat, node, x, weight, None)


def addmm(flat: Flat, node: Node) -> None:
    """``bias + x · W`` (Conv1D of GPT-2: the weight is stored ``[in, out]``)."""
    _, kwargs = decode(node)
    if kwargs:
        raise ValueError(f"unexpected arguments {sorted(kwargs)}")
    _linear(flat, node, node.operand(1), node.operand(2), node.operand(0))


def layer_norm(flat: Flat, node: Node) -> None:
    """``aten.layer_norm`` over the last dimension or dimensions."""
    args, _ = decode(node)
    shape = args[1]
    if not isinstance(shape, list) or len(shape) != 1:
        raise ValueError("a layer norm over several dimensions at once")
    weight, bias = (args[i] if len(args) > i else None for i in (2, 3))
    eps = args[4] if len(args) > 4 else 1e-5
    operands = [flat.value(v) if isinstance(v, Value) else None for v in (weight, bias)]
    made = LayerNorm.build(
        flat.graph,
        flat.value(node.operand(0)),
        *operands,
        loc=node.loc,
        named=[node.result.name],
        eps=float(str(eps)),
    )
    flat.bind(node.result, made.result)


def rms_norm(flat: Flat, node: Node) -> None:
    """``aten.rms_norm`` over the last dimension."""
    args, _ = decode(node)
    weight = args[2] if len(args) > 2 else None
    if len(args) < 4 or args[3] is None:
        raise ValueError("an RMS norm without epsilon")
    made = RmsNorm.build(
        flat.graph,
        flat.value(node.operand(0)),
        flat.value(weight) if isinstance(weight, Value) else None,
        loc=node.loc,
        named=[node.result.name],
        eps=float(str(args[3])),
    )
    flat.bind(node.result, made.result)
