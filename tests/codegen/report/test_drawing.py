"""Boxes below what they read, no two on top of each other, a line for everything read."""

from __future__ import annotations

from itertools import combinations

import pytest

from codegen.report.drawing import HEIGHT, WIDTH, Drawing, Item, draw
from codegen.report.mapping import fates
from codegen.report.pictures import drawings
from tests.codegen.report.subjects import zoo


def _item(key: str, *reads: str) -> Item:
    return Item(key, key, "", "input", reads)


def _check(drawing: Drawing) -> None:
    for a, b in combinations(drawing.boxes, 2):
        assert abs(a.x - b.x) >= WIDTH or abs(a.y - b.y) >= HEIGHT
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - WIDTH
        assert 0 <= box.y <= drawing.height - HEIGHT


def test_rows_follow_what_is_read() -> None:
    made = draw("", [_item("a"), _item("b", "a"), _item("c", "a"), _item("d", "b", "a")])
    y = {box.title: box.y for box in made.boxes}
    assert y["a"] < y["b"] == y["c"] < y["d"]
    assert len(made.lines) == 4
    _check(made)


def test_a_line_past_a_row_runs_beside_the_boxes() -> None:
    made = draw("", [_item("a"), _item("b", "a"), _item("c", "b", "a")])
    residual = made.lines[-1].path
    right = max(box.x + WIDTH for box in made.boxes)
    xs = [float(part.split()[0]) for part in residual.replace("V", "|").split("H")[1:2]
          for part in [part.split("Q")[0]]]  # fmt: skip
    assert max(xs) > right
    assert made.width > right


def test_lines_that_do_not_overlap_share_a_lane() -> None:
    chain = [_item("a"), _item("b", "a"), _item("c", "b", "a"), _item("d", "c"),
             _item("e", "d", "c")]  # fmt: skip
    crossing = [_item("a"), _item("b", "a"), _item("c", "b", "a"), _item("d", "c", "b")]
    assert draw("", crossing).width > draw("", chain).width


@pytest.mark.parametrize("name", ["llama-gqa", "gemma2", "mixtral"])
def test_models(name: str) -> None:
    evidence = zoo(name).evidence()
    made = drawings(evidence, fates(evidence))
    assert made
    for drawing in made:
        _check(drawing)


def test_residual_connections_are_drawn() -> None:
    evidence = zoo("llama-gqa").evidence()
    layer = next(d for d in drawings(evidence, fates(evidence)) if "decoder_layer" in d.title)
    assert "run 3 times" in layer.title
    assert [box.title for box in layer.boxes][:3] == [
        "hidden_states", "input_layernorm", "self_attn_qkv_proj",
    ]  # fmt: skip
    # 13 operations: each reads the one before; rope and cache more; two residuals
    assert sum("V" in line.path for line in layer.lines) >= 2
    assert len(layer.boxes) == 14


def test_what_is_missing_is_marked() -> None:
    evidence = zoo("mixtral").evidence()
    (drawing,) = drawings(evidence, fates(evidence))
    marked = [box.title for box in drawing.boxes if box.style == "blocked"]
    assert marked == ["mlp.gate", "mlp.experts"]
