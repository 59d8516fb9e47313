"""Runs the part of C++ that decides which inputs a model takes, for one configuration.

A small interpreter: constants, members, conditions, the tables of input names and the functions of
MindIE that number them. What it does not know is skipped, unless the inputs depend on it: that is
an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tree_sitter import Node

from codegen.targets.atb.cpp_model import syntax
from codegen.targets.atb.cpp_model.index import Class, Function, Index, Name, names_of
from codegen.targets.atb.cpp_model.syntax import (
    SourceFile,
    arguments,
    last_name,
    named,
    string_value,
    text,
)
from codegen.targets.atb.cpp_model.tables import as_table, changes_inputs, only_returns
from codegen.targets.atb.cpp_model.values import UNKNOWN, enumerator, number, operate

_DEPTH = 64
_STEPS = 100_000


class Evaluator:
    """Runs methods of one class.

    Attributes:
        members: Variables of the object by name: tables and maps are dictionaries.
        sizes: What the number of the model's inputs was set to, as value and source.
    """

    def __init__(
        self, index: Index, chain: Sequence[Class], fields: Mapping[str, Any], file: SourceFile
    ) -> None:
        """Prepares a run.

        Args:
            index: All definitions.
            chain: The class and its bases, the class itself first.
            fields: Values of the fields of ``param``, as far as they are known.
            file: Named in errors about the run as a whole.
        """
        self.index, self.chain, self.fields = index, tuple(chain), fields
        self.members: dict[str, Any] = {}
        self.sizes: list[tuple[Any, str]] = []
        self._frames: list[dict[str, Any]] = [{}]
        self._files = [file]
        self._scope: list[Name] = [chain[0].name]
        self._steps = 0

    @property
    def _file(self) -> SourceFile:
        return self._files[-1]

    def call(self, function: Function, nested: bool = True) -> Any:
        """Runs a function and returns what it returns."""
        if len(self._frames) > _DEPTH:
            raise function.file.bad(function.node, f"{function.name} calls too deeply to be read")
        self._frames.append({})
        self._files.append(function.file)
        self._scope.append(function.scope)
        try:
            found = self._run(function.body, 0)
            return UNKNOWN if found is None else found
        finally:
            self._frames.pop()
            self._files.pop()
            self._scope.pop()

    def _run(self, node: Node, depth: int) -> Any:
        """Runs a statement; returns a value if it returns from the function, else None."""
        self._steps += 1
        if self._steps > _STEPS or depth > _DEPTH:
            raise self._file.bad(node, "too large or nested too deeply to be read")
        match node.type:
            case "compound_statement" | "else_clause":
                for child in named(node):
                    found = self._run(child, depth + 1)
                    if found is not None:
                        return found
            case "if_statement":
                return self._branch(node, depth)
            case "expression_statement":
                for child in named(node):
                    self._effect(child, depth + 1)
            case "declaration":
                self._declare(node, depth + 1)
            case "return_statement":
                value = named(node)
                return self.value(value[0], depth + 1) if value else UNKNOWN
            case _:
                if changes_inputs(node):
                    raise self._file.bad(node, "adds inputs in a loop, which cannot be read")
        return None

    def _branch(self, node: Node, depth: int) -> Any:
        clause = syntax.field(node, "condition")
        condition = named(clause)[-1] if clause is not None and named(clause) else None
        holds = UNKNOWN if condition is None else self.value(condition, depth + 1)
        if holds is UNKNOWN:
            if changes_inputs(node):
                shown = " ".join(text(condition).split())
                raise self._file.bad(node, f"the inputs depend on {shown}, which is not known")
            return None
        chosen = syntax.field(node, "consequence" if holds else "alternative")
        return None if chosen is None else self._run(chosen, depth + 1)

    def _declare(self, node: Node, depth: int) -> None:
        for target in node.children_by_field_name("declarator"):
            value = syntax.field(target, "value")
            name = last_name(syntax.field(target, "declarator"))
            if target.type == "init_declarator" and value is not None and name:
                self._frames[-1][name] = self.value(value, depth)

    def _effect(self, node: Node, depth: int) -> None:
        if node.type == "assignment_expression":
            left, right = syntax.field(node, "left"), syntax.field(node, "right")
            if left is not None and right is not None:
                self._assign(left, right, depth)
        elif node.type == "update_expression":
            name = last_name(syntax.field(node, "argument"))
            if isinstance(self._frames[-1].get(name), int):
                self._frames[-1][name] += 1 if text(syntax.field(node, "operator")) == "++" else -1
        elif node.type == "call_expression":
            self.value(node, depth)

    def _assign(self, left: Node, right: Node, depth: int) -> None:
        if left.type == "subscript_expression":
            key, table = self._place(left, depth)
            if isinstance(key, str):
                table[key] = self.value(right, depth)
            return
        if left.type == "call_expression":  # table["key"].at(0) = "name"
            callee = syntax.field(left, "function")
            inner = None if callee is None else syntax.field(callee, "argument")
            if inner is None or last_name(callee) != "at" or inner.type != "subscript_expression":
                return
            key, table = self._place(inner, depth)
            at = self.value(arguments(left)[0], depth) if arguments(left) else UNKNOWN
            row = table.get(key) if isinstance(key, str) else None
            if isinstance(row, list) and type(at) is int and 0 <= at < len(cast("Any", row)):
                row[at] = self.value(right, depth)
            return
        name = last_name(left)
        if name and (left.type == "identifier" or text(left).startswith("this->")):
            own = name in self._frames[-1]
            (self._frames[-1] if own else self.members)[name] = as_table(self.value(right, depth))

    def _place(self, node: Node, depth: int) -> tuple[Any, dict[str, Any]]:
        """Key and table of ``table["key"]``."""
        indices = syntax.field(node, "indices")
        inside = named(indices) if indices is not None else []
        key = self.value(inside[0], depth) if inside else UNKNOWN
        return key, self._container(syntax.field(node, "argument"))

    def _container(self, node: Node | None) -> dict[str, Any]:
        """The table or map of a name; made if it is new."""
        name = last_name(node)
        for variables in (self._frames[-1], self.members):
            if name in variables:
                found = variables[name] = as_table(variables[name])
                return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        return self.members.setdefault(name, {})

    def value(self, node: Node, depth: int = 0) -> Any:
        """The value of an expression; ``UNKNOWN`` where it depends on anything else."""
        self._steps += 1
        if self._steps > _STEPS or depth > _DEPTH:
            raise self._file.bad(node, "too large or nested too deeply to be read")
        match node.type:
            case "number_literal":
                return number(text(node))
            case "true" | "false":
                return node.type == "true"
            case "string_literal" | "concatenated_string":
                found = string_value(node)
                return UNKNOWN if found is None else found
            case "parenthesized_expression" | "condition_clause":
                inside = named(node)
                return self.value(inside[0], depth + 1) if inside else UNKNOWN
            case "initializer_list":
                return [self.value(child, depth + 1) for child in named(node)]
            case "unary_expression" | "binary_expression":
                return operate(node, lambda part: self.value(part, depth + 1))
            case "identifier" | "qualified_identifier" | "field_expression":
                return self._variable(node, depth)
            case "call_expression":
                return self._called(node, depth)
            case _:
                return UNKNOWN

    def _variable(self, node: Node, depth: int) -> Any:
        name = last_name(node)
        if node.type == "field_expression":
            owner = syntax.field(node, "argument")
            if text(owner) != "this":
                known = last_name(owner) in ("param", "param_")
                return self.fields.get(name, UNKNOWN) if known else UNKNOWN
        if node.type != "qualified_identifier":
            for variables in (self._frames[-1], self.members):
                if name in variables:
                    return variables[name]
        found = enumerator(self.index, names_of(node))
        constant = self.index.constants.get(name)
        if found is UNKNOWN and constant is not None:
            return self.value(constant, depth + 1)
        return found

    def _called(self, call: Node, depth: int) -> Any:
        callee, given = syntax.field(call, "function"), arguments(call)
        name = last_name(callee)
        if callee is None:
            return UNKNOWN
        if name in ("AssignTensorIdx", "AddTensorToList"):
            self._number(call, given, depth)
            return UNKNOWN
        if name == "static_cast" and given:
            return self.value(given[0], depth + 1)
        if callee.type == "field_expression" and text(syntax.field(callee, "argument")) != "this":
            return self._method_of(callee, name, call, given, depth)
        this = callee.type == "field_expression"
        written = (name,) if this else names_of(callee)
        function = self.index.called(self.chain, written, self._scope[-1], this) if name else None
        if function is not None and (changes_inputs(function.node) or only_returns(function)):
            return self.call(function)
        if name.isupper():  # a macro that checks the result of a call
            for argument in given:
                self.value(argument, depth + 1)
        return UNKNOWN

    def _method_of(self, callee: Node, name: str, call: Node, given: list[Node], depth: int) -> Any:
        owner = syntax.field(callee, "argument")
        if name == "IsEnabled":
            return False  # a way to share the work that is not passed on: `mapping` is not given
        if name == "size" and last_name(owner) != "inTensors":
            held = self._held(owner)
            return UNKNOWN if held is None else len(held)
        if name == "clear":
            held = self._held(owner)
            if held is not None:
                held.clear()
        if name == "resize" and given and re.fullmatch(r"(this->)?graph_\.inTensors", text(owner)):
            self.sizes.append((self.value(given[0], depth + 1), " ".join(text(given[0]).split())))
        return UNKNOWN

    def _held(self, node: Node | None) -> dict[str, Any] | list[Any] | None:
        name = last_name(node)
        for variables in (self._frames[-1], self.members):
            if isinstance(variables.get(name), (dict, list)):
                return variables[name]
        return None

    def _number(self, call: Node, given: list[Node], depth: int) -> None:
        """``AssignTensorIdx(table, key, [next,] map)``: numbers the names of a row of a table."""
        table = as_table(self.value(given[0], depth + 1)) if len(given) >= 3 else UNKNOWN
        key = self.value(given[1], depth + 1) if len(given) >= 3 else UNKNOWN
        if not isinstance(table, dict) or not isinstance(key, str):
            raise self._file.bad(call, "the names of these inputs cannot be read")
        row: Any = cast("dict[str, Any]", table).get(key, [])
        names = cast("list[Any]", row) if isinstance(row, list) else [UNKNOWN]
        if any(not isinstance(item, str) for item in names):
            raise self._file.bad(call, f"the names of the inputs {key!r} cannot be read")
        target = self._container(given[-1])
        counter = last_name(given[2]) if len(given) == 4 else ""
        start = self._frames[-1].get(counter, UNKNOWN) if counter else len(target)
        if type(start) is not int:
            raise self._file.bad(call, "the number of the first of these inputs is not known")
        for offset, item in enumerate(names):
            target[str(item)] = start + offset
        if counter:
            self._frames[-1][counter] = start + len(names)
