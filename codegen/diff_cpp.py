"""What C++ says, apart from comments and layout: its tokens, statement by statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

# Two ``>`` are no token of their own, because ``> >`` ends two templates as well.
_TOKEN = re.compile(
    r"""
    (?P<header> (?<=include)[ \t]*<[^>\n]+> )
  | (?P<space> (?: [ \t\r\f\v] | \\[ \t]*\r?\n )+ )
  | (?P<end> \n )
  | (?P<comment> // (?: \\[ \t]*\r?\n | [^\n] )* | /\*.*?\*/ )
  | (?P<raw> (?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)" )
  | (?P<string> (?:u8|[uUL])?"(?:[^"\\\n]|\\.)*" )
  | (?P<char> (?:u8|[uUL])?'(?:[^'\\\n]|\\.)+' )
  | (?P<number> \.?[0-9](?:[eEpP][+-]|'?\w|\.)* )
  | (?P<name> [^\W\d]\w* )
  | (?P<sign> <=> | <<= | ->\* | \.\.\. | :: | \+\+ | -- | && | \|\| | << | -> | \.\* | \#\#
            | [-+*/%&|^!=<>]= | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_TYPES = {"class_specifier", "enum_specifier", "struct_specifier", "union_specifier"}


@dataclass(frozen=True)
class Statement:
    """Tokens up to a semicolon or brace, an item of a list in braces, or one directive.

    Attributes:
        text: The tokens with one space between them; in directives where there was any.
        line: The line of its first token, from 1.
        shown: The same for people: spaces where there was any.
    """

    text: str
    line: int
    shown: str


class _Collector:
    """Makes statements of tokens."""

    def __init__(self) -> None:
        self.made: list[Statement] = []
        self.directive = False
        self._tokens: list[str] = []
        self._shown: list[str] = []
        self._line = self._depth = 0
        self._listed = False

    def add(self, token: str, spaced: bool, line: int) -> None:
        """Takes the next token, which may end the statement."""
        if not self._tokens:
            self._line = line
        self._tokens.append(token)
        self._shown.append(f" {token}" if spaced else token)
        if self.directive:
            return
        self._depth += (token in ("(", "[")) - (token in (")", "]"))
        if token in (";", "{", "}") or (token == "," and self._listed and self._depth == 0):
            self.finish()
            self._listed = token in ("{", ",")

    def finish(self) -> None:
        """Ends the statement."""
        shown = "".join(self._shown).strip()
        # In a directive white space may count: ``#define F (x)`` takes no argument.
        text = shown if self.directive else " ".join(self._tokens)
        if text:
            self.made.append(Statement(text, self._line, shown))
        self._tokens, self._shown, self._depth = [], [], 0


def statements(source: str) -> list[Statement]:
    """The statements of a file in order. Files with equal texts have equal tokens."""
    found = _Collector()
    line, fresh, spaced = 1, True, False
    for match in _TOKEN.finditer(source):
        kind, token = match.lastgroup, match.group()
        if kind in ("space", "comment"):
            spaced = True
        elif kind == "end":
            if found.directive:
                found.finish()
            fresh, spaced, found.directive = True, True, False
        else:
            if fresh and token == "#":
                found.finish()
                found.directive = True
            found.add(token.strip(), spaced or kind == "header", line)
            fresh = spaced = False
        line += token.count("\n")
    found.finish()
    return found.made


def changes(old: str, new: str) -> Iterator[str]:
    """One line for each statement that is only in one of two files, with where it stands."""
    before, after = statements(old), statements(new)
    matcher = SequenceMatcher(
        None, [s.text for s in before], [s.text for s in after], autojunk=False
    )
    edits = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    if not edits:
        return
    old_places, new_places = _places(old), _places(new)
    for _, a, b, c, d in edits:
        for sign, places, found in (("-", old_places, before[a:b]), ("+", new_places, after[c:d])):
            for statement in found:
                shown = statement.shown.replace("\n", "\\n")  # of raw strings
                yield f"{_where(places, statement.line)}: {sign} {shown}"


def _where(places: list[tuple[int, int, str]], line: int) -> str:
    around = [(last - first, name) for first, last, name in places if first <= line <= last]
    return min(around, default=(0, "file"))[1]


def _places(source: str) -> list[tuple[int, int, str]]:
    """First and last line and the name of every function and type."""
    import tree_sitter_cpp
    from tree_sitter import Language, Node, Parser

    def name(node: Node | None) -> str:
        text = b"" if node is None else node.text or b""
        return " ".join(text.decode("utf-8", "replace").split())

    found: list[tuple[int, int, str]] = []
    stack = [Parser(Language(tree_sitter_cpp.language())).parse(source.encode()).root_node]
    while stack:
        node = stack.pop()
        stack.extend(node.children)
        named = node.child_by_field_name("name") if node.type in _TYPES else None
        if node.type == "function_definition":
            declarator = node.child_by_field_name("declarator")
            while declarator is not None and declarator.type != "function_declarator":
                declarator = declarator.child_by_field_name("declarator")
            if declarator is not None:
                named = declarator.child_by_field_name("declarator")
        if named is not None and node.child_by_field_name("body") is not None:
            found.append((node.start_point.row + 1, node.end_point.row + 1, name(named)))
    return found
