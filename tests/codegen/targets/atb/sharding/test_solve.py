"""Which tensors are divided: by hand-made graphs, and by what lowering makes of real models."""

from __future__ import annotations

import pytest

from codegen.targets.atb import ops
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import GraphShards, Layout, Part, Unit, shard
from codegen.targets.atb.sharding.solve import solve
from ir.graph import Graph, Value
from ir.types import DType, Sym, TensorType
from tests.codegen.targets.atb import lowered

T = Sym.of("tokens")
MLP = Unit("intermediate", 48)


def shown(shards: GraphShards, graph: Graph) -> dict[str, str]:
    """Everything that is divided, ``axis: size unit, ...`` by name; what is cut has a ``!``."""
    found: dict[str, str] = {}
    for value in graph.values():
        if value in shards.layouts:
            found[value.name] = words(shards.layouts[value])
        if value in shards.cuts:
            found[f"!{value.name}"] = words(shards.cuts[value])
    return found


def words(layout: Layout) -> str:
    parts = (f"{p.size} {p.unit.name if p.unit else 'whole'}" for p in layout.parts)
    return f"{layout.axis}: {', '.join(parts)}"


def layer_of(module: AtbModule, phase: str = "prefill") -> tuple[Graph, GraphShards]:
    name = f"{phase}_decoder_layer"
    return module.functions[name], shard(module).graphs[name]


def summed(graph: Graph, shards: GraphShards) -> list[str]:
    return [node.operand(1).name for node in graph.nodes if node in shards.reduced]


# -- real models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_llama_with_grouped_queries(phase: str) -> None:
    graph, shards = layer_of(lowered.handmade("gqa"), phase)
    assert shown(shards, graph) == {
        "k_cache": "2: 2 kv_heads",
        "v_cache": "2: 2 kv_heads",
        "packed_weight": "0: 128 heads, 64 kv_heads, 64 kv_heads",
        "packed": "1: 128 heads, 64 kv_heads, 64 kv_heads",
        "q_proj": "1: 128 heads",
        "k_proj": "1: 64 kv_heads",
        "v_proj": "1: 64 kv_heads",
        "v": "1: 2 kv_heads",
        "q_rotated_flat": "1: 128 heads",
        "k_rotated_flat": "1: 64 kv_heads",
        "q_rotated": "1: 4 heads",
        "k_rotated": "1: 2 kv_heads",
        "k_written": "2: 2 kv_heads",
        "v_written": "2: 2 kv_heads",
        "attended": "1: 4 heads",
        "joined": "1: 128 heads",
        "o_proj_weight": "1: 128 heads",
        "packed_weight_1": "0: 96 intermediate, 96 intermediate",
        "packed_1": "1: 96 intermediate, 96 intermediate",
        "gated": "1: 96 intermediate",
        "down_proj_weight": "1: 96 intermediate",
    }
    assert summed(graph, shards) == ["o_proj_weight", "down_proj_weight"]
    assert shards.gathered is None
    assert shards.notes == ()


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_head_is_divided_by_the_vocabulary_and_gathered(phase: str) -> None:
    for module in (lowered.handmade("gqa"), lowered.handmade("softcap")):
        graph = module.functions[f"{phase}_head"]
        shards = shard(module).graphs[graph.name]
        assert shards.gathered is graph.outputs[0]
        assert shards.reduced == frozenset()
        assert shown(shards, graph)["lm_head_weight"] == "0: 48 vocab"
        assert graph.parameters[0] not in shards.layouts  # the norm before it
    embedding = lowered.handmade("tied").functions[f"{phase}_embedding"]
    assert shard(lowered.handmade("tied")).graphs[embedding.name].layouts == {}


def test_as_many_key_value_heads_as_heads_are_the_same_unit() -> None:
    graph, shards = layer_of(lowered.handmade("mha-biases"))
    made = shown(shards, graph)
    assert made["k_cache"] == "2: 4 heads"
    assert made["packed_weight"] == "0: 128 heads, 128 heads, 128 heads"
    assert made["packed_bias"] == "0: 128 heads, 128 heads, 128 heads"
    assert made["packed_bias_1"] == "0: 96 intermediate, 96 intermediate"
    assert {unit.name for layout in shards.layouts.values() for unit in layout.units} == {
        "heads",
        "intermediate",
    }


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_single_key_value_head_is_whole_on_every_rank(phase: str) -> None:
    graph, shards = layer_of(lowered.handmade("mqa"), phase)
    made = shown(shards, graph)
    assert made["packed_weight"] == "0: 128 heads, 32 whole, 32 whole"
    whole = {"k_cache", "v_cache", "k_proj", "v_proj", "k_rotated_flat", "k_written"}
    assert not whole & made.keys()
    assert made["q_rotated_flat"] == "1: 128 heads"
    assert summed(graph, shards) == ["o_proj_weight", "down_proj_weight"]
    assert not [v for v in shard(lowered.handmade("mqa")).inputs if "cache" in v]


def test_a_norm_over_all_heads_is_whole_and_cut_behind_it() -> None:
    graph, shards = layer_of(lowered.zoo("olmo2"))
    made = shown(shards, graph)
    assert made["!q_norm_out"] == "1: 64 heads"
    assert made["!k_norm_out"] == "1: 32 kv_heads"
    assert not {"q_norm_out", "k_norm_out", "q_norm_weight", "k_norm_weight"} & made.keys()
    assert made["packed_weight"] == "0: 64 whole, 32 whole, 32 kv_heads"
    assert made["query"] == "1: 4 heads"
    assert made["attn_flat"] == "1: 64 heads"


def test_a_norm_of_each_head_is_divided_like_the_heads() -> None:
    graph, shards = layer_of(lowered.handmade("qk-norm"))
    assert not shards.cuts
    assert shown(shards, graph)["q_normed"] == "1: 4 heads"
    assert "q_norm_weight" not in shown(shards, graph)
    graph, shards = layer_of(lowered.handmade("qk-norm-per-head"))
    made = shown(shards, graph)
    assert made["q_norm_weight"] == "0: 4 heads"
    assert made["k_norm_weight"] == "0: 2 kv_heads"


def test_gpt2_divides_weights_that_are_stored_the_other_way_round() -> None:
    graph, shards = layer_of(lowered.zoo("gpt2"))
    made = shown(shards, graph)
    assert made["c_attn_weight"] == "1: 64 heads, 64 heads, 64 heads"
    assert made["c_attn_bias"] == "0: 64 heads, 64 heads, 64 heads"
    assert made["c_proj_weight"] == "0: 64 heads"
    assert made["c_fc_weight"] == "1: 112 intermediate"
    assert made["c_proj_weight_1"] == "0: 112 intermediate"
    assert summed(graph, shards) == ["c_proj_weight", "c_proj_weight_1"]
    assert not [name for name in made if name.startswith("c_proj_bias")]


def test_gpt_neox_divides_qkv_head_by_head() -> None:
    graph, shards = layer_of(lowered.zoo("gpt_neox"))
    made = shown(shards, graph)
    assert made["query_key_value_weight"] == "0: 384 heads"
    assert made["query_key_value_heads"] == "1: 4 heads"
    assert made["query_part_flat"] == "1: 64 heads"
    assert summed(graph, shards) == ["dense_weight", "dense_4h_to_h_weight"]


def test_phi3_divides_weights_that_the_checkpoint_packs() -> None:
    graph, shards = layer_of(lowered.zoo("phi3"))
    made = shown(shards, graph)
    weights = [value for value in graph.parameters if value in shards.layouts]
    assert [made[value.name] for value in weights] == [
        "0: 64 heads, 32 kv_heads, 32 kv_heads",
        "1: 64 heads",
        "0: 112 intermediate, 112 intermediate",
        "1: 112 intermediate",
    ]


def test_alibi_masks_are_divided_by_heads() -> None:
    for module in (lowered.zoo("bloom"), lowered.handmade("no-rope-alibi")):
        plan = shard(module)
        masks = {name: words(plan.inputs[name]) for name in plan.inputs if "mask" in name}
        assert masks == {"alibi_prompt_mask": "0: 4 heads", "alibi_cache_mask": "1: 4 heads"}
        graph, shards = layer_of(module, "decode")
        assert shown(shards, graph)["alibi_cache_mask"] == "1: 4 heads"
    plan = shard(lowered.handmade("window"))  # a mask that all heads share
    assert not [name for name in plan.inputs if "mask" in name]


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_attention_that_is_spelled_out_is_whole_and_the_mlp_is_divided(phase: str) -> None:
    for module in (lowered.zoo("gemma2", 2), lowered.handmade("softcap")):
        graph, shards = layer_of(module, phase)
        assert shards.notes == ("every rank has all attention heads: attention is spelled out",)
        made = shown(shards, graph)
        assert summed(graph, shards) == ["down_proj_weight"]
        assert not [name for name in made if "cache" in name or name.startswith(("q", "k", "o_"))]
        assert {unit.name for layout in shards.layouts.values() for unit in layout.units} == {
            "intermediate"
        }


def test_starcoder2_divides_biases_in_front_and_keeps_those_behind() -> None:
    graph, shards = layer_of(lowered.zoo("starcoder2"))
    made = shown(shards, graph)
    assert made["packed_bias"] == "0: 64 heads, 32 kv_heads, 32 kv_heads"
    assert made["c_fc_bias"] == "0: 112 intermediate"
    assert summed(graph, shards) == ["o_proj_weight", "c_proj_weight"]
    assert not {"o_proj_bias", "c_proj_bias"} & made.keys()


# -- graphs by hand ------------------------------------------------------------------------------


class Hand:
    """A graph ``x -> ... -> y`` of products by weights."""

    def __init__(self) -> None:
        self.graph = Graph("g")
        self.x = self.graph.add_input("x", f32(T, 32))

    def linear(
        self, x: Value, name: str, out: int, bias: str | None = None, transposed: bool = True
    ) -> Value:
        inner = int(str(x.type.shape[-1]))
        shape = (out, inner) if transposed else (inner, out)
        return ops.Linear.build(
            self.graph,
            x,
            self.graph.add_parameter(f32(*shape), f"{name}.weight", name),
            None if bias is None else self.graph.add_parameter(f32(out), bias, bias),
            has_bias=bias is not None,
            transpose_b=transposed,
            named=[f"{name}_out"],
        ).result

    def gelu(self, x: Value) -> Value:
        kind = {"activation_type": "ACTIVATION_GELU"}
        return ops.Activation.build(self.graph, x, named=["gelu"], **kind).result

    def add(self, x: Value, y: Value) -> Value:
        return ops.Elewise.build(self.graph, x, y, elewise_type="ELEWISE_ADD").result

    def solved(self, *outputs: Value, divisible: tuple[Value, ...] = ()) -> dict[str, str]:
        self.graph.outputs = list(outputs)
        self.shards = solve(self.graph, divisible)
        return shown(self.shards, self.graph)


def f32(*shape: int | Sym) -> TensorType:
    return TensorType(shape, DType.FLOAT32)


def test_two_products_are_divided_by_the_features_between_them() -> None:
    for transposed in (True, False):
        h = Hand()
        inner = h.gelu(h.linear(h.x, "up", 48, "up_bias", transposed))
        made = h.solved(h.linear(inner, "down", 32, "down_bias", transposed))
        assert made == {
            "up": f"{0 if transposed else 1}: 48 intermediate",
            "up_bias": "0: 48 intermediate",
            "down": f"{1 if transposed else 0}: 48 intermediate",
            "up_out": "1: 48 intermediate",
            "gelu": "1: 48 intermediate",
        }
        assert summed(h.graph, h.shards) == ["down"]


def test_several_products_may_read_what_is_divided() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "up", 48))
    made = h.solved(h.linear(inner, "a", 32), h.linear(inner, "b", 16))
    assert made["a"] == made["b"] == "1: 48 intermediate"
    assert summed(h.graph, h.shards) == ["a", "b"]


def test_one_block_that_cannot_be_divided_leaves_the_others_alone() -> None:
    h = Hand()
    whole = softmax(h, h.linear(h.x, "first", 48))
    x = normed(h, h.linear(whole, "second", 32))
    x = h.linear(h.gelu(h.linear(x, "third", 40)), "fourth", 32)
    made = h.solved(x)
    assert made.keys() == {"third", "third_out", "gelu", "fourth"}
    assert made["third"] == "0: 40 intermediate"


def softmax(h: Hand, x: Value) -> Value:
    return ops.Softmax.build(h.graph, x, axes=(-1,)).result


def normed(h: Hand, x: Value) -> Value:
    size = int(str(x.type.shape[-1]))
    weight = h.graph.add_parameter(f32(size), "norm.weight")
    return ops.RmsNorm.build(h.graph, x, weight, epsilon=1e-6).result


def sliced(h: Hand, x: Value) -> Value:
    return ops.Slice.build(h.graph, x, offsets=(0, 0), size=(-1, 16)).result


def sliced_to_the_end(h: Hand, x: Value) -> Value:
    return ops.Slice.build(h.graph, x, offsets=(0, 16), size=(-1, -1)).result


def sliced_to_its_size(h: Hand, x: Value) -> Value:
    """All elements, but by number: a rank has fewer."""
    return ops.Slice.build(h.graph, x, offsets=(0, 0), size=(-1, 48)).result


def tokens_joined(h: Hand, x: Value) -> Value:
    view = ops.Reshape.build(h.graph, x, shape=(-1, 16)).result
    return h.gelu(view)


def added_to_the_stream(h: Hand, x: Value) -> Value:
    return h.add(x, h.graph.add_input("stream", f32(T, 48)))


def repeated(h: Hand, x: Value) -> Value:
    return ops.Repeat.build(h.graph, x, multiples=(1, 2)).result


@pytest.mark.parametrize(
    "between",
    [
        softmax, normed, sliced, sliced_to_the_end, sliced_to_its_size, tokens_joined,
        added_to_the_stream, repeated,
    ],
)  # fmt: skip
def test_what_needs_all_features_keeps_them_whole(between) -> None:
    h = Hand()
    inner = between(h, h.linear(h.x, "up", 48))
    assert h.solved(h.linear(inner, "down", 32)) == {}
    assert h.shards.reduced == frozenset()


def test_an_output_is_whole_and_so_is_what_it_comes_from() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "up", 48))
    assert h.solved(h.linear(inner, "down", 32), inner) == {}


def test_a_bias_that_is_added_behind_the_sum_is_whole() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "up", 32, "shared"))
    assert h.solved(h.linear(inner, "down", 32, "shared")) == {}


def test_a_vector_that_a_norm_reads_too_is_whole() -> None:
    h = Hand()
    x = normed(h, h.x)
    (gamma,) = h.graph.parameters
    assert h.solved(h.linear(h.add(h.linear(x, "up", 32), gamma), "down", 32)) == {}


def test_a_weight_that_is_read_twice_is_divided_only_if_both_readers_agree() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "square", 32))
    assert h.solved(h.linear(inner, "square", 32)) == {}
    h = Hand()
    first = h.linear(h.gelu(h.linear(h.x, "up", 48)), "down", 32)
    second = h.linear(h.gelu(h.linear(first, "up", 48)), "down", 32)
    assert h.solved(second)["up"] == "0: 48 intermediate"
    assert summed(h.graph, h.shards) == ["down", "down"]


def test_a_product_that_adds_to_something_is_whole() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "up", 48))
    weight = h.graph.add_parameter(f32(32, 48), "down.weight", "down")
    accum = h.graph.add_input("accum", f32(T, 32))
    made = ops.Linear.build(
        h.graph, inner, weight, None, accum, has_bias=False, en_accum=True, named=["y"]
    )
    assert h.solved(made.result) == {}


def test_a_vector_as_wide_as_the_features_is_divided_with_them() -> None:
    h = Hand()
    up = h.linear(h.x, "up", 48)
    vector = h.graph.add_parameter(f32(48), "scale", "vector")
    single = h.graph.add_parameter(f32(1), "single", "single")
    made = h.solved(h.linear(h.add(h.add(up, vector), single), "down", 32))
    assert made["vector"] == "0: 48 intermediate"
    assert "single" not in made


def test_pieces_are_put_together_and_cut_again() -> None:
    h = Hand()
    both = ops.Concat.build(h.graph, h.linear(h.x, "a", 48), h.linear(h.x, "b", 48), concat_dim=1)
    halves = ops.Split.build(h.graph, both.result, split_dim=-1)
    first, second = halves.results
    made = h.solved(h.linear(h.add(first, second), "down", 32))
    assert made["a"] == made["b"] == "0: 48 intermediate"
    assert made["y"] == "1: 48 intermediate, 48 intermediate"


def test_equal_pieces_that_are_divided_differently_need_their_sizes() -> None:
    def halves(sizes: tuple[int, ...]) -> dict[str, str]:
        h = Hand()
        attrs = {"split_dim": 1, "split_sizes": sizes}
        cut = ops.Split.build(h.graph, h.linear(h.x, "both", 96), named=["a", "b"], **attrs)
        first, second = cut.results
        return h.solved(h.linear(first, "down", 32), softmax(h, second))

    assert halves(()) == {}
    made = halves((48, 48))
    assert made["both"] == "0: 48 intermediate, 48 whole"
    assert "b" not in made


def test_a_gate_and_what_it_gates_are_divided_alike() -> None:
    def gated(*others: Value, h: Hand, a: Value, b: Value) -> dict[str, str]:
        both = ops.Concat.build(h.graph, a, b, concat_dim=1).result
        kind = {"activation_type": "ACTIVATION_SWIGLU_FORWARD"}
        inner = ops.Activation.build(h.graph, both, **kind).result
        return h.solved(h.linear(inner, "down", 32), h.linear(a, "other", 32), *others)

    h = Hand()
    a, b = h.linear(h.x, "a", 48), h.linear(h.x, "b", 48)
    made = gated(h=h, a=a, b=b)
    assert made["a"] == made["b"] == "0: 48 intermediate"
    assert summed(h.graph, h.shards) == ["down", "other"]
    h = Hand()
    a, b = h.linear(h.x, "a", 48), h.linear(h.x, "b", 48)
    assert gated(softmax(h, b), h=h, a=a, b=b) == {}


def test_axes_move_with_a_transposition() -> None:
    """In both directions: from what is read later, and from what else is known."""
    h = Hand()
    up = h.linear(h.x, "up", 48)
    narrow = ops.Reshape.build(h.graph, up, shape=((0,), 48, 1), named=["narrow"]).result
    there = ops.Transpose.build(h.graph, narrow, perm=(1, 2, 0), named=["there"]).result
    back = ops.Transpose.build(h.graph, there, perm=(2, 0, 1), named=["back"]).result
    again = ops.Reshape.build(h.graph, back, shape=((0,), 48), named=["again"]).result
    for order in ((up, again), (again, up)):
        first, second = (h.linear(x, f"down_{x.name}", 32) for x in order)
        made = h.solved(first, second)
        assert made["narrow"] == made["back"] == "1: 48 intermediate"
        assert made["there"] == "0: 48 intermediate"
        assert summed(h.graph, h.shards)[-2:] == [f"down_{x.name}" for x in order]


@pytest.mark.parametrize(("heads", "divided"), [(4, True), (8, False)])
def test_a_rotation_of_wider_heads_than_those_of_attention_is_whole(
    heads: int, divided: bool
) -> None:
    h = Hand()
    q, k, v = (h.linear(h.x, name, 128) for name in ("q", "k", "v"))
    cos, sin = (h.graph.add_input(name, f32(T, 32)) for name in ("cos", "sin"))
    lengths = h.graph.add_input("lengths", TensorType((Sym.of("batch"),), DType.INT32))
    turned = ops.Rope.build(h.graph, q, k, cos, sin, lengths, rotary_coeff=2).results
    y = attention(h, *(heads_of(h, x, heads) for x in (*turned, v)), heads, heads)
    joined = ops.Reshape.build(h.graph, y, shape=((0,), 128)).result
    made = h.solved(h.linear(joined, "o", 32))
    assert made.get("q") == ("0: 128 heads" if divided else None)
    why = "every rank has all attention heads: a head would be cut"
    assert h.shards.notes == (() if divided else (why,))


def test_pieces_of_other_sizes_are_not_cut_elsewhere() -> None:
    h = Hand()
    both = ops.Concat.build(h.graph, h.linear(h.x, "a", 32), h.linear(h.x, "b", 64), concat_dim=1)
    halves = ops.Split.build(h.graph, both.result, split_dim=-1)
    first, second = halves.results
    assert h.solved(h.linear(h.add(first, second), "down", 32)) == {}


def attention(h: Hand, q: Value, k: Value, v: Value, heads: int, kv_heads: int) -> Value:
    seq_lens = h.graph.add_input("seq_lens", TensorType((Sym.of("batch"),), DType.INT32))
    attrs = {"head_num": heads, "kv_head_num": kv_heads}
    return ops.SelfAttention.build(h.graph, q, k, v, None, seq_lens, **attrs).result


def heads_of(h: Hand, x: Value, heads: int) -> Value:
    size = int(str(x.type.shape[-1])) // heads
    shape = ((0,), heads, size)
    return ops.Reshape.build(h.graph, x, shape=shape, named=[f"{x.name}_heads"]).result


def test_summing_over_repeated_heads_is_refused() -> None:
    """Key-value heads that several ranks share must not be added up."""
    h = Hand()
    q, k, v = (h.linear(h.x, name, size) for name, size in (("q", 128), ("k", 64), ("v", 64)))
    made = attention(h, heads_of(h, q, 4), heads_of(h, k, 2), heads_of(h, v, 2), 4, 2)
    y = h.linear(ops.Reshape.build(h.graph, made, shape=((0,), 128)).result, "o", 32)
    assert h.solved(h.add(y, h.linear(v, "values_too", 32))) == {}
    assert "would count elements twice" in h.shards.notes[0]


def test_attention_over_joined_heads_is_whole() -> None:
    h = Hand()
    q, k, v = (h.linear(h.x, name, 128) for name in ("q", "k", "v"))
    made = h.solved(h.linear(attention(h, q, k, v, 4, 4), "o", 32))
    assert made == {}
    (note,) = h.shards.notes
    assert note == "every rank has all attention heads: attention over heads that are joined"


def test_heads_that_are_given_from_outside_are_whole() -> None:
    h = Hand()
    k, v = (h.graph.add_input(name, f32(T, 2, 32)) for name in "kv")
    q = heads_of(h, h.linear(h.x, "q", 128), 4)
    y = ops.Reshape.build(h.graph, attention(h, q, k, v, 4, 2), shape=((0,), 128)).result
    out = h.linear(y, "o", 32)
    assert h.solved(out) == {}
    assert len(h.shards.notes) == 1
    made = h.solved(out, divisible=(k, v))
    assert made["k"] == made["v"] == "1: 2 kv_heads"
    assert made["o"] == "1: 128 heads"


def test_layouts_are_those_of_the_readers() -> None:
    h = Hand()
    inner = h.gelu(h.linear(h.x, "up", 48))
    h.solved(h.linear(inner, "down", 32))
    assert h.shards.read(inner) == Layout(1, (Part(48, MLP),))
    assert h.shards.read(h.x) is None
