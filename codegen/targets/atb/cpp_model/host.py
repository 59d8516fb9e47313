"""Which inputs get their values from the JSON of a step."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.index import Class, Function, Index
from codegen.targets.atb.cpp_model.params import Parameter
from codegen.targets.atb.cpp_model.syntax import (
    arguments,
    last_name,
    parents,
    string_value,
    text,
    walk,
)

_PREFIX = re.compile(r"(in_tensor_|in_model_|in_)")


@dataclass(frozen=True)
class HostTensor:
    """An input that the C++ reads on the host.

    Attributes:
        tensor: Name of the input without a prefix.
        key: Key of the step's JSON with its values.
    """

    tensor: str
    key: str


def host_tensors(
    index: Index, chain: Sequence[Class], steps: Sequence[Parameter], inputs: Set[str]
) -> tuple[HostTensor, ...]:
    """What ``BindParamHostTensor`` binds, each once.

    Args:
        index: All definitions.
        chain: The model and its bases, the model first.
        steps: Where a step's JSON is read.
        inputs: Names of all inputs without prefixes.
    """
    bind = index.method(chain, "BindParamHostTensor")
    if bind is None:
        return ()
    keys = {parameter.target: parameter.key for parameter in steps if parameter.target}
    found: list[HostTensor] = []
    for tensors, vector in _bindings(bind):
        key = keys.get(vector)
        if key is not None:
            plain = [plain_name(tensor) for tensor in tensors]
            found += [HostTensor(tensor, key) for tensor in plain if tensor in inputs]
    return tuple(dict.fromkeys(found))


def plain_name(name: str) -> str:
    """An input's name without the prefix that says that it is one: ``input_ids``."""
    return _PREFIX.sub("", name.lower(), count=1) if _PREFIX.match(name.lower()) else name.lower()


def _bindings(bind: Function) -> list[tuple[list[str], str]]:
    """Names of tensors and the vector that is bound to them.

    A variable that numbers a tensor may have been set on several paths since it was last used; all
    of them count.
    """
    found: list[tuple[list[str], str]] = []
    numbers: dict[str, list[str]] = {}
    for node in walk(bind.body):
        if node.type == "init_declarator":
            name = last_name(syntax.field(node, "declarator"))
            numbers.setdefault(name, []).extend(_tensor(syntax.field(node, "value")))
        elif node.type == "assignment_expression":
            left, right = syntax.field(node, "left"), syntax.field(node, "right")
            if last_name(left) == "hostData" and left is not None:
                tensors = _indexed(left, numbers) or _compared(node, bind.body)
                found.append((tensors, _vector(right)))
            elif left is not None and left.type == "identifier":
                numbers.setdefault(text(left), []).extend(_tensor(right))
    return [(tensors, vector) for tensors, vector in found if vector]


def _tensor(value: Node | None) -> list[str]:
    """``GetTensorIdx(map, "seq_len")`` or the name of a constant."""
    if value is None:
        return []
    if value.type == "call_expression":
        given = arguments(value)
        if last_name(syntax.field(value, "function")) == "GetTensorIdx" and len(given) == 2:
            name = string_value(given[1])
            return [] if name is None else [name]
        return []
    name = last_name(value)
    return [name] if name else []


def _indexed(left: Node, numbers: dict[str, list[str]]) -> list[str]:
    """The tensors that ``graph_.inTensors.at(index).hostData`` may mean."""
    at = syntax.field(left, "argument")
    given = [] if at is None or at.type != "call_expression" else arguments(at)
    if not given:
        return []
    name = last_name(given[0])
    if name in numbers:
        tensors, numbers[name] = numbers[name], []
        return tensors
    return _tensor(given[0])


def _compared(node: Node, body: Node) -> list[str]:
    """The tensors that a condition around a statement compares with."""
    found: list[str] = []
    for parent, _ in parents(node, body):
        condition = syntax.field(parent, "condition") if parent.type == "if_statement" else None
        for below in [] if condition is None else walk(condition):
            callee = text(syntax.field(below, "function"))
            if callee.endswith("graph_.inTensors.at") and arguments(below):
                found += _tensor(arguments(below)[0])
    return found


def _vector(right: Node | None) -> str:
    """``seqLen`` of ``this->seqLen.data()`` and ``seqLen.Get().data()``."""
    node = right
    while node is not None:
        if node.type == "binary_expression":
            node = syntax.field(node, "left")
        elif node.type == "call_expression":
            node = syntax.field(node, "function")
            node = None if node is None else syntax.field(node, "argument")
        else:
            return last_name(node)
    return ""
