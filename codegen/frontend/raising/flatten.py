"""Step two of raising: the traced graph in flat form (``canon``), views and products as llm ops.

Only what depends on weights or token ids is converted. A static operand (positions, cos, sin)
becomes a *probe*: a placeholder input of the flat graph, remembered with the traced value behind
it, for the rules that look at numbers. Element-wise and reducing ATen operations stay what they
are, on flat operands; the pattern rules come after.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from codegen.frontend.raising import flat_ops
from codegen.frontend.raising.canon import flat_type, has_tokens
from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import Statics
from ir.errors import IrError
from ir.graph import Graph, Node, Value
from ir.types import DType, Sym, TensorType

SEQ_LENS = TensorType((Sym.of("batch"),), DType.INT32)


@dataclass
class Flat:
    """One function on its way from traced to flat form.

    Attributes:
        traced: The function as imported.
        graph: The flat function being built.
        statics: Classifier of the whole traced module.
        reasons: Collects what cannot be converted.
        probes: Placeholder input of the flat graph -> traced static value it stands for.
        seq_lens: The input that attention and rotary tables need.
        empty: Traced values without elements (what partial rotary leaves when it is not partial).
    """

    traced: Graph
    graph: Graph
    statics: Statics
    reasons: Reasons
    probes: dict[Value, Value] = field(default_factory=dict[Value, Value])
    seq_lens: Value | None = None
    empty: set[Value] = field(default_factory=set[Value])
    _flat: dict[Value, Value] = field(default_factory=dict[Value, Value])
    _probe_of: dict[Value, Value] = field(default_factory=dict[Value, Value])

    def value(self, traced: Value) -> Value:
        """The flat value of a traced one; static values become constants or probes."""
        known = self._flat.get(traced)
        if known is not None:
            return known
        if not self.statics.is_static(traced):
            raise ValueError(f"%{traced.name} could not be converted")
        if not has_tokens(traced.type):
            data = self.statics.evaluate(traced, NO_POSITIONS)
            made = self.graph.add_constant(data, traced.type, traced.name)
        else:
            origin = self.statics.origin(traced)
            if origin not in self._probe_of:
                probe = self.graph.add_input(origin.name, flat_type(origin.type))
                self._probe_of[origin] = probe
                self.probes[probe] = origin
            made = self._probe_of[origin]
        self._flat[traced] = made
        return made

    def bind(self, traced: Value, flat: Value) -> None:
        """Records the flat value of a traced one.

        Raises:
            ValueError: Its type is not the flat form of the traced type (a bug in a handler).
        """
        if has_tokens(traced.type) and flat.type != flat_type(traced.type):
            raise ValueError(f"%{traced.name} became {flat.type}, not {flat_type(traced.type)}")
        self._flat[traced] = flat

    def need_seq_lens(self) -> Value:
        """The ``seq_lens`` input, created on first use."""
        if self.seq_lens is None:
            self.seq_lens = self.graph.add_input("seq_lens", SEQ_LENS)
        return self.seq_lens


#: Positions for evaluating values that depend on none.
NO_POSITIONS = torch.arange(2)


def flatten(traced: Graph, statics: Statics, reasons: Reasons) -> Flat:
    """Converts one function. Nodes without a handler are collected in ``reasons``."""
    flat = Flat(traced, Graph(traced.name), statics, reasons)
    for value in traced.inputs:
        if not statics.is_static(value):
            flat.bind(value, flat.graph.add_input(value.name, flat_type(value.type)))
    for value in traced.parameters:
        assert value.recipe is not None
        flat.bind(value, flat.graph.add_parameter(value.type, value.recipe, value.name))
    for node in traced.nodes:
        if all(statics.is_static(result) for result in node.results):
            continue
        if any(0 in result.type.shape for result in node.results):
            flat.empty.update(node.results)
            continue
        try:
            _convert(flat, node)
        except (ValueError, TypeError, IndexError, KeyError, IrError) as error:
            reasons.unsupported(node, f"{node.op} cannot be converted: {error}")
            return flat
    try:
        flat.graph.outputs = [flat.value(value) for value in traced.outputs]
    except ValueError as error:
        reasons.unsupported(traced.nodes[-1], f"@{traced.name} has no usable output: {error}")
    merge_equal(flat.graph)
    return flat


def merge_equal(graph: Graph) -> None:
    """Makes one node of those that compute the same (a mean that is written twice)."""
    known: dict[object, Node] = {}
    for node in list(graph.nodes):
        if node.op == "func.call":
            continue
        key = (node.op, tuple(node.operands), tuple(sorted(node.attrs.items(), key=repr)))
        first = known.setdefault(key, node)
        if first is not node:
            for old, new in zip(node.results, first.results, strict=True):
                graph.replace_uses(old, new)
            graph.erase(node)


def _convert(flat: Flat, node: Node) -> None:
    key = base_name(node) or node.op
    handler = flat_ops.HANDLERS.get(key)
    if handler is None:
        raise ValueError("no rule for this operation")
    handler(flat, node)
