"""From an exported program to a module of the intermediate graph, layout noise left out."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from transformers import PreTrainedModel

from codegen.errors import Problem, UnsupportedError
from codegen.frontend import noise
from codegen.frontend.cleanup import tidy
from codegen.frontend.convert import PREFIX, Converter, location
from codegen.frontend.fold import Folding, FoldingRefusedError
from codegen.frontend.hf import Source
from codegen.frontend.library import NAMESPACE
from codegen.frontend.ops import Attention, Mask, RopeFrequencies
from codegen.frontend.weights import WeightNames
from ir.func import Call
from ir.graph import Graph, Location, Module, Value
from ir.op import lookup
from ir.types import TensorType

#: What a traced node is in a graph: its results; None if an error was noted for it.
Bound = list[Value] | None


@dataclass(frozen=True)
class Traced:
    """What torch.export gave for one model.

    Attributes:
        program: The exported program; its tensor names start with ``model.``.
        model: The model that was traced.
        folding: The layers that were traced once.
        inputs: Names of the inputs.
        buffers: Every buffer that existed during the trace, by name.
        max_tokens: Longest sequence that the trace covers, None without limit.
    """

    program: ExportedProgram
    model: PreTrainedModel
    folding: Folding
    inputs: list[str]
    buffers: dict[str, torch.Tensor]
    max_tokens: int | None


class _Scope:
    """A graph that is being filled, and what traced nodes are in it."""

    def __init__(self, graph: Graph, path: str = "") -> None:
        self.graph = graph
        self.path = path
        self.env: dict[fx.Node, Bound] = {}


class _BrokenError(Exception):
    """An operand could not be translated; that was noted where it happened."""


def import_program(source: Source, traced: Traced) -> Module:
    """Translates an exported program.

    Raises:
        FoldingRefusedError: Weights or values cross the borders of a folded layer.
        UnsupportedError: With every node that has no form in the graph.
        BadInputError: The checkpoint lacks a weight.
    """
    return _Importer(source, traced).run()


class _Importer:
    def __init__(self, source: Source, traced: Traced) -> None:
        self.traced = traced
        self.names = WeightNames(traced.model, source.weights)
        self.module = Module()
        self.callees: dict[str, Graph] = {}
        self.arguments: dict[str, Bound] = {}
        self.problems: list[Problem] = []
        program = traced.program
        nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
        specs = program.graph_signature.input_specs
        self.specs: dict[fx.Node, InputSpec] = dict(zip(nodes, specs, strict=True))
        users = [n for n, spec in self.specs.items() if spec.kind == InputKind.USER_INPUT]
        self.convert = Converter(traced.max_tokens)
        self.scopes = [_Scope(Graph("main"))]
        for name, node in zip(traced.inputs, users, strict=True):
            value = self.graph.add_input(name, self.convert.type(node.meta["val"], node))
            self.scope.env[node] = [value]

    @property
    def scope(self) -> _Scope:
        return self.scopes[-1]

    @property
    def graph(self) -> Graph:
        return self.scope.graph

    def run(self) -> Module:
        program = self.traced.program
        outputs = self._walk(program.graph, program.graph_module)
        if self.problems:
            raise UnsupportedError(self.problems)
        self.graph.outputs = [value for bound in outputs for value in bound or []]
        self.module.add(self.graph)
        tidy(self.module)
        self._check_weight_owners()
        self.module.meta["tied"] = self.names.tied
        self.module.meta["position_input"] = len(self.graph.inputs) > 1
        if self.traced.max_tokens is not None:
            self.module.meta["max_tokens"] = self.traced.max_tokens
        return self.module

    def _walk(self, graph: fx.Graph, owner: nn.Module) -> list[Bound]:
        for node in graph.nodes:
            if node.op == "output":
                return [self._look_up(n) for n in node.all_input_nodes]
            if node.op != "call_function" or noise.is_check(node) or not noise.has_tensors(node):
                continue
            try:
                self.scope.env[node] = self._call(node, owner)
            except UnsupportedError as error:
                self.problems += error.problems
                self.scope.env[node] = None
            except _BrokenError:
                self.scope.env[node] = None
        return []

    def _call(self, node: fx.Node, owner: nn.Module) -> Bound:
        if node.target is operator.getitem:
            whole, index = node.args
            if not isinstance(index, int):
                raise self._unsupported(node, "a slice of several tensors at once")
            return [self._values(whole)[index]]
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return self._inline(node, owner)
        if isinstance(node.target, torch._ops.OpOverload):
            custom = node.target.namespace == NAMESPACE
            return _CUSTOM[node.target._opname](self, node) if custom else self._aten(node)
        raise self._unsupported(node, f"{node.target} is not an operation")

    # -- values ---------------------------------------------------------------------------------

    def _look_up(self, node: fx.Node) -> Bound:
        env = self.scope.env
        if node not in env:
            spec = self.specs.get(node)
            if spec is None or spec.kind == InputKind.USER_INPUT:
                raise FoldingRefusedError(f"{node.name} is used inside {self.scope.path}")
            env[node] = [self._stored(node, spec)]
        return env[node]

    def _values(self, node: Any) -> list[Value]:
        bound = self._look_up(node)
        if bound is None:
            raise _BrokenError
        return bound

    def _all_values(self, nodes: list[Any]) -> Bound:
        bound = [self._look_up(node) for node in nodes]
        known = [values for values in bound if values is not None]
        return [value for (value,) in known] if len(known) == len(bound) else None

    def _value(self, node: Any) -> Value:
        (value,) = self._values(node)
        return value

    def _stored(self, node: fx.Node, spec: InputSpec) -> Value:
        """A parameter, or a constant where the checkpoint has no such tensor."""
        kind = self.convert.type(node.meta["val"], node)
        target = str(spec.target).removeprefix(f"{PREFIX}.")
        if spec.kind == InputKind.PARAMETER or (
            spec.kind == InputKind.BUFFER and spec.persistent and self.names.has(target)
        ):
            return self._parameter(target, kind)
        constants: dict[str, Any] = self.traced.program.constants
        is_buffer = spec.kind == InputKind.BUFFER
        data = self.traced.buffers.get(target) if is_buffer else constants.get(str(spec.target))
        if isinstance(data, FakeTensor):
            raise FoldingRefusedError(f"{target} is left behind in Python by another layer")
        if not isinstance(data, torch.Tensor) or data.is_meta:
            raise UnsupportedError([Problem("", "", f"the constant {target} has no value")])
        name = target.rpartition(".")[2]
        return self.graph.add_constant(data.detach().clone(), kind, name)

    def _parameter(self, target: str, kind: TensorType) -> Value:
        name, path = self.names.name(target), self.scope.path
        if not path:
            return self.graph.add_parameter(kind, name)
        scope = self.names.scope(path)
        if not target.startswith(f"{path}.") or not name.startswith(f"{scope}."):
            raise FoldingRefusedError(f"{target} is used inside {path}")
        return self.graph.add_parameter(kind, name.removeprefix(f"{scope}."))

    def _check_weight_owners(self) -> None:
        """Weights of a folded layer must not be used outside it."""
        folding = self.traced.folding
        scopes = tuple(f"{self.names.scope(path)}." for path in (*folding.traced, *folding.repeats))
        for value in self.graph.parameters:
            assert value.recipe is not None
            for weight in value.recipe.sources():
                if weight.name.startswith(scopes):
                    raise FoldingRefusedError(f"{weight.name} is used outside its layer")

    # -- operations -----------------------------------------------------------------------------

    def _aten(self, node: fx.Node) -> Bound:
        source = noise.passed_through(node)
        if source is not None:
            return self._values(source)
        target: Any = node.target
        if target.namespace != "aten":
            raise self._unsupported(node, f"{target} is no basic tensor operation")
        operands: list[fx.Node] = []
        name, call_args, call_kwargs = noise.plain_call(node)
        if target._schema.is_mutable:
            raise self._unsupported(node, f"{target} changes a tensor in place")
        args = tuple(self.convert.argument(a, operands, node) for a in call_args)
        kwargs = tuple(
            (key, self.convert.argument(value, operands, node))
            for key, value in call_kwargs.items()
        )
        types = self._types(node)
        made = lookup(name).build(
            self.graph,
            *(self._value(operand) for operand in operands),
            loc=location(node),
            types=types,
            named=[node.name] * len(types),
            args=args,
            kwargs=kwargs,
        )
        return made.results

    def _types(self, node: fx.Node) -> list[TensorType]:
        made = node.meta["val"]
        tensors = made if isinstance(made, (list, tuple)) else [made]
        return [self.convert.type(t, node) for t in tensors]

    def _inline(self, node: fx.Node, owner: nn.Module) -> Bound:
        """A region under another grad or autocast mode: neither changes float32 inference."""
        submodules = [
            a
            for a in node.args
            if isinstance(a, fx.Node)
            and a.op == "get_attr"
            and isinstance(getattr(owner, str(a.target), None), fx.GraphModule)
        ]
        region = getattr(node.target, "__name__", "")
        if region not in noise.TRANSPARENT_REGIONS or len(submodules) != 1:
            raise self._unsupported(node, f"the control flow of {node.target} cannot be compiled")
        inner = getattr(owner, str(submodules[0].target))
        arguments = node.args[node.args.index(submodules[0]) + 1 :]
        formals = [n for n in inner.graph.nodes if n.op == "placeholder"]
        for formal, actual in zip(formals, arguments, strict=True):
            if isinstance(actual, fx.Node) and noise.has_tensors(actual):
                self.scope.env[formal] = self._look_up(actual)
        return [v for bound in self._walk(inner.graph, inner) for v in self._broken(bound)]

    def _broken(self, bound: Bound) -> list[Value]:
        if bound is None:
            raise _BrokenError
        return bound

    def _attention(self, node: fx.Node) -> Bound:
        q, k, v, mask, sinks, scale, causal, softcap = noise.full_args(node)
        made = Attention.build(
            self.graph,
            self._value(q), self._value(k), self._value(v),
            None if mask is None else self._value(mask),
            None if sinks is None else self._value(sinks),
            loc=location(node), named=[node.name],
            scale=scale, causal=causal, softcap=softcap,
        )  # fmt: skip
        return made.results

    def _mask(self, node: fx.Node) -> Bound:
        padding, queries, keys, causal, window, chunk, additive = noise.full_args(node)
        made = Mask.build(
            self.graph,
            None if padding is None else self._value(padding),
            loc=location(node), named=[node.name],
            queries=self._size(queries, node), keys=self._size(keys, node),
            causal=causal, window=window, chunk=chunk, additive=additive,
        )  # fmt: skip
        return made.results

    def _size(self, size: Any, node: fx.Node) -> str:
        return str(self.convert.dim(size.meta["val"] if isinstance(size, fx.Node) else size, node))

    def _experts(self, node: fx.Node) -> Bound:
        where, remedy = location(node), "use a dense model: experts are not supported yet"
        reason = "a mixture of experts cannot be compiled"
        raise UnsupportedError([Problem(where.module, where.source, reason, remedy)])

    def _rope_frequencies(self, node: fx.Node) -> Bound:
        positions, inv_freq, long, limit, factor, base = noise.full_args(node)
        made = RopeFrequencies.build(
            self.graph,
            self._value(positions), self._value(inv_freq),
            None if long is None else self._value(long),
            loc=location(node), named=["inv_freq"],
            original_max_position=limit, dynamic_factor=factor, dynamic_base=base,
        )  # fmt: skip
        return made.results

    # -- layers ---------------------------------------------------------------------------------

    def _layer_enter(self, node: fx.Node) -> Bound:
        tensors, marked = noise.full_args(node)
        operands = self._all_values(tensors)
        layer = self.traced.folding.traced[marked]
        count = len(self.callees)
        graph = Graph("decoder_layer" if not count else f"decoder_layer_{count + 1}")
        self.callees[marked] = graph
        inner = _Scope(graph, marked)
        self.arguments[marked] = operands
        inner.env[node] = operands and [
            graph.add_input(name, operand.type)
            for name, operand in zip(layer.inputs, operands, strict=True)
        ]
        self.scopes.append(inner)
        return inner.env[node]

    def _layer_exit(self, node: fx.Node) -> Bound:
        tensors, marked = noise.full_args(node)
        if self.scope.path != marked:
            raise FoldingRefusedError(f"{marked} ends inside {self.scope.path}")
        outputs, operands = self._all_values(tensors), self.arguments[marked]
        inner = self.scopes.pop()
        if outputs is None or operands is None:
            self.arguments[marked] = None
            return None
        inner.graph.outputs = outputs
        self.module.add(inner.graph)
        return self._call_layer(inner.graph, marked, operands, node)

    def _layer_repeat(self, node: fx.Node) -> Bound:
        tensors, replaced, _, _, _, path, representative = noise.full_args(node)
        entered = self.arguments[representative]
        if entered is None:
            return None
        operands = list(entered)
        for position, tensor in zip(replaced, tensors, strict=True):
            operands[position] = self._value(tensor)
        if self.names.relative(path) != self.names.relative(representative):
            raise FoldingRefusedError(f"the weights of {path} are named unlike its equals'")
        return self._call_layer(self.callees[representative], path, operands, node)

    def _call_layer(
        self, callee: Graph, path: str, operands: list[Value], node: fx.Node
    ) -> list[Value]:
        made = Call.build(
            self.graph,
            *operands,
            loc=Location(path, location(node).source),
            named=[v.name for v in callee.outputs],
            types=[v.type for v in callee.outputs],
            callee=callee.name,
            scope=self.names.scope(path),
        )
        return made.results

    def _unsupported(self, node: fx.Node, reason: str) -> UnsupportedError:
        where = location(node)
        return UnsupportedError([Problem(where.module, where.source, reason)])


_CUSTOM: dict[str, Callable[[_Importer, fx.Node], Bound]] = {
    "attention": _Importer._attention,
    "experts": _Importer._experts,
    "mask": _Importer._mask,
    "rope_frequencies": _Importer._rope_frequencies,
    "layer_enter": _Importer._layer_enter,
    "layer_exit": _Importer._layer_exit,
    "layer_repeat": _Importer._layer_repeat,
}
