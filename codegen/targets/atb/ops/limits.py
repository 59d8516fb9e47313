"""Limits of whole graphs and modules, checked before anything is printed."""

from __future__ import annotations

import re

from codegen.targets.atb.ops.base import AtbOp, Soc
from codegen.targets.atb.ops.shape import Reshape
from ir.graph import Graph, Module, Node, Value
from ir.op import lookup
from ir.types import DType

MAX_TENSORS = 256
MAX_NODES = 1024
_NAME = re.compile(r"[A-Za-z0-9_]{1,128}")


def check_graph_limits(graph: Graph, single: bool = True) -> list[str]:
    """Violations of what one ATB graph may hold.

    Args:
        graph: Operations of this dialect and calls of other graphs, each of which is one node.
        single: The graph becomes one ATB operation. Otherwise (``execute_as_single = False``, only
            in MindIE's API) its nodes are run one by one and only each node's own operands count.

    Returns:
        One line per violation, each beginning with the graph's name.
    """
    views = {v for node in graph.find(Reshape.name) for v in node.results}
    nodes = [node for node in graph.nodes if node.op != Reshape.name]
    found: list[str] = []
    if not _NAME.fullmatch(graph.name):
        found.append("the name must be 1 to 128 letters, digits and underscores")
    for value in graph.outputs:
        if value in views:
            found.append(f"output %{value.name} is a view, which only operations can read")
        elif value.producer is None:
            found.append(f"output %{value.name} is not computed by an operation")
        elif value in _written_operands(value.producer):
            found.append(f"output %{value.name} is an operand written in place")
    if single:
        made = [v for node in nodes for v in node.results if v not in _written_operands(node)]
        internal = [v for v in made if v not in graph.outputs]
        counts = {
            "input": len(graph.inputs) + len(graph.parameters) + len(graph.constants),
            "output": len(graph.outputs),
            "internal": len(internal),
        }
        for kind, count in counts.items():
            if count > MAX_TENSORS:
                found.append(f"{count} {kind} tensors exceed {MAX_TENSORS}")
        if len(nodes) >= MAX_NODES:
            found.append(f"{len(nodes)} nodes, there must be fewer than {MAX_NODES}")
    for node in nodes:
        most = max(len(node.inputs), len(node.results))
        if most > MAX_TENSORS:
            found.append(f"{node.op} has {most} tensors, more than {MAX_TENSORS} ({node.loc})")
    return [f"@{graph.name}: {problem}" for problem in found]


def check_contracts(
    module: Module, soc: Soc = Soc.A2, float32_is: DType | None = None
) -> list[str]:
    """Violations of every operation's contract for one SoC and one element type of the model.

    Args:
        module: A verified module of this dialect.
        soc: The chip family.
        float32_is: What float32 values are when the code runs; None if not decided.
    """
    found: list[str] = []
    for graph in module:
        for node in graph.nodes:
            op = lookup(node.op)
            if issubclass(op, AtbOp):
                found += [
                    f"@{graph.name}: {node.op}: {problem} ({node.loc})"
                    for problem in op.problems(node, soc, float32_is)
                ]
    return found


def _written_operands(node: Node) -> set[Value]:
    op = lookup(node.op)
    return {node.results[i] for i in op.inplace} if issubclass(op, AtbOp) else set()
