"""Costs against what a pencil gives for the tiny Llama: hidden 64, 4 heads and 2 key-value heads
of 16, intermediate 112, vocabulary 104, 3 layers."""

from __future__ import annotations

import pytest

from codegen.report import roofline
from codegen.report.costs import Cost
from codegen.report.devices import DEVICES, Device
from codegen.report.engines import AICORE, AIVEC
from codegen.report.roofline import Row
from codegen.report.scenario import Scenario
from codegen.targets.atb.ops import Soc
from tests.codegen.report.subjects import published, zoo

BATCH, PROMPT, CONTEXT = 2, 16, 20
SCENARIO = Scenario(batch=BATCH, prompt=PROMPT, context=CONTEXT)
TOKENS = BATCH * PROMPT


def _rows(phase: str, name: str = "llama-gqa") -> dict[str, Row]:
    return {row.name: row for row in roofline.rows(zoo(name).compiled, phase, SCENARIO)}


@pytest.mark.parametrize(
    ("name", "k", "n", "count"),
    [
        ("self_attn_qkv_proj", 64, 64 + 2 * 32, 3),
        ("self_attn_o_proj", 64, 64, 3),
        ("mlp_gate_up_proj", 64, 2 * 112, 3),
        ("mlp_down_proj", 112, 64, 3),
        ("lm_head", 64, 104, 1),
    ],
)
@pytest.mark.parametrize(("phase", "m"), [("prefill", TOKENS), ("decode", BATCH)])
def test_product(phase: str, m: int, name: str, k: int, n: int, count: int) -> None:
    row = _rows(phase)[name]
    assert (row.engine, row.count) == (AICORE, count)
    assert row.cost == Cost(
        flops=2 * m * n * k, weight_bytes=2 * n * k, activation_bytes=2 * (m * k + m * n)
    )


def test_bias_is_counted() -> None:
    row = _rows("prefill", "llama-attention-bias")["self_attn_o_proj"]
    assert row.cost.flops == 2 * TOKENS * 64 * 64 + TOKENS * 64
    assert row.cost.weight_bytes == 2 * (64 * 64 + 64)


def test_causal_prefill_looks_at_half_of_the_square() -> None:
    row = _rows("prefill")["self_attn_attention"]
    pairs = PROMPT * (PROMPT + 1) // 2
    assert row.cost.flops == 4 * 16 * 4 * pairs * BATCH
    data = TOKENS * 64 * 2 + TOKENS * 32 * 2  # queries and result, keys and values
    assert row.cost.activation_bytes == 2 * data + 2 * 128 * 128 + 4 * BATCH


def test_a_full_mask_is_computed_in_full() -> None:
    row = _rows("prefill", "bloom")["self_attention_attention"]
    assert row.cost.flops == 4 * 16 * 4 * PROMPT * PROMPT * BATCH


def test_decode_reads_the_cache_that_it_sees() -> None:
    row = _rows("decode")["self_attn_paged_attention"]
    assert row.cost.flops == 4 * 16 * 4 * CONTEXT * BATCH
    assert row.cost.cache_bytes == CONTEXT * BATCH * 2 * 2 * 16 * 2
    blocks = 1  # 20 tokens in blocks of 128
    assert row.cost.activation_bytes == 2 * BATCH * 64 * 2 + 4 * BATCH * blocks + 4 * BATCH


def test_cache_write() -> None:
    new = TOKENS * 2 * 16 * 2 * 2
    row = _rows("prefill")["self_attn_reshape_and_cache"]
    assert row.cost == Cost(cache_bytes=new, activation_bytes=new + 4 * TOKENS)


def test_elementwise() -> None:
    rows = _rows("prefill")
    assert rows["input_layernorm"].cost == Cost(4 * TOKENS * 64, 2 * 64, 0, 2 * 2 * TOKENS * 64)
    assert rows["add"].cost == Cost(TOKENS * 64, activation_bytes=3 * 2 * TOKENS * 64)
    assert rows["mlp_act_fn"].cost == Cost(
        5 * TOKENS * 112, activation_bytes=2 * TOKENS * (224 + 112)
    )
    assert rows["embed_tokens"].cost == Cost(0, 2 * TOKENS * 64, 0, 2 * TOKENS * 64 + 8 * TOKENS)
    assert {rows[n].engine for n in ("input_layernorm", "add", "embed_tokens")} == {AIVEC}


def test_a_decode_step_reads_every_weight_once() -> None:
    total = roofline.total_cost(list(_rows("decode").values()))
    layer = 64 * 128 + 64 * 64 + 3 * 64 * 112 + 2 * 64
    assert total.weight_bytes == 2 * (3 * layer + 64 + 64 * 104 + BATCH * 64)


def test_a_real_model_needs_two_operations_per_weight_and_token() -> None:
    """8.03 billion parameters, of which the embedding table multiplies nothing."""
    table = roofline.rows(published("llama-3.1-8b").compiled, "prefill", Scenario(prompt=1))
    products = sum(row.cost.flops * row.count for row in table if row.op_type == "Linear")
    norms = (2 * 32 + 1) * 4096
    assert products == 2 * (8_030_261_248 - 128_256 * 4096 - norms)


CHIP = Device("chip", Soc.A2, flops=100.0, bandwidth=10.0, memory=1, note="")


@pytest.mark.parametrize(
    ("cost", "engine", "seconds", "bound"),
    [
        (Cost(flops=1000, activation_bytes=10), AICORE, 10.0, "compute"),
        (Cost(flops=1000, activation_bytes=200), AICORE, 20.0, "memory"),
        (Cost(flops=1000, weight_bytes=7, cache_bytes=2, activation_bytes=1), AIVEC, 1.0,
         "memory"),
    ],
)  # fmt: skip
def test_roofline(cost: Cost, engine: str, seconds: float, bound: str) -> None:
    kind = AICORE if engine == AICORE else AIVEC
    assert roofline.seconds(cost, kind, CHIP) == seconds
    assert roofline.bound(cost, kind, CHIP) == bound


def test_total_counts_every_layer() -> None:
    row = Row("layer", "x", "Linear", AICORE, 3, Cost(flops=100), "", "")
    assert roofline.total_seconds([row, row], CHIP) == 6.0
    assert roofline.total_cost([row, row]) == Cost(flops=600)


def test_a_card_of_two_processors_is_halved() -> None:
    duo = next(d for d in DEVICES if d.name == "Atlas 300I Duo")
    assert (2 * duo.flops, 2 * duo.bandwidth, duo.soc) == (140e12, 408e9, Soc.I310P)


@pytest.mark.parametrize("field", ["batch", "prompt", "context"])
def test_sizes_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        Scenario(**{field: 0})
