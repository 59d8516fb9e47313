"""Raises non-linearities, by operator where ATen has it and by numbers where it is written out.

A chain of element-wise operations with one input and constants computes some ``y = f(x)``. It is
evaluated on a grid and compared with every known activation, so the many spellings of GELU need
no pattern each.
"""

from __future__ import annotations

from typing import Any

import torch

from codegen.frontend.raising.chains import chain, leaves, run_chain
from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import decode
from ir.graph import Graph, Node, Value
from ir.llm.elementwise import ACTIVATIONS, Activation, Clamp, Softcap

_GRID = torch.cat((torch.linspace(-12, 12, 4801), torch.tensor([0.0, 1e-3, -1e-3])))
#: float32 arithmetic in another order differs by a few units in the last place of values up to 12.
_TOLERANCE = 4e-6
#: Operations after the anchor that may still belong to it.
_LONGEST = 8
_POINTWISE = set(
    "abs add div elu erf exp gelu hardswish log mish mul neg pow reciprocal relu rsub selu sigmoid "
    "silu softplus sqrt square sub tanh".split()
)
_NON_LINEAR = set(
    "abs elu erf exp gelu hardswish log mish pow relu selu sigmoid silu softplus sqrt square "
    "tanh".split()
)


def raise_activations(graph: Graph, reasons: Reasons) -> int:
    """Replaces every recognised non-linearity of a flat graph; returns how many."""
    found = 0
    for anchor in list(graph.nodes):
        if anchor not in graph.nodes:
            continue
        if base_name(anchor) in ("clamp", "clamp_min", "clamp_max"):
            found += _raise_clamp(graph, anchor)
        elif base_name(anchor) in _NON_LINEAR:
            found += _raise_from(graph, anchor, reasons)
    graph.remove_dead()
    return found


def _is_pointwise(node: Node) -> bool:
    return base_name(node) in _POINTWISE


def _source(nodes: set[Node]) -> Value | None:
    """The one tensor that a chain is computed from, if it is one; numbers do not count."""
    sources = [v for v in leaves(nodes) if v.data is None or v.data.numel() > 1]
    return sources[0] if len(sources) == 1 else None


def _regions(anchor: Node) -> list[tuple[Node, set[Node], Value]]:
    """Growing chains around the anchor: ``(last node, nodes, x)``, the largest last."""
    regions: list[tuple[Node, set[Node], Value]] = []
    last: Node | None = anchor
    for _ in range(_LONGEST):
        if last is None or not _is_pointwise(last):
            break
        for stop in (anchor.operand(0), None):
            nodes = chain(last, _is_pointwise, stop)
            x = _source(nodes)
            if x is not None and x.type == last.result.type:
                regions.append((last, nodes, x))
        users = last.result.users
        last = users[0] if len(users) == 1 else None
    return regions


def _raise_from(graph: Graph, anchor: Node, reasons: Reasons) -> int:
    for last, nodes, x in reversed(_regions(anchor)):
        y = run_chain(graph, nodes, {x: _GRID}, last.result, _GRID.numel())
        known = _known(y, nodes)
        if known is None:
            continue
        op, attrs = known
        node = op.build(
            graph, x, loc=anchor.loc, before=last, named=[last.result.name], types=None, **attrs
        )
        graph.replace_uses(last.result, node.result)
        graph.remove_dead()
        return 1
    reasons.no_match("activation", anchor, "its numbers are those of no known activation")
    return 0


def _known(
    y: torch.Tensor, nodes: set[Node]
) -> tuple[type[Activation] | type[Softcap], dict[str, Any]] | None:
    for kind, function in ACTIVATIONS.items():
        if torch.allclose(y, function(_GRID), rtol=1e-6, atol=_TOLERANCE):
            return Activation, {"kind": kind}
    for cap in _numbers(nodes):
        if cap > 0 and torch.allclose(y, cap * torch.tanh(_GRID / cap), rtol=1e-6, atol=_TOLERANCE):
            return Softcap, {"cap": cap}
    return None


def _numbers(nodes: set[Node]) -> list[float]:
    """The plain numbers that a chain multiplies or divides by, sorted."""
    found: set[float] = set()
    for node in nodes:
        for argument in decode(node)[0]:
            if isinstance(argument, int | float) and not isinstance(argument, bool):
                found.add(float(argument))
            elif isinstance(argument, Value) and argument.data is not None:
                found.update(argument.data.flatten().tolist() if argument.data.numel() == 1 else ())
    return sorted(found)


def _raise_clamp(graph: Graph, node: Node) -> int:
    args, kwargs = decode(node)
    name = base_name(node)
    low = kwargs.get("min", args[1] if name != "clamp_max" and len(args) > 1 else None)
    high = kwargs.get("max", args[-1] if name != "clamp_min" and len(args) > 1 else None)
    if name == "clamp":
        high = kwargs.get("max", args[2] if len(args) > 2 else None)
    bounds = [float(str(v)) if isinstance(v, int | float) else None for v in (low, high)]
    if None in bounds:
        return 0
    made = Clamp.build(
        graph, node.operand(0), loc=node.loc, before=node, low=bounds[0], high=bounds[1]
    )
    graph.replace_uses(node.result, made.result)
    return 1
