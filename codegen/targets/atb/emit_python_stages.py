"""The entries of a module as the stages that the emitted ``Model`` runs one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from codegen.errors import CodegenError
from codegen.targets.atb.emit_python_facts import window_of
from codegen.targets.atb.emit_python_graph import LIBATB, Builder, GraphPrinter, Output
from codegen.targets.atb.emit_python_weights import PackedWeight, WeightNames, pack, quoted
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import AtbOp
from ir.graph import Graph, Node, Value
from ir.op import lookup
from ir.recipe import Recipe

CACHE = re.compile(r"[kv]_cache(_\d+)?")
LOGITS = "logits"
CARRIED = "hidden_states"


@dataclass(frozen=True)
class WeightsFunction:
    """The function that packs the weights of one kind of stage."""

    name: str
    doc: str
    scoped: bool
    weights: tuple[PackedWeight, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of stage: its two graphs, which may be one, and its weights.

    Attributes:
        name: ``decoder_layer``.
        prefill: Name of the builder for prompts.
        decode: Name of the builder for one token; the same where nothing differs.
        weights: Name of the weights function.
        scoped: The functions take the module path.
    """

    name: str
    prefill: str
    decode: str
    weights: str
    scoped: bool


@dataclass(frozen=True)
class Group:
    """Stages that follow one another.

    Attributes:
        comment: What they are.
        kinds: The kind of each; all the same for ``numbered`` and ``single``.
        scopes: Module paths.
        form: ``single`` (no module path), ``numbered`` (``path.0``, ``path.1``, ...) or ``listed``.
        parent: Of ``numbered``: the path before the number.
    """

    comment: str
    kinds: tuple[Kind, ...]
    scopes: tuple[str, ...]
    form: str
    parent: str = ""

    @property
    def kind(self) -> Kind:
        """The first kind."""
        return self.kinds[0]


@dataclass(frozen=True)
class Stages:
    """Everything that the model file prints about graphs."""

    builders: tuple[Builder, ...]
    functions: tuple[WeightsFunction, ...]
    kinds: tuple[Kind, ...]
    groups: tuple[Group, ...]


def stages_of(module: AtbModule, api: str) -> Stages:
    """Reads the stages off the two entries.

    Raises:
        CodegenError: The entries do not have the same layers.
    """
    prefill, decode = (module.functions[name] for name in module.entries)
    calls = list(zip(prefill.nodes, decode.nodes, strict=False))
    scopes = [[str(n.attrs["scope"]) for n in graph.nodes] for graph in (prefill, decode)]
    if scopes[0] != scopes[1]:
        raise CodegenError("prefill and decode do not have the same layers")
    names = {graph: environment(graph) for graph in (prefill, decode)}
    maker = _Maker(module, api)
    kinds = [maker.kind(first, second, names[prefill], names[decode]) for first, second in calls]
    return Stages(
        maker.builders,
        tuple(maker.functions.values()),
        tuple(dict.fromkeys(kinds)),
        tuple(_groups(kinds, scopes[0])),
    )


def entry_inputs(entry: Graph) -> tuple[str, ...]:
    """Names of an entry's inputs that are not caches."""
    return tuple(v.name for v in entry.inputs if not CACHE.fullmatch(v.name))


def cache_inputs(entry: Graph) -> tuple[Value, ...]:
    """The caches of an entry, keys and values in turn, in the order of use."""
    return tuple(v for v in entry.inputs if CACHE.fullmatch(v.name))


def _read_on_host(graph: Graph) -> list[Value]:
    found: dict[Value, None] = {}
    for node in graph.nodes:
        op = lookup(node.op)
        if issubclass(op, AtbOp):
            for tensor, value in zip(op.tensors(), node.operands, strict=True):
                if tensor.host and value is not None:
                    found[value] = None
    return list(found)


def _read_on_device(graph: Graph) -> set[Value]:
    found: set[Value] = set()
    for node in graph.nodes:
        op = lookup(node.op)
        if issubclass(op, AtbOp):
            for tensor, value in zip(op.tensors(), node.operands, strict=True):
                if value is not None and not tensor.host:
                    found.add(value)
    return found


def environment(entry: Graph) -> dict[Value, str]:
    """What each tensor of an entry is called while the stages run.

    A result that only the next stage reads is the stream through the model; the result of the last
    stage are the logits; anything else keeps a name of its own.
    """
    names = {value: value.name for value in entry.inputs}
    taken = {*names.values(), LOGITS, CARRIED}
    for index, call in enumerate(entry.nodes):
        for position, value in enumerate(call.results):
            following = entry.nodes[index + 1] if index + 1 < len(entry.nodes) else None
            if value in entry.outputs:
                names[value] = LOGITS
            elif position == 0 and value.users == [following]:
                names[value] = CARRIED
            else:
                name, count = value.name, 1
                while name in taken:
                    count += 1
                    name = f"{value.name}_{count}"
                taken.add(name)
                names[value] = name
    return names


#: What a builder is printed from: graph, names of its inputs, names of its outputs.
_Key = tuple[str, tuple[str, ...], tuple[str, ...]]


class _Maker:
    """Makes each builder and weights function once."""

    def __init__(self, module: AtbModule, api: str) -> None:
        self.module, self.api = module, api
        self.functions: dict[object, WeightsFunction] = {}
        self._builders: dict[_Key, Builder] = {}
        self._kinds: dict[tuple[_Key, _Key], Kind] = {}
        self._weights = WeightNames()

    @property
    def builders(self) -> tuple[Builder, ...]:
        """All builders, each once."""
        return tuple(dict.fromkeys(self._builders.values()))

    def kind(
        self, prefill: Node, decode: Node, first: dict[Value, str], second: dict[Value, str]
    ) -> Kind:
        """The kind of one stage."""
        keys = (self._build(prefill, first), self._build(decode, second))
        if keys not in self._kinds:
            self._kinds[keys] = self._new_kind(keys, (prefill, decode))
        return self._kinds[keys]

    def _new_kind(self, keys: tuple[_Key, _Key], calls: tuple[Node, Node]) -> Kind:
        base = keys[0][0].removeprefix("prefill_")
        made = [self._builders[key] for key in keys]
        if replace(made[0], name="", doc="") == replace(made[1], name="", doc=""):
            # nothing depends on the phase: one graph serves both
            shared = replace(
                made[0],
                name=self._free(base),
                doc=made[0].doc.partition(",")[0] + ", for prompts and single tokens alike.",
            )
            self._builders.update(dict.fromkeys(keys, shared))
            made = [shared, shared]
        recipes = [
            value.recipe
            for call in calls
            for value in self.module.callee(call).parameters
            if value.recipe is not None
        ]
        scoped = made[0].scoped
        function = self._function(base, recipes, scoped)
        return Kind(base, made[0].name, made[1].name, function.name, scoped)

    def _build(self, call: Node, names: dict[Value, str]) -> _Key:
        graph = self.module.callee(call)
        inputs = input_names(graph, call, names)
        pairs = zip(graph.outputs, call.results, strict=True)
        outputs = {value: names[result] for value, result in pairs}
        key = (graph.name, tuple(inputs.values()), tuple(outputs.values()))
        if key not in self._builders:
            scope = str(call.attrs["scope"])
            self._builders[key] = self._print(graph, inputs, outputs, scope)
        return key

    def _print(
        self, graph: Graph, inputs: dict[Value, str], outputs: dict[Value, str], scope: str
    ) -> Builder:
        quote = quoted(bool(scope))
        printer = GraphPrinter(graph, inputs, outputs, self._weights, quote, self.api)
        steps = printer.steps()
        host = tuple(inputs[v] for v in _read_on_host(graph))
        phase, _, base = graph.name.partition("_")
        return Builder(
            name=self._free(graph.name),
            doc=_doc(base, phase, self._window(inputs.values())),
            scoped=bool(scope),
            inputs=self._in_tensors(graph, inputs),
            caches=tuple(n for n in inputs.values() if CACHE.fullmatch(n)),
            host=host,
            weights=printer.weight_sources,
            outputs=tuple(Output(name, tail(value)) for value, name in outputs.items()),
            steps=steps,
        )

    def _window(self, names: Iterable[str]) -> int | None:
        """How many tokens the attention over some of these inputs sees, None for all."""
        windows = {name: window_of(feed) for feed in self.module.feeds for name in feed.names}
        return next((windows[name] for name in names if windows.get(name)), None)

    def _in_tensors(self, graph: Graph, inputs: dict[Value, str]) -> tuple[str, ...]:
        """Names of the inputs. In ``torch_atb`` a tensor is on the device or on the host."""
        if self.api == LIBATB:
            return tuple(inputs.values())
        on_device = _read_on_device(graph)
        on_host = tuple(f"{inputs[value]}_host" for value in _read_on_host(graph))
        return (*(name for value, name in inputs.items() if value in on_device), *on_host)

    def _function(self, base: str, recipes: Sequence[Recipe], scoped: bool) -> WeightsFunction:
        key = (scoped, tuple(dict.fromkeys(recipes)))
        if key not in self.functions:
            taken = {function.name for function in self.functions.values()}
            name, count = f"{base}_weights", 1
            while name in taken:
                count += 1
                name = f"{base}_{count}_weights"
            entries = pack(self._weights, recipes, quoted(scoped))
            doc = f"Weights of the {base.replace('_', ' ')} by tensor name."
            self.functions[key] = WeightsFunction(name, doc, scoped, entries)
        return self.functions[key]

    def _free(self, name: str) -> str:
        taken = {builder.name for builder in self.builders}
        free, count = name, 1
        while free in taken:
            count += 1
            free = f"{name}_{count}"
        return free


def input_names(graph: Graph, call: Node, names: dict[Value, str]) -> dict[Value, str]:
    """What the inputs of a graph are called: as in the entry, caches as in the graph."""
    found: dict[Value, str] = {}
    for value, passed in zip(graph.inputs, call.inputs, strict=True):
        is_cache = bool(CACHE.fullmatch(passed.name)) and not passed.producer
        found[value] = value.name if is_cache else names[passed]
    return found


def tail(value: Value) -> tuple[int, ...]:
    """The shape of a result without its first dimension, the tokens."""
    return tuple(int(str(dim)) for dim in value.type.shape[1:])


def _doc(base: str, phase: str, window: int | None) -> str:
    what = base.replace("_", " ").capitalize()
    if window is not None:
        what += f" with a window of {window} tokens"
    when = "all tokens of the prompts" if phase == "prefill" else "one new token of each sequence"
    return f"{what}, for {when}."


def _groups(kinds: Sequence[Kind], scopes: Sequence[str]) -> list[Group]:
    groups: list[Group] = []
    start = 0
    for stop in range(1, len(kinds) + 1):
        goes_on = stop < len(kinds) and bool(scopes[stop]) and bool(scopes[start])
        if goes_on:
            continue
        groups.append(_group(tuple(kinds[start:stop]), tuple(scopes[start:stop])))
        start = stop
    return groups


def _group(kinds: tuple[Kind, ...], scopes: tuple[str, ...]) -> Group:
    if not scopes[0]:
        return Group(kinds[0].name.replace("_", " ").capitalize(), kinds, scopes, "single")
    parent = scopes[0].rpartition(".")[0]
    numbered = all(scope == f"{parent}.{i}" for i, scope in enumerate(scopes))
    if numbered and len(set(kinds)) == 1:
        return Group(f"{len(kinds)} equal layers", kinds, scopes, "numbered", parent)
    count = len(set(kinds))
    return Group(f"{len(kinds)} layers of {count} kinds", kinds, scopes, "listed")
