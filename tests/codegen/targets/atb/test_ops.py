"""Every operation's semantics against a formula written out here."""

from __future__ import annotations

import math

import pytest
import torch

from codegen.targets.atb.ops import (
    Activation,
    Concat,
    Elewise,
    Gather,
    LayerNorm,
    Linear,
    PostRmsNorm,
    PreRmsNorm,
    Repeat,
    Reshape,
    RmsNorm,
    Rope,
    Slice,
    Softmax,
    Split,
    Transpose,
)
from tests.codegen.targets.atb.nodes import evaluate

F16, BF16 = torch.float16, torch.bfloat16


def rand(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    made = torch.Generator().manual_seed(sum(shape) * 7 + len(shape))
    return torch.randn(*shape, generator=made).to(dtype)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_linear_float() -> None:
    x, w, b = rand(3, 5), rand(4, 5), rand(4)
    expected = torch.stack([torch.stack([(row * col).sum() for col in w]) for row in x])
    close(evaluate(Linear, x, w, has_bias=False)[0], expected)
    close(evaluate(Linear, x, w, b)[0], expected + b)
    close(evaluate(Linear, x, w.t().contiguous(), b, transpose_b=False)[0], expected + b)
    close(evaluate(Linear, x.t().contiguous(), w, b, transpose_a=True)[0], expected + b)
    accum = rand(3, 4)
    made = evaluate(Linear, x, w, None, accum, has_bias=False, en_accum=True)[0]
    close(made, expected + accum)


def test_linear_batched_and_accumulating_in_float32() -> None:
    x, w = rand(2, 3, 5), rand(2, 4, 5)
    expected = torch.stack([x[i] @ w[i].t() for i in range(2)])
    close(evaluate(Linear, x, w, has_bias=False)[0], expected)
    close(evaluate(Linear, x, w[0], has_bias=False)[0], x @ w[0].t())
    ones = torch.ones(1, 4096, dtype=F16)  # float16 accumulation would stop at 2048
    assert evaluate(Linear, ones, ones, has_bias=False)[0].item() == 4096
    close(evaluate(Linear, x, w, rand(2, 4))[0], expected + rand(2, 4)[:, None, :])


@pytest.mark.parametrize("out", ["ACL_FLOAT16", "ACL_BF16"])
def test_linear_int8(out: str) -> None:
    x = torch.randint(-128, 128, (3, 64), dtype=torch.int8)
    w = torch.randint(-128, 128, (4, 64), dtype=torch.int8)
    bias = torch.tensor([1000, -5, 7, 2**24 + 1], dtype=torch.int32)
    scale = torch.tensor([0.5, 1e-3, 0.25, 2.0])
    product = (x.long() @ w.long().t() + bias.long()).double() * scale.double()
    given = scale if out == "ACL_BF16" else scale.view(torch.int32).long()
    made = evaluate(Linear, x, w, bias, None, given, out_data_type=out)[0]
    close(made, product.float())


def test_rms_norm() -> None:
    x, g = rand(3, 32) * 0.01, rand(32)
    for eps in (1e-6, 1e-2):
        root = torch.tensor([math.sqrt((r * r).sum().item() / 32 + eps) for r in x])
        close(evaluate(RmsNorm, x, g, epsilon=eps)[0], x / root[:, None] * g)
        gemma = evaluate(RmsNorm, x, g, epsilon=eps, model_type="GEMMA_MODEL")[0]
        close(gemma, x / root[:, None] * (1 + g))


def test_rms_norm_int8() -> None:
    x, g, beta = (t.to(F16) for t in (rand(3, 32), rand(32), rand(32) * 0.1))
    scale, offset = torch.tensor([0.02], dtype=F16), torch.tensor([3], dtype=torch.int8)
    y = x.double() / (x.double().pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * g + beta
    expected = ((y / scale.double()).round() + 3).clamp(-128, 127)
    made = evaluate(RmsNorm, x, g, beta, scale, offset, quant_type="QUANT_INT8")[0]
    assert (made.double() - expected).abs().max() <= 1
    assert (made.double() == expected).double().mean() > 0.95
    assert made.max() == 127 and made.min() == -128


def test_residual_rms_norms() -> None:
    x, res, g, bias = rand(3, 32), rand(3, 32) * 2, rand(32), rand(32) * 3
    for extra in (None, bias):
        total = x + res if extra is None else x + res + extra
        normed = total / (total.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * g
        attrs = {"epsilon": 1e-6, "has_bias": extra is not None}
        y, res_out = evaluate(PreRmsNorm, x, extra, res, g, **attrs)
        close(y, normed)
        close(res_out, total)
        close(evaluate(PostRmsNorm, x, extra, res, g, **attrs)[0], normed)


def test_layer_norm() -> None:
    x, g, b = rand(3, 2, 16), rand(2, 16), rand(2, 16)
    made = evaluate(LayerNorm, x, g, b, begin_norm_axis=1, epsilon=1e-3)[0]
    close(made, torch.nn.functional.layer_norm(x, (2, 16), g, b, 1e-3))
    vector = evaluate(LayerNorm, x, g[0], b[0], begin_norm_axis=-1)[0]
    mean = x.mean(-1, keepdim=True)
    std = ((x - mean).pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    close(vector, (x - mean) / std * g[0] + b[0])


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, pairs: list[tuple[int, int]]):
    y = torch.empty_like(x)
    for i, j in pairs:
        y[..., i] = x[..., i] * cos[..., i] - x[..., j] * sin[..., i]
        y[..., j] = x[..., j] * cos[..., j] + x[..., i] * sin[..., j]
    return y


@pytest.mark.parametrize(
    ("coeff", "pairs"),
    [
        (2, [(i, i + 8) for i in range(8)]),
        (4, [(i + o, i + o + 4) for o in (0, 8) for i in range(4)]),
        (16, [(i, i + 1) for i in range(0, 16, 2)]),
    ],
)
def test_rope(coeff: int, pairs: list[tuple[int, int]]) -> None:
    q, k, cos, sin = rand(5, 64), rand(5, 32), rand(5, 16), rand(5, 16) * 2
    lens = torch.tensor([3, 2], dtype=torch.int32)
    made = evaluate(Rope, q, k, cos, sin, lens, rotary_coeff=coeff)
    for x, y in zip((q, k), made, strict=True):
        heads = rotate(x.view(5, -1, 16), cos[:, None], sin[:, None], pairs)
        close(y, heads.reshape(x.shape))
    square = evaluate(
        Rope, q.view(1, 5, 4, 16), k.view(1, 5, 2, 16), cos, sin, lens, rotary_coeff=coeff
    )
    close(square[0].view(5, 64), made[0])


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("ADD", lambda a, b: a + b),
        ("SUB", lambda a, b: a - b),
        ("MUL", lambda a, b: a * b),
        ("REALDIV", lambda a, b: a / b),
        ("LESS", lambda a, b: (a < b).to(torch.int8)),
        ("GREATER", lambda a, b: (a > b).to(torch.int8)),
        ("EQUAL", lambda a, b: (a == b).to(torch.int8)),
    ],
)
def test_elewise_binary(kind: str, function) -> None:
    a, b = rand(3, 1, 4), rand(5, 4)
    close(evaluate(Elewise, a, b, elewise_type=f"ELEWISE_{kind}")[0], function(a, b))


def test_elewise_integers_stay_integers() -> None:
    a = torch.tensor([2**40, 3], dtype=torch.int64)
    made = evaluate(Elewise, a, a, elewise_type="ELEWISE_ADD")[0]
    assert made.tolist() == [2**41, 6]


@pytest.mark.parametrize(
    ("kind", "function"),
    [("COS", math.cos), ("SIN", math.sin), ("TANH", math.tanh), ("NEG", lambda x: -x)],
)
def test_elewise_unary(kind: str, function) -> None:
    x = rand(7)
    made = evaluate(Elewise, x, elewise_type=f"ELEWISE_{kind}")[0]
    close(made, torch.tensor([function(v) for v in x.tolist()]))


def test_elewise_muls_cast_logic() -> None:
    x = rand(3, 4)
    close(evaluate(Elewise, x, elewise_type="ELEWISE_MULS", var_attr=-1.5)[0], x * -1.5)
    cast = {"elewise_type": "ELEWISE_CAST"}
    assert evaluate(Elewise, x, **cast, out_tensor_type="ACL_FLOAT16")[0].equal(x)  # not rounded
    truncated = evaluate(Elewise, x * 10, **cast, out_tensor_type="ACL_INT32")[0]
    assert truncated.tolist() == [[int(v) for v in row] for row in (x * 10).tolist()]
    flags = torch.tensor([0, 1, 2], dtype=torch.int8)
    assert evaluate(Elewise, flags, elewise_type="ELEWISE_LOGICAL_NOT")[0].tolist() == [1, 0, 0]
    other = torch.tensor([1, 0, 1], dtype=torch.int8)
    both = evaluate(Elewise, flags, other, elewise_type="ELEWISE_LOGICAL_AND")[0]
    either = evaluate(Elewise, flags, other, elewise_type="ELEWISE_LOGICAL_OR")[0]
    assert (both.tolist(), either.tolist()) == ([0, 0, 1], [1, 1, 1])


def test_elewise_quantization() -> None:
    x = torch.linspace(-9, 9, 64).to(F16).view(2, 32)
    # the host-scalar kernel multiplies, the per-channel one divides
    made = evaluate(Elewise, x, elewise_type="ELEWISE_QUANT", input_scale=20.0, input_offset=-2)[0]
    expected = [max(-128, min(127, round(v * 20.0 - 2))) for v in x.flatten().tolist()]
    assert made.flatten().tolist() == expected
    scale, offset = torch.full((32,), 0.05, dtype=F16), torch.full((32,), 4, dtype=torch.int8)
    per_channel = {"elewise_type": "ELEWISE_QUANT_PER_CHANNEL"}
    made = evaluate(Elewise, x, scale, offset, **per_channel)[0]
    step = scale[0].item()
    expected = [max(-128, min(127, round(v / step) + 4)) for v in x.flatten().tolist()]
    assert made.flatten().tolist() == expected
    empty = torch.empty(0, dtype=torch.int8)
    made = evaluate(Elewise, x, scale, empty, **per_channel)[0]
    assert made.flatten()[32].item() == round(x[1, 0].item() / step)
    codes = torch.tensor([[10, -20]], dtype=torch.int8)
    back = evaluate(
        Elewise,
        codes,
        torch.tensor([0.5, 0.25], dtype=F16),
        torch.tensor([2, 0], dtype=torch.int8),
        elewise_type="ELEWISE_DEQUANT_PER_CHANNEL",
    )[0]
    assert back.tolist() == [[4.0, -5.0]]
    rows = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.1, 0.3]], dtype=F16)
    quantized, scales = evaluate(Elewise, rows, elewise_type="ELEWISE_DYNAMIC_QUANT")
    close(scales, torch.tensor([2.0 / 127, rows[1, 2].item() / 127]))
    assert quantized.tolist() == [[64, -127, 32], [0, 42, 127]]


@pytest.mark.parametrize(
    ("attrs", "function"),
    [
        ({"activation_type": "ACTIVATION_RELU"}, lambda v: max(v, 0.0)),
        (
            {"activation_type": "ACTIVATION_GELU"},
            lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
        ),
        (
            {"activation_type": "ACTIVATION_GELU", "gelu_mode": "NONE_MODE"},
            lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
        ),
        ({"activation_type": "ACTIVATION_FAST_GELU"}, lambda v: v / (1 + math.exp(-1.702 * v))),
        ({"activation_type": "ACTIVATION_SWISH"}, lambda v: v / (1 + math.exp(-v))),
        ({"activation_type": "ACTIVATION_SIGMOID"}, lambda v: 1 / (1 + math.exp(-v))),
        ({"activation_type": "ACTIVATION_LOG"}, lambda v: math.log(v)),
    ],
)
def test_activation(attrs: dict[str, str], function) -> None:
    x = torch.linspace(0.1 if "LOG" in attrs["activation_type"] else -4, 4, 41)
    expected = torch.tensor([function(v) for v in x.tolist()])
    close(evaluate(Activation, x, **attrs)[0], expected, 1e-6)


def test_swiglu() -> None:
    gate, up = rand(3, 4), rand(3, 4) * 2
    made = evaluate(
        Activation, torch.cat((gate, up), -1), activation_type="ACTIVATION_SWIGLU_FORWARD"
    )[0]
    close(made, gate / (1 + (-gate).exp()) * up)


def test_gather() -> None:
    table, rows = rand(6, 3), torch.tensor([[5, 0], [2, 2]])
    made = evaluate(Gather, table, rows)[0]
    assert made.tolist() == [[table[i].tolist() for i in row] for row in rows.tolist()]
    columns = evaluate(Gather, table, torch.tensor([2, 0], dtype=torch.int32), axis=1)[0]
    close(columns, torch.stack((table[:, 2], table[:, 0]), 1))
    with pytest.raises(ValueError, match=r"0\.\.5"):
        evaluate(Gather, table, torch.tensor([6]))


def test_cutting_and_joining() -> None:
    x = rand(2, 12)
    a, b, c = evaluate(Split, x, split_dim=1, split_num=3)
    assert torch.equal(torch.cat((c, b, a), 1), torch.cat((x[:, 8:], x[:, 4:8], x[:, :4]), 1))
    big, small = evaluate(Split, x, split_dim=1, split_sizes=(8, 4))
    assert torch.equal(big, x[:, :8]) and torch.equal(small, x[:, 8:])
    assert torch.equal(evaluate(Split, x, split_dim=-1)[1], x[:, 6:])
    assert torch.equal(evaluate(Concat, big, small, concat_dim=1)[0], x)
    made = evaluate(Slice, x, offsets=(1, -5), size=(-1, 2))[0]
    assert torch.equal(made, x[1:, 7:9])
    cube = rand(2, 3, 4).to(BF16)
    assert torch.equal(evaluate(Transpose, cube, perm=(2, 0, 1))[0], cube.float().permute(2, 0, 1))
    repeated = evaluate(Repeat, x, multiples=(2, 1, 3))[0]
    assert torch.equal(repeated[1], torch.cat((x, x, x), 1))


def test_softmax() -> None:
    x = rand(2, 3, 4) * 50
    for axes in ((2,), (-1,), (1, 2)):
        e = (x - x.max()).double().exp()
        expected = e / e.sum(axes, keepdim=True)
        close(evaluate(Softmax, x, axes=axes)[0], expected.float())


def test_reshape() -> None:
    x = torch.arange(24).view(2, 12)
    assert torch.equal(evaluate(Reshape, x, shape=((0,), 3, 4))[0], x.view(2, 3, 4))
    assert torch.equal(evaluate(Reshape, x.view(2, 3, 4), shape=((0,), (1, 2)))[0], x)
