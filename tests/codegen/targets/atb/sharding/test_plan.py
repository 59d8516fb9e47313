"""All graphs of a module together: what comes from outside, and that both phases agree."""

from __future__ import annotations

import pytest

from codegen.errors import CodegenError
from codegen.targets.atb import ops
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import Layout, Part, Unit, shard
from ir.graph import Graph
from tests.codegen.targets.atb import lowered

KV = Unit("kv_heads", 2)


def test_caches_are_divided_and_everything_else_from_outside_is_whole() -> None:
    plan = shard(lowered.handmade("mixed-windows"))
    names = {f"{kind}_cache_{layer}" for kind in "kv" for layer in range(3)}
    assert plan.inputs == dict.fromkeys(names, Layout(2, (Part(2, KV),)))
    assert plan.notes == ()
    assert len(plan.graphs) == 8  # embedding, two kinds of layers and head, in both phases


def test_units_are_listed_once() -> None:
    assert [(u.name, u.count) for u in shard(lowered.handmade("mixed-windows")).units] == [
        ("heads", 4),
        ("kv_heads", 2),
        ("intermediate", 96),
        ("vocab", 48),
    ]
    assert [u.name for u in shard(lowered.handmade("mqa")).units] == [
        "heads",
        "intermediate",
        "vocab",
    ]


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("gqa", [1, 2, 4]),
        ("mqa", [1, 2, 4]),
        ("mha-biases", [1, 2, 4]),
        # the heads are whole, 96 features are divided
        ("softcap", [1, 2, 3, 4, 6, 8]),
    ],
)
def test_numbers_of_ranks(name: str, possible: list[int]) -> None:
    plan = shard(lowered.handmade(name))
    assert [size for size in range(1, 9) if plan.divides_among(size)] == possible


def test_notes_are_there_once() -> None:
    plan = shard(lowered.handmade("softcap-window-mha"))
    assert plan.notes == ("every rank has all attention heads: attention is spelled out",)


@pytest.mark.parametrize("name", ["gqa", "mha-biases", "packed", "transposed-weights", "mqa"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_a_rank_has_its_share_of_the_weights(name: str, world_size: int) -> None:
    module = lowered.handmade(name)
    plan = shard(module)
    graph = module.functions["decode_decoder_layer"]
    shards = plan.graphs[graph.name]
    whole, own = 0, 0
    for value in graph.parameters:
        sizes = [int(str(dim)) for dim in value.type.shape]
        layout = shards.read(value)
        if len(sizes) == 2:
            assert layout is not None, value
            whole += sizes[0] * sizes[1]
            own += layout.per_rank(world_size) * sizes[1 - layout.axis]
    share = own / whole
    assert share == pytest.approx(1 / world_size, rel=0.35)  # key-value heads are repeated
    assert share >= 1 / world_size


def broken(graph: Graph) -> None:
    """Makes attention need all heads: a softmax across them."""
    kinds = (ops.SelfAttention.name, ops.PagedAttention.name)
    (attention,) = (node for node in graph.nodes if node.op in kinds)
    q = attention.operand(0)
    mixed = ops.Softmax.build(graph, q, axes=(1,), before=attention, named=["mixed"])
    attention.set_operand(0, mixed.result)


def with_other_layer(name: str, position: int) -> AtbModule:
    """A module in which the attention of one of two equal layers cannot be divided."""
    module = lowered.handmade(name).copy()
    for phase in module.entries:
        entry = module.functions[phase]
        call = entry.nodes[1 + position]
        twin, _ = module.callee(call).copy(f"{phase}_other_layer")
        broken(module.add(twin))
        call.attrs["callee"] = twin.name
    return module


@pytest.mark.parametrize("position", [0, 1])
def test_a_layer_that_cannot_be_divided_leaves_the_others_alone(position: int) -> None:
    plan = shard(with_other_layer("gqa", position))
    assert plan.inputs.keys() == {f"{kind}_cache_{1 - position}" for kind in "kv"}
    assert plan.notes == ("every rank has all attention heads: a softmax over a divided axis",)
    assert plan.graphs["decode_other_layer"].layouts  # its MLP
    assert plan.graphs["decode_decoder_layer"].notes == ()


@pytest.mark.parametrize("position", [0, 1])
def test_an_input_that_layers_want_different_parts_of_is_refused(position: int) -> None:
    with pytest.raises(CodegenError, match="different parts of alibi_prompt_mask"):
        shard(with_other_layer("no-rope-alibi", position))


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_cache_that_the_phases_want_different_parts_of_is_refused(phase: str) -> None:
    module = lowered.handmade("gqa").copy()
    broken(module.functions[f"{phase}_decoder_layer"])
    with pytest.raises(CodegenError, match="different parts of k_cache_0"):
        shard(module)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_weight_that_the_phases_want_different_parts_of_is_refused(phase: str) -> None:
    module = lowered.handmade("gqa").copy()
    graph = module.functions[f"{phase}_decoder_layer"]
    down = graph.find(ops.Linear.name)[-1]
    x = down.operand(0)
    softmax = ops.Softmax.build(graph, x, axes=(-1,), before=down, named=["mixed"])
    down.set_operand(0, softmax.result)
    with pytest.raises(CodegenError, match=r"prefill and decode divide mlp\.\w+\.weight different"):
        shard(module)


def test_dividing_changes_no_graph() -> None:
    from ir.text import print_module

    module = lowered.handmade("qk-norm-per-head")
    before = print_module(module)
    shard(module)
    assert print_module(module) == before
