"""Operations of the original model, one for each layer they occur in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from codegen.frontend.convert import TOKENS
from ir.func import Call
from ir.graph import Graph, Module, Node, Value
from ir.recipe import Source


@dataclass(frozen=True)
class Operation:
    """One operation of the traced model.

    Attributes:
        name: Unique: ``model.layers.3.self_attn.q_proj.linear``.
        type: ``aten.linear.default``, ``trace.attention``, or a module class where nothing could
            be traced.
        module: Path of the module whose code does it.
        source: ``file.py:line``, empty if unknown.
        reads: Names of the operations and model inputs whose results it reads.
        weights: Checkpoint names of the weights it reads.
        origin: `module` in the layer that was traced for all layers like it.
    """

    name: str
    type: str
    module: str
    source: str
    reads: tuple[str, ...]
    weights: tuple[str, ...]
    origin: str


def rebased(path: str, old: str, new: str) -> str:
    """A module path below ``old`` as one below ``new``; others as they are."""
    if not old or not (path == old or path.startswith(f"{old}.")):
        return path
    return new + path.removeprefix(old)


class Names:
    """Gives every operation a name of its own, in order of asking."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def give(self, module: str, action: str) -> str:
        """``<module>.<action>``, numbered where that is taken."""
        wanted = f"{module}.{action}" if module else action
        name = wanted
        while self._taken[name]:
            self._taken[wanted] += 1
            name = f"{wanted}_{self._taken[wanted]}"
        self._taken[name] += 1
        return name


def operations_of(traced: Module) -> list[Operation]:
    """Every operation of a traced module in execution order; folded layers once for each call."""
    return _Expansion(traced).run()


def model_inputs(traced: Module) -> list[tuple[str, tuple[int | str, ...], str]]:
    """Name, shape and element type of the model's inputs; ``tokens`` is the length."""
    entry = traced.functions[traced.entries[0]]
    return [
        (v.name, tuple(d if isinstance(d, int) else str(d) for d in v.type.shape),
         v.type.dtype.value)
        for v in entry.inputs
    ]  # fmt: skip


#: Inputs of a causal language model where no trace says what they are.
UNTRACED_INPUTS: list[tuple[str, tuple[int | str, ...], str]] = [
    ("input_ids", (1, TOKENS), "int64")
]


class _Expansion:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.first: dict[str, str] = {}
        self.names = Names()
        self.made: list[Operation] = []

    def run(self) -> list[Operation]:
        entry = self.module.functions[self.module.entries[0]]
        self._graph(entry, {v: (v.name,) for v in entry.inputs}, ("", "", ""))
        return self.made

    def _graph(
        self, graph: Graph, known: dict[Value, tuple[str, ...]], place: tuple[str, str, str]
    ) -> list[tuple[str, ...]]:
        """Expands a graph called at ``(traced path, path, weight scope)``; its outputs' origins."""
        for node in graph.nodes:
            if node.op == Call.name:
                callee = self.module.callee(node)
                path = node.loc.module
                traced = self.first.setdefault(callee.name, path)
                given = [known.get(v, ()) for v in node.inputs]
                inner = dict(zip(callee.inputs, given, strict=True))
                made = self._graph(callee, inner, (traced, path, str(node.attrs["scope"])))
                known.update(zip(node.results, made, strict=True))
            else:
                name = self._operation(node, known, place)
                known.update((value, (name,)) for value in node.results)
        return [known.get(value, ()) for value in graph.outputs]

    def _operation(
        self, node: Node, known: dict[Value, tuple[str, ...]], place: tuple[str, str, str]
    ) -> str:
        traced, path, scope = place
        module = rebased(node.loc.module, traced, path)
        name = self.names.give(module, node.results[0].name if node.results else node.op)
        reads = dict.fromkeys(source for v in node.inputs for source in known.get(v, ()))
        self.made.append(
            Operation(
                name, node.op, module, node.loc.source, tuple(reads),
                weight_names(node, scope), node.loc.module,
            )
        )  # fmt: skip
        return name


def weight_names(node: Node, scope: str) -> tuple[str, ...]:
    """Checkpoint names behind the weights of a node of a graph called under ``scope``."""
    sources: list[Source] = []
    for value in node.inputs:
        if value.recipe is not None:
            sources += value.recipe.scoped(scope).sources()
    return tuple(dict.fromkeys(source.name for source in sources))
