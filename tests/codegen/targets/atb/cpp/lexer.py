"""A small lexer for C++, and a grammar to check it against: what is code, what is not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter_cpp
from tree_sitter import Language, Node, Parser

_TOKEN = re.compile(
    r"""
    (?P<comment>//(?:[^\n\\]|\\.)*(?:\\\n[^\n]*)*|/\*.*?\*/)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<char>'(?:[^'\\\n]|\\.)*')
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\d[\w.]*(?:(?<=[eE])[+-]\w*)?)
  | (?P<space>\s+)
  | (?P<other>::|->|&&|\|\||[-+*/%<>=!]=|<<|>>|\+\+|--|[\[\]{}()<>;:,.&|!?~^=+\-*/%\#])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_LANGUAGE = Language(tree_sitter_cpp.language())


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token; comments too.

    Raises:
        ValueError: Something is no token of C++.
    """
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"no token at {text[position : position + 30]!r}")
        yield str(found.lastgroup), found.group()
        position = found.end()


def code(text: str) -> list[str]:
    """What the compiler sees, strings emptied."""
    return [
        '""' if kind == "string" else token
        for kind, token in tokens(text)
        if kind not in ("comment", "space")
    ]


def comments(text: str) -> list[str]:
    return [token for kind, token in tokens(text) if kind == "comment"]


def strings(text: str) -> list[str]:
    """The values of the string literals, as bytes that are characters."""
    return [unescaped(token) for kind, token in tokens(text) if kind == "string"]


def unescaped(literal: str) -> str:
    """The value of a literal with the escapes that we print: octal ones."""

    def char(found: re.Match[str]) -> str:
        return chr(int(found[1], 8))

    inner = literal[1:-1]
    assert re.fullmatch(r'(?:[^"\\]|\\[0-7]{3})*', inner), literal
    return re.sub(r"\\([0-7]{3})", char, inner)


def parse(text: str) -> Node:
    """The syntax tree."""
    return Parser(_LANGUAGE).parse(text.encode()).root_node


def errors(text: str) -> list[str]:
    """What the grammar of C++ does not accept."""
    found: list[str] = []

    def visit(node: Node) -> None:
        if node.is_error or node.is_missing:
            found.append(f"{node.start_point}: {node.text!r}")
        for child in node.children:
            visit(child)

    visit(parse(text))
    return found
