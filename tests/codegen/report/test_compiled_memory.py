"""Memory of each rank of compiled models, by hand."""

from __future__ import annotations

import pytest

from codegen.report import report_files
from codegen.report.compiled_memory import compiled_memory
from codegen.report.units import data
from tests.codegen.report.subjects import zoo

TABLE = 104 * 64


@pytest.mark.parametrize(("world", "kv_heads"), [(1, 2), (2, 1), (4, 1)])
def test_llama(world: int, kv_heads: int) -> None:
    """Tables and norms are on every rank, 2 key-value heads are repeated on 4."""
    (rank,) = compiled_memory(zoo("llama-gqa").atb, 1000, [world])
    qkv = 64 * (64 // world + 2 * kv_heads * 16)
    layer = qkv + 64 * 64 // world + 3 * 64 * 112 // world + 2 * 64
    assert rank.weights == 2 * (TABLE + 3 * layer + 64 + TABLE // world)
    assert rank.cache_per_token == 2 * 3 * kv_heads * (16 + 16)
    assert rank.cache == 1000 * rank.cache_per_token


def test_a_tied_table_is_there_once_on_one_rank_and_partly_twice_on_several() -> None:
    tied, plain = (
        [r.weights for r in compiled_memory(zoo(name).atb, 1, [1, 2])]
        for name in ("llama-tied", "llama-gqa")
    )
    assert plain[0] - tied[0] == 2 * TABLE
    assert plain[1] == tied[1]


def test_heads_that_are_not_divided_are_on_every_rank() -> None:
    one, four = compiled_memory(zoo("gemma2").atb, 1, [1, 4])
    assert one.cache_per_token == four.cache_per_token


def test_numbers_of_ranks_that_do_not_divide_are_left_out() -> None:
    assert [r.world_size for r in compiled_memory(zoo("llama-gqa").atb, 1, [1, 2, 3, 4, 8])] == [
        1,
        2,
        4,
    ]


def test_the_page_shows_them() -> None:
    s = zoo("llama-gqa")
    page = report_files(s.source, s.aten, s.llm, s.atb)["llamaforcausallm/llamaforcausallm.html"]
    for rank in compiled_memory(s.atb, 1025, [1, 2, 4]):
        assert data(rank.weights) in page
        assert data(rank.cache) in page
