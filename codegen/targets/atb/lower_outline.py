"""Splits entries into graphs that one graph operation can hold.

After lowering, an entry mixes calls of layers with operations of its own (embedding, final norm,
output projection). A graph operation has at most 256 tensors, so each stretch of own operations
between two calls becomes a graph, and the entry is left with calls only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen.targets.atb.lower_graph import solid
from ir.func import Call
from ir.graph import Graph, Location, Node, Value


def outline(graphs: Mapping[str, Graph], entries: Sequence[str]) -> list[Graph]:
    """Moves the operations of every entry into graphs of their own.

    Args:
        graphs: All graphs by name, callees first. Entries are rebuilt, others are kept.
        entries: Names of the entries.

    Returns:
        All graphs, callees first.
    """
    done: list[Graph] = []
    for name, graph in graphs.items():
        done += _outline_entry(graph) if name in entries else [graph]
    return done


def _outline_entry(entry: Graph) -> list[Graph]:
    stretches = _stretches(entry)
    calls = [i for i, stretch in enumerate(stretches) if stretch[0].op == Call.name]
    twin = Graph(entry.name)
    values = {v: twin.add_input(v.name, v.type) for v in entry.inputs}
    made: list[Graph] = []
    for index, stretch in enumerate(stretches):
        if index in calls:
            for call in stretch:
                _add_call(twin, values, call, call.inputs, call.results, call.attrs)
            continue
        name = f"{entry.name}_{_role(index, calls)}"
        graph, inputs, outputs = _extract(entry, stretch, name)
        made.append(graph)
        attrs = {"callee": name, "scope": ""}
        _add_call(twin, values, stretch[0], inputs, outputs, attrs)
    twin.outputs = [values[v] for v in entry.outputs]
    return [*made, twin]


def _stretches(entry: Graph) -> list[list[Node]]:
    """The nodes, grouped into runs of calls and runs of other operations."""
    runs: list[list[Node]] = []
    for node in entry.nodes:
        if runs and (runs[-1][0].op == Call.name) == (node.op == Call.name):
            runs[-1].append(node)
        else:
            runs.append([node])
    return runs


def _role(index: int, calls: list[int]) -> str:
    if not calls:
        return "model"
    if index < calls[0]:
        return "embedding"
    return "head" if index > calls[-1] else f"between_{index}"


def _add_call(
    twin: Graph,
    values: dict[Value, Value],
    node: Node,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    attrs: Mapping[str, object],
) -> None:
    call = Call.build(
        twin,
        *(values[v] for v in inputs),
        loc=Location(node.loc.module, node.loc.source),
        named=[v.name for v in outputs],
        types=[v.type for v in outputs],
        callee=str(attrs["callee"]),
        scope=str(attrs["scope"]),
    )
    values.update(zip(outputs, call.results, strict=True))


def _extract(
    entry: Graph, stretch: list[Node], name: str
) -> tuple[Graph, list[Value], list[Value]]:
    """A graph of some nodes of the entry, and the entry's values that go in and come out."""
    graph = Graph(name)
    mapped: dict[Value, Value] = {}
    inputs: list[Value] = []
    for node in stretch:
        for value in node.inputs:
            if value in mapped:
                continue
            if value.recipe is not None:
                mapped[value] = graph.add_parameter(value.type, value.recipe, value.name)
            elif value.data is not None:
                mapped[value] = graph.add_constant(value.data, value.type, value.name)
            else:
                mapped[value] = graph.add_input(value.name, value.type)
                inputs.append(value)
        operands = [None if v is None else mapped[v] for v in node.operands]
        types, names = [v.type for v in node.results], [v.name for v in node.results]
        twin = graph.make(node.op, operands, node.attrs, types, names, node.loc)
        mapped.update(zip(node.results, twin.results, strict=True))
    inside = set(stretch)
    outputs = [
        value
        for node in stretch
        for value in node.results
        if value in entry.outputs or any(user not in inside for user in value.users)
    ]
    graph.outputs = [solid(graph, mapped[v]) for v in outputs]
    return graph, inputs, outputs
