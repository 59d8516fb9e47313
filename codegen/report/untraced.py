"""Operations of a model that the compiler could not import: from torch's own graph, or none.

A mixture of experts, for instance, traces well, but the graph has no operation for it. What torch
recorded still says what the model does and where, which is what a report is for.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from transformers import PreTrainedModel

from codegen.errors import CodegenError
from codegen.frontend import noise
from codegen.frontend.convert import PREFIX, location
from codegen.frontend.fold import FoldingRefusedError
from codegen.frontend.importer import Traced
from codegen.frontend.library import NAMESPACE
from codegen.frontend.trace import export
from codegen.report.operation import Names, Operation, rebased

#: ``(fold, strip)`` in the order in which tracing tries them.
_ATTEMPTS = ((True, True), (True, False), (False, False))

#: Operations that a value comes from.
Origins = tuple[str, ...]


def exported(model: PreTrainedModel) -> Traced | None:
    """What torch can say about a model; None if it cannot be traced at all."""
    for fold, strip in _ATTEMPTS:
        try:
            return export(model, fold, strip)
        except FoldingRefusedError:
            continue
        except CodegenError:
            return None
    return None


def operations_of_program(traced: Traced) -> list[Operation]:
    """Every operation that torch recorded, in order; repeated layers once for each."""
    return _Walk(traced).run()


def operations_of_modules(model: nn.Module) -> list[Operation]:
    """One operation for each module without parts: all that is known of an untraceable model."""
    return [
        Operation(path, type(module).__name__, path, "", (), (), path)
        for path, module in model.named_modules()
        if path and not any(True for _ in module.children()) and not isinstance(module, nn.Dropout)
    ]


@dataclass
class _Layer:
    """A layer that was traced for others: what it contains, and what goes in and comes out."""

    body: list[Operation]
    entered: list[Origins]
    left: list[Origins]


class _Walk:
    def __init__(self, traced: Traced) -> None:
        self.nodes = [node for node in traced.program.graph.nodes if node.op != "output"]
        specs = traced.program.graph_signature.input_specs
        places = [node for node in self.nodes if node.op == "placeholder"]
        kinds = dict(zip(places, specs, strict=True))
        inputs = iter(traced.inputs)
        self.known: dict[fx.Node, Origins] = {}
        self.weights: dict[fx.Node, str] = {}
        for node, spec in kinds.items():
            self.known[node] = (next(inputs),) if spec.kind is InputKind.USER_INPUT else ()
            if spec.kind is InputKind.PARAMETER:
                self.weights[node] = str(spec.target).removeprefix(f"{PREFIX}.")
        self.several: dict[fx.Node, list[Origins]] = {}
        self.names = Names()
        self.made: list[Operation] = []
        self.layers: dict[str, _Layer] = {}
        self.inside = ""

    def run(self) -> list[Operation]:
        for node in self.nodes:
            if node.op == "call_function" and not noise.is_check(node):
                self.known[node] = self._call(node)
        return self.made

    def _reads(self, nodes: Iterable[fx.Node]) -> Origins:
        return tuple(dict.fromkeys(name for n in nodes for name in self.known.get(n, ())))

    def _call(self, node: fx.Node) -> Origins:
        reads = self._reads(node.all_input_nodes)
        target: Any = node.target
        if target is operator.getitem:
            source, index = node.args
            parts = self.several.get(source) if isinstance(source, fx.Node) else None
            return parts[index] if parts and isinstance(index, int) else reads
        is_operator = isinstance(target, torch._ops.OpOverload)
        if not noise.has_tensors(node) or (is_operator and noise.passed_through(node) is not None):
            return reads
        if is_operator and target.namespace == NAMESPACE:
            if target._opname.startswith("layer_"):
                return self._marker(target._opname, node)
            return self._add(node, f"trace.{target._opname}", reads)
        return self._add(node, noise.plain_call(node)[0] if is_operator else str(target), reads)

    def _add(self, node: fx.Node, type_: str, reads: Origins) -> Origins:
        where = location(node)
        weights = tuple(self.weights[n] for n in node.all_input_nodes if n in self.weights)
        name = self.names.give(where.module, node.name)
        made = Operation(name, type_, where.module, where.source, reads, weights, where.module)
        self.made.append(made)
        if self.inside:
            self.layers[self.inside].body.append(made)
        return (name,)

    def _marker(self, kind: str, node: fx.Node) -> Origins:
        args = noise.full_args(node)
        given = [self.known.get(tensor, ()) for tensor in args[0]]
        if kind == "layer_enter":
            self.inside = str(args[1])
            self.layers[self.inside] = _Layer([], given, [])
        elif kind == "layer_exit":
            self.layers[str(args[1])].left = given
            self.inside = ""
        else:
            given = self._repeat(str(args[-2]), str(args[-1]), dict(zip(args[1], given,
                                                                        strict=True)))  # fmt: skip
        self.several[node] = given
        return tuple(dict.fromkeys(name for names in given for name in names))

    def _repeat(self, path: str, traced: str, replaced: dict[int, Origins]) -> list[Origins]:
        """The operations of a layer once more, under another path and with other inputs."""
        layer = self.layers[traced]
        now: dict[str, Origins] = {}
        for position, names in enumerate(layer.entered):
            for name in names:
                now.setdefault(name, replaced.get(position, names))
        for old in layer.body:
            module = rebased(old.module, traced, path)
            name = self.names.give(module, old.name.rpartition(".")[2])
            reads = tuple(dict.fromkeys(n for read in old.reads for n in now.get(read, (read,))))
            weights = tuple(rebased(weight, traced, path) for weight in old.weights)
            made = Operation(name, old.type, module, old.source, reads, weights, old.origin)
            self.made.append(made)
            now[old.name] = (name,)
        return [tuple(n for name in names for n in now.get(name, (name,))) for names in layer.left]
