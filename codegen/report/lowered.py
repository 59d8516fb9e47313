"""The ATB operations of a compiled model, once for each layer, under their modules' paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.report.operation import rebased, weight_names
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import AtbOp
from codegen.targets.atb.passes.fuse_residual_norm import residual_sums
from ir.graph import Graph, Node
from ir.op import lookup


@dataclass(frozen=True, eq=False)
class Placed:
    """An ATB operation in one layer.

    Attributes:
        node: The operation.
        name: What the emitted code calls it; empty for a view.
        op_type: Its name in the registry; empty for a view.
        module: Module path, of this layer.
        weights: Checkpoint names of its weights.
        source: Line of the modelling code.
    """

    node: Node
    name: str
    op_type: str
    module: str
    weights: tuple[str, ...]
    source: str


@dataclass(frozen=True, eq=False)
class Layer:
    """One graph operation of an entry, and how often it is run.

    Attributes:
        graph: Its graph.
        label: What it is called in a report: ``decoder_layer``, ``head``.
        count: How many layers it stands for.
        scope: Module path of the first of them, empty for what is no layer.
    """

    graph: Graph
    label: str
    count: int
    scope: str


def op_type(node: Node) -> str:
    """Registry name of a node's operation; empty for a view."""
    op = lookup(node.op)
    return op.op_type if issubclass(op, AtbOp) else ""


def public_nodes(graph: Graph) -> list[Node]:
    """The nodes that are operations of ATB's public interface: all but views."""
    return [node for node in graph.nodes if op_type(node)]


def layers_of(atb: AtbModule, phase: str) -> list[Layer]:
    """The distinct graph operations of a phase, in order of their first call."""
    calls: dict[str, list[Node]] = {}
    for call in atb.functions[phase].nodes:
        calls.setdefault(str(call.attrs["callee"]), []).append(call)
    return [
        Layer(
            atb.functions[name],
            name.removeprefix(f"{phase}_"),
            len(found),
            found[0].loc.module if found[0].attrs["scope"] else "",
        )
        for name, found in calls.items()
    ]


def placed(atb: AtbModule) -> Iterator[Placed]:
    """Every ATB operation of the prefill, layer by layer, then those of the decode step.

    A norm that a residual addition is part of is there twice, at both places.
    """
    sums = residual_sums(atb)
    for phase in atb.entries:
        names = {
            name: operation_names(graph)
            for name, graph in atb.functions.items()
            if name not in atb.entries
        }
        calls = atb.functions[phase].nodes
        for call in calls:
            graph = atb.callee(call)
            traced = _traced_path(graph, [c for c in calls if atb.callee(c) is graph])
            for node in graph.nodes:
                added = [sums[key] for v in node.results if (key := (graph.name, v.name)) in sums]
                for place in (node.loc, *added):
                    yield Placed(
                        node,
                        names[graph.name].get(node, ""),
                        op_type(node),
                        rebased(place.module, traced, call.loc.module),
                        weight_names(node, str(call.attrs["scope"])),
                        place.source,
                    )


def _traced_path(graph: Graph, calls: list[Node]) -> str:
    """The path of the layer whose operations stand for those of all layers that call a graph."""
    inside = [node.loc.module for node in graph.nodes]
    for call in calls:
        path = call.loc.module
        if call.attrs["scope"] and any(m == path or m.startswith(f"{path}.") for m in inside):
            return path
    return ""
