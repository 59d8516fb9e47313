"""Tidies an imported module: masks become attributes, functions lose what nobody uses."""

from __future__ import annotations

from collections import defaultdict

from codegen.frontend.ops import Visibility
from ir.graph import Graph, Module, Node


def tidy(module: Module) -> None:
    """Absorbs masks into attention, and removes dead nodes, inputs and results everywhere."""
    for graph in module:
        for node in graph.find("trace.attention"):
            _absorb_mask(node)
    # Callers come after callees, so going backwards sees every call before the callee itself.
    for graph in reversed(list(module)):
        calls = [call for caller in module for call in caller.find("func.call")
                 if call.attrs["callee"] == graph.name]  # fmt: skip
        if graph.name not in module.entries:
            _drop_results(graph, calls)
        graph.remove_dead()
        if graph.name not in module.entries:
            _drop_inputs(graph, calls)
    for graph in module:
        graph.remove_dead()


def _absorb_mask(node: Node) -> None:
    mask = node.operands[3]
    if mask is None or mask.op != "trace.mask" or mask.producer is None:
        return
    if mask.producer.operands[0] is not None:
        return
    seen, own = Visibility.of(mask.producer.attrs), Visibility.of(node.attrs)
    if own != Visibility():
        return
    node.attrs.update(causal=seen.causal, window=seen.window, chunk=seen.chunk)
    node.set_operand(3, None)


def _drop_results(graph: Graph, calls: list[Node]) -> None:
    used: dict[int, bool] = defaultdict(bool)
    for call in calls:
        for result in call.results:
            used[result.index] |= bool(result.uses)
    kept = [index for index in range(len(graph.outputs)) if used[index]]
    graph.outputs = [graph.outputs[index] for index in kept]
    for call in calls:
        call.results = [call.results[index] for index in kept]
        for index, result in enumerate(call.results):
            result.index = index


def _drop_inputs(graph: Graph, calls: list[Node]) -> None:
    kept = [
        index
        for index, value in enumerate(graph.inputs)
        if value.uses or value in graph.outputs or index == 0
    ]
    graph.inputs = [graph.inputs[index] for index in kept]
    for call in calls:
        call.set_operands([call.operands[index] for index in kept])
