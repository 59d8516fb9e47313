"""The parameter struct of an operation as C++ assignments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.ops.base import AtbOp, Param
from codegen.targets.atb.ops.spelling import op_of
from ir.graph import Attr, Node


@dataclass(frozen=True)
class Field:
    """One assignment: ``param.normParam.epsilon = 1e-05F``.

    Attributes:
        path: Member, dotted.
        value: Expression.
    """

    path: str
    value: str


def fields(node: Node, given: dict[str, str]) -> tuple[Field, ...]:
    """What has to be set, because it is not ATB's default, in declaration order.

    Args:
        node: The operation.
        given: Expressions for attributes that depend on the number of ranks, by attribute name.
    """
    op = op_of(node)
    made: list[Field] = []
    for param in op.params.values():
        value = node.attrs[param.name]
        if param.name in given:
            made.append(Field(_path(param), given[param.name]))
        elif param.always or value != param.omitted:
            made.append(Field(_path(param), _expression(op, param, value)))
    return tuple(made)


def _path(param: Param) -> str:
    """MindIE's registry spells its JSON keys like the members."""
    if not param.json:
        raise CodegenError(f"{param.name} has no C++ member")
    return param.json


def _expression(op: type[AtbOp], param: Param, value: Attr) -> str:
    if param.enum:
        return _enumerator(param.enum, str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return f"{{{', '.join(str(int(str(item))) for item in value)}}}"
    if isinstance(value, int):
        return str(value)
    raise CodegenError(f"{op.name}: no C++ for {param.name} = {value!r}")


def _enumerator(enum: str, value: str) -> str:
    """``RmsNormParam.RmsNormType`` and ``RMS_NORM_NORM`` -> the enumerator's full name."""
    if not re.fullmatch(r"\w+", value, re.ASCII):
        raise CodegenError(f"{value!r} is not an enumerator")
    if enum == "AclDataType":
        return value
    scope = "::".join(enum.split("."))
    return f"atb::infer::{scope}::{value}"


def number(value: float) -> str:
    """A ``float`` literal.

    Raises:
        CodegenError: It is not finite.
    """
    if not math.isfinite(value):
        raise CodegenError(f"no C++ literal for {value}")
    text = repr(value)
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"
