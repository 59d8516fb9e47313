"""``inline-calls``: unfolds a module, every call replaced by what it calls."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ir.graph import Attr, Graph, Module, Node, Value
from ir.passes.base import Pass, PassResult
from ir.recipe import Concat, Recipe, Source, Unary


def full_names(recipe: Recipe) -> Recipe:
    """A recipe of an entry, where relative and absolute names mean the same, with relative ones."""
    match recipe:
        case Source(name):
            return Source(name)
        case Concat(_, parts):
            return replace(recipe, parts=tuple(map(full_names, parts)))
        case Unary(part):
            return replace(recipe, part=full_names(part))
        case _:
            return recipe


def inline(graph: Graph, call: Node, callee: Graph) -> None:
    """Replaces a call in an entry graph by the callee's nodes."""
    scope = str(call.attrs["scope"])
    mapped: dict[Value, Value] = dict(zip(callee.inputs, call.inputs, strict=True))
    for value in callee.parameters:
        assert value.recipe is not None
        recipe = full_names(value.recipe.scoped(scope))
        mapped[value] = graph.add_parameter(value.type, recipe, value.name)
    for value in callee.constants:
        assert value.data is not None
        mapped[value] = graph.add_constant(value.data, value.type, value.name)
    for node in callee.nodes:
        attrs: dict[str, Attr] = dict(node.attrs)
        if node.op == "func.call":
            attrs["scope"] = ".".join(part for part in (scope, str(attrs["scope"])) if part)
        operands = [None if v is None else mapped[v] for v in node.operands]
        types = [v.type for v in node.results]
        names = [v.name for v in node.results]
        copy = graph.make(node.op, operands, attrs, types, names, node.loc, before=call)
        mapped |= zip(node.results, copy.results, strict=True)
    for old, new in zip(call.results, callee.outputs, strict=True):
        graph.replace_uses(old, mapped[new])
    graph.erase(call)


@dataclass(frozen=True)
class InlineCalls(Pass):
    """Inlines every call into the entries; weight names become full ones.

    The reverse of folding: a test compiles both and shows that they agree.
    """

    name = "inline-calls"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts the calls."""
        calls = 0
        for name in module.entries:
            entry = module.functions[name]
            while found := entry.find("func.call"):
                calls += len(found)
                for call in found:
                    inline(entry, call, module.callee(call))
        before = len(module.functions)
        module.functions = {name: module.functions[name] for name in module.entries}
        return PassResult(calls > 0 or len(module.functions) < before, calls)
