"""Finds attention that the modelling code writes out: softmax(q·kᵀ · scale + mask) · v.

Classes that do not go through the attention interface are traced with their own matrix products.
The anchor is a softmax over scores ``[..., tokens, tokens]``; from there the code above it is read
as ``softcap(scale * q·kᵀ) + biases`` and the code below it as the product with ``v``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from codegen.frontend.raising.masks import HIDDEN, Bias, describe
from codegen.frontend.raising.ops import FoundAttention
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import Statics, decode
from ir.graph import Graph, Node, Value
from ir.op import lookup
from ir.types import TensorType

#: Operations that change neither the numbers nor the meaning of scores.
_SAME = {
    "alias", "clone", "contiguous", "detach", "dropout", "expand", "reshape", "to", "type_as",
    "view", "_to_copy", "_unsafe_view",
}  # fmt: skip


def base_name(node: Node | None) -> str:
    """``add`` for ``aten.add.Tensor`` and its in-place form; empty for other dialects."""
    if node is None or not node.op.startswith("aten."):
        return ""
    name = node.op.split(".")[1]
    return name.removesuffix("_") if not name.startswith("__") else name


@dataclass
class _Scores:
    q: Value
    k_transposed: Value
    scale: float = 1.0
    cap: float | None = None
    biases: list[Bias] = field(default_factory=list)


class _NotScoresError(Exception):
    pass


def fold_eager_attention(graph: Graph, statics: Statics, reasons: Reasons) -> int:
    """Replaces every written-out attention of a graph by one ``raise.attention`` node.

    Returns:
        How many were found. A softmax over scores that does not match is a problem: no other
        rule takes scores.
    """
    found = 0
    for softmax in list(graph.nodes):
        if base_name(softmax) not in ("softmax", "_softmax") or not _is_square(softmax.result.type):
            continue
        try:
            scores = _read_scores(softmax.operand(0), statics)
            product, v = _weighted_values(softmax.result)
            mask = describe(statics, scores.biases)
        except _NotScoresError as failure:
            reasons.unsupported(softmax, f"the attention is not understood: {failure}")
            continue
        except ValueError as failure:
            reasons.unsupported(softmax, f"the attention mask is not understood: {failure}")
            continue
        k = _transposed(graph, scores.k_transposed, product)
        slopes = None
        if mask.slopes is not None:
            slopes = graph.add_constant(mask.slopes, mask.slopes_type, "alibi_slopes")
        node = FoundAttention.build(
            graph,
            scores.q,
            k,
            v,
            slopes,
            loc=softmax.loc,
            before=product,
            types=[product.result.type],
            scale=scores.scale,
            window=mask.window,
            softcap=scores.cap,
            causal=mask.causal,
        )
        graph.replace_uses(product.result, node.result)
        found += 1
    if found:
        graph.remove_dead()
    return found


def _is_square(type: TensorType) -> bool:
    return type.rank >= 3 and all(not isinstance(dim, int) for dim in type.shape[-2:])


def _read_scores(value: Value, statics: Statics) -> _Scores:
    node = value.producer
    name = base_name(node)
    if node is None:
        raise _NotScoresError(f"%{value.name} comes from outside the layer")
    if name in _SAME:
        return _read_scores(node.operand(0), statics)
    if name in ("matmul", "bmm"):
        return _Scores(node.operand(0), node.operand(1))
    if name == "baddbmm":
        return _read_baddbmm(node, statics)
    if name in ("add", "sub"):
        return _read_sum(node, name, statics)
    if name in ("mul", "div"):
        return _read_factor(node, name, statics)
    if name == "tanh":
        scores = _read_scores(node.operand(0), statics)
        if scores.biases or scores.cap is not None:
            raise _NotScoresError("tanh over scores that already have a mask")
        scores.cap = 1.0
        return scores
    if name in ("max", "maximum"):
        return _read_floor(node, statics)
    if name == "where":
        return _read_choice(node, statics)
    if name == "masked_fill":
        args, _ = decode(node)
        scores = _read_scores(node.operand(0), statics)
        scores.biases.append(Bias(node.operand(1), fill=_number(args[2], statics)))
        return scores
    raise _NotScoresError(f"{node.op} is not part of softmax(scale * q·k + mask)")


def _read_baddbmm(node: Node, statics: Statics) -> _Scores:
    bias, q, k_transposed = (node.operand(i) for i in range(3))
    _, kwargs = decode(node)
    if not statics.is_static(bias):
        raise _NotScoresError("the bias of baddbmm depends on the tokens")
    beta, alpha = (float(str(kwargs.get(key, 1.0))) for key in ("beta", "alpha"))
    return _Scores(q, k_transposed, scale=alpha, biases=[Bias(bias, beta)])


def _read_floor(node: Node, statics: Statics) -> _Scores:
    """``max(scores, lowest number)`` keeps hidden scores finite and changes nothing else."""
    floor = node.operand(1) if len(node.inputs) == 2 else None
    if floor is None or not statics.is_static(floor):
        raise _NotScoresError("the scores are bounded by a tensor")
    if statics.evaluate(floor, torch.arange(2)).max() > HIDDEN:
        raise _NotScoresError("the scores are bounded from below")
    return _read_scores(node.operand(0), statics)


def _read_choice(node: Node, statics: Statics) -> _Scores:
    """``where(seen, scores, lowest number)``."""
    seen, scores_value, other = (node.operand(i) for i in range(3))
    if not statics.is_static(seen) or not statics.is_static(other):
        raise _NotScoresError("a mask that depends on the tokens")
    if statics.evaluate(other, torch.arange(2)).max() > HIDDEN:
        raise _NotScoresError("hidden scores are replaced by an ordinary number")
    scores = _read_scores(scores_value, statics)
    scores.biases.append(Bias(seen))
    return scores


def _read_sum(node: Node, name: str, statics: Statics) -> _Scores:
    args, kwargs = decode(node)
    sign = float(str(kwargs.get("alpha", 1.0))) * (1.0 if name == "add" else -1.0)
    left, right = args[0], args[1]
    if not isinstance(left, Value) or not isinstance(right, Value):
        raise _NotScoresError("a number is added to the scores")
    if statics.is_static(right):
        scores = _read_scores(left, statics)
        scores.biases.append(Bias(right, sign))
        return scores
    if statics.is_static(left) and sign == 1.0:
        scores = _read_scores(right, statics)
        scores.biases.append(Bias(left))
        return scores
    raise _NotScoresError("two tensors that depend on the tokens are added in the scores")


def _read_factor(node: Node, name: str, statics: Statics) -> _Scores:
    args, _ = decode(node)
    factor = _number(args[1], statics)
    scores = _read_scores(node.operand(0), statics)
    factor = factor if name == "mul" else 1.0 / factor
    scores.biases = [bias.times(factor) for bias in scores.biases]
    if scores.cap is None:
        scores.scale *= factor
    elif scores.cap == 1.0 and not scores.biases:
        scores.cap = factor
        scores.scale *= factor
    else:
        raise _NotScoresError("capped scores are multiplied twice")
    return scores


def _number(value: object, statics: Statics) -> float:
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Value):
        data = statics.origin(value).data
        if data is not None and data.numel() == 1:
            return float(data)
    raise _NotScoresError("the scores are multiplied by a tensor")


def _weighted_values(weights: Value) -> tuple[Node, Value]:
    value = weights
    while True:
        users = value.users
        if len(users) != 1:
            raise _NotScoresError(f"the attention weights are read {len(users)} times")
        (node,) = users
        name = base_name(node)
        if name in ("matmul", "bmm"):
            if node.operand(0) is not value:
                raise _NotScoresError("the attention weights are the right factor of a product")
            return node, node.operand(1)
        if name not in _SAME:
            raise _NotScoresError(f"{node.op} between softmax and the product with v")
        value = node.result


def _transposed(graph: Graph, value: Value, before: Node) -> Value:
    shape = value.type.shape
    swapped = value.type.with_shape(*shape[:-2], shape[-1], shape[-2])
    node = lookup("aten.transpose.int").build(
        graph,
        value,
        loc=before.loc,
        before=before,
        named=["key"],
        types=[swapped],
        args=("%", -2, -1),
    )
    return node.result
