"""Parameter structs and enumerations of ``torch_atb``, made from the dialect's declarations."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, cast

from codegen.host.atb_python.session import fail
from codegen.targets.atb.ops.base import VARIANTS, Param
from codegen.targets.atb.ops.spelling import struct_name
from ir.graph import Attr


class ParamStruct:
    """Base of the parameter structs: keyword arguments and attributes, unknown ones refused.

    Attributes:
        path: Name of the struct: ``RmsNormParam`` or ``RmsNormParam.NormParam``.
        plain: Parameters by field.
        nested: Nested structs by field.
        enums: Enumeration classes by name.
    """

    path: ClassVar[str] = ""
    plain: ClassVar[dict[str, Param]] = {}
    nested: ClassVar[dict[str, type[ParamStruct]]] = {}
    enums: ClassVar[dict[str, type[Enum]]] = {}

    def __init__(self, *positional: Any, **fields: Any) -> None:
        if positional:
            fail("", f"torch_atb.{self.path} is given positional arguments; name the fields")
        self._given: dict[str, Any] = {}
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        if name in self.nested:
            wanted: type = self.nested[name]
            if not isinstance(value, wanted):
                fail("", f"torch_atb.{self.path}: {name} must be a {self.nested[name].path}")
        elif name not in self.plain:
            fail("", f"torch_atb.{self.path} has no field {name!r}")
        elif self.plain[name].enum:
            self._check_enum(name, value)
        self._given[name] = value

    def __getattr__(self, name: str) -> Any:
        given = self.__dict__.get("_given", {})
        if name in given:
            return given[name]
        if name in self.nested:
            given[name] = self.nested[name]()
            return given[name]
        if name in self.plain:
            param = self.plain[name]
            return self.enums[param.enum][str(param.omitted)] if param.enum else param.omitted
        raise AttributeError(f"torch_atb.{self.path} has no field {name!r}")

    def _check_enum(self, name: str, value: Any) -> None:
        enum = self.plain[name].enum
        if not isinstance(value, self.enums[enum]):
            fail("", f"torch_atb.{self.path}: {name} must be a {enum}, is {value!r}")

    def flat(self, prefix: str = "") -> dict[str, Attr]:
        """The fields that were set, by dotted name; enumeration values by their name."""
        made: dict[str, Attr] = {}
        for name, value in self._given.items():
            if isinstance(value, ParamStruct):
                made.update(value.flat(f"{prefix}{name}."))
            elif isinstance(value, Enum):
                made[f"{prefix}{name}"] = value.name
            else:
                made[f"{prefix}{name}"] = tuple(value) if isinstance(value, list) else value
        return made


def _fields(struct: str) -> dict[str, list[Param]]:
    """All parameters of a struct by dotted field, over the operations that share it."""
    found: dict[str, list[Param]] = {}
    for op in (op for ops in VARIANTS.values() for op in ops if op.torch_atb == struct):
        for param in op.params.values():
            if param.torch_atb:
                found.setdefault(param.torch_atb, []).append(param)
    return found


def _enumerations() -> dict[str, type[Enum]]:
    """Every enumeration with the values that the dialect knows, defaults included."""
    values: dict[str, dict[str, str]] = {}
    for op in (op for ops in VARIANTS.values() for op in ops):
        for param in op.params.values():
            if param.enum:
                known = values.setdefault(param.enum, {})
                known.update({str(v): str(v) for v in (param.omitted, *param.choices)})
    made: dict[str, type[Enum]] = {}
    for name, members in values.items():
        made[name] = cast("type[Enum]", Enum(name.rpartition(".")[2], members))
    return made


def _struct(path: str, fields: Mapping[str, Param], enums: dict[str, type[Enum]]) -> type:
    groups: dict[str, dict[str, Param]] = {}
    plain: dict[str, Param] = {}
    for field, param in fields.items():
        group, _, key = field.partition(".")
        if key:
            groups.setdefault(group, {})[key] = param
        else:
            plain[group] = param
    nested = {
        group: _struct(f"{path}.{struct_name(group)}", inner, enums)
        for group, inner in groups.items()
    }
    members: dict[str, Any] = {"path": path, "plain": plain, "nested": nested, "enums": enums}
    members |= {struct_name(group): struct for group, struct in nested.items()}
    for name, enum in enums.items():
        owner, _, short = name.rpartition(".")
        if owner == path:
            members[short] = enum
    return type(path.rpartition(".")[2], (ParamStruct,), members)


def structs() -> dict[str, Any]:
    """Parameter structs, global enumerations and their exported values, by name."""
    enums = _enumerations()
    made: dict[str, Any] = {}
    for name in {op.torch_atb for ops in VARIANTS.values() for op in ops if op.torch_atb}:
        fields = {field: params[0] for field, params in _fields(name).items()}
        made[name] = _struct(name, fields, enums)
    for name, enum in enums.items():
        if "." not in name:
            made[name] = enum
            made |= {member.name: member for member in enum}
    return made
