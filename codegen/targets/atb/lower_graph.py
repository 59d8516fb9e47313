"""What a lowering rule works with: the graph being written, its weights and its host inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from codegen.errors import CodegenError, Problem
from codegen.targets.atb.host_inputs import Feed, HostInput, SeqLens, StepDims
from codegen.targets.atb.ops import Elewise, Reshape
from ir.errors import IrError
from ir.graph import Attr, Graph, Module, Node, Value
from ir.op import Op, lookup
from ir.recipe import Recipe
from ir.types import Dim, TensorType, scale_dim


class NoLoweringError(CodegenError):
    """A node has no ATB form; turned into a problem of the module that names the node's place."""

    def __init__(self, reason: str, remedy: str = Problem.remedy) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason)


Rule = Callable[["GraphLowering", Node], None]
RULES: dict[str, Rule] = {}


def rule(op: type[Op]) -> Callable[[Rule], Rule]:
    """Registers the lowering of one llm operation."""

    def register(function: Rule) -> Rule:
        RULES[op.name] = function
        return function

    return register


@dataclass
class ModuleLowering:
    """State of lowering one module.

    Attributes:
        module: The llm module.
        tokens: Symbolic number of tokens in the llm graphs.
        phase: Name of the entry being lowered.
        dims: Symbolic sizes of its inputs.
        lowered: Graphs lowered so far, by name, callees first.
        problems: Everything that could not be lowered.
        facts: Facts about the model for ``meta``; of those that layers differ in, the first's.
    """

    module: Module
    tokens: Dim
    phase: str
    dims: StepDims
    lowered: dict[str, GraphLowering] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    facts: dict[str, Attr] = field(default_factory=dict)
    _names: dict[HostInput, tuple[str, ...]] = field(default_factory=dict)

    def localized(self, type: TensorType) -> TensorType:
        """The type with the sizes of this phase: decode has one token for each sequence."""
        tokens = self.tokens
        return type.with_shape(*(self.dims.tokens if dim == tokens else dim for dim in type.shape))

    def note(self, fact: str, value: Attr) -> None:
        """Records a fact about the model, unless it is known."""
        self.facts.setdefault(fact, value)

    def names(self, source: HostInput) -> tuple[str, ...]:
        """The names of a host input's tensors, unique in the module."""
        if source not in self._names:
            taken = {name for names in self._names.values() for name in names}
            names, count = source.hints, 1
            while not taken.isdisjoint(names):
                count += 1
                names = tuple(f"{hint}_{count}" for hint in source.hints)
            self._names[source] = names
        return self._names[source]

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """All host inputs in order of first use, without those that every entry has anyway."""
        made = self._names.items()
        return tuple(Feed(names, source) for source, names in made if source != SeqLens())

    def graph(self, name: str) -> GraphLowering:
        """The lowered form of a graph in this phase, lowering it if need be."""
        own = (
            name
            if name == self.phase or name.startswith(f"{self.phase}_")
            else f"{self.phase}_{name}"
        )
        if own not in self.lowered:
            lowered = GraphLowering(self, self.module.functions[name], own)
            lowered.run()
            self.lowered[own] = lowered
        return self.lowered[own]

    def constant_input(self, graph: Graph, position: int) -> torch.Tensor | None:
        """The constant that every call passes for an input, None if there is no such constant."""
        found: torch.Tensor | None = None
        for caller in self.module:
            for call in caller.find("func.call"):
                if call.attrs["callee"] != graph.name:
                    continue
                data = call.operand(position).data
                if data is None or (found is not None and not torch.equal(data, found)):
                    return None
                found = data
        return found


class GraphLowering:
    """Lowers one graph.

    Attributes:
        source: The llm graph.
        target: The ATB graph.
        kept: Positions of the source's inputs that the target still has, in order; the inputs in
            ``feeds`` follow.
        feeds: Host inputs that were asked for, with the target inputs that carry them.
    """

    def __init__(self, module: ModuleLowering, source: Graph, name: str) -> None:
        self.module = module
        self.source = source
        self.target = Graph(name)
        self.feeds: dict[HostInput, tuple[Value, ...]] = {}
        self.kept: list[int] = []
        self._values = {
            v: self.target.add_input(v.name, module.localized(v.type)) for v in source.inputs
        }
        self._node: Node | None = None

    # -- reading --------------------------------------------------------------------------------

    @property
    def dims(self) -> StepDims:
        """Symbolic sizes of the step."""
        return self.module.dims

    def read(self, value: Value) -> Value:
        """The target value of a source value."""
        if value not in self._values:
            if value.recipe is not None:
                made = self.target.add_parameter(value.type, value.recipe, value.name)
            elif value.data is not None:
                raise NoLoweringError(f"the constant %{value.name} has no ATB form")
            else:  # its node has a problem already
                made = self.target.add_input(value.name, self.module.localized(value.type))
            self._values[value] = made
        return self._values[value]

    def operand(self, node: Node, position: int) -> Value:
        """The target value of an operand that is present."""
        return self.read(node.operand(position))

    def optional(self, node: Node, position: int) -> Value | None:
        """The target value of an operand, None if absent."""
        return None if node.operands[position] is None else self.operand(node, position)

    def constant(self, node: Node, position: int) -> torch.Tensor:
        """The value of an operand that must be known.

        Raises:
            NoLoweringError: It is not the same constant wherever the graph is called.
        """
        value = node.operand(position)
        data = value.data
        if value in self.source.inputs:
            data = self.module.constant_input(self.source, self.source.inputs.index(value))
        if data is None:
            raise NoLoweringError(f"{node.op}: %{value.name} must be a constant")
        return data

    def weight(self, type: TensorType, recipe: Recipe, name: str) -> Value:
        """A weight of the target graph that the source does not have."""
        return self.target.add_parameter(type, recipe, name)

    def feed(self, source: HostInput) -> tuple[Value, ...]:
        """The tensors of a host input, as inputs of the target graph."""
        if source not in self.feeds:
            known = {v.name: v for v in self.source.inputs}
            if source == SeqLens() and known.keys() >= set(source.hints):
                return tuple(self._values[known[hint]] for hint in source.hints)
            names = self.module.names(source)
            types = source.types(self.dims)
            self.feeds[source] = tuple(
                self.target.add_input(name, type) for name, type in zip(names, types, strict=True)
            )
        return self.feeds[source]

    @property
    def seq_lens(self) -> Value:
        """New tokens of each sequence, int32 ``[batch]``."""
        return self.feed(SeqLens())[0]

    # -- writing --------------------------------------------------------------------------------

    def emit(
        self, op: type[Op], *operands: Value | None, named: Sequence[str] = (), **attrs: Attr
    ) -> Node:
        """Adds an ATB node that comes from where the current source node comes from."""
        loc = self._node.loc if self._node is not None else None
        return op.build(
            self.target, *operands, loc=loc, before=None, named=named, types=None, **attrs
        )

    def view(self, value: Value, *shape: Dim, name: str) -> Value:
        """The tensor in another shape; a view of a view is a view of the tensor itself."""
        base = value
        if value.producer is not None and value.op == Reshape.name:
            base = value.producer.operand(0)
        if shape == value.type.shape:
            return value
        if shape == base.type.shape:
            return base
        entries = tuple(_entry(dim, base.type.shape) for dim in shape)
        return self.emit(Reshape, base, shape=entries, named=[name]).result

    def bind(self, source: Value, target: Value) -> None:
        """Records the target value of a source value."""
        self._values[source] = target

    # -- running --------------------------------------------------------------------------------

    def run(self) -> None:
        """Lowers every node, then drops what nobody reads."""
        for node in self.source.nodes:
            self._node = node
            try:
                if node.op not in RULES:
                    raise NoLoweringError("this operation has no ATB form")
                RULES[node.op](self, node)
            except NoLoweringError as failed:
                self._give_up(node, failed.reason, failed.remedy)
            except (ValueError, IrError) as failed:  # from the operation's own shape rule
                self._give_up(node, str(failed))
        self._node = None
        self.target.outputs = [solid(self.target, self.read(v)) for v in self.source.outputs]
        self._prune()

    def _give_up(self, node: Node, reason: str, remedy: str = Problem.remedy) -> None:
        """Records a problem; stand-ins for the results let later problems be found too."""
        self.module.problems.append(
            Problem(node.loc.module, node.loc.source, f"{node.op}: {reason}", remedy)
        )
        for value in node.results:
            type = self.module.localized(value.type)
            self._values[value] = self.target.add_input(value.name, type)

    def _prune(self) -> None:
        self.target.remove_dead(keep=_has_effects)
        used = {v for v in self.target.inputs if v.uses or v in self.target.outputs}
        self.kept = [i for i, v in enumerate(self.source.inputs) if self._values[v] in used]
        self.feeds = {
            source: values for source, values in self.feeds.items() if not used.isdisjoint(values)
        }
        self.target.inputs = [
            *(self._values[self.source.inputs[i]] for i in self.kept),
            *(value for values in self.feeds.values() for value in values),
        ]


def solid(graph: Graph, value: Value) -> Value:
    """A tensor that can be an output: a view is copied, because ATB only reads views."""
    if value.op != Reshape.name or value.producer is None:
        return value
    loc, kind = value.producer.loc, "ELEWISE_MULS"
    copy = Elewise.build(graph, value, elewise_type=kind, var_attr=1.0, loc=loc, named=["copy"])
    return copy.result


def _entry(dim: Dim, shape: tuple[Dim, ...]) -> int | tuple[int, ...]:
    """A dimension of a view as an entry of ``atb.reshape``."""
    if isinstance(dim, int):
        return dim
    for start in range(len(shape)):
        product: Dim = 1
        for stop in range(start, len(shape)):
            factor = shape[stop]
            if isinstance(factor, int):
                product = scale_dim(product, factor)
            elif isinstance(product, int):
                product = scale_dim(factor, product)
            else:
                break
            if product == dim:
                return tuple(range(start, stop + 1))
    return -1


def _has_effects(node: Node) -> bool:
    return node.op == "func.call" or lookup(node.op).effects
