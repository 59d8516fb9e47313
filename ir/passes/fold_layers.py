"""``fold-layers``: functions that are the same become one."""

from __future__ import annotations

from dataclasses import dataclass

from ir.graph import Module
from ir.passes.base import Pass, PassResult
from ir.structure import Key, graph_key


@dataclass(frozen=True)
class FoldLayers(Pass):
    """Keeps one of several functions of equal structure and redirects the calls of the others.

    Sameness is that of ``ir.structure.graph_key``: operations, attributes, types, dataflow, weight
    recipes and constants, not names and locations. The first function in the module's order stays.
    Entries are left alone.
    """

    name = "fold-layers"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts the functions that are gone."""
        first: dict[Key, str] = {}
        replaced: dict[str, str] = {}
        for graph in list(module):
            # Callees come first, so their calls are redirected before a caller is compared.
            for call in graph.find("func.call"):
                callee = str(call.attrs["callee"])
                call.attrs["callee"] = replaced.get(callee, callee)
            if graph.name in module.entries:
                continue
            same = first.setdefault(graph_key(graph), graph.name)
            if same != graph.name:
                replaced[graph.name] = same
                del module.functions[graph.name]
        notes = tuple(f"@{gone} is @{same}" for gone, same in replaced.items())
        return PassResult(bool(replaced), len(replaced), notes)
