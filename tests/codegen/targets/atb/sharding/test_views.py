"""Where a divided axis is in another view: heads split off and joined again, never cut."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codegen.targets.atb.sharding.layout import ConflictError, Layout, Part, Unit
from codegen.targets.atb.sharding.views import viewed
from ir.types import Dim, Sym, scale_dim
from tests.codegen.targets.atb.sharding.ranks import part_of

T, B = Sym.of("tokens"), Sym.of("batch")
HEADS, KV = Unit("heads", 8), Unit("kv_heads", 2)
FLAT = (Part(256, HEADS),)
QKV = (Part(256, HEADS), Part(64, KV), Part(64, KV))


@pytest.mark.parametrize(
    ("old", "axis", "parts", "new", "new_axis", "sizes"),
    [
        ((T, 256), 1, FLAT, (T, 8, 32), 1, (8,)),
        ((T, 8, 32), 1, (Part(8, HEADS),), (T, 256), 1, (256,)),
        ((T, 384), 1, QKV, (T, 12, 32), 1, (8, 2, 2)),
        ((T, 12, 32), 1, (Part(8, HEADS), Part(2, KV), Part(2, KV)), (T, 384), 1, (256, 64, 64)),
        # gpt_neox: q, k and v of each head lie together
        ((T, 768), 1, (Part(768, HEADS),), (T, 8, 3, 32), 1, (8,)),
        ((T, 8, 3, 32), 1, (Part(8, HEADS),), (T, 8, 96), 1, (8,)),
        # axes of size 1 do not matter, wherever they are
        ((1, 256), 1, FLAT, (8, 32), 0, (8,)),
        ((T, 8, 32), 1, (Part(8, HEADS),), (T, 1, 8, 32), 2, (8,)),
        ((T, 1, 8, 32), 2, (Part(8, HEADS),), (T, 8, 1, 32, 1), 1, (8,)),
        ((8, T, T), 0, (Part(8, HEADS),), (2, 4, T, T), None, None),
        ((8, 1, T), 0, (Part(8, HEADS),), (8, T), 0, (8,)),
        # the axis itself stays, others are viewed differently
        ((T, 8, 4, 8), 1, (Part(8, HEADS),), (T, 8, 32), 1, (8,)),
        ((B, T, 8, 32), 2, (Part(8, HEADS),), (B, T, 256), 2, (256,)),
        # pieces smaller than heads: a rank has more of them
        ((T, 256), 1, FLAT, (T, 16, 16), 1, (16,)),
    ],
)
def test_views(
    old: tuple[Dim, ...],
    axis: int,
    parts: tuple[Part, ...],
    new: tuple[Dim, ...],
    new_axis: int | None,
    sizes: tuple[int, ...] | None,
) -> None:
    layout = Layout(axis, parts)
    if new_axis is None or sizes is None:
        with pytest.raises(ConflictError):
            viewed(layout, old, new)
        return
    made = viewed(layout, old, new)
    units = [part.unit for part in parts]
    assert made == Layout(new_axis, tuple(map(Part, sizes, units)))
    assert viewed(made, new, old) == layout


@pytest.mark.parametrize(
    ("old", "axis", "parts", "new", "why"),
    [
        ((T, 256), 1, FLAT, (T, 4, 64), "cuts a unit"),  # two heads in one row
        ((T, 384), 1, QKV, (T, 3, 128), "cuts a unit"),
        ((T, 32, 8), 2, (Part(8, HEADS),), (T, 256), "not the outermost"),
        ((T, 256), 1, FLAT, (scale_dim(T, 8), 32), "not the outermost"),
        ((8, T), 0, (Part(8, HEADS),), (scale_dim(T, 8),), "unknown size"),
        ((B, 8, 32), 1, (Part(8, HEADS),), (scale_dim(B, 2), 4, 32), "not the outermost"),
        ((T, 8), 1, (Part(8, HEADS),), (T, 4, 2), "cuts a unit"),
    ],
)
def test_views_that_a_rank_cannot_make_are_refused(
    old: tuple[Dim, ...], axis: int, parts: tuple[Part, ...], new: tuple[Dim, ...], why: str
) -> None:
    with pytest.raises(ConflictError, match=why):
        viewed(Layout(axis, parts), old, new)


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes with the same elements, made of the same factors."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=5))

    def shape() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(factors) - 1))) | {0, len(factors)})
        return tuple(math.prod(factors[a:b]) for a, b in pairwise(cuts))

    return shape(), shape()


@settings(max_examples=300, deadline=None)
@given(shapes=views(), data=st.data())
def test_the_view_of_a_part_is_the_part_of_the_view(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    old, new = shapes
    axis = data.draw(st.integers(0, len(old) - 1))
    count = data.draw(st.sampled_from([2, 4, 6]))
    assume(old[axis] % count == 0)
    layout = Layout(axis, (Part(old[axis], Unit("heads", count)),))
    try:
        made = viewed(layout, old, new)
    except ConflictError:
        return
    whole = torch.arange(math.prod(old)).reshape(old)
    for rank in range(2):
        shape = list(new)
        shape[made.axis] //= 2
        part = part_of(whole, layout, rank, 2).reshape(shape)
        assert torch.equal(part, part_of(whole.reshape(new), made, rank, 2))
