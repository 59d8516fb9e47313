"""The graph store: values with use-lists, nodes, graphs (functions) and modules of graphs.

One container serves all three levels (``aten.*``, ``llm.*``, target dialects). A graph is a
function in static single assignment form: inputs, parameters (weights), constants, a list of nodes
in execution order, outputs. A module holds the entry graphs and the functions that they call, one
per *distinct* layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ir.recipe import Recipe, Source
from ir.types import TensorType

Attr = None | bool | int | float | str | tuple["Attr", ...]


@dataclass(frozen=True)
class Location:
    """Where a node comes from.

    Attributes:
        module: Path of the module in the model: ``model.layers.0.self_attn.q_proj``.
        source: ``file.py:line`` of the modelling code, empty if unknown.
    """

    module: str = ""
    source: str = ""

    def __str__(self) -> str:
        return " at ".join(part for part in (self.module, self.source) if part) or "unknown place"


class Value:
    """One tensor of a graph.

    Attributes:
        name: Unique in its graph; printed as ``%name``.
        type: Shape and element type.
        producer: The node whose result this is; None for inputs, parameters and constants.
        index: Position among the producer's results.
        uses: Every ``(node, operand position)`` that reads it, in no particular order.
        recipe: For a parameter, how it is made from tensors of the checkpoint.
        data: For a constant, its value.
    """

    __slots__ = ("data", "index", "name", "producer", "recipe", "type", "uses")

    def __init__(
        self,
        name: str,
        type: TensorType,
        producer: Node | None = None,
        index: int = 0,
        recipe: Recipe | None = None,
        data: torch.Tensor | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.producer = producer
        self.index = index
        self.uses: list[tuple[Node, int]] = []
        self.recipe = recipe
        self.data = data

    @property
    def op(self) -> str:
        """Name of the operation that made it, or an empty string."""
        return self.producer.op if self.producer else ""

    @property
    def users(self) -> list[Node]:
        """The distinct nodes that read this value."""
        return list(dict.fromkeys(node for node, _ in self.uses))

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Node:
    """One operation applied to values.

    Attributes:
        op: Qualified operation name, ``llm.linear``.
        operands: Inputs in declared order; None for an absent optional operand.
        attrs: Attribute values; every declared attribute is present.
        results: Output values.
        loc: Where in the model it comes from.
    """

    __slots__ = ("attrs", "loc", "op", "operands", "results")

    def __init__(
        self, op: str, operands: Sequence[Value | None], attrs: Mapping[str, Attr], loc: Location
    ) -> None:
        self.op = op
        self.operands: list[Value | None] = []
        self.attrs: dict[str, Attr] = dict(attrs)
        self.results: list[Value] = []
        self.loc = loc
        for operand in operands:
            self.add_operand(operand)

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    @property
    def inputs(self) -> list[Value]:
        """The operands that are present."""
        return [value for value in self.operands if value is not None]

    def operand(self, position: int) -> Value:
        """Operand ``position``; ``IndexError`` if it is absent."""
        value = self.operands[position] if position < len(self.operands) else None
        if value is None:
            raise IndexError(f"{self.op} has no operand {position}")
        return value

    def add_operand(self, value: Value | None) -> None:
        """Appends an operand and records the use."""
        if value is not None:
            value.uses.append((self, len(self.operands)))
        self.operands.append(value)

    def set_operand(self, position: int, value: Value | None) -> None:
        """Replaces one operand, keeping the use-lists right."""
        old = self.operands[position]
        if old is not None:
            old.uses.remove((self, position))
        self.operands[position] = value
        if value is not None:
            value.uses.append((self, position))

    def set_operands(self, values: Sequence[Value | None]) -> None:
        """Replaces all operands, also by more or fewer."""
        for position in range(len(self.operands)):
            self.set_operand(position, None)
        self.operands.clear()
        for value in values:
            self.add_operand(value)

    def __repr__(self) -> str:
        return f"{', '.join(map(repr, self.results))} = {self.op}({self.inputs})"


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors agree bit for bit: ``0.0`` and ``-0.0`` do not, a NaN and itself do."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    left, right = (t.contiguous().flatten().view(torch.uint8) for t in (a, b))
    return torch.equal(left, right)


@dataclass(eq=False)
class Graph:
    """One function: what goes in, what is computed in which order, what comes out.

    Attributes:
        name: Function name, printed as ``@name``.
        inputs: Tensors that the caller passes, in order.
        parameters: Weights, bound by name from a checkpoint. In a layer function the names are
            relative to the scope that the call gives.
        constants: Tensors whose value is known.
        nodes: Operations in execution order.
        outputs: Results, in order.
    """

    name: str
    inputs: list[Value] = field(default_factory=list[Value])
    parameters: list[Value] = field(default_factory=list[Value])
    constants: list[Value] = field(default_factory=list[Value])
    nodes: list[Node] = field(default_factory=list[Node])
    outputs: list[Value] = field(default_factory=list[Value])
    _names: dict[str, int] = field(default_factory=dict[str, int], repr=False)

    # -- building -------------------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        """A value name not used in this graph, ``hint`` itself where it is free."""
        hint = "".join(c if c.isalnum() or c == "_" else "_" for c in hint) or "v"
        if hint[0].isdigit():
            hint = f"v{hint}"
        name = hint
        while name in self._names:
            self._names[hint] += 1
            name = f"{hint}_{self._names[hint]}"
        self._names[name] = 0
        return name

    def reserve(self, names: set[str]) -> None:
        """Makes ``names`` the names in use, after values were renamed."""
        self._names = dict.fromkeys(sorted(names), 0)

    def add_input(self, name: str, type: TensorType) -> Value:
        """Appends an input."""
        value = Value(self.fresh(name), type)
        self.inputs.append(value)
        return value

    def add_parameter(self, type: TensorType, recipe: Recipe | str, name: str = "") -> Value:
        """Appends a weight; a plain string is the checkpoint name it is read from.

        The same recipe gives the same value, so that tied weights are one parameter.
        """
        made = Source(recipe) if isinstance(recipe, str) else recipe
        for known in self.parameters:
            if known.recipe == made:
                return known
        hint = name or "_".join(made.hint.split(".")[-2:])
        value = Value(self.fresh(hint), type, recipe=made)
        self.parameters.append(value)
        return value

    def add_constant(self, data: torch.Tensor, type: TensorType, name: str = "const") -> Value:
        """Appends a constant; bit-identical data of the same type gives the same value."""
        for known in self.constants:
            if known.type == type and known.data is not None and _same_bits(known.data, data):
                return known
        value = Value(self.fresh(name), type, data=data)
        self.constants.append(value)
        return value

    def make(
        self,
        op: str,
        operands: Sequence[Value | None],
        attrs: Mapping[str, Attr],
        types: Sequence[TensorType],
        names: Sequence[str],
        loc: Location,
        before: Node | None = None,
    ) -> Node:
        """Creates a node with its results and inserts it before ``before`` (default: at the end).

        Code outside ``ir.op`` uses an operation's ``build`` instead, which fills in defaults and
        infers the result types.
        """
        node = Node(op, operands, attrs, loc)
        for index, (type, name) in enumerate(zip(types, names, strict=True)):
            node.results.append(Value(self.fresh(name), type, node, index))
        self.nodes.insert(len(self.nodes) if before is None else self.nodes.index(before), node)
        return node

    # -- rewriting ------------------------------------------------------------------------------

    def replace_uses(self, old: Value, new: Value) -> None:
        """Makes every reader of ``old``, and the outputs, read ``new``."""
        for node, position in list(old.uses):
            node.set_operand(position, new)
        self.outputs = [new if value is old else value for value in self.outputs]

    def erase(self, node: Node) -> None:
        """Removes a node that nobody reads."""
        for value in node.results:
            if value.uses or value in self.outputs:
                raise ValueError(f"%{value.name} is still used")
        for position in range(len(node.operands)):
            node.set_operand(position, None)
        self.nodes.remove(node)

    def remove_dead(self, keep: Callable[[Node], bool] = lambda node: False) -> int:
        """Erases nodes, parameters and constants without readers; returns how many nodes."""
        removed = 0
        for node in reversed(list(self.nodes)):
            read = any(value.uses or value in self.outputs for value in node.results)
            if not read and not keep(node):
                self.erase(node)
                removed += 1
        for values in (self.parameters, self.constants):
            values[:] = [v for v in values if v.uses or v in self.outputs]
        return removed

    # -- looking --------------------------------------------------------------------------------

    def values(self) -> Iterator[Value]:
        """Every value: inputs, parameters, constants, then results in execution order."""
        yield from self.inputs
        yield from self.parameters
        yield from self.constants
        for node in self.nodes:
            yield from node.results

    def find(self, op: str) -> list[Node]:
        """All nodes of one operation, in order."""
        return [node for node in self.nodes if node.op == op]

    def copy(self, name: str | None = None) -> tuple[Graph, dict[Value, Value]]:
        """A deep copy (constants share their data) and the map from old values to new."""
        twin = Graph(name or self.name, _names=dict(self._names))
        mapped: dict[Value, Value] = {}
        for values, target in (
            (self.inputs, twin.inputs),
            (self.parameters, twin.parameters),
            (self.constants, twin.constants),
        ):
            for v in values:
                mapped[v] = Value(v.name, v.type, recipe=v.recipe, data=v.data)
                target.append(mapped[v])
        for node in self.nodes:
            operands = [None if v is None else mapped[v] for v in node.operands]
            new = Node(node.op, operands, node.attrs, node.loc)
            for v in node.results:
                mapped[v] = Value(v.name, v.type, new, v.index)
                new.results.append(mapped[v])
            twin.nodes.append(new)
        twin.outputs = [mapped[v] for v in self.outputs]
        return twin, mapped


@dataclass(eq=False)
class Module:
    """The graphs of one model: entries (``main``, or ``prefill`` and ``decode``) and layers.

    Attributes:
        functions: All graphs by name, callees before callers.
        entries: Names of the graphs that are run from outside.
        meta: Facts about the model that are not graph structure (model class, vocabulary size,
            dtype, ...), strings, numbers and tuples only.
    """

    functions: dict[str, Graph] = field(default_factory=dict[str, Graph])
    entries: tuple[str, ...] = ("main",)
    meta: dict[str, Attr] = field(default_factory=dict[str, Attr])

    def add(self, graph: Graph) -> Graph:
        """Adds a graph under its own name, which must be free."""
        if graph.name in self.functions:
            raise ValueError(f"@{graph.name} exists already")
        self.functions[graph.name] = graph
        return graph

    def callee(self, call: Node) -> Graph:
        """The graph that a ``func.call`` node calls."""
        return self.functions[str(call.attrs["callee"])]

    def copy(self) -> Module:
        """A deep copy of every graph."""
        graphs = {name: graph.copy()[0] for name, graph in self.functions.items()}
        return Module(graphs, self.entries, dict(self.meta))

    def __iter__(self) -> Iterator[Graph]:
        return iter(self.functions.values())
