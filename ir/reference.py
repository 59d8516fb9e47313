"""The reference page of a dialect, made from the declarations of its operations."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import cast

from ir.graph import Attr
from ir.op import REGISTRY, REQUIRED, Attribute, Op
from ir.text import attr_text


def dialect(name: str) -> list[type[Op]]:
    """All declared operations of a dialect (``llm``), sorted by name.

    Operations that are made on demand (``aten``) are not among them.
    """
    return [op for key, op in sorted(REGISTRY.items()) if key.partition(".")[0] == name]


def reference(name: str) -> str:
    """A markdown page of all operations of a dialect: operands, attributes, results, meaning.

    Raises:
        KeyError: Nothing of that dialect is declared.
    """
    ops = dialect(name)
    if not ops:
        raise KeyError(name)
    lines = [f"# Operations of `{name}`", ""]
    for op in ops:
        lines += [f"## `{op.name}`", "", inspect.cleandoc(op.__doc__ or ""), ""]
        lines += [f"`{_signature(op)}`", ""]
        rows = [(f"`{o.name}`", _presence(o.optional, o.variadic), o.doc) for o in op.operands]
        lines += _table(("operand", "", "meaning"), rows)
        attributes = [
            (f"`{key}`", _kind(declared), _default(declared), declared.doc)
            for key, declared in op.attributes.items()
        ]
        lines += _table(("attribute", "kind", "default", "meaning"), attributes)
        if op.effects:
            lines += ["Writes operands in place; it is kept even if nothing reads its results.", ""]
    return "\n".join(lines)


def _signature(op: type[Op]) -> str:
    operands = ", ".join(
        f"{o.name}..." if o.variadic else f"{o.name}?" if o.optional else o.name
        for o in op.operands
    )
    return f"{', '.join(op.results) or '...'} = {op.name}({operands})"


def _presence(optional: bool, variadic: bool) -> str:
    return "any number" if variadic else "optional" if optional else ""


def _kind(declared: Attribute) -> str:
    if declared.choices:
        return ", ".join(f"`{attr_text(choice)}`" for choice in declared.choices)
    return declared.kind.__name__


def _default(declared: Attribute) -> str:
    if declared.default is REQUIRED:
        return "required"
    return f"`{attr_text(cast(Attr, declared.default))}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
