"""One ATB graph as the steps of the Python function that builds it."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.comments import comment
from codegen.targets.atb.emit_python_weights import Quote, WeightNames, describe, weight_name
from codegen.targets.atb.ops import (
    Linear,
    Reshape,
    SelfAttention,
    Split,
    json_params,
    torch_atb_struct,
)
from codegen.targets.atb.ops.spelling import op_of
from codegen.templates import py_string
from ir.graph import Graph, Node, Value
from ir.recipe import Concat
from ir.types import Dim, Sym

LIBATB = "_libatb_torch"
TORCH_ATB = "torch_atb"
_LONGEST_NAME = 96
_COMMENT_WIDTH = 92


@dataclass(frozen=True)
class Step:
    """One line of a builder function: an operation, or another view of a tensor.

    Attributes:
        kind: ``operation`` or ``view``.
        comment: What it is for, in lines; none where the line before says it.
        name: Name of the operation in logs, unique in the graph.
        arguments: Source of what the API wants before the tensor names; of a view, its shape.
        inputs: Sources of the tensor names read; of a view, the one it shows.
        outputs: Sources of the tensor names written.
    """

    kind: str
    comment: tuple[str, ...]
    name: str
    arguments: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """A result of a graph operation.

    Attributes:
        name: Name of the tensor it becomes; the graph calls it ``<name>_out``.
        tail: Its shape without the first dimension, which is the number of tokens.
    """

    name: str
    tail: tuple[int, ...]


@dataclass(frozen=True)
class Builder:
    """The function that builds one graph operation.

    Attributes:
        name: Function name.
        doc: Its docstring.
        scoped: It takes the module path of the layer.
        inputs: Names of the tensors that change from call to call.
        caches: Those among them that are key-value caches, in order.
        host: Those that the graph reads on the host as well.
        weights: Sources of the weight names.
        outputs: Results.
        steps: The body.
    """

    name: str
    doc: str
    scoped: bool
    inputs: tuple[str, ...]
    caches: tuple[str, ...]
    host: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[Output, ...]
    steps: tuple[Step, ...]


def operation_names(graph: Graph) -> dict[Node, str]:
    """What each operation of a graph is called in the emitted code.

    The name is the module path below the layer with ``_`` for ``.`` (``mlp_down_proj``), followed
    by what is done (``self_attn_rope``) unless it is all that the module does or what the module
    has its weight for, numbered where that occurs more than once.

    Args:
        graph: A callee of an entry.
    """
    nodes = [node for node in graph.nodes if node.op != Reshape.name]
    paths = {node: _path(node) for node in nodes}
    shared = _shared_length(list(paths.values()))
    below = {node: _plain("_".join(path[shared:])) for node, path in paths.items()}
    per_path = Counter(below.values())
    weighted = Counter(below[node] for node in nodes if _weighted(node))
    names: dict[Node, str] = {}
    count: Counter[str] = Counter()
    for node in nodes:
        path = below[node]
        alone = path and (per_path[path] == 1 or (_weighted(node) and weighted[path] == 1))
        base = path if alone else "_".join(part for part in (path, _action(node)) if part)
        base = base[:_LONGEST_NAME]
        count[base] += 1
        names[node] = base if count[base] == 1 else f"{base}_{count[base]}"
    return names


def _path(node: Node) -> list[str]:
    """The module path of a node; of packed layers the last part is that of the packed weight."""
    path = [part for part in node.loc.module.split(".") if part]
    linear = node.operand(0).producer if node.op == Split.name else node
    if path and linear is not None and linear.op == Linear.name:
        recipe = linear.operand(1).recipe
        if isinstance(recipe, Concat):
            path[-1] = describe(recipe).removesuffix(".weight").rpartition(".")[2]
    return path


def _shared_length(paths: list[list[str]]) -> int:
    """How many leading parts all paths share, but not all of them."""
    columns = zip(*paths, strict=False)
    length = sum(1 for _ in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))
    return length - 1 if length and all(len(path) == length for path in paths) else length


def _plain(text: str) -> str:
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def _weighted(node: Node) -> bool:
    return any(value.recipe is not None for value in node.inputs)


def _action(node: Node) -> str:
    """What a node does, in a word or two: ``rope``, ``add``."""
    if node.op == SelfAttention.name:
        return "attention"
    for attribute in ("elewise_type", "activation_type"):
        if attribute in node.attrs:
            return str(node.attrs[attribute]).partition("_")[2].lower()
    return node.op.partition(".")[2]


class GraphPrinter:
    """Turns one graph into a builder.

    Tensor names are those of the caller: an input ``x`` of the graph is called what the entry
    calls the tensor it passes.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[Value, str],
        outputs: Mapping[Value, str],
        weights: WeightNames,
        quote: Quote,
        api: str,
    ) -> None:
        self._graph = graph
        self._inputs = inputs
        self._outputs = outputs
        self._weights = weights
        self._quote = quote
        self._api = api
        self._operations = operation_names(graph)
        self._source: dict[Value, str] = {}
        self._taken = {*inputs.values(), *(f"{name}_out" for name in outputs.values())}
        self._base: dict[Value, Value] = {}
        self._said = ""

    def steps(self) -> tuple[Step, ...]:
        """The body of the builder."""
        for value, name in self._inputs.items():
            self._source[value] = py_string(name)
        for value in self._graph.parameters:
            if value.recipe is None:
                raise CodegenError(f"%{value.name} is a parameter without recipe")
            self._source[value] = weight_name(self._weights, value.recipe, self._quote)
        for constant in self._graph.constants:
            raise CodegenError(f"@{self._graph.name}: constant %{constant.name} has no ATB form")
        steps: list[Step] = []
        for node in self._graph.nodes:
            steps.append(self._view(node) if node.op == Reshape.name else self._operation(node))
        return tuple(steps)

    @property
    def weight_sources(self) -> tuple[str, ...]:
        """Sources of the weight names, in order of first use."""
        return tuple(self._source[v] for v in self._graph.parameters)

    def _operation(self, node: Node) -> Step:
        op = op_of(node)
        inputs: list[str] = []
        for tensor, value in zip(op.tensors(), node.operands, strict=True):
            if value is None:
                continue
            on_host = tensor.host and self._api == TORCH_ATB
            inputs.append(
                py_string(f"{self._inputs[value]}_host") if on_host else self._source[value]
            )
        for index, value in enumerate(node.results):
            if index in op.inplace:
                self._source[value] = self._source[node.operand(op.inplace[index])]
            else:
                self._source[value] = self._name(value)
        return Step(
            "operation",
            self._comment(node),
            self._operations[node],
            self._arguments(node),
            tuple(inputs),
            tuple(self._source[v] for v in node.results),
        )

    def _comment(self, node: Node) -> tuple[str, ...]:
        before, self._said = self._said, comment(node)
        return tuple(textwrap.wrap(self._said, _COMMENT_WIDTH)) if self._said != before else ()

    def _arguments(self, node: Node) -> str:
        if self._api == TORCH_ATB:
            return torch_atb_struct(node).source("torch_atb")
        return f"{py_string(op_of(node).op_type)}, {json_params(node)!r}"

    def _view(self, node: Node) -> Step:
        shown, result = node.operand(0), node.result
        shown = self._base.get(shown, shown)  # ATB shapes a view from the tensor behind it
        self._base[result] = shown
        self._source[result] = self._name(result)
        dims = ", ".join(_dim(dim, shown) for dim in result.type.shape)
        return Step(
            "view",
            (),
            "",
            f"lambda shape: [{dims}]",
            (self._source[shown],),
            (self._source[result],),
        )

    def _name(self, value: Value) -> str:
        if value in self._outputs:
            return py_string(f"{self._outputs[value]}_out")
        name, count = value.name, 1
        while name in self._taken:
            count += 1
            name = f"{value.name}_{count}"
        self._taken.add(name)
        return py_string(name)


def _dim(dim: Dim, shown: Value) -> str:
    """A dimension of a view, from the shape of the tensor it shows."""
    if isinstance(dim, int):
        return str(dim)
    axis, times, parts = measured(dim, shown)
    size = f"shape[{axis}]"
    if times > 1:
        return f"{size} * {times}"
    return f"{size} // {parts}" if parts > 1 else size


def measured(dim: Sym, shown: Value) -> tuple[int, int, int]:
    """A dimension of unknown size as a size of the tensor that a view shows.

    Returns:
        The axis whose size it is, times the second number, divided by the third; one of the two
        is 1.

    Raises:
        CodegenError: It is no multiple or part of one of the tensor's sizes.
    """
    for axis, source in enumerate(shown.type.shape):
        if not isinstance(source, Sym) or source.const or dim.const:
            continue
        if len(source.terms) != 1 or len(dim.terms) != 1:
            continue
        ((name, have),), ((wanted, want),) = source.terms, dim.terms
        if name == wanted and want % have == 0:
            return axis, want // have, 1
        if name == wanted and have % want == 0:
            return axis, 1, have // want
    raise CodegenError(f"dimension {dim} of a view is not a multiple of one of {shown.type}")
