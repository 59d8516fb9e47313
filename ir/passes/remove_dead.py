"""``dead-code``: drops what nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ir.graph import Graph, Module, Node
from ir.op import lookup
from ir.passes.base import Pass, PassResult


def writing(module: Module) -> set[str]:
    """Names of the graphs that write one of their inputs in place, directly or in a callee."""
    found: set[str] = set()
    for graph in module:
        if any(_writes(node, found) for node in graph.nodes):
            found.add(graph.name)
    return found


def _writes(node: Node, graphs: set[str]) -> bool:
    return node.attrs["callee"] in graphs if node.op == "func.call" else lookup(node.op).effects


def reachable(module: Module, entries: Sequence[str]) -> list[str]:
    """Names of the graphs that are run from ``entries``, in the module's order."""
    reached = set(entries)
    for name in reversed(list(module.functions)):
        if name in reached:
            calls = module.functions[name].find("func.call")
            reached |= {str(call.attrs["callee"]) for call in calls}
    return [name for name in module.functions if name in reached]


def drop_unused_inputs(module: Module, function: Graph) -> int:
    """Removes inputs that ``function`` does not read, there and in every call; how many."""
    unused = [
        position
        for position, value in enumerate(function.inputs)
        if not value.uses and value not in function.outputs
    ]
    if not unused:
        return 0
    function.inputs = [v for i, v in enumerate(function.inputs) if i not in unused]
    for graph in module:
        for call in graph.find("func.call"):
            if call.attrs["callee"] == function.name:
                call.set_operands([v for i, v in enumerate(call.operands) if i not in unused])
    return len(unused)


@dataclass(frozen=True)
class RemoveDead(Pass):
    """Removes nodes, weights and constants without readers, inputs that a function does not use,
    and functions that nobody calls. Nodes that write a cache stay, and so do inputs of entries.
    """

    name = "dead-code"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts nodes, inputs and functions."""
        removed = leftovers = 0
        kept = reachable(module, module.entries)
        removed += len(module.functions) - len(kept)
        module.functions = {name: module.functions[name] for name in kept}
        writers = writing(module)
        # Callers come after their callees, so they see the inputs that are gone.
        for graph in module:
            before = len(graph.parameters) + len(graph.constants)
            removed += graph.remove_dead(lambda node: _writes(node, writers))
            leftovers += before - len(graph.parameters) - len(graph.constants)
            if graph.name not in module.entries:
                removed += drop_unused_inputs(module, graph)
        kept = reachable(module, module.entries)
        removed += len(module.functions) - len(kept)
        module.functions = {name: module.functions[name] for name in kept}
        return PassResult(bool(removed or leftovers), removed)
