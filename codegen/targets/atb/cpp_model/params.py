"""Which keys C++ code reads from the JSON that Python passes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.index import Class, Function, Index, Name, names_of
from codegen.targets.atb.cpp_model.syntax import (
    arguments,
    last_name,
    named,
    parents,
    string_value,
    text,
    walk,
)

_DEPTH = 32
_INTEGERS = re.compile(r"(u?int(8|16|32|64)?(_t)?|size_t|long|unsigned)")
_TYPES = {"bool": "bool", "float": "float", "double": "float", "std::string": "str"}
#: What ``value(key, default)`` returns, by the default.
_DEFAULTS = {"string_literal": "str", "true": "bool", "false": "bool", "number_literal": "int"}
_LIST = re.compile(r"(?:std|atb)::S?[vV]ector<(.*)>")
_CONTAINS = re.compile(r"contains\(\s*\"([^\"]*)\"\s*\)")


@dataclass(frozen=True)
class Parameter:
    """One key.

    Attributes:
        key: The key.
        type: ``bool``, ``int``, ``float``, ``str``, ``list[...]`` of these, or ``object``. Enums
            are ``int``.
        required: The code fails without it.
        unless: Another key that is read instead, if it is there.
        target: The variable that takes the value, empty if that is not plain.
        line: ``file:line`` where it is read.
    """

    key: str
    type: str
    required: bool
    unless: str
    target: str
    line: str


def readings(index: Index, chain: Sequence[Class], start: str) -> list[Parameter]:
    """Every place where a method or those it calls read a key, in the order of reading.

    Args:
        index: All definitions.
        chain: The class and its bases, the class itself first.
        start: Name of the method.
    """
    reader = _Reader(index, tuple(chain))
    first = index.method(chain, start)
    if first is not None:
        reader.follow(first, 0)
    return reader.found


def merged(found: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Each key once; required if one of its readings requires it."""
    keys: dict[str, Parameter] = {}
    for parameter in found:
        known = keys.setdefault(parameter.key, parameter)
        keys[parameter.key] = replace(
            known,
            required=known.required or parameter.required,
            type=parameter.type if known.type == "object" else known.type,
            target=known.target or parameter.target,
        )
    return tuple(keys.values())


class _Reader:
    """Follows calls that hand the JSON on."""

    def __init__(self, index: Index, chain: tuple[Class, ...]) -> None:
        self._index, self._chain = index, chain
        self._seen: set[tuple[int, bool]] = set()
        self.found: list[Parameter] = []

    def follow(self, function: Function, depth: int, always: bool = True) -> None:
        """Reads one function, which is called always or under a condition."""
        if (function.node.id, always) in self._seen or depth > _DEPTH:
            return
        self._seen.add((function.node.id, always))
        documents = _documents(function)
        for node in walk(function.body):
            key = _key(node, documents)
            if key is not None:
                found = _parameter(function, node, key, documents)
                self.found.append(replace(found, required=found.required and always))
            elif node.type == "call_expression" and arguments(node):
                called = self._called(node, function.scope)
                if called is not None:
                    self.follow(called, depth + 1, always and not _conditional(node, function))

    def _called(self, call: Node, scope: Name) -> Function | None:
        callee = syntax.field(call, "function")
        if callee is None:
            return None
        if callee.type == "field_expression":
            if text(syntax.field(callee, "argument")) != "this":
                return None
            return self._index.called(self._chain, (last_name(callee),), scope, True)
        written = names_of(callee) if callee.type != "template_function" else ()
        return self._index.called(self._chain, written, scope, True) if written else None


def _documents(function: Function) -> Mapping[str, bool]:
    """Variables that hold the JSON, and whether they are constant."""
    found: dict[str, bool] = {}
    for node in walk(function.node):
        if node.type in ("parameter_declaration", "declaration"):
            if names_of(syntax.field(node, "type"))[-1:] != ("json",):
                continue
            constant = any(c.type == "type_qualifier" and text(c) == "const" for c in node.children)
            for target in node.children_by_field_name("declarator"):
                for inner in walk(target):
                    if inner.type == "identifier":
                        found[text(inner)] = constant
                        break
    return found


def _key(node: Node, documents: Mapping[str, bool]) -> str | None:
    """The key that a node reads, if it is a reading."""
    if node.type == "subscript_expression":
        if text(syntax.field(node, "argument")) in documents:
            indices = syntax.field(node, "indices")
            return string_value(named(indices)[0]) if indices and named(indices) else None
    elif node.type == "call_expression":
        callee, given = syntax.field(node, "function"), arguments(node)
        if callee is None or not given:
            return None
        if callee.type == "field_expression":
            document = text(syntax.field(callee, "argument")) in documents
            if document and last_name(callee) in ("at", "value"):
                return string_value(given[0])
            if last_name(callee) == "Parse" and text(given[-1]) in documents:
                return string_value(given[0])
        elif last_name(callee) == "FetchJsonParam" and text(given[0]) in documents:
            return string_value(given[1]) if len(given) > 1 else None
    return None


def _parameter(
    function: Function, node: Node, key: str, documents: Mapping[str, bool]
) -> Parameter:
    loop: Node | None = None
    required, unless = True, ""
    for parent, child in parents(node, function.node):
        if parent.type == "for_range_loop" and child.id == _id(syntax.field(parent, "right")):
            loop = parent
            document = text(syntax.field(node, "argument"))
            required = required and documents.get(document, True)
        elif parent.type == "if_statement" and child.id != _id(syntax.field(parent, "condition")):
            keys = _CONTAINS.findall(text(syntax.field(parent, "condition")))
            if child.type == "else_clause" and keys:
                unless = keys[0]
            else:
                required = False
    line = f"{function.file.path}:{node.start_point.row + 1}"
    if loop is None:
        if last_name(syntax.field(node, "function")) == "value":
            default = arguments(node)[1:]
            kind = _DEFAULTS.get(default[0].type, "object") if default else "object"
            return Parameter(key, kind, False, unless, _target(node), line)
        kind = _type(node, function)
        if kind == "object" and not documents.get(text(syntax.field(node, "argument")), True):
            required = False  # a missing key is null there, and nothing is made of it
        return Parameter(key, kind, required, unless, _target(node), line)
    body = syntax.field(loop, "body") or loop
    inner, target = "object", ""
    for below in walk(body):
        if below.type == "call_expression":
            shown = _shown_type(below)
            inner = shown if inner == "object" else inner
            callee = syntax.field(below, "function")
            if last_name(callee) == "push_back" and callee is not None:
                target = target or last_name(syntax.field(callee, "argument"))
    return Parameter(key, f"list[{inner}]", required, unless, target, line)


def _conditional(node: Node, function: Function) -> bool:
    """Whether a node is inside an ``if``."""
    return any(parent.type == "if_statement" for parent, _ in parents(node, function.node))


def _id(node: Node | None) -> int:
    return -1 if node is None else node.id


def _type(node: Node, function: Function) -> str:
    """The type of a reading: of the call that it is or that is made on it."""
    shown = _shown_type(node)
    if shown != "object":
        return shown
    for parent, _ in parents(node, function.node):
        if parent.type == "call_expression":
            return _shown_type(parent)
        if parent.type not in ("field_expression", "template_method"):
            break
    return "object"


def _shown_type(call: Node) -> str:
    """``int`` of ``x.get<int>()`` and ``FetchJsonParam<int>(...)``."""
    callee = syntax.field(call, "function")
    for part in _names(callee):
        if part.type in ("template_method", "template_function"):
            listed = syntax.field(part, "arguments")
            if last_name(part) in ("get", "FetchJsonParam") and listed and named(listed):
                return json_type(text(named(listed)[0]))
    return "object"


def _names(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        if node.type == "field_expression":
            node = syntax.field(node, "field")
        elif node.type == "qualified_identifier":
            node = syntax.field(node, "name")
        else:
            return


def json_type(written: str) -> str:
    """What a C++ type is in JSON."""
    plain = re.sub(r"\s+", "", written)
    listed = _LIST.fullmatch(plain)
    if listed:
        return f"list[{json_type(listed[1])}]"
    if plain in _TYPES:
        return _TYPES[plain]
    if _INTEGERS.fullmatch(plain) or plain[:1].isupper() or "::" in plain:
        return "int"  # a number, or an enumeration
    return "object"


def _target(node: Node) -> str:
    """The variable that a value is assigned to."""
    parent = node.parent
    while parent is not None and parent.type not in ("compound_statement", "expression_statement"):
        if parent.type == "assignment_expression":
            return last_name(syntax.field(parent, "left"))
        parent = parent.parent
    callee = syntax.field(node, "function") if node.type == "call_expression" else None
    if callee is not None and last_name(callee) == "Parse":
        return last_name(syntax.field(callee, "argument"))
    return ""
