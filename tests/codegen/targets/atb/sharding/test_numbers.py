"""Layouts are right by the numbers: ranks compute with their parts what one computes with all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import GraphShards, Layout, Part, ShardPlan, Unit, shard
from ir.graph import Graph, Value
from tests.codegen.targets.atb import handmade, lowered
from tests.codegen.targets.atb.sharding.ranks import check_module

#: Those in which something else is divided, or by another operation.
HANDMADE = (
    "gqa", "mha-biases", "mqa", "transposed-weights", "packed", "zero-centred-norm", "layer-norm",
    "partial-half", "rope-of-q-only", "no-rope-alibi", "alibi-window", "mixed-windows", "softcap",
    "softcap-window-mha", "softcap-alibi", "qk-norm", "qk-norm-per-head", "qk-layer-norm-per-head",
    "clamp", "relu2", "tied",
)  # fmt: skip
#: What is particular about each is in ``tests.zoo_configs``.
ZOO = ("olmo2", "gpt2", "gpt_neox", "phi3", "bloom", "gemma2", "starcoder2")


@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_models(name: str) -> None:
    module = lowered.for_cpp(lowered.handmade(name))
    check_module(module, shard(module), (2, 4))


@pytest.mark.parametrize("name", ZOO)
def test_models_from_transformers(name: str) -> None:
    module = lowered.for_cpp(lowered.zoo(name, 2 if name == "gemma2" else 1))
    check_module(module, shard(module), (2, 4))


@pytest.mark.parametrize("tied", [False, True])
def test_a_vocabulary_that_the_ranks_do_not_divide(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handmade, "VOCAB", 49)
    spec = handmade.Spec(tied=tied, bias=not tied, logit_softcap=8.0)
    module = lower(handmade.with_cache(spec))
    check_module(module, shard(module), (2, 4))


def test_six_heads_on_three_ranks_that_share_key_value_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handmade, "HEADS", 6)
    for kv_heads, sizes in ((1, (2, 3, 6)), (2, (2, 6)), (3, (3, 6)), (6, (2, 3, 6))):
        module = lower(handmade.with_cache(handmade.Spec(kv_heads=kv_heads, layers=(None,))))
        plan = shard(module)
        assert tuple(size for size in range(2, 7) if plan.divides_among(size)) == sizes
        check_module(module, plan, sizes)


# -- the check itself ----------------------------------------------------------------------------


def wrong(plan: ShardPlan, module: AtbModule, name: str, layout: Layout | None) -> ShardPlan:
    """The plan with another layout of one tensor of the prefill layer."""
    graph: Graph = module.functions["prefill_decoder_layer"]
    shards = plan.graphs[graph.name]
    (value,) = [value for value in graph.values() if value.name == name]
    layouts: dict[Value, Layout] = {v: made for v, made in shards.layouts.items() if v is not value}
    if layout is not None:
        layouts[value] = layout
    changed: GraphShards = replace(shards, layouts=layouts)
    return replace(plan, graphs={**plan.graphs, graph.name: changed})


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("packed", Layout(1, (Part(256, Unit("heads", 4)),))),
        ("packed_weight", Layout(0, (Part(256, Unit("heads", 4)),))),
        ("packed_weight_1", Layout(0, (Part(192, Unit("intermediate", 96)),))),
        ("down_proj_weight", None),
        ("o_proj_weight", Layout(0, (Part(64, Unit("heads", 4)),))),
        ("k_cache", Layout(2, (Part(2, Unit("heads", 2)),))),
        ("gated", None),
    ],
)
def test_a_wrong_layout_shows(name: str, layout: Layout | None) -> None:
    module = lowered.handmade("gqa")
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        check_module(module, wrong(shard(module), module, name, layout), (4,))


@pytest.mark.parametrize("change", ["nothing summed", "everything summed", "nothing gathered"])
def test_a_wrong_sum_shows(change: str) -> None:
    module = lowered.handmade("gqa")
    plan = shard(module)
    name = "prefill_head" if change == "nothing gathered" else "prefill_decoder_layer"
    shards = plan.graphs[name]
    linears = frozenset(module.functions[name].find("atb.linear"))
    made = {
        "nothing summed": replace(shards, reduced=frozenset()),
        "everything summed": replace(shards, reduced=linears),
        "nothing gathered": replace(shards, gathered=None),
    }[change]
    with pytest.raises(AssertionError):
        check_module(module, replace(plan, graphs={**plan.graphs, name: made}), (2,))
