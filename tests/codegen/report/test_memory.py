"""Memory of each rank, by hand and for published models."""

from __future__ import annotations

import pytest

from codegen.report import report_files
from codegen.report.memory import CacheShape, DefaultPerRank, caches, memory
from codegen.report.skeleton import Weight
from tests.codegen.report.subjects import published, zoo

LAYER = {"q": 64 * 64, "k": 32 * 64, "v": 32 * 64, "o": 64 * 64, "mlp": 3 * 64 * 112, "norm": 128}


def _weights(name: str, world: int) -> int:
    evidence = zoo(name).evidence()
    rule = DefaultPerRank(evidence.heads)
    return sum(rule(weight, world) for weight in evidence.skeleton.weights)


@pytest.mark.parametrize(("world", "kv_share"), [(1, 1), (2, 2), (4, 2), (8, 2)])
def test_weights(world: int, kv_share: int) -> None:
    """The 2 key-value heads can be divided by 2 at most, everything else in a layer by all."""
    divided = (LAYER["q"] + LAYER["o"] + LAYER["mlp"]) // world
    layer = divided + (LAYER["k"] + LAYER["v"]) // kv_share + LAYER["norm"]
    assert _weights("llama-gqa", world) == 2 * (3 * layer + 64 + 2 * 104 * 64)


def test_tied_embeddings_are_one_tensor() -> None:
    assert _weights("llama-gqa", 1) - _weights("llama-tied", 1) == 2 * 104 * 64


def test_heads_inside_a_packed_matrix() -> None:
    """Phi-3 stores queries, keys and values as one matrix."""
    evidence = zoo("phi3").evidence()
    h = evidence.heads
    assert h.key_value < h.query
    (packed,) = (
        w for w in evidence.skeleton.weights if w.name == "model.layers.0.self_attn.qkv_proj.weight"
    )
    rows = -(-h.query * h.size // 4) + 2 * h.size * max(1, h.key_value // 4)
    assert DefaultPerRank(h)(packed, 4) == rows * h.hidden * 2


@pytest.mark.parametrize(("world", "heads"), [(1, 2), (2, 1), (4, 1), (8, 1)])
def test_cache(world: int, heads: int) -> None:
    shapes = caches(zoo("llama-gqa").evidence())
    assert shapes == [CacheShape(2, 32)] * 3
    (rank,) = memory([], shapes, 1000, [world], DefaultPerRank(zoo("llama-gqa").evidence().heads))
    assert rank.cache_per_token == 2 * 3 * heads * 16 * 2
    assert rank.cache == 1000 * rank.cache_per_token


def test_cache_of_a_model_that_was_not_compiled() -> None:
    subject = zoo("mixtral")
    assert subject.atb is None
    assert caches(subject.evidence()) == [CacheShape(2, 32)] * 3


@pytest.mark.parametrize(
    ("name", "parameters", "cache"),
    [
        ("llama-3.1-8b", 8_030_261_248, 2 * 32 * 8 * 128 * 2),
        ("llama-3.1-70b", 70_553_706_496, 2 * 80 * 8 * 128 * 2),
    ],
)
def test_published_models(name: str, parameters: int, cache: int) -> None:
    evidence = published(name).evidence()
    assert evidence.skeleton.elements == parameters
    assert sum(shape.per_token(1) for shape in caches(evidence)) == cache


def test_another_rule_takes_the_place_of_the_default_one() -> None:
    def rule(weight: Weight, world_size: int) -> int:
        return 2**20 * world_size if weight.name == "lm_head.weight" else 0

    s = zoo("llama-gqa")
    files = report_files(s.source, s.aten, s.llm, s.atb, per_rank=rule)
    page = files["llamaforcausallm/llamaforcausallm.html"]
    assert all(f'<td class="num">{n}.00 MiB</td>' in page for n in (1, 2, 4, 8))
