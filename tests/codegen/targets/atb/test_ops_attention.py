"""SelfAttention, PagedAttention and the cache against loops over tokens and heads."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from codegen.targets.atb.ops import PagedAttention, ReshapeAndCache, SelfAttention
from tests.codegen.targets.atb.nodes import evaluate, problems
from tests.codegen.targets.atb.test_ops import close, rand

HEADS, KV, D = 4, 2, 8
SCALE = 0.31
LENS = torch.tensor([5, 3], dtype=torch.int32)
SLOPES = torch.tensor([0.5, 0.25, 0.125, 1.0])


def one(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: list[float]):
    """One query head over its keys, number by number."""
    scores = [float((q * k).sum()) * SCALE + b for k, b in zip(keys, bias, strict=True)]
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = sum(weights)
    return sum(w / total * v for w, v in zip(weights, values, strict=True))


def expected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias) -> torch.Tensor:
    """``bias(head, query, key)`` within each sequence."""
    rows, start = [], 0
    for length in LENS.tolist():
        for i in range(length):
            heads = []
            for h in range(HEADS):
                keys = k[start : start + length, h // (HEADS // KV)]
                values = v[start : start + length, h // (HEADS // KV)]
                heads.append(
                    one(q[start + i, h], keys, values, [bias(h, i, j) for j in range(length)])
                )
            rows.append(torch.stack(heads))
        start += length
    return torch.stack(rows)


def qkv() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return rand(8, HEADS, D), rand(8, KV, D), rand(8, KV, D) + 1


def prefill(mask: torch.Tensor | None, **attrs: Any) -> torch.Tensor:
    counts = {"head_num": HEADS, "kv_head_num": KV, "qk_scale": SCALE}
    dtype = torch.float32 if mask is None else mask.dtype
    q, k, v = (t.to(dtype) for t in qkv())
    return evaluate(SelfAttention, q, k, v, mask, LENS, **counts, **attrs)[0]


def causal(h: int, i: int, j: int) -> float:
    return 0.0 if j <= i else -math.inf


def window(h: int, i: int, j: int) -> float:
    return 0.0 if i - 2 < j <= i else -math.inf


def table(size: int, bias, heads: int = 1) -> torch.Tensor:
    return torch.tensor(
        [[[bias(h, i, j) for j in range(size)] for i in range(size)] for h in range(heads)]
    )


def test_prefill_without_mask_is_not_causal() -> None:
    close(prefill(None), expected(*qkv(), lambda h, i, j: 0.0))


def test_prefill_norm_masks() -> None:
    norm = {"mask_type": "MASK_TYPE_NORM"}
    close(prefill(table(5, causal)[0], **norm), expected(*qkv(), causal))
    close(prefill(table(9, causal)[0], **norm, is_triu_mask=1), expected(*qkv(), causal))
    close(prefill(table(6, window)[0], **norm), expected(*qkv(), window))
    batch = table(5, causal).repeat(2, 1, 1)
    batch[1, 2, 0] = -math.inf
    made = prefill(batch, **norm)
    close(made[:7], expected(*qkv(), causal)[:7])
    assert not torch.allclose(made[7], expected(*qkv(), causal)[7])


def test_prefill_alibi() -> None:
    def alibi(h: int, i: int, j: int) -> float:
        return causal(h, i, j) + float(SLOPES[h]) * (j - i)

    mask = table(5, alibi, HEADS)
    close(prefill(mask, mask_type="MASK_TYPE_ALIBI"), expected(*qkv(), alibi))
    full = prefill(mask.repeat(2, 1, 1, 1), mask_type="MASK_TYPE_ALIBI")
    close(full, expected(*qkv(), alibi))


def test_bfloat16_norm_masks_hold_zero_and_one() -> None:
    hidden = (table(5, causal)[0] == -math.inf).to(torch.bfloat16)
    q, k, v = (t.to(torch.bfloat16).float() for t in qkv())
    close(prefill(hidden, mask_type="MASK_TYPE_NORM"), expected(q, k, v, causal))
    close(prefill(hidden, mask_type="MASK_TYPE_NORM", is_triu_mask=1), expected(q, k, v, causal))
    # an ALiBi mask is added as it is
    bias = table(5, lambda h, i, j: float(j == 0), HEADS).to(torch.bfloat16)
    made = prefill(bias, mask_type="MASK_TYPE_ALIBI")
    close(made, expected(q, k, v, lambda h, i, j: float(j == 0)))


@pytest.mark.parametrize("kind", ["MASK_TYPE_NORM", "MASK_TYPE_NORM_COMPRESS"])
def test_compressed_mask_covers_every_length(kind: str) -> None:
    length = 300
    q, k, v = rand(length, 1, 16), rand(length, 1, 16), rand(length, 1, 16)
    mask = torch.full((128, 128), -math.inf).triu(1)
    lens = torch.tensor([length], dtype=torch.int32)
    attrs = {"head_num": 1, "qk_scale": 0.25, "mask_type": kind, "is_triu_mask": 1}
    made = evaluate(SelfAttention, q, k, v, mask, lens, **attrs)[0]
    reference = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), is_causal=True, scale=0.25
    )
    close(made, reference.transpose(0, 1))


def test_prefill_two_dimensional_and_other_value_size() -> None:
    q, k, v = rand(8, HEADS, D), rand(8, KV, D), rand(8, KV, 12)
    attrs = {"head_num": HEADS, "kv_head_num": KV, "qk_scale": SCALE}
    made = evaluate(SelfAttention, q, k, v, None, LENS, **attrs)[0]
    close(made, expected(q, k, v, lambda h, i, j: 0.0))
    flat = evaluate(SelfAttention, q.flatten(1), k.flatten(1), v.flatten(1), None, LENS, **attrs)[0]
    close(flat, made.flatten(1))


def test_prefill_refuses_wrong_values() -> None:
    with pytest.raises(ValueError, match="shows later tokens"):
        prefill(table(5, window)[0].fill_(0), mask_type="MASK_TYPE_NORM", is_triu_mask=1)
    with pytest.raises(ValueError, match="does not cover a sequence of 5"):
        prefill(table(4, causal)[0], mask_type="MASK_TYPE_NORM")
    short = torch.tensor([5, 2], dtype=torch.int32)
    q, k, v = qkv()
    with pytest.raises(ValueError, match="does not add up to 8"):
        evaluate(SelfAttention, q, k, v, None, short, head_num=HEADS, kv_head_num=KV)


# -- decode -------------------------------------------------------------------------------------

BLOCK = 4
CONTEXT = torch.tensor([6, 9], dtype=torch.int32)
TABLES = torch.tensor([[3, 1, 0], [5, 2, 4]], dtype=torch.int32)


def decode(mask: torch.Tensor | None, bias, **attrs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    q, k_cache, v_cache = rand(2, HEADS, D), rand(6, BLOCK, KV, D), rand(6, BLOCK, KV, D) + 1
    counts = {"head_num": HEADS, "kv_head_num": KV, "qk_scale": SCALE}
    dtype = torch.float32 if mask is None else mask.dtype
    q, k_cache, v_cache = (t.to(dtype) for t in (q, k_cache, v_cache))
    made = evaluate(PagedAttention, q, k_cache, v_cache, TABLES, CONTEXT, mask, **counts, **attrs)[
        0
    ]
    rows = []
    for b, length in enumerate(CONTEXT.tolist()):
        places = [(int(TABLES[b, j // BLOCK]), j % BLOCK) for j in range(length)]
        heads = []
        for h in range(HEADS):
            keys, values = (
                torch.stack([cache[p][h // 2].float() for p in places])
                for cache in (k_cache, v_cache)
            )
            heads.append(one(q[b, h].float(), keys, values, [bias(b, h, j) for j in range(length)]))
        rows.append(torch.stack(heads))
    return made, torch.stack(rows)


def test_decode() -> None:
    close(*decode(None, lambda b, h, j: 0.0))


def test_decode_window() -> None:
    def bias(b: int, h: int, j: int) -> float:
        return 0.0 if j >= int(CONTEXT[b]) - 3 else -math.inf

    mask = torch.tensor([[[bias(b, 0, j) for j in range(12)]] for b in range(2)])
    close(*decode(mask, bias, mask_type="MASK_TYPE_NORM"))
    # in bfloat16 too the mask is added, not multiplied with -3e38
    close(*decode(mask.to(torch.bfloat16), bias, mask_type="MASK_TYPE_NORM"))


def test_decode_alibi() -> None:
    def bias(b: int, h: int, j: int) -> float:
        return float(SLOPES[h]) * (j - int(CONTEXT[b]) + 1)

    mask = torch.tensor(
        [[[[bias(b, h, j) for j in range(12)]] for h in range(HEADS)] for b in range(2)]
    )
    made, wanted = decode(mask, bias, mask_type="MASK_TYPE_ALIBI")
    close(made, wanted)
    shared = SLOPES[:, None, None] * torch.arange(12.0)
    close(decode(shared, bias, mask_type="MASK_TYPE_ALIBI")[0], wanted)


def test_cache_is_written_in_place() -> None:
    k, v = rand(3, KV, D), rand(3, KV, D) + 1
    k_cache, v_cache = torch.zeros(4, BLOCK, KV, D), torch.zeros(4, BLOCK, KV, D)
    slots = torch.tensor([13, 2, 7], dtype=torch.int32)
    made = evaluate(ReshapeAndCache, k, v, k_cache, v_cache, slots)
    assert made[0] is k_cache and made[1] is v_cache
    for token, (block, row) in enumerate([(3, 1), (0, 2), (1, 3)]):
        assert torch.equal(k_cache[block, row], k[token])
        assert torch.equal(v_cache[block, row], v[token])
    assert int((k_cache != 0).sum()) == k.numel()


@pytest.mark.parametrize("slots", [[0, 0, 0], [0, 1, 16], [0, 1, -1]])
def test_cache_refuses_shared_and_outer_slots(slots: list[int]) -> None:
    k, cache = rand(3, KV, D), torch.zeros(4, BLOCK, KV, D)
    with pytest.raises(ValueError, match="slot"):
        evaluate(
            ReshapeAndCache, k, k, cache, cache.clone(), torch.tensor(slots, dtype=torch.int32)
        )


def test_decode_refuses_wrong_values() -> None:
    mask = torch.zeros(2, 1, 8)
    with pytest.raises(ValueError, match="does not cover 9"):
        decode(mask, lambda b, h, j: 0.0, mask_type="MASK_TYPE_NORM")
    q, cache = rand(2, HEADS, D), rand(6, BLOCK, KV, D)
    counts = {"head_num": HEADS, "kv_head_num": KV}
    for context, tables, message in (
        ([6, 13], TABLES, r"context_lens\[1\] is 13"),
        ([0, 9], TABLES, r"context_lens\[0\] is 0"),
        ([6, 9], TABLES + 1, r"not in 0\.\.5"),
    ):
        lens = torch.tensor(context, dtype=torch.int32)
        with pytest.raises(ValueError, match=message):
            evaluate(PagedAttention, q, cache, cache, tables, lens, **counts)


def test_mask_shapes() -> None:
    q, k, v = qkv()
    counts = {"head_num": HEADS, "kv_head_num": KV}
    for kind, mask, message in (
        ("MASK_TYPE_NORM", torch.zeros(3, 5, 5), r"\[S, S\] or \[batch, S, S\]"),
        ("MASK_TYPE_ALIBI", torch.zeros(5, 5), r"\[4, S, S\]"),
        ("MASK_TYPE_ALIBI", torch.zeros(2, 5, 5), r"\[4, S, S\]"),
        ("MASK_TYPE_NORM_COMPRESS", torch.zeros(5, 5), r"\[128, 128\]"),
    ):
        found = problems(SelfAttention, q, k, v, mask, LENS, **counts, mask_type=kind)
        assert message.replace("\\", "") in found
    cache = rand(6, BLOCK, KV, D)
    for kind, mask in (
        ("MASK_TYPE_NORM", torch.zeros(2, 12)),
        ("MASK_TYPE_ALIBI", torch.zeros(2, 1, 1, 12)),
    ):
        found = problems(
            PagedAttention, q[:2], cache, cache, TABLES, CONTEXT, mask, **counts, mask_type=kind
        )
        assert "must be [" in found
