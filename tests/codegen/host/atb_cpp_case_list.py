"""Every operation of the ATB dialect in every variant, with inputs."""

from __future__ import annotations

import torch

from codegen.targets.atb.ops import (
    Activation,
    Concat,
    Elewise,
    Gather,
    LayerNorm,
    Linear,
    PagedAttention,
    PostRmsNorm,
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
from tests.codegen.host.atb_cpp_cases import Case, Fixed, case, int32, ints, rand

INF = float("inf")
BITS = rand(8).abs().view(torch.int32).long()
QUANT = {"quant_type": "QUANT_INT8"}
SCALE, OFFSET = torch.tensor([0.05]), torch.tensor([3], dtype=torch.int8)

LINEAR = [
    case(Linear, x=rand(5, 16), weight=rand(8, 16), bias=rand(8)),
    case(Linear, attrs={"has_bias": False}, x=rand(5, 16), weight=rand(8, 16)),
    case(Linear, attrs={"has_bias": False}, x=rand(3, 5, 16), weight=rand(8, 16)),
    case(Linear, attrs={"has_bias": False}, x=rand(3, 5, 16), weight=rand(3, 8, 16)),
    case(Linear, x=rand(3, 5, 16), weight=rand(3, 8, 16), bias=rand(3, 8)),
    case(
        Linear,
        attrs={"has_bias": False, "transpose_b": False},
        x=rand(5, 16),
        weight=rand(16, 8),
    ),
    case(Linear, attrs={"has_bias": False, "transpose_a": True}, x=rand(16, 5), weight=rand(8, 16)),
    case(
        Linear,
        attrs={"has_bias": False, "en_accum": True},
        x=rand(5, 16),
        weight=rand(8, 16),
        accum=Fixed(rand(5, 8)),
    ),
    *(
        case(
            Linear,
            attrs={"out_data_type": out, "has_bias": bias},
            x=ints(-128, 128, 5, 64),
            weight=ints(-128, 128, 8, 64),
            **({"bias": ints(-999, 999, 8, dtype=torch.int32)} if bias else {}),
            deq_scale=scale,
        )
        for bias in (True, False)
        for out, scale in (("ACL_FLOAT16", BITS), ("ACL_BF16", Fixed(rand(8).abs())))
    ),
]
X = rand(5, 64)
NORMS = [
    case(RmsNorm, x=X, gamma=rand(64), attrs={"epsilon": 0.1}),
    case(RmsNorm, x=X, gamma=rand(64), attrs={"model_type": "GEMMA_MODEL"}),
    case(RmsNorm, x=rand(2, 3, 16), gamma=rand(1, 16)),
    case(
        RmsNorm, attrs=QUANT, x=X, gamma=rand(64), beta=rand(64, seed=1), scale=SCALE, offset=OFFSET
    ),
    case(PreRmsNorm, x=X, res_in=rand(5, 64, seed=1), gamma=rand(64)),
    case(
        PreRmsNorm,
        attrs={"has_bias": True},
        x=X,
        bias=rand(64, seed=2),
        res_in=rand(5, 64, seed=1),
        gamma=rand(64),
    ),
    case(
        PreRmsNorm,
        attrs=QUANT,
        x=X,
        res_in=rand(5, 64, seed=1),
        gamma=rand(64),
        beta=rand(64, seed=2),
        scale=SCALE,
        offset=OFFSET,
    ),
    case(PostRmsNorm, x=X, res_in=rand(5, 64, seed=1), gamma=rand(64)),
    case(
        PostRmsNorm,
        attrs={"has_bias": True},
        x=X,
        bias=rand(64, seed=2),
        res_in=rand(5, 64, seed=1),
        gamma=rand(64),
    ),
    case(
        PostRmsNorm,
        attrs=QUANT,
        x=X,
        res_in=rand(5, 64, seed=1),
        gamma=rand(64),
        scale=SCALE,
        offset=OFFSET,
    ),
    case(
        LayerNorm,
        attrs={"begin_norm_axis": 1, "epsilon": 0.1},
        x=X,
        gamma=rand(64),
        beta=rand(64, seed=1),
    ),
    case(LayerNorm, attrs={"begin_norm_axis": -1}, x=rand(2, 3, 8), gamma=rand(8), beta=rand(8)),
    case(
        LayerNorm,
        attrs={"begin_norm_axis": 1},
        x=rand(2, 3, 8),
        gamma=rand(3, 8),
        beta=rand(3, 8, seed=1),
    ),
    case(
        LayerNorm,
        attrs={**QUANT, "begin_norm_axis": 1},
        x=X,
        gamma=rand(64),
        beta=rand(64, seed=1),
        scale=SCALE,
        offset=OFFSET,
    ),
]
ACTIVATIONS = [
    *(
        case(Activation, attrs={"activation_type": f"ACTIVATION_{kind}"}, x=x)
        for kind, x in {
            "RELU": X,
            "GELU": X,
            "FAST_GELU": X,
            "SWISH": X,
            "LOG": X.abs(),
            "SWIGLU_FORWARD": X,
            "SIGMOID": X,
        }.items()
    ),
    case(Activation, attrs={"activation_type": "ACTIVATION_GELU", "gelu_mode": "NONE_MODE"}, x=X),
]


def elewise(kind: str, exact: bool = False, attrs: object = None, **operands: object) -> Case:
    extra = attrs if isinstance(attrs, dict) else {}
    return case(Elewise, exact, {"elewise_type": f"ELEWISE_{kind}", **extra}, **operands)


CASTS = ("ACL_FLOAT", "ACL_FLOAT16", "ACL_BF16", "ACL_INT32", "ACL_INT64")
Y, ROW = rand(5, 64, seed=1), rand(64, seed=2)
LOGICAL = {"x": ints(0, 2, 5, 6), "y": ints(0, 2, 5, 1)}
ELEWISE = [
    *(elewise("CAST", True, {"out_tensor_type": out}, x=X * 9) for out in CASTS),
    elewise("CAST", True, {"out_tensor_type": "ACL_FLOAT"}, x=ints(0, 9, 5, dtype=torch.int64)),
    elewise("MULS", attrs={"var_attr": 0.3}, x=X),
    *(elewise(kind, x=X) for kind in ("COS", "SIN", "NEG", "TANH")),
    *(elewise(kind, x=X, y=Y) for kind in ("ADD", "SUB", "MUL", "REALDIV")),
    *(elewise(kind, x=X, y=ROW) for kind in ("ADD", "SUB", "MUL", "REALDIV")),
    elewise("ADD", x=rand(64), y=X),
    elewise("ADD", True, x=int32(1, 2), y=int32(3, 4)),
    elewise("SUB", True, x=torch.tensor([1, 2]), y=torch.tensor([3])),
    elewise("LOGICAL_NOT", True, x=ints(0, 2, 5, 6)),
    *(elewise(kind, True, **LOGICAL) for kind in ("LOGICAL_AND", "LOGICAL_OR")),
    *(elewise(kind, True, x=X.round(), y=Y.round()) for kind in ("LESS", "GREATER", "EQUAL")),
    elewise("QUANT", True, {"input_scale": 20.0, "input_offset": -3}, x=X),
    elewise("QUANT_PER_CHANNEL", True, x=X, y=ROW.abs() + 0.01, offset=ints(-9, 9, 64)),
    elewise("QUANT_PER_CHANNEL", True, x=X, y=SCALE, offset=ints(0, 1, 0)),
    elewise("DEQUANT_PER_CHANNEL", x=ints(-128, 128, 5, 64), y=ROW, offset=ints(-9, 9, 64)),
    elewise("DEQUANT_PER_CHANNEL", x=ints(-128, 128, 5, 64), y=ROW, offset=ints(0, 1, 0)),
    elewise("DYNAMIC_QUANT", x=X),
]
SEQ = int32(3, 2)
ROPE = [
    case(
        Rope,
        attrs={"rotary_coeff": coeff},
        q=rand(5, 128),
        k=rand(5, 64),
        cos=rand(5, 32),
        sin=rand(5, 32, seed=1),
        seq_len=SEQ,
    )
    for coeff in (2, 4, 32)
] + [
    case(
        Rope,
        attrs={"rotary_coeff": 2},
        q=rand(1, 5, 4, 32),
        k=rand(1, 5, 2, 32),
        cos=Fixed(rand(5, 32)),
        sin=Fixed(rand(5, 32, seed=1)),
        seq_len=SEQ,
    )
]


def causal(size: int, hidden: float = -INF) -> torch.Tensor:
    return torch.full((size, size), hidden).triu(1)


def attention(
    mask: torch.Tensor | None = None, lengths: torch.Tensor = SEQ, **attrs: object
) -> Case:
    tokens = int(lengths.sum())
    return case(
        SelfAttention,
        attrs={"head_num": 4, "kv_head_num": 2, "qk_scale": 0.3, **attrs},
        q=rand(tokens, 4, 16),
        k=rand(tokens, 2, 16),
        v=rand(tokens, 2, 16, seed=1),
        **({} if mask is None else {"mask": mask}),
        seq_len=lengths,
    )


NORM, ALIBI = {"mask_type": "MASK_TYPE_NORM"}, {"mask_type": "MASK_TYPE_ALIBI"}
COMPRESS = {"mask_type": "MASK_TYPE_NORM_COMPRESS", "is_triu_mask": 1}
ATTENTION = [
    attention(),
    attention(causal(4, -10000.0), **NORM),
    attention(torch.ones(4, 4).triu(1), **NORM),  # a bfloat16 mask holds zeros and ones
    attention(torch.stack([causal(3, -9.0), causal(3)]), **NORM),
    attention(causal(4), **NORM, is_triu_mask=1),
    attention(rand(4, 4, 4), **ALIBI),
    attention(rand(2, 4, 4, 4), **ALIBI, kernel_type="KERNELTYPE_HIGH_PRECISION"),
    attention(causal(128, -10000.0), int32(3, 300), **COMPRESS),
    attention(causal(128, -10000.0), int32(140), **NORM, is_triu_mask=1),
    case(
        SelfAttention,
        attrs={"head_num": 4, "kv_head_num": 2},
        q=rand(5, 64),
        k=rand(5, 32),
        v=rand(5, 48),
        seq_len=SEQ,
    ),
    case(SelfAttention, attrs={"head_num": 2}, q=X, k=X, v=X, seq_len=SEQ),
]
TABLES = torch.tensor([[3, 1], [0, 2]], dtype=torch.int32)


def paged(mask: torch.Tensor | None = None, **attrs: object) -> Case:
    return case(
        PagedAttention,
        attrs={"head_num": 4, "kv_head_num": 2, "qk_scale": 0.3, **attrs},
        q=rand(2, 4, 16),
        k_cache=rand(4, 8, 2, 16),
        v_cache=rand(4, 8, 2, 24),
        block_tables=TABLES,
        context_lens=int32(11, 8),
        **({} if mask is None else {"mask": mask}),
    )


CACHE = [
    paged(),
    paged(rand(2, 1, 12), **NORM),
    paged(rand(2, 4, 1, 12), **ALIBI),
    paged(rand(4, 1, 12), **ALIBI),
    case(
        ReshapeAndCache,
        exact=True,
        k=rand(3, 2, 16),
        v=rand(3, 2, 24),
        k_cache=rand(4, 8, 2, 16),
        v_cache=rand(4, 8, 2, 24),
        slots=int32(30, 0, 9),
    ),
    case(
        ReshapeAndCache,
        exact=True,
        k=ints(-9, 9, 3, 2, 16),
        v=ints(-9, 9, 3, 2, 16),
        k_cache=ints(0, 1, 4, 8, 2, 16),
        v_cache=ints(0, 1, 4, 8, 2, 16),
        slots=int32(30, 0, 9),
    ),
]
INT64 = torch.arange(24).reshape(4, 6)
SHAPES = [
    case(Gather, True, x=rand(9, 8), indices=torch.tensor([[3, 0], [8, 3]])),
    case(Gather, True, attrs={"axis": 1}, x=rand(9, 8), indices=int32(3, 0)),
    case(Gather, True, x=INT64, indices=int32(3, 0)),
    case(Split, True, attrs={"split_dim": 1}, x=X),
    case(Split, True, attrs={"split_dim": -1, "split_num": 2}, x=INT64),
    case(Split, True, attrs={"split_dim": -2, "split_num": 3}, x=rand(2, 6, 8)),
    case(Split, True, attrs={"split_dim": 1, "split_num": 3, "split_sizes": (32, 16, 16)}, x=X),
    case(Concat, True, x=X, y=rand(2, 64)),
    case(Concat, True, attrs={"concat_dim": -1}, x=X, y=rand(5, 8)),
    case(Slice, True, attrs={"offsets": (1, 0), "size": (2, -1)}, x=X),
    case(Slice, True, attrs={"offsets": (-2, 3), "size": (2, 5)}, x=X),
    case(Slice, True, attrs={"offsets": (0,), "size": (2,)}, x=ints(0, 9, 4)),
    case(Transpose, True, attrs={"perm": (2, 0, 1)}, x=rand(2, 3, 4)),
    case(Transpose, True, attrs={"perm": (1, 0)}, x=INT64),
    case(Repeat, True, attrs={"multiples": (2, 3)}, x=rand(4, 5)),
    case(Repeat, True, attrs={"multiples": (2, 1, 3)}, x=rand(4, 5)),
    case(Softmax, attrs={"axes": (-1,)}, x=X),
    case(Softmax, attrs={"axes": (0, 1)}, x=rand(2, 3, 4)),
]
CASES = [*LINEAR, *NORMS, *ACTIVATIONS, *ELEWISE, *ROPE, *ATTENTION, *CACHE, *SHAPES]
