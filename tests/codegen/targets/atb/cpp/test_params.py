"""Parameter structs in C++: every declared parameter and value has a well-formed spelling."""

from __future__ import annotations

import math
import re
import struct
from functools import cache
from pathlib import Path

import pytest
import tree_sitter
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.errors import CodegenError
from codegen.host import atb_cpp
from codegen.targets.atb import ops
from codegen.targets.atb.cpp.params import Field, fields, number, op_of
from codegen.targets.atb.ops import VARIANTS, AtbOp, Param
from ir.graph import Attr, Location, Node
from tests.codegen.targets.atb.cpp import lexer

OPS = [op for variants in VARIANTS.values() for op in variants]
MEMBER = re.compile(r"[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)?")
ENUMERATOR = re.compile(r"atb::infer::([A-Z]\w*::)+[A-Z][A-Z0-9_]*|ACL_[A-Z0-9_]+")
VALUES: dict[type, tuple[Attr, ...]] = {
    bool: (True, False),
    int: (0, 1, -1, 7),
    float: (0.0, 0.5, -1.25, 1e-6, 3e38),
    tuple: ((), (1,), (0, -1, 64)),
    str: (),
}


def node_of(op: type[AtbOp], **attrs: Attr) -> Node:
    """A node with every attribute, whether or not they go together."""
    full = {
        name: attrs.get(name, param.omitted if param.omitted is not None else _any(param))
        for name, param in op.params.items()
    }
    return Node(op.name, (), full, Location("here", "m.py:1"))


def _any(param: Param) -> Attr:
    return param.choices[0] if param.choices else VALUES[param.kind][0]


def spelled(op: type[AtbOp], param: Param, value: Attr) -> str | None:
    """How a value is printed; None if it is ATB's default and left out."""
    found = [
        made.value
        for made in fields(node_of(op, **{param.name: value}), {})
        if made.path == param.json
    ]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_parameter_has_a_member_and_every_value_an_expression(op: type[AtbOp]) -> None:
    assert len({param.json for param in op.params.values()}) == len(op.params)
    for param in op.params.values():
        assert MEMBER.fullmatch(param.json), param
        for value in param.choices or VALUES[param.kind]:
            made = spelled(op, param, value)
            if not param.always and value == param.omitted:
                assert made is None
                continue
            assert made is not None, (param.name, value)
            if param.enum:
                assert ENUMERATOR.fullmatch(made), made
                assert made.endswith(str(value))
            elif param.kind is bool:
                assert made == ("true" if value else "false")
            elif param.kind is int:
                assert int(made) == value
            elif param.kind is float:
                assert float32(made) == pytest.approx(value, rel=1e-6)
            else:
                assert param.kind is tuple
                assert made == "{" + ", ".join(map(str, value)) + "}"


@cache
def declared() -> tuple[dict[str, str], frozenset[str]]:
    """Members with their defaults, and enumerators, that our own headers declare."""
    members: dict[str, str] = {}
    enumerators: set[str] = set()

    def visit(node: tree_sitter.Node, scope: tuple[str, ...]) -> None:
        name = node.child_by_field_name("name")
        if name is not None and name.text is not None:
            inner = (*scope, name.text.decode())
            if node.type in ("struct_specifier", "enum_specifier"):
                scope = inner
            elif node.type == "enumerator":
                enumerators.add("::".join(inner))
        if node.type == "field_declaration":
            default = node.child_by_field_name("default_value")
            for declarator in node.children_by_field_name("declarator"):
                word = re.split(r"\W", (declarator.text or b"").decode())[0]
                value = b"" if default is None else default.text or b""
                members["::".join((*scope, word))] = value.decode()
        for child in node.children:
            visit(child, scope)

    for header in sorted((Path(atb_cpp.__file__).parent / "include" / "atb").rglob("*.h")):
        visit(lexer.parse(header.read_text()), ())
    return members, frozenset(enumerators)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_members_and_enumerators_are_those_of_our_headers(op: type[AtbOp]) -> None:
    members, enumerators = declared()
    for param in op.params.values():
        *groups, member = param.json.split(".")
        structs = [group[:1].upper() + group[1:] for group in groups]
        default = members["::".join((f"{op.op_type}Param", *structs, member))]
        if param.omitted is not None:
            assert same_default(default, param.omitted), (param.json, default)
        for value in param.choices if param.enum and param.enum != "AclDataType" else ():
            made = spelled(op, param, value)
            if made is not None:
                assert made.removeprefix("atb::infer::") in enumerators


def same_default(printed: str, value: Attr) -> bool:
    """Whether what is left out is what the struct has anyway."""
    if isinstance(value, bool):
        return printed == ("true" if value else "false")
    if isinstance(value, (int, float)):
        return float(printed.rstrip("f")) == value
    return printed in ("", "{}") if isinstance(value, tuple) else printed == value


def test_what_is_printed_is_in_the_order_of_declaration() -> None:
    node = node_of(
        ops.SelfAttention, qk_scale=0.25, head_num=8, kv_head_num=2, mask_type="MASK_TYPE_NORM"
    )
    node.attrs["calc_type"] = "PA_ENCODER"
    assert fields(node, {}) == (
        Field("headNum", "8"),
        Field("kvHeadNum", "2"),
        Field("qkScale", "0.25F"),
        Field("calcType", "atb::infer::SelfAttentionParam::CalcType::PA_ENCODER"),
        Field("maskType", "atb::infer::SelfAttentionParam::MaskType::MASK_TYPE_NORM"),
    )


def test_a_given_expression_takes_the_place_of_the_value() -> None:
    node = node_of(ops.Split, split_dim=1, split_num=3, split_sizes=(4, 2, 2))
    given = {"split_sizes": "{headNum, kvHeadNum, kvHeadNum}"}
    assert fields(node, given) == (
        Field("splitDim", "1"),
        Field("splitNum", "3"),
        Field("splitSizes", "{headNum, kvHeadNum, kvHeadNum}"),
    )
    # also where the number of one rank would be ATB's default
    attention = node_of(ops.SelfAttention, head_num=0)
    assert Field("headNum", "headNum") in fields(attention, {"head_num": "headNum"})


def test_epsilon_is_always_printed_and_belongs_to_its_kind_of_norm() -> None:
    for op, member in (
        (ops.RmsNorm, "normParam.epsilon"),
        (ops.PreRmsNorm, "preNormParam.epsilon"),
        (ops.PostRmsNorm, "postNormParam.epsilon"),
        (ops.LayerNorm, "normParam.epsilon"),
    ):
        assert Field(member, "1e-05F") in fields(node_of(op, epsilon=1e-5), {})


def test_a_product_without_bias_says_so() -> None:
    assert fields(node_of(ops.Linear, has_bias=False), {}) == (Field("hasBias", "false"),)
    assert fields(node_of(ops.Linear, has_bias=True), {}) == ()


def float32(literal: str) -> float:
    """The value of a ``float`` literal of C++."""
    assert re.fullmatch(r"-?(\d+\.\d*|\d+(\.\d*)?e[+-]?\d+)F", literal), literal
    return struct.unpack("f", struct.pack("f", float(literal[:-1])))[0]


@settings(max_examples=300, derandomize=True)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(value: float) -> None:
    assert float32(number(value)) == value
    assert math.copysign(1.0, float32(number(value))) == math.copysign(1.0, value)


@pytest.mark.parametrize(
    ("value", "literal"),
    [(1.0, "1.0F"), (1e-6, "1e-06F"), (1e16, "1e+16F"), (-0.5, "-0.5F"), (1e22, "1e+22F")],
)
def test_numbers(value: float, literal: str) -> None:
    assert number(value) == literal


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_have_no_literal_are_refused(value: float) -> None:
    with pytest.raises(CodegenError, match="no C\\+\\+ literal"):
        number(value)


@pytest.mark.parametrize(
    "value", ["X; evil()", "", "MASK TYPE", "MASK_TYPE_NORM\n", "MÁSK", "A::B"]
)
def test_values_that_are_no_enumerators_are_refused(value: str) -> None:
    with pytest.raises(CodegenError, match="not an enumerator"):
        fields(node_of(ops.SelfAttention, mask_type=value), {})


def test_values_of_no_known_kind_are_refused() -> None:
    with pytest.raises(CodegenError, match=r"no C\+\+ for head_num = 'x'"):
        fields(node_of(ops.SelfAttention, head_num="x"), {})
    with pytest.raises(ValueError, match="invalid literal"):
        fields(node_of(ops.Split, split_sizes=("x",)), {})


def test_what_is_no_operation_of_its_own_is_refused() -> None:
    with pytest.raises(CodegenError, match=r"atb\.reshape is not an ATB operation .* at m\.py:1"):
        op_of(Node("atb.reshape", (), {}, Location("here", "m.py:1")))
    with pytest.raises(CodegenError, match=r"llm\.linear is not an ATB operation"):
        op_of(Node("llm.linear", (), {}, Location()))
