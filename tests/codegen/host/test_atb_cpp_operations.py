"""Every operation of the C++ runtime computes what the ATB dialect says, in every precision."""

from __future__ import annotations

import pytest
import torch

from codegen.host.atb_cpp.operation import Operation
from codegen.targets.atb.ops import Linear
from tests.codegen.host.atb_cpp_case_list import CASES
from tests.codegen.host.atb_cpp_cases import (
    DTYPES,
    Case,
    case,
    dialect,
    int32,
    ints,
    rand,
    runtime,
)

TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2e-3, "atol": 1e-5},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-5},
}


def other_half(dtype: torch.dtype, precision: str) -> bool:
    """A 16-bit type that is not the one of the run, which cannot leave the runtime."""
    return dtype in (torch.float16, torch.bfloat16) and dtype is not DTYPES[precision]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("made", CASES, ids=lambda made: made.label)
def test_results_are_those_of_the_dialect(made: Case, precision: str) -> None:
    want, got = dialect(made, precision), runtime(made, precision)
    if isinstance(want, str):
        # Not available in this precision: both must say so.
        assert isinstance(got, str), want
        assert precision != "float32", want
        return
    if any(other_half(result.dtype, precision) for result in want):
        assert isinstance(got, str)
        assert f"in a {precision} run" in got
        return
    assert not isinstance(got, str), got
    assert len(got) == len(want)
    for result, expected in zip(got, want, strict=True):
        assert result.dtype is expected.dtype
        if made.exact or not result.is_floating_point():
            assert torch.equal(result, expected)
        else:
            torch.testing.assert_close(result, expected, equal_nan=True, **TOLERANCE[result.dtype])


def test_a_bias_row_is_added_to_every_token() -> None:
    made = case(Linear, x=rand(5, 16), weight=rand(8, 16), bias=rand(1, 8))
    (got,) = runtime(made, "float32")
    torch.testing.assert_close(got, rand(5, 16) @ rand(8, 16).T + rand(1, 8))


def test_tokens_are_scaled_one_by_one() -> None:
    x, w = ints(-128, 128, 5, 64), ints(-128, 128, 8, 64)
    params = {"hasBias": False, "outDataType": "ACL_FLOAT16", "quantMode": "PER_TOKEN"}
    (got,) = Operation("Linear", params)([x, w, rand(8).abs(), rand(5).abs()])
    want = (x.long() @ w.long().T).float() * rand(8).abs() * rand(5).abs()[:, None]
    torch.testing.assert_close(got, want)


def test_new_keys_go_to_the_end_of_each_sequence() -> None:
    past, new = torch.zeros(2, 2, 6, 4, dtype=torch.int8), ints(1, 9, 3, 4)
    ends, counts = int32(2, 5), int32(2, 1)
    Operation("KvCache", {})([new, int32(1), past, ends, counts], host={3: ends, 4: counts})
    assert torch.equal(past[1, 0, 0:2], new[:2])
    assert torch.equal(past[1, 1, 4], new[2])
    assert past.count_nonzero() == new.numel()


def test_linear_parallel_of_one_rank_adds_the_residual_once() -> None:
    params = {"rankSize": 1, "transWeight": False, "hasResidual": True}
    (got,) = Operation("LinearParallel", params)([rand(5, 16), rand(16, 8), rand(1, 8)])
    torch.testing.assert_close(got, rand(5, 16) @ rand(16, 8) + rand(1, 8))
