"""Spelling of attributes in the two Python APIs, and reading them back.

Everything follows from the ``Param`` declarations; parameters at their API default are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.targets.atb.ops.base import VARIANTS, AtbOp, Param
from ir.graph import Attr, Node
from ir.op import lookup

_ABSENT = object()


class SpellingError(CodegenError):
    """An operation, parameter or value that an API cannot express, or does not know."""


@dataclass(frozen=True)
class EnumValue:
    """A value of a ``torch_atb`` enumeration: ``RmsNormParam.RmsNormType.RMS_NORM_NORM``."""

    enum: str
    value: str

    def source(self, module: str) -> str:
        """Python text; ``module`` is the name ``torch_atb`` is imported under."""
        return f"{module}.{self.enum}.{self.value}"


@dataclass(frozen=True)
class Struct:
    """A ``torch_atb`` parameter struct with the fields that are not at their default."""

    name: str
    fields: tuple[tuple[str, Struct | EnumValue | Attr], ...]

    def source(self, module: str) -> str:
        """Python text; ``module`` is the name ``torch_atb`` is imported under."""
        arguments = [f"{key}={_source(value, module)}" for key, value in self.fields]
        return f"{module}.{self.name}({', '.join(arguments)})"


def _source(value: Struct | EnumValue | Attr, module: str) -> str:
    if isinstance(value, (Struct, EnumValue)):
        return value.source(module)
    return repr(list(value) if isinstance(value, tuple) else value)


def struct_name(field: str) -> str:
    """Name of the nested struct that a field holds: ``norm_param`` to ``NormParam``."""
    return "".join(part.capitalize() for part in field.split("_"))


def op_of(node: Node) -> type[AtbOp]:
    """The ATB operation of a node; ``SpellingError`` if it is none."""
    op = lookup(node.op)
    if not issubclass(op, AtbOp) or not op.op_type:
        raise SpellingError(f"{node.op} is not an ATB operation of its own ({node.loc})")
    return op


def _given(node: Node) -> list[tuple[Param, Attr]]:
    params = op_of(node).params.values()
    return [(p, node.attrs[p.name]) for p in params if p.always or node.attrs[p.name] != p.omitted]


def json_params(node: Node) -> dict[str, Any]:
    """The JSON object for MindIE's ``BaseOperation``, in declaration order.

    Raises:
        SpellingError: The registry does not read a parameter or a value of it.
    """
    made: dict[str, Any] = {}
    for param, value in _given(node):
        if not param.json or value in param.not_in_json:
            raise SpellingError(
                f"{node.op}: MindIE's registry has no {param.name} {value!r} ({node.loc})"
            )
        *groups, key = param.json.split(".")
        inner = made
        for group in groups:
            inner = inner.setdefault(group, {})
        spelled = param.json_names.get(value, value) if isinstance(value, str) else value
        inner[key] = list(spelled) if isinstance(spelled, tuple) else spelled
    return made


def torch_atb_struct(node: Node) -> Struct:
    """The ``torch_atb`` parameter struct of a node.

    Raises:
        SpellingError: ``torch_atb`` does not have the operation or a parameter.
    """
    op = op_of(node)
    if not op.torch_atb:
        raise SpellingError(f"torch_atb has no {op.op_type} ({node.loc})")
    fields: dict[str, Any] = {}
    for param, value in _given(node):
        if not param.torch_atb:
            raise SpellingError(f"torch_atb has no {param.name} of {op.op_type} ({node.loc})")
        group, _, key = param.torch_atb.rpartition(".")
        inner = fields.setdefault(group, {}) if group else fields
        inner[key] = EnumValue(param.enum, str(value)) if param.enum else value
    made = {
        key: Struct(f"{op.torch_atb}.{struct_name(key)}", tuple(value.items()))
        if isinstance(value, dict)
        else value
        for key, value in fields.items()
    }
    return Struct(op.torch_atb, tuple(made.items()))


# -- reading back -------------------------------------------------------------------------------


def from_json(op_type: str, given: Mapping[str, Any]) -> tuple[type[AtbOp], dict[str, Attr]]:
    """The operation and all its attributes from what ``BaseOperation`` was given.

    Raises:
        SpellingError: Unknown operation, key or enumeration value, or a value of the wrong kind.
            The registry itself ignores most of these silently.
    """
    flat = dict(_flatten(given))
    candidates = VARIANTS.get(op_type)
    if candidates is None:
        raise SpellingError(f"operation type {op_type!r} is not known")
    op = _select(op_type, candidates, lambda p: flat.get(p.json, _ABSENT), json=True)
    known = {p.json: p for p in op.params.values() if p.json}
    for key in flat:
        if key not in known:
            raise SpellingError(f"{op_type} does not read the key {key!r}")
    return op, {p.name: _read(p, flat.get(p.json, _ABSENT), p.json) for p in op.params.values()}


def from_struct(torch_atb: str, given: Mapping[str, Attr]) -> tuple[type[AtbOp], dict[str, Attr]]:
    """The operation and all its attributes from the fields of a ``torch_atb`` struct.

    Args:
        torch_atb: Name of the struct.
        given: Values by dotted field name; enumeration values by their name.

    Raises:
        SpellingError: As ``from_json``.
    """
    candidates = [op for ops in VARIANTS.values() for op in ops if op.torch_atb == torch_atb]
    if not candidates:
        raise SpellingError(f"torch_atb has no {torch_atb}")
    op = _select(torch_atb, candidates, lambda p: given.get(p.torch_atb, _ABSENT), json=False)
    known = {p.torch_atb: p for p in op.params.values() if p.torch_atb}
    for key in given:
        if key not in known:
            raise SpellingError(f"{torch_atb} with these parameters does not read {key}")
    values = {p.name: given.get(p.torch_atb, _ABSENT) for p in op.params.values()}
    return op, {p.name: _read(p, values[p.name], p.torch_atb) for p in op.params.values()}


def _flatten(given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []
    for key, value in given.items():
        path = f"{prefix}{key}"
        made += _flatten(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return made


def _select(op_type: str, candidates: list[type[AtbOp]], read: Any, json: bool) -> type[AtbOp]:
    """The variant whose selecting parameter (a single choice, always printed) has the value."""
    allowed: list[str] = []
    for op in candidates:
        selectors = [
            p for p in op.params.values() if len(p.choices) == 1 and p.choices[0] != p.omitted
        ]
        found = [p.omitted if (v := read(p)) is _ABSENT else v for p in selectors]
        if all(value == p.choices[0] for p, value in zip(selectors, found, strict=True)):
            return op
        allowed += [f"{p.json if json else p.torch_atb} {p.choices[0]}" for p in selectors]
    raise SpellingError(f"{op_type} needs {' or '.join(allowed)}")


def _read(param: Param, value: Any, path: str) -> Attr:
    if value is _ABSENT:
        if param.problem(param.omitted):
            raise SpellingError(f"{path} is missing")
        return param.omitted
    if isinstance(value, str):
        value = {spelled: name for name, spelled in param.json_names.items()}.get(value, value)
    if isinstance(value, list):
        value = tuple(value)
    if param.kind is float and type(value) is int:
        value = float(value)
    problem = param.problem(cast(Attr, value))
    if problem is None and param.kind is tuple and any(type(item) is not int for item in value):
        problem = f"must hold integers, is {value!r}"
    if problem is None and value in param.not_in_json:
        problem = f"{value!r} is not known to the registry"
    if problem:
        raise SpellingError(f"{path} {problem}")
    return cast(Attr, value)
