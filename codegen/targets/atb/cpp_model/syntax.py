"""C++ text as a syntax tree, read without trusting it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tree_sitter_cpp
from tree_sitter import Language, Node, Parser

from codegen.errors import BadInputError

#: Bytes of a source file; the longest model of MindIE has 90,000.
_LIMIT = 1 << 20


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One parsed file.

    Attributes:
        path: Where it is.
        data: Its bytes.
        root: Its syntax tree.
    """

    path: Path
    data: bytes
    root: Node

    def bad(self, node: Node | None, reason: str) -> BadInputError:
        """An error at a place in this file."""
        place = "" if node is None else f":{node.start_point.row + 1}"
        return BadInputError(f"{self.path}{place}: {reason}")


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_cpp.language()))


def parse(path: Path) -> SourceFile:
    """Reads and parses a file.

    Raises:
        BadInputError: It cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    if len(data) > _LIMIT:
        raise BadInputError(f"{path}: larger than {_LIMIT >> 10} KiB, so not a model's source")
    if b"\0" in data:
        raise BadInputError(f"{path}: holds zero bytes, so not C++")
    return SourceFile(path, data, _parser().parse(data).root_node)


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it, in the order of the text."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children))


def parents(node: Node, below: Node) -> Iterator[tuple[Node, Node]]:
    """Each ancestor of a node below another, from the inside, with the child it was reached by."""
    child, parent = node, node.parent
    while parent is not None and child.id != below.id:
        yield parent, child
        child, parent = parent, parent.parent


def text(node: Node | None) -> str:
    """The source of a node; empty for none."""
    if node is None or node.text is None:
        return ""
    return node.text.decode("utf-8", "replace")


def field(node: Node, name: str) -> Node | None:
    """A child by the name that the grammar gives it."""
    return node.child_by_field_name(name)


def named(node: Node) -> list[Node]:
    """The children that are no punctuation and no comments."""
    return [child for child in node.named_children if child.type != "comment"]


def string_value(node: Node) -> str | None:
    """What a string literal means; None for anything else.

    Adjacent literals are one string, as in C++.
    """
    if node.type == "concatenated_string":
        parts = [string_value(part) for part in named(node)]
        return None if None in parts else "".join(part for part in parts if part is not None)
    if node.type != "string_literal":
        return None
    try:
        value = ast.literal_eval(text(node))
    except (SyntaxError, ValueError):
        return None
    return value if isinstance(value, str) else None


def arguments(call: Node) -> list[Node]:
    """The arguments of a call."""
    listed = field(call, "arguments")
    return [] if listed is None else named(listed)


def last_name(node: Node | None) -> str:
    """The name at the end of ``a::b::c``, ``this->param.c`` or ``c``; empty for anything else."""
    while node is not None:
        if node.type in ("identifier", "field_identifier", "type_identifier"):
            return text(node)
        if node.type in ("qualified_identifier", "template_function", "template_method"):
            node = field(node, "name")
        elif node.type == "field_expression":
            node = field(node, "field")
        else:
            return ""
    return ""
