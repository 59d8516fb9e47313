"""Finds the first operation of generated code that computes something else than the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from codegen.parity import Departure, sqnr_db
from codegen.replay import Event
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.ops.base import AtbOp
from codegen.targets.atb.ops.shape import Reshape
from ir.graph import Graph, Location, Module, Node, Value
from ir.op import lookup

#: Below this signal to noise ratio a tensor is not the one it should be. Float32 arithmetic in
#: another order stays above 110 dB.
DEPARTS_DB = 100.0


#: An operation of the generated code: which graph of the step, and its name in it.
Key = tuple[int, str]


def keys(module: Module, phase: str) -> dict[tuple[str, Node], Key]:
    """What every ``(scope, operation)`` of an ATB module is in the generated code."""
    found: dict[tuple[str, Node], Key] = {}
    names: dict[str, dict[Node, str]] = {}
    for index, call in enumerate(module.functions[phase].find("func.call")):
        callee = module.callee(call)
        for node, name in names.setdefault(callee.name, operation_names(callee)).items():
            found[str(call.attrs["scope"]), node] = (index, name)
    return found


def layer_outputs(module: Module, phase: str) -> dict[Key, tuple[str, int]]:
    """The operation that makes each layer's first output, to module path and result number."""
    found: dict[Key, tuple[str, int]] = {}
    known = keys(module, phase)
    for call in module.functions[phase].find("func.call"):
        scope, value = str(call.attrs["scope"]), _unshaped(module.callee(call).outputs[0])
        if scope and value.producer is not None:
            found[known[scope, value.producer]] = (scope, value.index)
    return found


def _unshaped(value: Value) -> Value:
    while value.producer is not None and value.producer.op == Reshape.name:
        value = value.producer.operand(0)
    return value


def first_wrong_in_code(
    phase: str,
    module: Module,
    ran: Mapping[Key, Sequence[Tensor]],
    expected: Iterable[Event],
) -> Departure | None:
    """The first operation of the generated code that differs from its own ATB graph.

    Args:
        phase: ``prefill`` or ``decode``.
        module: The ATB module that the code was generated from.
        ran: Results of every operation, as the code computed them.
        expected: The same phase through the interpreter.
    """
    known = keys(module, phase)
    for event in expected:
        key = known.get((event.scope, event.node))
        if key is None:
            continue
        if key not in ran:
            return _departure(phase, module, event, f"{event.node.op}, which did not run")
        op = lookup(event.node.op)
        inplace = op.inplace if issubclass(op, AtbOp) else {}
        found = ran[key]
        wanted = [t for i, t in enumerate(event.results) if i not in inplace]
        if len(found) == len(event.results):
            found = [t for i, t in enumerate(found) if i not in inplace]
        ratios = [_ratio(a, b) for a, b in zip(found, wanted, strict=False)]
        if len(found) != len(wanted) or any(ratio < DEPARTS_DB for ratio in ratios):
            return _departure(phase, module, event, event.node.op, min(ratios, default=0.0))
    return None


def first_wrong_in_graph(
    phase: str, module: Module, lowered: Sequence[Event], wanted: Sequence[Event]
) -> Departure | None:
    """The first semantic operation that its lowering does not compute.

    Operations of both graphs belong together when they come from the same place of the model. A
    lowering may compute something else on the way (scale the query instead of the scores), so an
    operation is wrong only if nothing that depends on it is right again.

    Args:
        phase: ``prefill`` or ``decode``.
        module: The ATB module.
        lowered: What its operations computed.
        wanted: What the semantic operations computed.
    """
    places: dict[tuple[str, Location], list[Event]] = {}
    for event in lowered:
        places.setdefault((event.scope, event.node.loc), []).append(event)
    verdicts: dict[tuple[str, Node], tuple[float, Event]] = {}
    for event in wanted:
        for result in event.results:
            candidates = [
                (_ratio(tensor, result), made)
                for made in places.get((event.scope, event.node.loc), [])
                for tensor in made.results
                if tensor.numel() == result.numel()
            ]
            if candidates:
                best = max(candidates, key=lambda pair: pair[0])
                verdicts[event.scope, event.node] = best
    for event in wanted:
        ratio, made = verdicts.get((event.scope, event.node), (DEPARTS_DB, event))
        if ratio < DEPARTS_DB and not _right_again(event, verdicts):
            operation = f"{made.node.op} for {event.node.op}"
            return _departure(phase, module, made, operation, ratio)
    return None


def _right_again(event: Event, verdicts: Mapping[tuple[str, Node], tuple[float, Event]]) -> bool:
    """Whether something in the same layer that depends on an operation is right."""
    seen: set[Node] = set()
    waiting = [event.node]
    while waiting:
        for user in (user for value in waiting.pop().results for user in value.users):
            if user in seen:
                continue
            seen.add(user)
            waiting.append(user)
            if verdicts.get((event.scope, user), (0.0, event))[0] >= DEPARTS_DB:
                return True
    return False


def _ratio(found: Tensor, wanted: Tensor) -> float:
    if found.numel() != wanted.numel():
        return 0.0
    return sqnr_db(found.reshape(-1), wanted.reshape(-1))


def _departure(
    phase: str, module: Module, event: Event, operation: str, ratio: float = 0.0
) -> Departure:
    place = event.node.loc
    return Departure(
        phase=phase,
        layer=event.scope,
        operation=operation,
        module=_in_layer(module, phase, event, place.module),
        source=place.source,
        sqnr_db=ratio,
    )


def _in_layer(module: Module, phase: str, event: Event, path: str) -> str:
    """A module path inside the layer that ran, which may stand for a later one like it."""
    for call in module.functions[phase].find("func.call"):
        first = str(call.attrs["scope"])
        if event.scope and _holds(module.callee(call), event.node) and path.startswith(first):
            return event.scope + path.removeprefix(first)
    return path


def _holds(graph: Graph, node: Node) -> bool:
    return any(other is node for other in graph.nodes)
