"""Where the operations of an ATB module are in its emitted C++."""

from __future__ import annotations

from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.emit_python_stages import CARRIED, environment, input_names
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import Reshape
from codegen.targets.atb.sharding import ShardPlan, shard
from ir.graph import Graph, Node

#: Phase, node of the model, node of its graph.
Position = tuple[str, int, int]


def positions(module: AtbModule) -> dict[Position, tuple[int, str]]:
    """The stage and the name of every operation, by its position in the C++ graphs.

    Args:
        module: The module that was printed.
    """
    plan = shard(module)
    found: dict[Position, tuple[int, str]] = {}
    for phase in module.entries:
        entry = module.functions[phase]
        last = len(entry.nodes) - 1
        for index, call in enumerate(entry.nodes):
            # Prefill picks the wanted tokens in a node of its own, in front of the last stage.
            skips = phase == module.entries[0] and index == last and selects(module, call, entry)
            for position, name in _operations(module.callee(call), plan):
                found[phase, index + skips, position] = (index, name)
    return found


def selects(module: AtbModule, call: Node, entry: Graph) -> bool:
    """Whether the tokens whose logits are wanted are picked in front of a stage."""
    names = input_names(module.callee(call), call, environment(entry))
    return list(names.values()) == [CARRIED]


def _operations(graph: Graph, plan: ShardPlan) -> list[tuple[int, str]]:
    names = operation_names(graph)
    cuts = plan.graphs[graph.name].cuts
    found: list[tuple[int, str]] = []
    position = 0
    for node in graph.nodes:
        if node.op == Reshape.name:
            continue
        found.append((position, names[node]))
        position += 1 + sum(value in cuts for value in node.results)  # a slice for each cut
    return found
