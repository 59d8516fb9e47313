"""Raises a whole module and reconnects its functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from codegen.errors import Problem, UnsupportedError
from codegen.frontend.raising import finish
from codegen.frontend.raising.activations import raise_activations
from codegen.frontend.raising.eager import fold_eager_attention
from codegen.frontend.raising.flatten import SEQ_LENS, Flat, flatten
from codegen.frontend.raising.norms import raise_norms
from codegen.frontend.raising.problems import NoMatch, Reasons
from codegen.frontend.raising.ropes import Table, raise_ropes, table_inputs
from codegen.frontend.raising.statics import Statics
from ir.graph import Graph, Location, Module, Value
from ir.llm.rope import RopeTable
from ir.types import DType, Sym, TensorType
from ir.verify import verify

POSITIONS = TensorType((Sym.of("tokens"),), DType.INT64)


@dataclass
class Raised:
    """A raised module and what its patterns did not match.

    Attributes:
        module: The llm module.
        misses: Patterns that were tried and failed, with their reasons.
    """

    module: Module
    misses: list[NoMatch]


class RaisingFailedError(UnsupportedError):
    """A module that could not be raised.

    Attributes:
        misses: As in `Raised`.
    """

    def __init__(self, problems: Iterable[Problem], misses: Iterable[NoMatch]) -> None:
        super().__init__(problems)
        self.misses = list(misses)


@dataclass
class _Layer:
    """A flat function and the extra inputs that its callers must pass."""

    flat: Flat
    tables: dict[Table, tuple[Value, Value]] = field(
        default_factory=dict[Table, tuple[Value, Value]]
    )


def raise_module(traced: Module) -> Raised:
    """Turns a traced module into a semantic one.

    Args:
        traced: Module of ``aten.*`` and ``trace.*`` nodes with one entry; it is left as it is.

    Returns:
        The llm module, verified.

    Raises:
        UnsupportedError: With everything that could not be raised, module path and source line.
    """
    module, reasons = traced.copy(), Reasons()
    statics = Statics(module)
    broken: set[str] = set()
    for graph in module:
        known = len(reasons.problems)
        fold_eager_attention(graph, statics, reasons)
        if len(reasons.problems) > known:
            broken.add(graph.name)  # what follows from that is not worth telling
    statics = Statics(module)
    limit = int(str(module.meta.get("max_position_embeddings") or 2048))
    layers = {
        graph.name: _raise_graph(graph, statics, reasons, limit)
        for graph in module
        if graph.name not in broken
    }
    if reasons.problems:
        raise RaisingFailedError(reasons.problems, reasons.misses)
    raised = Module({}, module.entries, dict(module.meta))
    for name, layer in layers.items():
        _connect(layer, layers, is_entry=name in module.entries)
        raised.functions[name] = layer.flat.graph
    verify(raised)
    return Raised(raised, reasons.misses)


def _raise_graph(graph: Graph, statics: Statics, reasons: Reasons, limit: int) -> _Layer:
    known = len(reasons.problems)
    flat = flatten(graph, statics, reasons)
    layer = _Layer(flat)
    if len(reasons.problems) > known:
        return layer
    raise_norms(flat.graph, reasons)
    raise_activations(flat.graph, reasons)
    raise_ropes(flat, layer.tables)
    finish.raise_arithmetic(flat.graph)
    finish.absorb_grouped_heads(flat.graph)
    finish.absorb_query_scale(flat.graph)
    finish.settle_probes(flat, limit)
    finish.report_leftovers(flat.graph, reasons)
    return layer


def _connect(layer: _Layer, layers: dict[str, _Layer], is_entry: bool) -> None:
    """Passes tables, positions and sequence lengths on to the callees, which are done already."""
    graph = layer.flat.graph
    for call in graph.find("func.call"):
        callee = layers[str(call.attrs["callee"])]
        extra: dict[Value, Value] = {}
        for table, pair in callee.tables.items():
            if table not in layer.tables:
                layer.tables[table] = table_inputs(graph, table, len(layer.tables))
            extra.update(zip(pair, layer.tables[table], strict=True))
        for formal in callee.flat.graph.inputs[len(call.operands) :]:
            call.add_operand(extra.get(formal) or _shared_input(graph, formal.name, formal.type))
    if is_entry:
        _make_tables(graph, layer.tables)
        _shared_input(graph, "positions", POSITIONS)
        _shared_input(graph, "seq_lens", SEQ_LENS)
    _order_inputs(graph, layer.tables)


def _shared_input(graph: Graph, name: str, type: TensorType) -> Value:
    for value in graph.inputs:
        if value.name == name:
            return value
    return graph.add_input(name, type)


def _order_inputs(graph: Graph, tables: dict[Table, tuple[Value, Value]]) -> None:
    """Data first, then tables, then positions, then sequence lengths."""
    last = {"positions": 2, "seq_lens": 3}
    of_tables = {value for pair in tables.values() for value in pair}
    graph.inputs.sort(key=lambda v: 1 if v in of_tables else last.get(v.name, 0))


def _make_tables(graph: Graph, tables: dict[Table, tuple[Value, Value]]) -> None:
    """Computes the rotary tables at the top of the entry graph."""
    if not tables:
        return
    positions = _shared_input(graph, "positions", POSITIONS)
    seq_lens = _shared_input(graph, "seq_lens", SEQ_LENS)
    first = graph.nodes[0]
    for table, (cos, sin) in tables.items():
        node = RopeTable.build(
            graph,
            positions,
            seq_lens,
            _frequencies(graph, table.inv_freq, "inv_freq"),
            _frequencies(graph, table.long_inv_freq, "long_inv_freq"),
            loc=Location("rotary_emb"),
            before=first,
            named=["cos", "sin"],
            style=table.style,
            scale=table.scale,
            original_max_position=table.original_max_position,
            dynamic_factor=table.dynamic_factor,
            dynamic_base=table.dynamic_base,
        )
        for placeholder, result in zip((cos, sin), node.results, strict=True):
            graph.replace_uses(placeholder, result)
            graph.inputs.remove(placeholder)


def _frequencies(graph: Graph, numbers: tuple[float, ...] | None, name: str) -> Value | None:
    if numbers is None:
        return None
    return graph.add_constant(
        torch.tensor(numbers), TensorType((len(numbers),), DType.FLOAT32), name
    )
