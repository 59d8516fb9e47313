"""A hand-written C++ model of two layers: prefill, decode over a paged cache, ranks, watching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from codegen.host.atb_cpp import Executed, Host, install, run_ranks
from tests.codegen.host import atb_cpp_toy as toy

SEQUENCES = [[3, 14, 15, 9, 26, 5, 35, 8, 9, 7], [31, 4, 15], [27, 18, 28, 18]]
CONTINUED = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


@pytest.fixture(scope="module")
def library() -> Path:
    return toy.library()


@pytest.fixture
def host(library: Path) -> Iterator[Host]:
    with install(library) as made:
        yield made


def generate(runner: toy.Runner) -> list[torch.Tensor]:
    """Logits of every position of every sequence, the decoded ones included."""
    prefill = runner.run_prefill(SEQUENCES).split([len(q) for q in SEQUENCES])
    rows = [[piece] for piece in prefill]
    lengths = [len(q) for q in SEQUENCES]
    for step in range(4):
        lengths = [n + 1 for n in lengths]
        logits = runner.run_decode([tokens[step] for tokens in CONTINUED], lengths)
        for row, line in zip(rows, logits.split(1), strict=True):
            row.append(line)
    return [torch.cat(row) for row in rows]


def expected(weights: toy.Weights) -> list[torch.Tensor]:
    return [toy.reference(weights, a + b) for a, b in zip(SEQUENCES, CONTINUED, strict=True)]


def test_prefill_and_decode_equal_the_reference(host: Host) -> None:
    weights = toy.Weights.random()
    for got, want in zip(generate(toy.Runner(host, weights)), expected(weights), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "dtype", "limit"),
    [("float16", torch.float16, 2e-2), ("bfloat16", torch.bfloat16, 1e-1)],
)
def test_half_precisions_round_every_result(
    library: Path, precision: str, dtype: torch.dtype, limit: float
) -> None:
    weights = toy.Weights.random()
    with install(library, precision) as host:
        results = generate(toy.Runner(host, weights, dtype=dtype))
    for got, want in zip(results, expected(weights), strict=True):
        assert got.dtype is dtype
        error = (got.float() - want).abs().max()
        assert 1e-5 < error < limit


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_compute_the_same_as_one(host: Host, size: int) -> None:
    weights = toy.Weights.random()
    runners = [toy.Runner(host, weights, rank, size) for rank in range(size)]
    results = run_ranks(size, lambda rank: generate(runners[rank]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    for got, want in zip(results[0], expected(weights), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_watchers_are_told_every_operation(host: Host) -> None:
    seen: list[Executed] = []
    host.watch(seen.append)
    runner = toy.Runner(host, toy.Weights.random())
    logits = runner.run_prefill([[1, 2, 3]])
    assert [one.path for one in seen[:5]] == [(0,), (1,), (2,), (3, 0), (3, 1)]
    assert [one.kind for one in seen[:5]] == ["Gather", "Gather", "Gather", "RmsNorm", "Linear"]
    assert [one.graph for one in seen[2:4]] == ["", "Prefill_layer"]
    assert [one.path for one in seen if one.kind == "ReshapeAndCache"] == [(3, 5), (4, 5)]
    assert seen[-1].path == (6,)
    assert torch.equal(seen[-1].outputs[0], logits)
    assert seen[-1].model is runner.prefill
    assert len(seen) == 3 + 2 * 14 + 2


def test_a_failing_watcher_ends_the_step(host: Host) -> None:
    def watcher(executed: Executed) -> None:
        raise KeyError(executed.kind)

    runner = toy.Runner(host, toy.Weights.random())
    host.watch(watcher)
    with pytest.raises(KeyError, match="Gather"):
        runner.run_prefill([[1, 2, 3]])
