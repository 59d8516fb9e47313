"""``simplify-views``: every rule, by text and number of rewrites."""

import pytest
import torch

from ir.graph import Module
from ir.interpret import interpret
from ir.passes import SimplifyViews, run_passes
from ir.text import parse_module, print_graph

X = "%x: float32[tokens, 2, 6]"
F = "float32[tokens, "


def module(body: str) -> Module:
    return parse_module(f"entries @main\nfunc @main({X}) {{\n{body}\n}}")


def check(before: str, after: str, matches: int) -> None:
    """The pass turns ``before`` into ``after`` in so many rewrites, and the numbers stay."""
    given = module(before)
    x = {"x": torch.arange(36.0).reshape(3, 2, 6)}
    expected = list(interpret(given, x, {}).values())
    (record,) = run_passes(given, [SimplifyViews()])
    assert print_graph(given.functions["main"]) == print_graph(module(after).functions["main"])
    assert record.result.matches == matches
    assert record.result.modified == (matches > 0)
    for got, wanted in zip(interpret(given, x, {}).values(), expected, strict=True):
        assert torch.equal(got, wanted)


RESHAPE = f"%y_1 = llm.reshape(%x) {{tail = (4, 3)}} : {F}4, 3]\n"


@pytest.mark.parametrize(
    ("before", "after", "matches"),
    [
        pytest.param(
            f"%a = llm.reshape(%x) {{tail = (12,)}} : {F}12]\n"
            f"%b = llm.reshape(%a) {{tail = (4, 3)}} : {F}4, 3]\nreturn %b",
            f"%y = llm.reshape(%x) {{tail = (4, 3)}} : {F}4, 3]\nreturn %y",
            1,
            id="reshape of reshape",
        ),
        pytest.param(
            f"%a = llm.reshape(%x) {{tail = (12,)}} : {F}12]\n"
            f"%b = llm.reshape(%a) {{tail = (2, 6)}} : {F}2, 6]\nreturn %b, %a",
            f"%a = llm.reshape(%x) {{tail = (12,)}} : {F}12]\nreturn %x, %a",
            2,
            id="reshape there and back",
        ),
        pytest.param(
            f"%a = llm.reshape(%x) {{tail = (2, 6)}} : {F}2, 6]\nreturn %a",
            "return %x",
            1,
            id="identity reshape",
        ),
        pytest.param(
            f"%a = llm.permute(%x) {{order = (2, 1)}} : {F}6, 2]\n"
            f"%b = llm.permute(%a) {{order = (2, 1)}} : {F}2, 6]\nreturn %b",
            "return %x",
            2,
            id="permute there and back",
        ),
        pytest.param(
            f"%a = llm.reshape(%x) {{tail = (2, 2, 3)}} : {F}2, 2, 3]\n"
            f"%b = llm.permute(%a) {{order = (3, 1, 2)}} : {F}3, 2, 2]\n"
            f"%c = llm.permute(%b) {{order = (2, 1, 3)}} : {F}2, 3, 2]\nreturn %c",
            f"%a = llm.reshape(%x) {{tail = (2, 2, 3)}} : {F}2, 2, 3]\n"
            f"%y = llm.permute(%a) {{order = (1, 3, 2)}} : {F}2, 3, 2]\nreturn %y",
            1,
            id="permute of permute",
        ),
        pytest.param(
            f"%a = llm.slice(%x) {{axis = 2, start = 0, stop = 6}} : {F}2, 6]\nreturn %a",
            "return %x",
            1,
            id="identity slice",
        ),
        pytest.param(
            f"%a = llm.split(%x) {{axis = 2, sizes = (6,)}} : {F}2, 6]\nreturn %a",
            "return %x",
            1,
            id="split of one piece",
        ),
        pytest.param(
            f"%b = llm.slice(%x) {{axis = 2, start = 4, stop = 6}} : {F}2, 2]\n"
            f"%a = llm.slice(%x) {{axis = 2, start = 0, stop = 4}} : {F}2, 4]\n"
            f"%c = llm.slice(%x) {{axis = 2, start = 0, stop = 4}} : {F}2, 4]\n"
            f"%d = llm.scale(%c) {{factor = 2.0}} : {F}2, 4]\nreturn %a, %b, %d",
            f"%y, %y_1 = llm.split(%x) {{axis = 2, sizes = (4, 2)}} : {F}2, 4], {F}2, 2]\n"
            f"%d = llm.scale(%y) {{factor = 2.0}} : {F}2, 4]\nreturn %y, %y_1, %d",
            1,
            id="slices that tile, in any order, one of them twice",
        ),
        pytest.param(
            f"%a = llm.slice(%x) {{axis = 2, start = 0, stop = 3}} : {F}2, 3]\n"
            f"%b = llm.slice(%x) {{axis = 2, start = 4, stop = 6}} : {F}2, 2]\nreturn %a, %b",
            None,
            0,
            id="slices with a gap",
        ),
        pytest.param(
            f"%a = llm.slice(%x) {{axis = 2, start = 0, stop = 4}} : {F}2, 4]\n"
            f"%b = llm.slice(%x) {{axis = 2, start = 3, stop = 6}} : {F}2, 3]\nreturn %a, %b",
            None,
            0,
            id="slices that overlap",
        ),
        pytest.param(
            f"%a = llm.slice(%x) {{axis = 2, start = 0, stop = 6, step = 2}} : {F}2, 3]\n"
            f"%b = llm.slice(%x) {{axis = 2, start = 1, stop = 6, step = 2}} : {F}2, 3]\n"
            "return %a, %b",
            None,
            0,
            id="slices with steps",
        ),
    ],
)
def test_rules(before, after, matches):
    check(before, after or before, matches)


def test_dead_views_do_not_keep_the_pass_busy():
    body = (
        f"%a = llm.reshape(%x) {{tail = (12,)}} : {F}12]\n"
        f"%b = llm.reshape(%a) {{tail = (4, 3)}} : {F}4, 3]\nreturn %x"
    )
    given = module(body)
    run_passes(given, [SimplifyViews()])
    assert len(given.functions["main"].nodes) == 1
