"""``pack-linears``: linear layers that read the same tensor become one matrix product."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ir.graph import Attr, Graph, Module, Node, Value
from ir.llm.elementwise import GatedActivation
from ir.llm.linear import Linear
from ir.llm.shape import Split, ints
from ir.match import Bind, Made, match
from ir.passes.base import Pass, PassResult
from ir.recipe import Concat, Recipe

ATTENTIONS = frozenset({"llm.attention", "llm.paged_attention"})
#: What the packed operand at a position of ``llm.linear`` is called.
PACKED_NAMES = {1: "packed_weight", 2: "packed_bias"}

#: ``f(gate) * up`` with gate and up made by linear layers of the same tensor.
_GATED_PAIR = Made(
    "llm.mul",
    Made(
        "llm.activation",
        Made("llm.linear", Bind("x"), Bind("gate_weight"), ..., name="gate"),
        name="active",
    ),
    Made("llm.linear", Bind("x"), Bind("up_weight"), ..., name="up"),
    commutative=True,
)
#: The same once gate and up are the halves of one tensor.
_GATED_HALVES = Made(
    "llm.mul",
    Made("llm.activation", Made("llm.split", Bind("x"), index=0, name="gate"), name="active"),
    Made("llm.split", Bind("x"), index=1, name="up"),
    commutative=True,
)


@dataclass(frozen=True)
class PackLinears(Pass):
    """Packs sibling ``llm.linear`` nodes: one weight, a ``Concat``, and one ``llm.split``.

    Siblings read the same tensor, have all a bias or none, and store their weights the same way.
    Those that feed the same attention (q, k, v) are packed together, those that feed none (gate,
    up) together. A weight that is used more than once, or shares checkpoint tensors with another
    weight, stays alone. Where the halves are gate and up of a gated MLP, ``llm.gated_activation``
    of the packed tensor replaces split, activation and product, whether this pass packed it or the
    checkpoint.
    """

    name = "pack-linears"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts packed groups and gated activations."""
        matches = 0
        notes: list[str] = []
        for graph in module:
            for nodes in _groups(graph, notes):
                _pack(graph, nodes)
                matches += 1
            graph.parameters[:] = [v for v in graph.parameters if v.uses or v in graph.outputs]
            matches += sum(_gate(graph, node) for node in graph.find("llm.mul"))
        return PassResult(matches > 0, matches, tuple(notes))


# -- what goes together -------------------------------------------------------------------------


def _groups(graph: Graph, notes: list[str]) -> list[list[Node]]:
    """The linear layers to pack, each group in the order of its parts."""
    readers = Counter(
        source.name for v in graph.parameters if v.recipe for source in v.recipe.sources()
    )
    siblings: dict[tuple[Value, bool, Attr, frozenset[Node]], list[Node]] = {}
    for node in graph.find("llm.linear"):
        problem = _stays_alone(graph, node, readers)
        if problem is None:
            has_bias, transposed = node.operands[2] is not None, node.attrs["transpose_weight"]
            key = (node.operand(0), has_bias, transposed, _attentions(node))
            siblings.setdefault(key, []).append(node)
        elif len(_linears_of(node.operand(0))) > 1:
            notes.append(f"@{graph.name}: {problem} ({node.loc})")
    pairs = _gated_pairs(graph)
    groups: list[list[Node]] = []
    for nodes in siblings.values():
        rest = list(nodes)
        for gate, up in pairs:
            if gate in rest and up in rest:
                groups.append([gate, up])
                rest = [node for node in rest if node not in (gate, up)]
        groups.append(rest)
    return [group for group in groups if len(group) > 1]


def _linears_of(x: Value) -> list[Node]:
    return [node for node in x.users if node.op == "llm.linear" and node.operand(0) is x]


def _stays_alone(graph: Graph, node: Node, readers: Counter[str]) -> str | None:
    for value in node.inputs[1:]:
        if value.recipe is None:
            return f"%{value.name} is not a weight"
        if len(value.uses) > 1 or value in graph.outputs:
            return f"%{value.name} is used more than once"
        if any(readers[source.name] > 1 for source in value.recipe.sources()):
            return f"%{value.name} shares checkpoint tensors with another weight"
    return None


def _attentions(node: Node) -> frozenset[Node]:
    """The attention nodes that a linear layer feeds without another linear layer between."""
    found: set[Node] = set()
    seen: set[Node] = set()
    todo = list(node.result.users)
    while todo:
        user = todo.pop()
        if user in seen or user.op == "llm.linear":
            continue
        seen.add(user)
        if user.op in ATTENTIONS:
            found.add(user)
        else:
            todo += [reader for value in user.results for reader in value.users]
    return frozenset(found)


def _gated_pairs(graph: Graph) -> list[tuple[Node, Node]]:
    pairs: list[tuple[Node, Node]] = []
    for node in graph.find("llm.mul"):
        found = match(_GATED_PAIR, node.result)
        if not found or found.escaping(graph):
            continue
        gate, up = (found.value(name) for name in ("gate", "up"))
        if gate is not up and gate.type == up.type and gate.producer and up.producer:
            pairs.append((gate.producer, up.producer))
    return pairs


# -- rewriting ----------------------------------------------------------------------------------


def _pack(graph: Graph, nodes: list[Node]) -> None:
    """Replaces linear layers by one and a split; ``nodes`` are in the order of the parts."""
    first = min(nodes, key=graph.nodes.index)
    out_axis = 0 if first.attrs["transpose_weight"] else 1
    operands = [first.operand(0)]
    for position, axis in ((1, out_axis), (2, 0)):
        if first.operands[position] is not None:
            parts = [node.operand(position) for node in nodes]
            operands.append(_joined(graph, parts, axis, PACKED_NAMES[position]))
    packed = Linear.build(
        graph,
        *operands,
        transpose_weight=first.attrs["transpose_weight"],
        loc=first.loc,
        before=first,
        named=("packed",),
    ).result
    sizes = tuple(_size(node.result, -1) for node in nodes)
    axis = packed.type.rank - 1
    split = Split.build(graph, packed, axis=axis, sizes=sizes, loc=first.loc, before=first)
    for node, piece in zip(nodes, split.results, strict=True):
        name = node.result.name
        graph.replace_uses(node.result, piece)
        graph.erase(node)
        piece.name = name


def _size(value: Value, axis: int) -> int:
    size = value.type.shape[axis]
    assert isinstance(size, int), f"%{value.name}: {value.type}"
    return size


def _joined(graph: Graph, parts: list[Value], axis: int, name: str) -> Value:
    recipes: list[Recipe] = []
    for value in parts:
        assert value.recipe is not None
        match value.recipe:
            case Concat(inner, pieces) if inner == axis:
                recipes += pieces
            case recipe:
                recipes.append(recipe)
    shape = list(parts[0].type.shape)
    shape[axis] = sum(_size(value, axis) for value in parts)
    return graph.add_parameter(parts[0].type.with_shape(*shape), Concat(axis, tuple(recipes)), name)


def _gate(graph: Graph, product: Node) -> bool:
    """Turns ``f(first half) * second half`` into a gated activation, where it is one."""
    found = match(_GATED_HALVES, product.result)
    if not found or found.escaping(graph):
        return False
    active, gate, up = (found.value(name).producer for name in ("active", "gate", "up"))
    assert active is not None
    assert gate is not None
    x = found.value("x")
    halves = ints(gate.attrs["sizes"])
    at_end = gate.attrs["axis"] == x.type.rank - 1
    if gate is not up or not at_end or len(halves) != 2 or halves[0] != halves[1]:
        return False
    gated = GatedActivation.build(
        graph, x, kind=active.attrs["kind"], loc=active.loc, before=product
    ).result
    name = product.result.name
    graph.replace_uses(product.result, gated)
    for node in (product, active, gate):
        graph.erase(node)
    gated.name = name
    return True
