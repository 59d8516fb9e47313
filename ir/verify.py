"""Structural rules every graph keeps; run after every pass."""

from __future__ import annotations

from ir.errors import VerifyError
from ir.func import check_call
from ir.graph import Graph, Module, Node, Value
from ir.op import check_node, lookup


def verify_graph(graph: Graph) -> list[str]:
    """Violations in one graph: names, definition before use, use-lists, operations, shapes."""
    problems: list[str] = []
    known: set[Value] = set()
    names: set[str] = set()

    def define(value: Value) -> None:
        if value.name in names:
            problems.append(f"%{value.name} is defined twice")
        names.add(value.name)
        known.add(value)

    for value in (*graph.inputs, *graph.parameters, *graph.constants):
        define(value)
    problems += [
        f"%{v.name} is a parameter without recipe" for v in graph.parameters if not v.recipe
    ]
    for value in graph.constants:
        if value.data is None or tuple(value.data.shape) != value.type.shape:
            problems.append(f"%{value.name}: constant data does not have the shape {value.type}")
    for node in graph.nodes:
        for position, value in enumerate(node.operands):
            if value is None:
                continue
            if value not in known:
                problems.append(f"{node.op} uses %{value.name} before it is defined ({node.loc})")
            if (node, position) not in value.uses:
                problems.append(f"%{value.name}: use by {node.op} is not recorded ({node.loc})")
        problems += check_node(node) or _check_types(node)
        for index, value in enumerate(node.results):
            if value.producer is not node or value.index != index:
                problems.append(f"%{value.name} does not point back to its {node.op}")
            define(value)
    problems += [f"output %{v.name} is not defined" for v in graph.outputs if v not in known]
    for value in known:
        stale = [n.op for n, i in value.uses if n not in graph.nodes or n.operands[i] is not value]
        problems += [f"%{value.name} records a use by a {op} that is gone" for op in stale]
    return [f"@{graph.name}: {problem}" for problem in problems]


def _check_types(node: Node) -> list[str]:
    op = lookup(node.op)
    if node.op == "func.call" or node.op.startswith("aten."):
        return []
    try:
        inferred = op.infer(node)
    except (ValueError, TypeError, IndexError) as error:
        return [f"{node.op}: {error} ({node.loc})"]
    found = [v.type for v in node.results]
    if inferred != found:
        is_, says = (", ".join(map(str, types)) for types in (found, inferred))
        return [f"{node.op}: results are {is_}, the shape rule says {says} ({node.loc})"]
    return []


def verify(module: Module) -> None:
    """Checks every graph and every call of a module.

    Raises:
        VerifyError: With all violations, one line each.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for graph in module:
        problems += verify_graph(graph)
        for call in graph.find("func.call"):
            problems += check_call(module, call)
            if call.attrs["callee"] not in seen:
                problems.append(f"@{graph.name} calls @{call.attrs['callee']}, which comes later")
        seen.add(graph.name)
    problems += [f"entry @{name} does not exist" for name in module.entries if name not in seen]
    if problems:
        raise VerifyError(problems)
