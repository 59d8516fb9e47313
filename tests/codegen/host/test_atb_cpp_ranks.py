"""Ranks are threads that meet in collective operations; one that fails does not hang the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codegen.errors import HostError
from codegen.host.atb_cpp import Host, install, run_ranks
from codegen.host.atb_cpp.library import runtime
from codegen.host.atb_cpp.operation import Operation
from tests.codegen.host import atb_cpp_toy as toy
from tests.codegen.host.atb_cpp_cases import rand


@pytest.fixture(scope="module")
def library() -> Path:
    return toy.library()


@pytest.fixture
def short_timeout() -> Iterator[None]:
    runtime().llmc_set_rank_timeout(1.0)
    yield
    runtime().llmc_set_rank_timeout(120.0)


def collective(kind: str, inputs: list[list[torch.Tensor]], **params: Any) -> list[torch.Tensor]:
    size = len(inputs)
    made = [
        Operation(kind, {"rank": rank, "rankSize": size, "backend": "lccl", **params})
        for rank in range(size)
    ]
    return run_ranks(size, lambda rank: made[rank](inputs[rank])[0])


@pytest.mark.parametrize("size", [2, 4])
def test_all_reduce(size: int) -> None:
    parts = [rand(5, 8, seed=rank) for rank in range(size)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    for got in collective("AllReduce", [[part] for part in parts]):
        assert torch.equal(got, total)  # in rank order, so the same bits on every rank
    (got, *_) = collective("AllReduce", [[part] for part in parts], allReduceType="max")
    assert torch.equal(got, torch.stack(parts).amax(0))


def test_all_gather() -> None:
    parts = [rand(5, 8, seed=rank) for rank in range(3)]
    for got in collective("AllGather", [[part] for part in parts]):
        assert torch.equal(got, torch.stack(parts))


def test_linear_parallel_adds_the_residual_once() -> None:
    x, weight, residual = rand(5, 16), rand(8, 16), rand(8)
    inputs = [[p.contiguous(), w.contiguous(), residual] for p, w in
              zip(x.chunk(2, 1), weight.chunk(2, 1), strict=True)]  # fmt: skip
    for got in collective("LinearParallel", inputs, hasResidual=True):
        torch.testing.assert_close(got, x @ weight.T + residual)


def test_groups_of_different_domains_do_not_meet() -> None:
    parts = [rand(4, seed=rank) for rank in range(4)]
    made = [
        Operation("AllReduce", {"rank": i % 2, "rankSize": 2, "commDomain": str(i // 2)})
        for i in range(4)
    ]
    results = run_ranks(4, lambda rank: made[rank]([parts[rank]])[0])
    assert torch.equal(results[0], parts[0] + parts[1])
    assert torch.equal(results[3], parts[2] + parts[3])


def test_many_rounds_keep_in_step() -> None:
    made = [Operation("AllReduce", {"rank": rank, "rankSize": 3}) for rank in range(3)]

    def body(rank: int) -> list[float]:
        return [made[rank]([torch.tensor([float(i * rank)])])[0].item() for i in range(200)]

    for result in run_ranks(3, body):
        assert result == [3.0 * i for i in range(200)]


def test_ranks_that_disagree_are_refused() -> None:
    with pytest.raises(HostError, match=r"rank 0 does AllReduce sum of float32\[4\], rank 1 does"):
        collective("AllReduce", [[rand(4)], [rand(5)]])


@pytest.mark.usefixtures("short_timeout")
def test_a_rank_that_never_arrives() -> None:
    operation = Operation("AllReduce", {"rank": 0, "rankSize": 2})
    with pytest.raises(HostError, match="rank 1 did not arrive within 1 seconds; rank 0 waited"):
        operation([rand(4)])


@pytest.mark.usefixtures("short_timeout")
def test_two_threads_with_one_rank() -> None:
    made = [Operation("AllReduce", {"rank": 0, "rankSize": 2}) for _ in range(2)]
    with pytest.raises(HostError, match=r"two threads act as rank 0|did not arrive"):
        run_ranks(2, lambda i: made[i]([rand(4)]))


def failing_step(library: Path, body: Any) -> dict[int, str]:
    """What each of four ranks reports if ``body`` makes rank 2 fail."""
    errors: dict[int, str] = {}
    with install(library) as host:
        runners = [toy.Runner(host, toy.Weights.random(), rank, 4) for rank in range(4)]

        def step(rank: int) -> None:
            try:
                body(host, runners[rank]) if rank == 2 else runners[rank].run_prefill([[1, 2, 3]])
            except Exception as error:
                errors[rank] = str(error)

        started = time.monotonic()
        run_ranks(4, step)
        assert time.monotonic() - started < 30
    return errors


def test_a_rank_whose_model_fails_stops_the_others(library: Path) -> None:
    def body(host: Host, runner: toy.Runner) -> None:
        runner.values[1] = torch.zeros(1, 1, 1, 1)
        runner.prefill.set_kv_cache(runner.keys, runner.values)
        runner.run_prefill([[1, 2, 3]])

    errors = failing_step(library, body)
    assert "k_cache and v_cache differ" in errors[2]
    assert len(errors) == 4
    assert all("rank 2 failed: model" in errors[rank] for rank in (0, 1, 3))


def test_a_rank_that_fails_before_the_runtime_stops_the_others(library: Path) -> None:
    def body(host: Host, runner: toy.Runner) -> None:
        runner.prefill.execute([torch.zeros(2, 2).T], "{}")

    errors = failing_step(library, body)
    assert "not contiguous" in errors[2]
    assert all("rank 2 failed: input 0" in errors[rank] for rank in (0, 1, 3))


def test_the_first_failure_is_the_one_that_is_raised(library: Path) -> None:
    with install(library) as host:
        runners = [toy.Runner(host, toy.Weights.random(), rank, 2) for rank in range(2)]

        def step(rank: int) -> None:
            runners[rank].run_prefill([[1, 2, 3] if rank == 0 else [1, 2, 99]])

        with pytest.raises(HostError, match=r"node 0 \(Gather\): indices are not in 0..49"):
            run_ranks(2, step)
