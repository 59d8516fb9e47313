"""What a rank has of a tensor: counts, widths, cuts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.targets.atb.sharding.layout import (
    ConflictError,
    Layout,
    Part,
    Unit,
    cut,
    divided,
    total,
)

HEADS, KV, FEATURES, VOCAB = (
    Unit("heads", 8),
    Unit("kv_heads", 2),
    Unit("intermediate", 96),
    Unit("vocab", 50),
)


@pytest.mark.parametrize(
    ("unit", "world_size", "each"),
    [
        (HEADS, 1, 8), (HEADS, 4, 2), (HEADS, 8, 1), (FEATURES, 32, 3),
        (KV, 1, 2), (KV, 2, 1), (KV, 4, 1), (KV, 8, 1), (Unit("kv_heads", 6), 3, 2),
        (Unit("kv_heads", 1), 8, 1),
        (VOCAB, 1, 50), (VOCAB, 4, 13), (VOCAB, 7, 8), (VOCAB, 64, 1),
    ],
)  # fmt: skip
def test_a_unit_is_divided_repeated_or_padded(unit: Unit, world_size: int, each: int) -> None:
    assert unit.per_rank(world_size) == each


@pytest.mark.parametrize(
    ("unit", "world_size"),
    [(HEADS, 3), (HEADS, 16), (FEATURES, 5), (KV, 3), (Unit("kv_heads", 4), 6), (KV, 5)],
)
def test_a_unit_that_cannot_be_divided_says_so(unit: Unit, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"^{unit.count} {unit.name} .* among {world_size} ranks"):
        unit.per_rank(world_size)


@given(count=st.integers(1, 64), world_size=st.integers(1, 64))
def test_kv_heads_are_repeated_only_where_every_rank_gets_one(count: int, world_size: int) -> None:
    unit = Unit("kv_heads", count)
    if count % world_size == 0:
        assert unit.per_rank(world_size) * world_size == count
    elif world_size % count == 0:
        assert unit.per_rank(world_size) == 1
    else:
        with pytest.raises(ValueError, match="cannot be divided"):
            unit.per_rank(world_size)


@given(count=st.integers(1, 200), world_size=st.integers(1, 64))
def test_padding_is_less_than_a_row_for_each_rank(count: int, world_size: int) -> None:
    padded = Unit("vocab", count).per_rank(world_size) * world_size
    assert count <= padded < count + world_size


def test_a_part_has_the_width_of_its_unit() -> None:
    assert Part(256, HEADS).width == 32
    assert Part(256, HEADS).per_rank(4) == 64
    assert Part(64, KV).per_rank(8) == 32
    assert Part(64).width == Part(64).per_rank(4) == 64
    assert Part(50, VOCAB).per_rank(4) == 13


def test_a_scaled_part_keeps_its_units_whole() -> None:
    assert Part(256, HEADS).scaled(8, 256) == Part(8, HEADS)
    assert Part(8, HEADS).scaled(256, 8) == Part(256, HEADS)
    assert Part(64).scaled(1, 32) == Part(2)
    for part, numerator, denominator in (
        (Part(8, HEADS), 1, 2),  # half a head
        (Part(8, HEADS), 1, 3),  # no whole number of elements
        (Part(2), 1, 4),  # nothing is left
        (Part(8, HEADS), 3, 2),  # 12 elements for 8 heads
    ):
        with pytest.raises(ConflictError, match="cuts a unit"):
            part.scaled(numerator, denominator)


def test_a_layout_names_its_units_once_and_adds_its_parts() -> None:
    layout = Layout(1, (Part(256, HEADS), Part(64, KV), Part(64, KV), Part(3)))
    assert layout.units == (HEADS, KV)
    assert [layout.per_rank(size) for size in (1, 2, 4)] == [387, 195, 131]
    assert layout.moved(0) == Layout(0, layout.parts)
    assert total(layout.parts) == 387


def test_parts_that_every_rank_has_are_no_layout() -> None:
    assert divided(0, (Part(4), Part(8))) is None
    assert divided(0, (Part(4), Part(8, HEADS))) == Layout(0, (Part(4), Part(8, HEADS)))


def test_cut_sorts_parts_into_runs() -> None:
    q, k, v = Part(256, HEADS), Part(64, KV), Part(64)
    assert cut((q, k, v), (256, 64, 64)) == [(q,), (k,), (v,)]
    assert cut((q, k, v), (256, 128)) == [(q,), (k, v)]
    assert cut((q, k, v), (384,)) == [(q, k, v)]


@pytest.mark.parametrize("sizes", [(128, 256), (320, 63), (256, 64, 65), (300,)])
def test_cut_refuses_runs_that_end_inside_a_part(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConflictError, match="ends inside a part"):
        cut((Part(256, HEADS), Part(64, KV), Part(64)), sizes)


@settings(max_examples=50)
@given(runs=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_cut_undoes_joining(runs: list[list[int]]) -> None:
    parts = [tuple(Part(size) for size in run) for run in runs]
    joined = tuple(part for run in parts for part in run)
    assert cut(joined, tuple(total(run) for run in parts)) == parts
