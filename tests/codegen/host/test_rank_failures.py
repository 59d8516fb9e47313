"""A rank that fails outside of the C++ does not keep the others waiting."""

from __future__ import annotations

import pytest
import torch

from codegen.host.atb_cpp import run_ranks
from codegen.host.atb_cpp.operation import Operation


def all_reduce(rank: int) -> torch.Tensor:
    reduce = Operation("AllReduce", {"rank": rank, "rankSize": 2, "backend": "hccl"})
    (made,) = reduce([torch.full((1, 16), float(rank + 1))])
    return made


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_before_it_has_met_anyone(failing: int) -> None:
    def body(rank: int) -> torch.Tensor:
        if rank == failing:
            raise ValueError("no tokenizer")
        return all_reduce(rank)

    with pytest.raises(ValueError, match="no tokenizer"):
        run_ranks(2, body)
    # The failure is forgotten when new ranks start.
    assert [made[0, 0].item() for made in run_ranks(2, all_reduce)] == [3.0, 3.0]
