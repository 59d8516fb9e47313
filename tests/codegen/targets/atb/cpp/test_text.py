"""Names, strings and comments: whatever a text holds, it stays what it is printed as."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.block import TensorIds
from tests.codegen.targets.atb.cpp import lexer

FRAGMENTS = (
    "\\", "\\\\", "??/", "??", "?", "/", "*/", "/*", "//", "\n", "\r", "\r\n", "\t", "\v", "\f",
    "\x00", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", '"', "'", 'R"(', ')"', "%:", "<%",
    "#include <evil>", "int evil;", "é", "\U0001f600", " ", "  ", "a" * 95, "a" * 200, "7", "_",
    "{{ 7 }}", "{% raw %}", "clang-format off", "NOLINT", "abc.def", "",
)  # fmt: skip
PIECES = st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4))
TEXTS = st.lists(PIECES, max_size=6).map("".join)
MANY = settings(max_examples=300, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("name", "camel", "upper", "variable"),
    [
        ("self_attn.qkv_proj", "SelfAttnQkvProj", "SELF_ATTN_QKV_PROJ", "selfAttnQkvProj"),
        ("hidden_states", "HiddenStates", "HIDDEN_STATES", "hiddenStates"),
        ("c_fc.weight", "CFcWeight", "C_FC_WEIGHT", "cFcWeight"),
        ("q_proj_2", "QProj2", "Q_PROJ_2", "qProj2"),
        ("normF", "NormF", "NORMF", "normF"),
        ("a..b__c", "ABC", "A_B_C", "aBC"),
        ("é", "", "", ""),
        ("", "", "", ""),
    ],
)
def test_spellings(name: str, camel: str, upper: str, variable: str) -> None:
    assert (text.camel(name), text.upper(name), text.variable(name)) == (camel, upper, variable)


@MANY
@given(name=TEXTS)
def test_spellings_are_parts_of_identifiers(name: str) -> None:
    for made in (text.camel(name), text.upper(name), text.variable(name)):
        assert re.fullmatch(r"\w*", made, re.ASCII)
    assert text.upper(name) == text.upper(name).upper()


@MANY
@given(value=TEXTS)
def test_a_comment_is_as_many_lines_as_it_says(value: str) -> None:
    lines = text.comment(value)
    for line in lines:
        assert re.fullmatch(r"[ -~]+", line)
        assert len(line) <= 96
        assert "\\" not in line
        assert "??" not in line  # ??/ at the end of a line would join it with the next one
    program = "".join(f"// {line}\n" for line in lines) + "int after;\n"
    assert lexer.code(program) == ["int", "after", ";"]
    assert len(lexer.comments(program)) == len(lines)


def test_a_comment_keeps_what_can_be_read() -> None:
    assert text.comment("o_proj: 128 -> 64 features, with bias.") == (
        "o_proj: 128 -> 64 features, with bias.",
    )
    assert text.comment("") == ()
    assert [len(line) for line in text.comment("word " * 40)] == [94, 94, 9]


@pytest.mark.parametrize(
    "value", ["x \\", "x ??/", "x ?\x00/", "\x00\x00\\", "?" * 95 + "/", "???/"]
)
def test_a_comment_cannot_swallow_the_next_line(value: str) -> None:
    for line in text.comment(value):
        assert not line.endswith(("\\", "??/"))


def test_names_are_given_once_and_kept() -> None:
    names = text.Names()
    assert [names.name(key, "A") for key in ("x", "y", "x", "z", "y")] == [
        "A", "A_2", "A", "A_3", "A_2",
    ]  # fmt: skip
    assert names.name("w", "A_2") == "A_2_2"


@MANY
@given(wanted=st.lists(st.sampled_from(["A", "A_2", "A_2_2", "B", ""]), max_size=12))
def test_names_are_unique(wanted: list[str]) -> None:
    names = text.Names()
    made = [names.name(key, name) for key, name in enumerate(wanted)]
    assert len(set(made)) == len(made)


@MANY
@given(names=st.lists(TEXTS, max_size=8, unique=True))
def test_tensor_ids_are_unique_identifiers_whatever_upper_case_makes_of_them(
    names: list[str],
) -> None:
    ids = TensorIds()
    made = [ids.input(name) for name in names] + [ids.weight(name) for name in names]
    made += [ids.output(name) for name in names] + [ids.internal(name) for name in names]
    made += ["IN_TENSOR_COUNT", "OUT_TENSOR_COUNT", "WEIGHT_COUNT"]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"(IN|OUT|INTERMEDIATE)_\w*", name, re.ASCII) for name in made[:-1])
    assert [ids.weight(name) for name in names] == list(ids.weights)
    assert list(ids.inputs.values()) == list(ids.weights.values()) == names


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.b", "a_b"), ("aB", "Ab"), ("a", "a\n"), ("é", "ü"), ("a-b", "a.b"), ("x_2", "x.2")],
)
def test_names_that_only_case_or_punctuation_tells_apart(first: str, second: str) -> None:
    ids = TensorIds()
    assert ids.weight(first) != ids.weight(second)
    assert ids.weight(first) == ids.weight(first)


@pytest.mark.parametrize("name", ["tensor.count", "tensor_count"])
def test_a_tensor_cannot_have_the_name_of_a_constant(name: str) -> None:
    ids = TensorIds()
    assert ids.weight(name) != "IN_TENSOR_COUNT"
    assert ids.output(name) != "OUT_TENSOR_COUNT"


@pytest.mark.parametrize("name", ["logits_of_rank", "logits_of_ranks", "logits_by_token"])
def test_a_tensor_cannot_have_the_name_of_one_that_gathering_needs(name: str) -> None:
    assert TensorIds().internal(name) != f"INTERMEDIATE_{name.upper()}"
