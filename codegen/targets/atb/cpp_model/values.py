"""Constants, enumerators and operators of C++ expressions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.index import Enum, Index, Name
from codegen.targets.atb.cpp_model.syntax import text


class _Unknown:
    """The value of what cannot be known before the code runs."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]*")
_REAL = re.compile(r"(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?[fF]?")


def number(written: str) -> Any:
    """A number literal."""
    plain = written.replace("'", "")
    if len(plain) <= 20 and (match := _NUMBER.fullmatch(plain)):
        digits = match[1]
        octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
        try:
            return int(digits, 8 if octal else 0)
        except ValueError:
            return UNKNOWN
    return float(plain.rstrip("fF")) if _REAL.fullmatch(plain) else UNKNOWN


def enum_values(enum: Enum) -> tuple[tuple[str, int], ...] | None:
    """Names and numbers of an enumeration; None if a number is not plain."""
    values: list[tuple[str, int]] = []
    following = 0
    for name, node in enum.entries:
        if node is not None:
            given = _constant(node)
            if type(given) is not int:
                return None
            following = given
        values.append((name, following))
        following += 1
    return tuple(values)


def _constant(node: Node) -> Any:
    if node.type == "number_literal":
        return number(text(node))
    if node.type == "unary_expression" and text(syntax.field(node, "operator")) == "-":
        inner = syntax.field(node, "argument")
        value = UNKNOWN if inner is None else _constant(inner)
        return -value if type(value) is int else UNKNOWN
    return UNKNOWN


def enumerator(index: Index, name: Name) -> Any:
    """The number of an enumerator, with or without the name of its enumeration."""
    if not name:
        return UNKNOWN
    found: set[int] = set()
    for enum in index.enums:
        if name[-1] in (entry for entry, _ in enum.entries):
            values = enum_values(enum)
            if values is not None:
                found.add(dict(values)[name[-1]])
    return found.pop() if len(found) == 1 else UNKNOWN


def operate(node: Node, value: Callable[[Node], Any]) -> Any:
    """A unary or binary operation; what is decided by one side needs no other."""
    sign = text(syntax.field(node, "operator"))
    if node.type == "unary_expression":
        inner = syntax.field(node, "argument")
        known = UNKNOWN if inner is None else value(inner)
        if sign == "!" and isinstance(known, (bool, int)):
            return not known
        return -known if sign == "-" and isinstance(known, (int, float)) else UNKNOWN
    left, right = syntax.field(node, "left"), syntax.field(node, "right")
    if left is None or right is None:
        return UNKNOWN
    a, b = value(left), value(right)
    if sign in ("&&", "||"):
        decided = sign == "||"
        for side in (a, b):
            if isinstance(side, (bool, int)) and bool(side) is decided:
                return decided
        return UNKNOWN if UNKNOWN in (a, b) else not decided
    if not isinstance(a, (bool, int, float, str)) or not isinstance(b, (bool, int, float, str)):
        return UNKNOWN
    if sign in ("==", "!="):
        return (a == b) is (sign == "==")
    if isinstance(a, str) or isinstance(b, str):
        return a + b if sign == "+" and isinstance(a, str) and isinstance(b, str) else UNKNOWN
    return _arithmetic(sign, a, b)


def _arithmetic(sign: str, a: float, b: float) -> Any:
    match sign:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "<":
            return a < b
        case ">":
            return a > b
        case "<=":
            return a <= b
        case ">=":
            return a >= b
        case _:
            return UNKNOWN
