"""Inputs that are named by an enumeration."""

from __future__ import annotations

from collections.abc import Sequence

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.index import Class, Index
from codegen.targets.atb.cpp_model.syntax import SourceFile, arguments, last_name, text, walk
from codegen.targets.atb.cpp_model.values import enum_values

#: Endings of entries that are not inputs but say how many there are.
_COUNTS = ("_MAX", "_COUNT", "_NUM", "_END")
_INPUTS = 4096


def enumerated_inputs(found: Index, own: Sequence[SourceFile], cls: Class) -> tuple[str, ...]:
    """The inputs of an enumeration: the one whose enumerators number ``graph_.inTensors``."""
    used: dict[str, tuple[SourceFile, Node]] = {}
    for file in own:
        for node in walk(file.root):
            if node.type == "call_expression" and arguments(node):
                callee = text(syntax.field(node, "function")).replace("this->", "")
                name = last_name(arguments(node)[0])
                if callee == "graph_.inTensors.at" and name:
                    used.setdefault(name, (file, node))
    candidates = [e for e in found.enums if used.keys() & {name for name, _ in e.entries}]
    if not candidates:
        raise cls.file.bad(cls.node, f"how {cls.name[-1]} names its inputs cannot be read")
    if len(candidates) > 1:
        place = candidates[1]
        raise place.file.bad(place.node, "a second enumeration numbers the model's inputs")
    enum = candidates[0]
    values = enum_values(enum)
    if values is None:
        raise enum.file.bad(enum.node, "numbers its entries by what cannot be read")
    inputs = [
        (name, value)
        for name, value in values
        if name.startswith("IN_") and (name in used or not name.endswith(_COUNTS))
    ]
    if [value for _, value in inputs] != list(range(len(inputs))) or len(inputs) > _INPUTS:
        raise enum.file.bad(enum.node, "the entries IN_... are not numbered 0, 1, 2 and so on")
    return tuple(name for name, _ in inputs)
