"""For which numbers of tokens a trace is good: what its guards leave of them."""

from __future__ import annotations

from typing import Any

import sympy
from torch.export import ExportedProgram

from codegen.errors import Problem, UnsupportedError

#: Lengths at which guards and size expressions are evaluated. A trace is made with at least two
#: tokens, and what it then assumes ("not 1") does not change what one token means.
PROBES = (*range(2, 257), *(2**k + d for k in range(9, 21) for d in (-1, 0, 1)))


def longest(program: ExportedProgram, traced: int) -> int | None:
    """The longest sequence such that the trace covers it and every shorter one.

    Returns:
        None if there is no limit.

    Raises:
        UnsupportedError: Already shorter sequences than the traced one are not covered.
    """
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"]
    conditions = [guard.expr for guard in inputs[-1].shape[1].node.shape_env.guards]
    for symbol, interval in program.range_constraints.items():
        conditions.append(symbol >= interval.lower)
        if interval.upper.is_Integer:
            conditions.append(symbol <= interval.upper)
    limits = [_limit(condition, traced) for condition in conditions]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(condition: Any, traced: int) -> int | None:
    bad = next((n for n in PROBES if not _holds(condition, n)), None)
    if bad is None:
        return None
    if bad < traced:
        reason = f"the code works only for some numbers of tokens: {condition}"
        remedy = "make the code independent of the length of the sequence"
        raise UnsupportedError([Problem("", "", reason, remedy)])
    good = PROBES[PROBES.index(bad) - 1]
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _holds(condition, middle) else (good, middle)
    return good


def _holds(condition: Any, tokens: int) -> bool:
    return bool(at(condition, tokens))


def at(expression: Any, tokens: int) -> Any:
    """An expression over sizes of inputs, all of which are the number of tokens, for one number."""
    made = sympy.sympify(expression)
    return made.subs(dict.fromkeys(made.free_symbols, tokens))
