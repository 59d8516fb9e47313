"""Reads pipeline specifications: ``cache-kv{block-size=128},pack-linears``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from ir.errors import ParseError
from ir.graph import Attr
from ir.passes.base import PASSES, Pass

Branch = Tree[Token]


@cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("pipeline.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", propagate_positions=True)


def print_pipeline(passes: Iterable[Pass]) -> str:
    """The specification of a list of passes; ``parse_pipeline`` gives the passes back."""
    return ",".join(pass_.spec for pass_ in passes)


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that a specification names, in order; none for an empty text.

    Raises:
        ParseError: The text is no pipeline, or a pass or an option does not exist.
    """
    if not text.strip():
        return []
    try:
        tree = _grammar().parse(text)
    except UnexpectedCharacters as error:
        raise ParseError(f"pipeline, column {error.column}: unexpected {error.char!r}") from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise ParseError("pipeline: the text ends too early") from None
        raise _error(error.token, f"unexpected {str(error.token)!r}") from None
    return [_pass(branch) for branch in tree.children if isinstance(branch, Tree)]


def _error(at: Token, problem: str) -> ParseError:
    return ParseError(f"pipeline, column {at.column}: {problem}")


def _pass(branch: Branch) -> Pass:
    name = branch.children[0]
    assert isinstance(name, Token)
    kind = PASSES.get(name)
    if kind is None:
        raise _error(name, f"no pass {name} (there are {', '.join(sorted(PASSES))})")
    declared = {field.name.replace("_", "-"): field for field in fields(kind)}
    options: dict[str, Attr] = {}
    for option in branch.children[1:]:
        assert isinstance(option, Tree)
        key, token = option.children
        assert isinstance(key, Token)
        assert isinstance(token, Token)
        if key not in declared:
            known = ", ".join(declared) or "none"
            raise _error(key, f"{name} has no option {key} (its options: {known})")
        field = declared[key]
        if field.name in options:
            raise _error(key, f"{key} is given twice")
        options[field.name] = _value(token, _annotation(field.type))
    missing = [
        key
        for key, field in declared.items()
        if field.default is MISSING and field.name not in options
    ]
    if missing:
        raise _error(name, f"{name} needs {', '.join(missing)}")
    return kind(**options)


def _annotation(type: object) -> str:
    """``int`` or ``int | None``, also where annotations are not strings."""
    return getattr(type, "__name__", str(type))


def _value(token: Token, kind: str) -> Attr:
    value: Attr = str(token)
    if token.type == "STRING":
        try:
            value = str(json.loads(token))
        except json.JSONDecodeError as error:
            raise _error(token, f"bad string: {error.msg}") from None
    elif token.type == "WORD":
        value = token == "true"
    elif token.type == "INT":
        value = float(token) if kind == "float" else int(token)
    elif token.type == "FLOAT":
        value = float(token)
    if type(value).__name__ not in kind.replace(" ", "").split("|"):
        raise _error(token, f"{token} is not {kind}")
    return value
