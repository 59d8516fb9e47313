"""Raises written-out normalizations, anchored at the reciprocal square root.

    r = rsqrt(mean(c²) + eps)    or  1 / sqrt(...),  (...) ** -0.5
    y = c * r * weight + bias    with c = x (RMS norm) or c = x - mean(x) (layer norm)

The weight may be ``1 + parameter`` (zero-centred weights).
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import decode
from ir.graph import Graph, Node, Value
from ir.llm.norm import LayerNorm, RmsNorm


class _NotNormError(Exception):
    pass


@dataclass
class _Norm:
    x: Value
    eps: float
    centred: bool
    normalized: Node


def raise_norms(graph: Graph, reasons: Reasons) -> int:
    """Replaces every normalization of a flat graph; returns how many."""
    found = 0
    for anchor in list(graph.nodes):
        if anchor not in graph.nodes or not _is_anchor(anchor):
            continue
        try:
            norm = _match(anchor)
            _replace(graph, norm)
        except _NotNormError as failure:
            reasons.no_match("norm", anchor, str(failure))
            continue
        except ValueError as failure:
            reasons.unsupported(anchor, f"the normalization cannot be expressed: {failure}")
            continue
        found += 1
    found += _unit_offset_layer_norms(graph)
    graph.remove_dead()
    return found


def _is_anchor(node: Node) -> bool:
    name = base_name(node)
    return name in ("rsqrt", "sqrt") or (name == "pow" and decode(node)[0][1] == -0.5)


def _scalar(value: object) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Value) and value.data is not None and value.data.numel() == 1:
        return float(value.data)
    return None


def _match(anchor: Node) -> _Norm:
    total = anchor.operand(0).producer
    if total is None or base_name(total) != "add":
        raise _NotNormError("no epsilon is added under the root")
    args, _ = decode(total)
    eps = _scalar(args[1])
    if eps is None:
        raise _NotNormError("the epsilon is not a constant")
    mean = total.operand(0).producer
    if mean is None or base_name(mean) != "mean":
        raise _NotNormError("the root is not over a mean")
    mean_args, _ = decode(mean)
    if mean_args[1] != [-1] or mean_args[2:] != [True]:
        raise _NotNormError("the mean is not over the last dimension with the dimension kept")
    centre = _squared(mean.operand(0))
    node = _only_product(anchor, centre)
    x, centred = centre, False
    difference = centre.producer
    if base_name(difference) == "sub" and difference is not None and _is_mean_of(difference):
        x, centred = difference.operand(0), True
    return _Norm(x, eps, centred, node)


def _squared(value: Value) -> Value:
    node = value.producer
    name = base_name(node)
    if node is not None:
        if name == "square" or (name == "pow" and decode(node)[0][1] in (2, 2.0)):
            return node.operand(0)
        if name == "mul" and len(node.inputs) == 2 and node.operand(0) is node.operand(1):
            return node.operand(0)
    raise _NotNormError("the mean is not over a square")


def _is_mean_of(difference: Node) -> bool:
    mean = difference.operand(1).producer if len(difference.inputs) == 2 else None
    return (
        mean is not None
        and base_name(mean) == "mean"
        and mean.operand(0) is difference.operand(0)
        and decode(mean)[0][1:] == [[-1], True]
    )


def _only_product(anchor: Node, centre: Value) -> Node:
    users = anchor.result.users
    if len(users) != 1:
        raise _NotNormError(f"the root is read {len(users)} times")
    (node,) = users
    wanted = "div" if base_name(anchor) == "sqrt" else "mul"
    if base_name(node) == "reciprocal" and wanted == "div" and len(node.result.users) == 1:
        (node,) = node.result.users
        wanted = "mul"
    if base_name(node) != wanted or centre not in node.inputs:
        raise _NotNormError("the root does not scale what its mean was taken of")
    return node


def _weight_factor(node: Node) -> tuple[Node, Value, bool] | None:
    """The only user, if it multiplies by a weight: ``(product, weight, 1 + weight?)``."""
    users = node.result.users
    if len(users) != 1 or base_name(users[0]) != "mul" or len(users[0].inputs) != 2:
        return None
    (product,) = users
    (other,) = [v for v in product.inputs if v is not node.result] or [None]
    if other is None:
        return None
    parameter, offset = _offset_weight(other)
    return None if parameter is None else (product, parameter, offset)


def _offset_weight(value: Value) -> tuple[Value | None, bool]:
    if value.recipe is not None:
        return value, False
    node = value.producer
    if node is not None and base_name(node) == "add":
        args, _ = decode(node)
        parts = [arg for arg in args if isinstance(arg, Value) and arg.recipe is not None]
        if len(parts) == 1 and 1.0 in [_scalar(arg) for arg in args]:
            return parts[0], True
    return None, False


def _replace(graph: Graph, norm: _Norm) -> None:
    last, weight, bias, offset = norm.normalized, None, None, False
    factor = _weight_factor(last)
    if factor is not None and _trailing(factor[1], norm.x):
        last, weight, offset = factor
        if norm.centred and not offset:
            last, bias = _bias_term(last, norm.x)
    where = norm.normalized.loc
    if norm.centred:
        if offset:
            last, weight = norm.normalized, None
        node = LayerNorm.build(
            graph, norm.x, weight, bias, loc=where, before=last, named=["norm"], eps=norm.eps
        )
    else:
        node = RmsNorm.build(
            graph,
            norm.x,
            weight,
            loc=where,
            before=last,
            named=["norm"],
            eps=norm.eps,
            unit_offset=offset,
        )
    graph.replace_uses(last.result, node.result)
    graph.remove_dead()


def _trailing(weight: Value, x: Value) -> bool:
    rank = weight.type.rank
    return 1 <= rank < x.type.rank and weight.type.shape == x.type.shape[-rank:]


def _bias_term(last: Node, x: Value) -> tuple[Node, Value | None]:
    users = last.result.users
    if len(users) == 1 and base_name(users[0]) == "add" and len(users[0].inputs) == 2:
        (other,) = [v for v in users[0].inputs if v is not last.result] or [None]
        if other is not None and other.recipe is not None and _trailing(other, x):
            return users[0], other
    return last, None


def _unit_offset_layer_norms(graph: Graph) -> int:
    """``layer_norm(x, 1 + weight, bias)``: the sum becomes part of how the weight is made."""
    from ir.recipe import Affine

    found = 0
    for norm in graph.find("llm.layer_norm"):
        weight = norm.operands[1]
        if weight is None or weight.producer is None:
            continue
        parameter, offset = _offset_weight(weight)
        if parameter is not None and offset and parameter.recipe is not None:
            made = graph.add_parameter(parameter.type, Affine(parameter.recipe, 1.0, 1.0))
            norm.set_operand(1, made)
            found += 1
    return found
