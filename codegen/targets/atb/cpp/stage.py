"""The kinds of stages of a model, each a pair of C++ files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.block import BlockPrinter, Operation, TensorIds, Views
from codegen.targets.atb.cpp.merge import Merged, merge
from codegen.targets.atb.emit_python_facts import window_of
from codegen.targets.atb.emit_python_stages import CACHE, environment, input_names, tail
from codegen.targets.atb.emit_python_weights import WeightNames
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import Layout, ShardPlan
from ir.graph import Graph, Node, Value
from ir.recipe import Recipe


@dataclass(frozen=True)
class Output:
    """A result of a stage.

    Attributes:
        id: Enumerator.
        name: What the model calls it.
        variable: Name of its description where shapes are inferred.
        tail: Sizes behind the tokens.
    """

    id: str
    name: str
    variable: str
    tail: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """A kind of stage.

    Attributes:
        name: Namespace and file name: ``decoder_layer``.
        comment: What it is.
        weights: Enumerators of the weights.
        inputs: Enumerators of the other inputs.
        input_names: What the model calls them.
        outputs: Results.
        merged: Operations of both phases.
        recipes: How each weight is made, and which part of it a rank has.
        tokens_input: The input whose first size is the number of tokens.
        dtype_input: The input that has the element type of the results.
    """

    name: str
    comment: tuple[str, ...]
    weights: tuple[str, ...]
    inputs: tuple[str, ...]
    input_names: tuple[str, ...]
    outputs: tuple[Output, ...]
    merged: Merged
    recipes: tuple[tuple[Recipe, Layout | None], ...]
    tokens_input: str
    dtype_input: str
    scoped: bool
    space: str

    @property
    def guard(self) -> str:
        """Include guard."""
        return f"{self.space}_layer_{self.name}_h".upper()

    @property
    def title(self) -> str:
        """What it is, to begin a sentence: ``Decoder layer``."""
        return " ".join(self.name.split("_")).capitalize()

    @property
    def graph_name(self) -> str:
        """Name of the graph operation, unique among models."""
        return f"{self.space}_{self.name}"

    @property
    def reads_param(self) -> bool:
        """Something in it depends on the model's parameters."""
        conditional = any(step.condition for step in self.merged.steps)
        return conditional or any(o.reads_param for o in self.merged.operations)

    @property
    def internal_count(self) -> str:
        """Expression of the number of tensors inside the graph."""
        internal = self.merged.internal
        both, ranks = len(internal.both), len(internal.ranks)
        prefill, decode = both + len(internal.prefill), both + len(internal.decode)
        if prefill != decode:
            return f"param.isPrefill ? {prefill} : {decode}"
        return f"param.worldSize == 1 ? {both} : {both + ranks}" if ranks else str(prefill)

    @property
    def caches(self) -> int:
        """Pairs of key and value caches."""
        return sum(name.startswith("k_cache") for name in self.input_names)


#: Variables of the function that infers shapes.
_LOCALS = ("tokens", "inTensorDescs", "outTensorDescs", "")
#: What a block is printed from: both graphs, names of their inputs and outputs.
_Key = tuple[object, ...]


class Blocks:
    """Makes each kind of stage once."""

    def __init__(self, module: AtbModule, plan: ShardPlan, space: str) -> None:
        self._module, self._plan, self._space = module, plan, space
        self._made: dict[_Key, Block] = {}
        self.weights = WeightNames()
        prefill, decode = (module.functions[name] for name in module.entries)
        self._names = {graph: environment(graph) for graph in (prefill, decode)}

    def sequence(self) -> tuple[tuple[Block, str], ...]:
        """The kind and the module path of every stage, in order.

        Raises:
            CodegenError: Prefill and decode do not have the same stages.
        """
        prefill, decode = (self._module.functions[name] for name in self._module.entries)
        scopes = [[str(n.attrs["scope"]) for n in graph.nodes] for graph in (prefill, decode)]
        if scopes[0] != scopes[1]:
            raise CodegenError("prefill and decode do not have the same layers")
        pairs = zip(prefill.nodes, decode.nodes, strict=True)
        blocks = [self._block(first, second) for first, second in pairs]
        return tuple(zip(blocks, scopes[0], strict=True))

    def _block(self, prefill: Node, decode: Node) -> Block:
        calls = (prefill, decode)
        entries = [self._module.functions[name] for name in self._module.entries]
        graphs = [self._module.callee(call) for call in calls]
        inputs = [
            input_names(graph, call, self._names[entry])
            for graph, call, entry in zip(graphs, calls, entries, strict=True)
        ]
        outputs = [
            {
                value: self._names[entry][result]
                for value, result in zip(graph.outputs, call.results, strict=True)
            }
            for graph, call, entry in zip(graphs, calls, entries, strict=True)
        ]
        key = tuple(
            (graph.name, tuple(ins.values()), tuple(outs.values()))
            for graph, ins, outs in zip(graphs, inputs, outputs, strict=True)
        )
        if key not in self._made:
            self._made[key] = self._print(graphs, inputs, outputs, bool(prefill.attrs["scope"]))
        return self._made[key]

    def _print(
        self,
        graphs: list[Graph],
        inputs: list[dict[Value, str]],
        outputs: list[dict[Value, str]],
        scoped: bool,
    ) -> Block:
        if list(outputs[0].values()) != list(outputs[1].values()):
            raise CodegenError("prefill and decode do not make the same tensors")
        ids = TensorIds()
        views: Views = {}
        phases: list[list[Operation]] = []
        for graph, ins, outs in zip(graphs, inputs, outputs, strict=True):
            shards = self._plan.graphs[graph.name]
            printer = BlockPrinter(graph, shards, ids, ins, outs, self.weights, views)
            phases.append(printer.operations())
        gathered = self._plan.graphs[graphs[0].name].gathered
        vocab_size = None if gathered is None else int(str(gathered.type.shape[-1]))
        name = self._free(graphs[0].name.removeprefix("prefill_"))
        variables = text.Names((*_LOCALS, *text.KEYWORDS))
        return Block(
            name=name,
            comment=text.comment(self._describe(name, inputs[0].values())),
            weights=tuple(ids.weights),
            inputs=tuple(ids.inputs),
            input_names=tuple(ids.inputs.values()),
            outputs=tuple(
                Output(
                    ids.output(made),
                    made,
                    variables.name(made, text.variable(made)),
                    tail(value),
                )
                for value, made in outputs[0].items()
            ),
            merged=merge(phases[0], phases[1], ids, tuple(views.values()), vocab_size),
            recipes=self._recipes(graphs),
            tokens_input=ids.input(next(iter(inputs[0].values()))),
            dtype_input=_dtype_input(graphs[0], ids, inputs[0]),
            scoped=scoped,
            space=self._space,
        )

    def _recipes(self, graphs: list[Graph]) -> tuple[tuple[Recipe, Layout | None], ...]:
        found: dict[Recipe, Layout | None] = {}
        for graph in graphs:
            shards = self._plan.graphs[graph.name]
            for value in graph.parameters:
                if value.recipe is not None:
                    found.setdefault(value.recipe, shards.read(value))
        return tuple(found.items())

    def _describe(self, name: str, inputs: Iterable[str]) -> str:
        windows = {n: window_of(feed) for feed in self._module.feeds for n in feed.names}
        window = next((windows[n] for n in inputs if windows.get(n)), None)
        what = name.replace("_", " ").capitalize()
        return f"{what} with a window of {window} tokens." if window else f"{what}."

    def _free(self, name: str) -> str:
        taken = {block.name for block in self._made.values()}
        free, count = name, 1
        while free in taken:
            count += 1
            free = f"{name}_{count}"
        return free


def _dtype_input(graph: Graph, ids: TensorIds, inputs: dict[Value, str]) -> str:
    """The first floating point input: the hidden states, or the table of the embedding."""
    for value, name in inputs.items():
        if value.type.dtype.is_float and not CACHE.fullmatch(name):
            return ids.input(name)
    return next(iter(ids.weights))
