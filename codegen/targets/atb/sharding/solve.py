"""Finds the layout of every tensor of one graph.

Attention is divided by heads, pairs of products with only element-wise operations between them by
the features in between, the output projection by the vocabulary. What follows from that is found
by applying the rules until nothing changes; where they conflict, that block is left whole.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from codegen.targets.atb import ops
from codegen.targets.atb.sharding.layout import ConflictError, Layout, Part, Unit
from codegen.targets.atb.sharding.rules import attention_units, relate, unsettled
from codegen.targets.atb.sharding.state import State
from ir.graph import Graph, Node, Value

_ATTENTION = (ops.SelfAttention.name, ops.PagedAttention.name)


@dataclass(frozen=True)
class GraphShards:
    """Layouts in one graph.

    Attributes:
        layouts: Of every tensor that is divided where it is made.
        cuts: Of every tensor that is whole where it is made and sliced by its readers.
        reduced: Products of divided features: their results are summed over the ranks.
        gathered: The output that is made in parts and has to be put together, None without.
        notes: What is left whole, and why.
    """

    layouts: dict[Value, Layout]
    cuts: dict[Value, Layout]
    reduced: frozenset[Node]
    gathered: Value | None
    notes: tuple[str, ...]

    def read(self, value: Value) -> Layout | None:
        """The layout that readers of a value see."""
        return self.cuts.get(value) or self.layouts.get(value)


def solve(graph: Graph, divisible: Collection[Value], makes_logits: bool = False) -> GraphShards:
    """Divides a graph among ranks.

    Args:
        graph: Graph of ``atb.*`` operations.
        divisible: The inputs of which a rank may have a part (caches, masks with heads); all
            others are whole, and so are the outputs.
        makes_logits: The output may be made in parts along its last axis, to be put together.

    Returns:
        Layouts with which every rank can compute its part.
    """
    state = State(graph)
    for value in graph.inputs:
        if value not in divisible:
            state.assign(value, None)
    gathered = _divide_vocabulary(state) if makes_logits else None
    for value in graph.outputs:
        if value is not gathered:
            state.assign(value, None)
    _settle(state)
    notes: list[str] = []
    _divide_attention(state, notes)
    for node in graph.find(ops.Linear.name):
        _divide_features(state, node)
    return GraphShards(
        {value: layout for value, layout in state.layouts.items() if layout is not None},
        dict(state.cuts),
        frozenset(state.reduced),
        gathered,
        tuple(notes),
    )


def _settle(state: State) -> None:
    """Applies rules until nothing changes.

    Raises:
        ConflictError: They do not go together.
    """
    while True:
        for node in state.waiting():
            relate(state, node)
        whole = [value for node in state.graph.nodes for value in unsettled(state, node)]
        if not whole:
            break
        for value in whole:
            if not state.known(value):
                state.assign(value, None)
    for node in state.graph.nodes:  # also those that nothing woke
        relate(state, node)


def _divide_attention(state: State, notes: list[str]) -> None:
    nodes = [node for node in state.graph.nodes if node.op in _ATTENTION]
    state.may_cut = True
    try:
        with state.attempt():
            for node in nodes:
                heads, _ = attention_units(node)
                state.assign(node.result, Layout(1, (Part(heads.count, heads),)))
            _settle(state)
    except ConflictError as conflict:
        notes.append(f"every rank has all attention heads: {conflict}")
    if not nodes and any(value.type.rank == 4 for value in state.graph.inputs):
        notes.append("every rank has all attention heads: attention is spelled out")
    state.may_cut = False


def _divide_features(state: State, node: Node) -> None:
    """Divides what a product sums over, if only products and element-wise operations make it."""
    x = node.operand(0)
    size = x.type.shape[-1]
    if state.known(x) or x.type.rank != 2 or not isinstance(size, int):
        return
    try:
        with state.attempt():
            state.assign(x, Layout(1, (Part(size, Unit("intermediate", size)),)))
            _settle(state)
    except ConflictError:
        return


def _divide_vocabulary(state: State) -> Value | None:
    """Divides the logits, if they come from a product through element-wise operations."""
    (logits,) = state.graph.outputs
    size = logits.type.shape[-1]
    if logits.type.rank != 2 or not isinstance(size, int):
        return None
    try:
        with state.attempt():
            state.assign(logits, Layout(1, (Part(size, Unit("vocab", size)),)))
            _settle(state)
    except ConflictError:
        return None
    return logits
