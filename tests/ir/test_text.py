"""The text form: exact both ways, readable, and with errors that say where."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings

import ir
from ir.errors import ParseError
from ir.graph import Graph, Location, Module
from ir.llm.attention import Attention
from ir.llm.linear import Linear
from ir.llm.shape import Split
from ir.recipe import Affine, Concat, Fill, Permute, Reshape, Slice, Source, Transpose
from ir.structure import exact_key
from ir.text import parse_module, print_module, recipe_text
from ir.types import DType, Sym, TensorType
from tests.ir.strategies import modules

T = Sym.of("tokens")
F32 = DType.FLOAT32


def example() -> Module:
    graph = Graph("main")
    x = graph.add_input("x", TensorType((T, 4), F32))
    lens = graph.add_input("seq_lens", TensorType((Sym.of("batch"),), DType.INT32))
    recipe = Concat(0, (Source("q.weight"), Source("model.k.weight", absolute=True)))
    w = graph.add_parameter(TensorType((8, 4), F32), recipe, "w")
    slopes = graph.add_constant(torch.tensor([0.5, 0.25]), TensorType((2,), F32), "slopes")
    loc = Location("model.attn", "llama.py:12")
    y = Linear.build(graph, x, w, loc=loc, named=("qk",)).result
    q, k = Split.build(graph, y, axis=1, sizes=(4, 4), named=("q", "k"), loc=loc).results
    heads = [ir.llm.shape.Reshape.build(graph, v, tail=(2, 2)).result for v in (q, k)]
    attended = Attention.build(graph, heads[0], heads[1], heads[1], lens, slopes, scale=0.5)
    graph.outputs = [attended.result]
    return Module({"main": graph}, meta={"model_class": "Tiny", "sizes": (1,), "rope": None})


EXAMPLE = """\
entries @main
meta {
  model_class = "Tiny"
  sizes = (1,)
  rope = none
}

func @main(%x: float32[tokens, 4], %seq_lens: int32[batch]) {
  param %w: float32[8, 4] = concat(0, "q.weight", absolute("model.k.weight"))
  const %slopes: float32[2] = [0.5, 0.25]
  %qk = llm.linear(%x, %w) : float32[tokens, 8] loc("model.attn" "llama.py:12")
  %q, %k = llm.split(%qk) {axis = 1, sizes = (4, 4)} : float32[tokens, 4], float32[tokens, 4] \
loc("model.attn" "llama.py:12")
  %y = llm.reshape(%q) {tail = (2, 2)} : float32[tokens, 2, 2]
  %y_1 = llm.reshape(%k) {tail = (2, 2)} : float32[tokens, 2, 2]
  %y_2 = llm.attention(%y, %y_1, %y_1, %seq_lens, %slopes) {scale = 0.5} : float32[tokens, 2, 2]
  return %y_2
}
"""


def test_example_prints_as_documented():
    module = example()
    ir.verify(module)
    assert print_module(module) == EXAMPLE


def test_example_parses_to_the_same_module():
    parsed = parse_module(EXAMPLE)
    ir.verify(parsed)
    assert exact_key(parsed) == exact_key(example())
    assert parsed.functions["main"].nodes[-1].attrs["causal"] is True  # defaults are filled in


def test_locations_can_be_left_out():
    assert "loc(" not in print_module(example(), locations=False)
    assert parse_module(print_module(example(), locations=False)).functions["main"].nodes


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(modules())
def test_any_module_round_trips(module: Module):
    text = print_module(module)
    parsed = parse_module(text)
    assert print_module(parsed) == text
    assert exact_key(parsed) == exact_key(module)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Source("a.b"), '"a.b"'),
        (Source('"\n'), '"\\"\\n"'),
        (Source("a", absolute=True), 'absolute("a")'),
        (Concat(1, (Source("a"), Transpose(Source("b")))), 'concat(1, "a", transpose("b"))'),
        (Slice(Source("a"), 0, 16, 32), 'slice("a", 0, 16, 32)'),
        (Reshape(Source("a"), (2, 3)), 'reshape("a", (2, 3))'),
        (Permute(Source("a"), (1, 0)), 'permute("a", (1, 0))'),
        (Affine(Source("a"), 1.0, -0.0), 'affine("a", 1.0, -0.0)'),
        (Fill((4,), math.inf), "fill((4,), inf)"),
    ],
)
def test_recipes(recipe, text):
    assert recipe_text(recipe) == text
    line = f"entries @f\nfunc @f() {{\n  param %w: float32[1] = {text}\n  return %w\n}}"
    assert parse_module(line).functions["f"].parameters[0].recipe == recipe


def test_long_constants_are_compressed_and_can_be_hidden():
    graph = Graph("f")
    data = torch.arange(4096, dtype=torch.float32).reshape(64, 64)
    graph.outputs = [graph.add_constant(data, TensorType((64, 64), F32))]
    module = Module({"f": graph}, ("f",))
    text = print_module(module)
    assert 'zlib float32 "' in text
    found = parse_module(text).functions["f"].constants[0].data
    assert found is not None
    assert torch.equal(found, data)
    assert "float32[64, 64] = ...\n" in print_module(module, data=False)


def test_parsed_graphs_know_which_names_are_taken():
    assert parse_module(EXAMPLE).functions["main"].fresh("qk") == "qk_1"


def test_hand_written_text_may_give_integers_for_float_attributes():
    graph = parse_module(EXAMPLE.replace("scale = 0.5", "scale = 1")).functions["main"]
    assert type(graph.nodes[-1].attrs["scale"]) is float


HEAD = "entries @f\nfunc @f(%x: float32[tokens, 4]) {\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("  return %y\n}", "line 3, column 10: %y is not defined here"),
        (
            "  %x = llm.softcap(%x) {cap = 1.0} : float32[1]\n  return\n}",
            "line 3, column 3: %x is defined twice",
        ),
        ("  %y = llm.nope(%x) : float32[1]\n  return\n}", "column 8: unknown operation llm.nope"),
        ("  %y = llm.add(%x, %x)\n  return\n}", "column 8: 1 results but 0 types"),
        (
            "  %y = llm.add(%x, %x) {a = 1, a = 2} : float32[1]\n  return\n}",
            "column 32: a is given twice",
        ),
        (
            "  %y = llm.add(%x, %x) : float31[1]\n  return\n}",
            "column 26: float31 is not an element",
        ),
        ("  param %w: float32[1] = cat(0)\n  return\n}", "column 26: no recipe cat"),
        ('  param %w: float32[1] = slice("a", 0)\n  return\n}', "slice takes part, axis, start"),
        ('  param %w: float32[1] = concat("a", "b")\n  return\n}', "axis of concat must be an int"),
        ("  const %c: float32[3] = [1.0, 2.0]\n  return\n}", "does not make a float32[3]"),
        ("  const %c: int32[1] = [99999999999999]\n  return\n}", "does not make a int32[1]"),
        ('  const %c: int32[1] = zlib int32 "%%"\n  return\n}', "does not make a int32[1]"),
        ("  const %c: int32[tokens] = [1]\n  return\n}", "cannot have the shape"),
        ("  return %x", "the text ends too early"),
        ("  return ?\n}", "line 3, column 10: unexpected '?'"),
        ("  return )\n}", "line 3, column 10: unexpected ')'"),
        ('  %"\\q" = llm.add(%x, %x) : float32[1]\n  return\n}', "bad string"),
        ("  return\n}\nfunc @f() {\n  return\n}", "line 5, column 6: @f is defined twice"),
    ],
)
def test_errors_say_where(body, message):
    with pytest.raises(ParseError) as caught:
        parse_module(HEAD + body)
    assert message in str(caught.value)
    assert str(caught.value).startswith("line ")
