"""``simplify-views``: removes views that do nothing and merges views of views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ir.graph import Graph, Module, Node, Value
from ir.llm.shape import Permute, Reshape, Split, ints
from ir.passes.base import Pass, PassResult


@dataclass(frozen=True)
class SimplifyViews(Pass):
    """Applies the rules of this file until none of them does:

    - a reshape, permute or slice that changes nothing, and a split into one piece, is its operand;
    - a reshape of a reshape is one reshape, a permute of a permute is one permute;
    - slices that together tile an axis are one split.
    """

    name = "simplify-views"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts applications."""
        matches = 0
        for graph in module:
            while any(_simplify(graph, node) for node in list(graph.nodes)):
                matches += 1
        return PassResult(matches > 0, matches)


def _simplify(graph: Graph, node: Node) -> bool:
    rule = RULES.get(node.op)
    return rule is not None and rule(graph, node)


def _replace(graph: Graph, node: Node, value: Value) -> bool:
    graph.replace_uses(node.result, value)
    _erase_unread(graph, node)
    return True


def _erase_unread(graph: Graph, node: Node) -> None:
    """Erases a view, and the view that it read, as far as nobody else reads them."""
    if any(value.uses or value in graph.outputs for value in node.results):
        return
    below = node.operand(0).producer
    graph.erase(node)
    if below is not None and below.op in RULES:
        _erase_unread(graph, below)


def _reshape(graph: Graph, node: Node) -> bool:
    x = node.operand(0)
    if node.result.type == x.type:
        return _replace(graph, node, x)
    if x.op != "llm.reshape" or x.producer is None:
        return False
    base = x.producer.operand(0)
    tail = node.attrs["tail"]
    merged = Reshape.build(graph, base, tail=tail, loc=node.loc, before=node)
    return _replace(graph, node, merged.result)


def _permute(graph: Graph, node: Node) -> bool:
    x, order = node.operand(0), ints(node.attrs["order"])
    if order == tuple(range(1, x.type.rank)):
        return _replace(graph, node, x)
    if x.op != "llm.permute" or x.producer is None:
        return False
    inner = ints(x.producer.attrs["order"])
    both = tuple(inner[axis - 1] for axis in order)
    merged = Permute.build(graph, x.producer.operand(0), order=both, loc=node.loc, before=node)
    return _replace(graph, node, merged.result)


def _split(graph: Graph, node: Node) -> bool:
    return len(node.results) == 1 and _replace(graph, node, node.operand(0))


def _slice(graph: Graph, node: Node) -> bool:
    x, axis = node.operand(0), int(str(node.attrs["axis"]))
    if node.result.type == x.type:
        return _replace(graph, node, x)
    slices = [
        user
        for user in x.users
        if user.op == "llm.slice" and user.attrs["axis"] == axis and user.attrs["step"] == 1
    ]
    ranges = sorted({_range(user) for user in slices})
    starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
    if node not in slices or [*starts, x.type.shape[axis]] != [0, *stops]:
        return False
    first = min(slices, key=graph.nodes.index)
    sizes = tuple(stop - start for start, stop in ranges)
    split = Split.build(graph, x, axis=axis, sizes=sizes, loc=first.loc, before=first)
    pieces = dict(zip(ranges, split.results, strict=True))
    for user in slices:
        graph.replace_uses(user.result, pieces[_range(user)])
        graph.erase(user)
    return True


def _range(node: Node) -> tuple[int, int]:
    return int(str(node.attrs["start"])), int(str(node.attrs["stop"]))


RULES: dict[str, Callable[[Graph, Node], bool]] = {
    "llm.reshape": _reshape,
    "llm.permute": _permute,
    "llm.slice": _slice,
    "llm.split": _split,
}
