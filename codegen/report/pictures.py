"""What is drawn of a model: ATB operations of each kind of layer, or modules if not compiled."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.report.counterparts import base_name
from codegen.report.drawing import Drawing, Item, draw
from codegen.report.engines import HOST, Engine, engine_of, slowest
from codegen.report.evidence import Evidence
from codegen.report.lowered import Layer, layers_of, op_type, public_nodes
from codegen.report.operation import Operation
from codegen.report.skeleton import Part
from codegen.report.tree import layer_kinds
from codegen.report.verdict import Fate
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.ops import AtbOp
from ir.graph import Node, Value
from ir.op import lookup


def drawings(evidence: Evidence, fates: Mapping[str, Fate]) -> tuple[Drawing, ...]:
    """The drawings of a model.

    Args:
        evidence: The model.
        fates: What became of its operations.
    """
    if evidence.atb is not None:
        phase = evidence.atb.entries[0]
        return tuple(_layer(layer, phase) for layer in layers_of(evidence.atb, phase))
    if not evidence.is_traced:
        return ()
    kinds = layer_kinds(evidence.operations)
    paths = _layer_paths(evidence.skeleton.root)
    distinct = dict.fromkeys(kinds.get(path, path) for path in paths)
    return tuple(_modules(evidence, path, fates) for path in distinct)


def _layer(layer: Layer, phase: str) -> Drawing:
    names = operation_names(layer.graph)
    shown = public_nodes(layer.graph)
    by_value = {value: names[node] for node in shown for value in node.results}
    data = [v for v in layer.graph.inputs if _is_data(v)]
    items = [Item(f"%{v.name}", v.name, str(v.type), "input", ()) for v in data]
    by_value.update({v: f"%{v.name}" for v in data})
    for node in shown:
        reads = dict.fromkeys(by_value[v] for v in map(_solid, node.inputs) if v in by_value)
        style = engine_of(op_type(node)).lower()
        items.append(Item(names[node], names[node], _detail(node), style, tuple(reads)))
    return draw(f"{layer.label}, {phase}, run {layer.count} times", items)


def _is_data(value: Value) -> bool:
    """Whether an input is what flows through the layer: a floating point tensor per token."""
    if value.name.startswith(("k_cache", "v_cache")) or value.name.endswith("mask"):
        return False
    return any(op_type(n) not in ("Rope", "") for n in value.users) and value.name not in (
        "cos", "sin", "seq_lens", "slots", "block_tables", "context_lens",
    )  # fmt: skip


def _solid(value: Value) -> Value:
    """The tensor behind a view; of what an operation wrote in place, that operation's result."""
    while value.producer is not None and not op_type(value.producer):
        value = value.producer.operand(0)
    return value


def _detail(node: Node) -> str:
    op = lookup(node.op)
    assert issubclass(op, AtbOp)
    kind = next(
        (str(node.attrs[a]) for a in ("elewise_type", "activation_type") if a in node.attrs), ""
    )
    weight = next((v for v in node.inputs if v.recipe is not None), None)
    extra = kind.partition("_")[2].lower() if kind else ""
    if weight is not None:
        extra = "×".join(map(str, weight.type.shape))
    return " ".join(part for part in (op.op_type, extra) if part)


def _layer_paths(part: Part) -> list[str]:
    """Paths of the members of the first list of modules."""
    if part.is_list and part.parts:
        return [member.path for member in part.parts]
    return next((found for p in part.parts if (found := _layer_paths(p))), [])


def _modules(evidence: Evidence, layer: str, fates: Mapping[str, Fate]) -> Drawing:
    """One box for each stretch of operations of one module; what is only layout is left out."""
    boxes: list[_Stretch] = []
    origin: dict[str, frozenset[str]] = {}
    for operation in evidence.operations:
        if operation.module != layer and not operation.module.startswith(f"{layer}."):
            continue
        fate = fates[operation.name]
        reads = frozenset(key for read in operation.reads for key in origin.get(read, ()))
        if fate.engine == HOST and not fate.reason:
            origin[operation.name] = reads
            continue
        if not boxes or boxes[-1].module != operation.module:
            boxes.append(_Stretch(str(len(boxes)), operation.module))
        boxes[-1].add(operation, fate, reads)
        origin[operation.name] = frozenset((boxes[-1].key,))
    return draw(f"{layer} as traced", [box.item(layer) for box in boxes])


class _Stretch:
    """Operations of one module that follow each other."""

    def __init__(self, key: str, module: str) -> None:
        self.key = key
        self.module = module
        self._types: dict[str, None] = {}
        self._reads: set[str] = set()
        self._engines: set[Engine] = set()
        self._is_blocked = False

    def add(self, operation: Operation, fate: Fate, reads: frozenset[str]) -> None:
        """Takes one more operation in."""
        self._types[base_name(operation.type)] = None
        self._reads |= reads - {self.key}
        self._engines.add(fate.engine)
        self._is_blocked = self._is_blocked or bool(fate.reason)

    def item(self, layer: str) -> Item:
        """The box."""
        name = self.module.removeprefix(layer).removeprefix(".") or layer.rpartition(".")[2]
        style = "blocked" if self._is_blocked else slowest(self._engines).lower()
        reads = tuple(sorted(self._reads, key=int))
        return Item(self.key, name, ", ".join(self._types), style, reads)
