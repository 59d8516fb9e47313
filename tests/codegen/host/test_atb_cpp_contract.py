"""What the ATB dialect refuses, the C++ runtime refuses too, and says why."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.operation import Operation
from codegen.targets.atb.ops import (
    Activation,
    Concat,
    Elewise,
    Gather,
    LayerNorm,
    Linear,
    PagedAttention,
    PreRmsNorm,
    Repeat,
    ReshapeAndCache,
    RmsNorm,
    Rope,
    SelfAttention,
    Slice,
    Softmax,
    Split,
    Transpose,
)
from tests.codegen.host.atb_cpp_cases import Case, Fixed, case, dialect, int32, ints, rand, runtime

SEQ = int32(3, 2)
NO_BIAS = {"has_bias": False}


def attention(**changed: Any) -> Case:
    attrs = {"head_num": 4, "kv_head_num": 2}
    attrs |= {k: changed.pop(k) for k in list(changed) if k in SelfAttention.params}
    operands: dict[str, Any] = {
        "q": rand(5, 4, 16),
        "k": rand(5, 2, 16),
        "v": rand(5, 2, 16),
        "seq_len": SEQ,
    }
    return case(SelfAttention, attrs=attrs, **{**operands, **changed})


def paged(**changed: Any) -> Case:
    attrs = {"head_num": 4, "kv_head_num": 2}
    attrs |= {k: changed.pop(k) for k in list(changed) if k in PagedAttention.params}
    operands: dict[str, Any] = {
        "q": rand(2, 4, 16),
        "k_cache": rand(4, 8, 2, 16),
        "v_cache": rand(4, 8, 2, 16),
        "block_tables": torch.tensor([[3, 1], [0, 2]], dtype=torch.int32),
        "context_lens": int32(11, 8),
    }
    return case(PagedAttention, attrs=attrs, **{**operands, **changed})


def rope(coeff: int = 2, **changed: Any) -> Case:
    operands: dict[str, Any] = {
        "q": rand(5, 64),
        "k": rand(5, 32),
        "cos": rand(5, 16),
        "sin": rand(5, 16),
        "seq_len": SEQ,
    }
    return case(Rope, attrs={"rotary_coeff": coeff}, **{**operands, **changed})


def cache(**changed: Any) -> Case:
    operands: dict[str, Any] = {
        "k": rand(3, 2, 16),
        "v": rand(3, 2, 16),
        "k_cache": rand(4, 8, 2, 16),
        "v_cache": rand(4, 8, 2, 16),
        "slots": int32(30, 0, 9),
    }
    return case(ReshapeAndCache, **{**operands, **changed})


def elewise(kind: str, attrs: Any = None, **operands: Any) -> Case:
    return case(Elewise, attrs={"elewise_type": f"ELEWISE_{kind}", **(attrs or {})}, **operands)


def slices(offsets: tuple[int, ...], size: tuple[int, ...]) -> Case:
    return case(Slice, attrs={"offsets": offsets, "size": size}, x=rand(4, 6))


NORM = {"mask_type": "MASK_TYPE_NORM"}
TRIU = {"mask_type": "MASK_TYPE_NORM", "is_triu_mask": 1}
ALIBI = {"mask_type": "MASK_TYPE_ALIBI"}
BAD: dict[str, Case] = {
    "wants 15 features": case(Linear, attrs=NO_BIAS, x=rand(5, 16), weight=rand(8, 15)),
    "are not matrices": case(Linear, attrs=NO_BIAS, x=rand(16), weight=rand(8, 16)),
    "different batches": case(Linear, attrs=NO_BIAS, x=rand(2, 5, 16), weight=rand(3, 8, 16)),
    "bias .* is not": case(Linear, x=rand(5, 16), weight=rand(8, 16), bias=rand(7)),
    "operand weight is int8": case(Linear, attrs=NO_BIAS, x=rand(5, 16), weight=ints(0, 9, 8, 16)),
    "exclude each other": case(
        Linear,
        attrs={"has_bias": True, "en_accum": True},
        x=rand(5, 16),
        weight=rand(8, 16),
        bias=rand(8),
        accum=Fixed(rand(5, 8)),
    ),
    "gamma .* is not": case(RmsNorm, x=rand(5, 32), gamma=rand(16)),
    "multiple of 16": case(RmsNorm, x=rand(5, 24), gamma=rand(24)),
    "epsilon must not be zero": case(
        RmsNorm, attrs={"epsilon": 0.0}, x=rand(5, 32), gamma=rand(32)
    ),
    "res_in .* shape of x": case(PreRmsNorm, x=rand(5, 32), res_in=rand(4, 32), gamma=rand(32)),
    "does not cover": case(LayerNorm, x=rand(5, 8), gamma=rand(8), beta=rand(8)),
    "is not the end of x": case(
        LayerNorm, attrs={"begin_norm_axis": 1}, x=rand(5, 8), gamma=rand(4), beta=rand(4)
    ),
    "beta .* shape of gamma": case(
        LayerNorm, attrs={"begin_norm_axis": 1}, x=rand(5, 8), gamma=rand(8), beta=rand(1)
    ),
    "cannot be halved": case(
        Activation, attrs={"activation_type": "ACTIVATION_SWIGLU_FORWARD"}, x=rand(5, 7)
    ),
    "operand x is int8": case(
        Activation, attrs={"activation_type": "ACTIVATION_SWISH"}, x=ints(0, 9, 5)
    ),
    "broadcast": elewise("ADD", x=rand(5, 8), y=rand(5, 7)),
    "multiple of 32": elewise("QUANT", x=rand(5, 8)),
    "at least 2|must have at least": elewise("DYNAMIC_QUANT", x=rand(8)),
    "needs out": elewise("CAST", x=rand(8)),
    "offset .* shape of y": elewise(
        "QUANT_PER_CHANNEL", x=rand(5, 32), y=rand(32), offset=ints(0, 9, 16)
    ),
    "operand y is int8|operand y is": elewise("ADD", x=rand(5, 8), y=ints(0, 9, 5, 8)),
    "must have rank 2 or 4": rope(q=rand(5, 4, 16)),
    "sin .* shape of cos": rope(sin=rand(5, 32)),
    "different numbers of tokens": rope(k=rand(4, 32)),
    "is not in 16": rope(cos=rand(5, 8), sin=rand(5, 8)),
    "multiple of the 48": rope(k=rand(5, 48)),
    "multiple of head dimension": rope(k=rand(5, 64), cos=rand(5, 48), sin=rand(5, 48)),
    "is not 2, 4 or": rope(coeff=8),
    "seq_len .* must have rank 1": rope(seq_len=int32(1, 2).reshape(1, 2)),
    "headNum|head_num": attention(head_num=0),
    "is not a multiple of kv": attention(kv_head_num=3),
    "does not have 4 heads": attention(q=rand(5, 3, 16)),
    "different head dimensions": attention(k=rand(5, 2, 8)),
    "exceeds 576": attention(q=rand(5, 4, 577), k=rand(5, 2, 577), v=rand(5, 2, 577)),
    "must all be": attention(calc_type="PA_ENCODER", q=rand(5, 64)),
    "add up to": attention(seq_len=int32(3, 3)),
    "does not cover a sequence": attention(**NORM, mask=rand(2, 2)),
    "mask .* must be": attention(**NORM, mask=rand(5, 4, 4)),
    "must be .*batch, 4, S, S": attention(**ALIBI, mask=rand(4, 4)),
    "needs a mask": attention(is_triu_mask=1),
    "shows later tokens": attention(**TRIU, mask=torch.zeros(4, 4)),
    "128, 128": attention(
        mask_type="MASK_TYPE_NORM_COMPRESS", is_triu_mask=1, mask=torch.zeros(4, 4)
    ),
    "different batches|block_tables and": paged(context_lens=int32(11)),
    "do not have 4 and 2 heads": paged(q=rand(2, 3, 16)),
    "q and k_cache have different": paged(q=rand(2, 4, 8)),
    "differ in blocks": paged(v_cache=rand(4, 4, 2, 16)),
    "block_tables hold": paged(context_lens=int32(17, 8)),
    "are not in 0..3": paged(block_tables=torch.tensor([[3, 4], [0, 2]], dtype=torch.int32)),
    "does not cover 11 cached": paged(**NORM, mask=rand(2, 1, 9)),
    "must be .batch, 1, S": paged(**NORM, mask=rand(2, 2, 12)),
    "must be .batch, 4, 1, S": paged(**ALIBI, mask=rand(2, 1, 12)),
    "exceeds 576|head dimension 577": paged(
        q=rand(2, 4, 577), k_cache=rand(4, 8, 2, 577), v_cache=rand(4, 8, 2, 577)
    ),
    "at most 128 tokens": paged(
        q=rand(2, 4, 260), k_cache=rand(4, 129, 2, 260), v_cache=rand(4, 129, 2, 260)
    ),
    "must have rank 3": cache(k=rand(3, 32)),
    "slots have different numbers": cache(slots=int32(1, 2)),
    "does not fit k_cache": cache(k=rand(3, 2, 8)),
    "k_cache and v_cache differ": cache(v_cache=rand(4, 9, 2, 16)),
    "not in 0..31": cache(slots=int32(1, 2, 32)),
    "share a cache slot": cache(slots=int32(1, 2, 1)),
    "indices are not in 0..8": case(Gather, x=rand(9, 4), indices=int32(9)),
    "axis": case(Gather, attrs={"axis": 2}, x=rand(9, 4), indices=int32(1)),
    "must not be negative": case(Gather, attrs={"axis": -1}, x=rand(9, 4), indices=int32(1)),
    "not a multiple of 3": case(Split, attrs={"split_dim": 1, "split_num": 3}, x=rand(5, 4)),
    "do not add up": case(Split, attrs={"split_dim": 1, "split_sizes": (1, 2)}, x=rand(5, 4)),
    "split_?[sS]izes, but": case(Split, attrs={"split_num": 3, "split_sizes": (1, 4)}, x=rand(5)),
    "must not be negative|[dD]im must": case(
        Split, attrs={"split_dim": -1, "split_sizes": (1, 4)}, x=rand(5)
    ),
    "differ outside dimension 0": case(Concat, x=rand(5, 4), y=rand(5, 3)),
    "rank of": slices((0,), (1,)),
    "exceed": slices((3, 0), (2, -1)),
    "below -1|exceed": slices((0, 0), (-2, 1)),
    "does not order": case(Transpose, attrs={"perm": (0, 0)}, x=rand(5, 4)),
    "do not fit": case(Repeat, attrs={"multiples": (2,)}, x=rand(5, 4)),
    "together exceed": case(Repeat, attrs={"multiples": (2,) * 5}, x=rand(*(2,) * 5)),
    "empty or not": case(Softmax, x=rand(5, 4)),
    "follow one another": case(Softmax, attrs={"axes": (0, 2)}, x=rand(5, 4, 3)),
}


@pytest.mark.parametrize("problem", BAD)
def test_contract_violations_are_refused(problem: str) -> None:
    want, got = dialect(BAD[problem], "float32"), runtime(BAD[problem], "float32")
    assert isinstance(want, str)
    assert isinstance(got, str)
    assert re.search(problem, got), got


@pytest.mark.parametrize(
    ("kind", "params", "problem"),
    [
        ("Nonsense", {}, "'Nonsense' is not known"),
        ("Linear", {"transposeC": True}, "'transposeC' is not known"),
        ("RmsNorm", {"layerType": "RMS_NORM_NORM", "epsilon": 1e-6}, "'epsilon' is not known"),
        ("RmsNorm", {}, "layerType must be"),
        ("Activation", {"activationType": "ACTIVATION_SWIGLU_BACKWARD"}, "is not known"),
        ("Activation", {}, "activationType 0"),
        ("Elewise", {}, "elewiseType 0"),
        ("Elewise", {"elewiseType": "ELEWISE_POW"}, "'ELEWISE_POW' is not known"),
        ("SelfAttention", {"headNum": 4}, "calcType must be PA_ENCODER"),
        ("PagedAttention", {"headNum": 4, "maskType": "MASK_TYPE_SPEC"}, "maskType"),
        ("ReshapeAndCache", {"compressType": "COMPRESS_TYPE_KVHEAD"}, "compressType"),
        ("Split", {"splitNum": 4}, "splitNum must be 2 or 3"),
        ("Gather", {"batchDims": 1}, "batchDims must be 0"),
        ("Linear", {"outDataType": "ACL_INT8"}, "outDataType int8"),
        ("LinearParallel", {}, "rankSize must be positive"),
        ("AllReduce", {"rank": 2, "rankSize": 2}, "rank 2 is not in 0..1"),
        ("AllReduce", {"rankSize": 2, "backend": "lcoc"}, "neither hccl nor lccl"),
        ("AllReduce", {"rankSize": 1, "allReduceType": "mean"}, "'mean'"),
    ],
)
def test_unknown_parameters_are_refused(kind: str, params: dict[str, Any], problem: str) -> None:
    with pytest.raises(HostError, match=problem):
        Operation(kind, params)


def test_host_values_are_compared_with_the_device() -> None:
    operation = Operation("SelfAttention", {"headNum": 4, "calcType": "PA_ENCODER"})
    q = rand(5, 4, 16)
    with pytest.raises(HostError, match=r"seq_len is read on the host, but has no hostData"):
        operation([q, q, q, SEQ])
    with pytest.raises(HostError, match="other values on the host"):
        operation([q, q, q, SEQ], host={3: int32(2, 3)})
    operation([q, q, q, SEQ], host={3: SEQ.clone()})


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float16), ("float16", torch.bfloat16), ("bfloat16", torch.float16)],
)
def test_half_types_of_another_precision_are_refused(precision: str, dtype: torch.dtype) -> None:
    operation = Operation("Softmax", {"axes": [0]}, precision)
    with pytest.raises(HostError, match=f"in a {precision} run"):
        operation([torch.zeros(4, dtype=dtype)])


def test_float32_stands_for_half_types_in_a_float32_run_only() -> None:
    x = [torch.zeros(5, 4), torch.zeros(5, 4)]
    Operation("Concat", {}, "float32")(x)
    for precision in ("float16", "bfloat16"):
        with pytest.raises(HostError, match="operand x is float32, allowed: float16, bfloat16"):
            Operation("Concat", {}, precision)(x)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(4, 5).T, "not contiguous"),
        (torch.zeros(4, device="meta"), "takes CPU tensors"),
        (torch.zeros(()), "0 dimensions"),
        (torch.zeros((1,) * 9), "9 dimensions"),
        (torch.zeros(4, dtype=torch.complex64), "does not know"),
        ([1.0], "is not a tensor but list"),
    ],
)
def test_only_plain_cpu_tensors_enter(tensor: Any, problem: str) -> None:
    with pytest.raises(HostError, match=problem):
        Operation("Softmax", {"axes": [0]})([tensor])
