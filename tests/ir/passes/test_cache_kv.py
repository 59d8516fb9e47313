"""``cache-kv``: prefill and decode give what the whole graph gives."""

import math

import pytest
import torch

from ir.errors import PassError
from ir.func import Call
from ir.graph import Graph, Module
from ir.interpret import interpret
from ir.llm.attention import Attention
from ir.passes import CacheKv, FoldLayers, InlineCalls, PackLinears, RemoveDead, run_passes
from ir.structure import same_structure
from ir.text import print_graph
from ir.types import DType, Sym, TensorType
from tests.ir.models import BATCH, SHAPES, TOKENS, Shape, decoder, f32, inputs, weights

BLOCK_SIZE, STEPS, LENS = 4, 8, (3, 6)


class Cache:
    """Caches for the cache inputs of an entry; blocks are handed out in random order."""

    def __init__(self, entry: Graph) -> None:
        per_sequence = math.ceil((max(LENS) + STEPS) / BLOCK_SIZE)
        order = torch.randperm(per_sequence * len(LENS), generator=torch.Generator().manual_seed(1))
        self.tables = order.reshape(len(LENS), per_sequence).int()
        self.tensors = {
            v.name: torch.full((len(order), *map(int, map(str, v.type.shape[1:]))), torch.nan)
            for v in entry.inputs
            if v.name.startswith(("k_cache", "v_cache"))
        }

    def slot(self, sequence: int, position: int) -> int:
        block = int(self.tables[sequence, position // BLOCK_SIZE])
        return block * BLOCK_SIZE + position % BLOCK_SIZE

    def slots(self, places: list[tuple[int, int]]) -> torch.Tensor:
        return torch.tensor([self.slot(*place) for place in places], dtype=torch.int32)


def whole(module: Module, checkpoint, tokens: list[list[int]]) -> list[torch.Tensor]:
    """Logits of each sequence from the graph without a cache."""
    made = interpret(
        module,
        {
            "input_ids": torch.tensor([t for row in tokens for t in row]),
            "positions": torch.cat([torch.arange(len(row)) for row in tokens]),
            "seq_lens": torch.tensor([len(row) for row in tokens], dtype=torch.int32),
        },
        checkpoint,
    )
    return list(next(iter(made.values())).split([len(row) for row in tokens]))


def check_against_whole(reference: Module, cached: Module, checkpoint) -> None:
    cache = Cache(cached.functions["prefill"])
    start = inputs(LENS)
    tokens = [row.tolist() for row in start["input_ids"].split(list(LENS))]
    places = [(s, p) for s, n in enumerate(LENS) for p in range(n)]
    given = {**start, "slots": cache.slots(places), **cache.tensors}
    (made,) = interpret(cached, given, checkpoint, "prefill").values()
    torch.testing.assert_close(made, torch.cat(whole(reference, checkpoint, tokens)))
    for step in range(STEPS):
        places = [(s, len(row)) for s, row in enumerate(tokens)]
        for row in tokens:
            row.append((step * 5 + len(row)) % 17)
        given = {
            "input_ids": torch.tensor([row[-1] for row in tokens]),
            "positions": torch.tensor([len(row) - 1 for row in tokens]),
            "seq_lens": torch.ones(len(tokens), dtype=torch.int32),
            "block_tables": cache.tables,
            "context_lens": torch.tensor([len(row) for row in tokens], dtype=torch.int32),
            "slots": cache.slots(places),
            **cache.tensors,
        }
        (made,) = interpret(cached, given, checkpoint, "decode").values()
        expected = torch.stack([rows[-1] for rows in whole(reference, checkpoint, tokens)])
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_prefill_and_decode_agree_with_the_whole_graph(name):
    reference, module = decoder(SHAPES[name]), decoder(SHAPES[name])
    (record,) = run_passes(module, [CacheKv(block_size=BLOCK_SIZE)])
    assert record.result.matches == len(SHAPES[name].layers)
    assert module.entries == ("prefill", "decode")
    check_against_whole(reference, module, weights(reference))


@pytest.mark.parametrize("name", ["llama", "mha-bias", "parallel-gated"])
def test_agrees_together_with_packing(name):
    reference, module = decoder(SHAPES[name]), decoder(SHAPES[name])
    passes = [PackLinears(), CacheKv(block_size=BLOCK_SIZE), RemoveDead(), FoldLayers()]
    run_passes(module, passes)
    check_against_whole(reference, module, weights(reference))


def test_packing_before_and_after_is_the_same():
    before, after = decoder(Shape()), decoder(Shape())
    run_passes(before, [PackLinears(), CacheKv()])
    run_passes(after, [CacheKv(), PackLinears()])
    assert same_structure(before, after)


def test_shared_functions_stay_shared():
    module = decoder(Shape(layers=(0, 0, 1, 0)))
    run_passes(module, [CacheKv()])
    prefill = ["prefill_layer_0", "prefill_layer_1", "prefill"]
    decode = ["decode_layer_0", "decode_layer_1", "decode"]
    assert list(module.functions) == prefill + decode
    callees = [call.attrs["callee"] for call in module.functions["decode"].find("func.call")]
    assert callees == ["decode_layer_0", "decode_layer_0", "decode_layer_1", "decode_layer_0"]


def test_functions_without_attention_are_used_by_both_phases():
    module = decoder(Shape(layers=(0,)))
    main = module.functions.pop("main")
    (logits,) = main.outputs
    tail = module.add(Graph("tail"))
    tail.outputs = [tail.add_input("x", logits.type)]
    module.add(main)
    main.outputs = Call.build(main, logits, callee="tail", scope="", types=[logits.type]).results
    run_passes(module, [CacheKv()])
    assert next(iter(module.functions)) == "tail"
    for phase in ("prefill", "decode"):
        assert module.functions[phase].find("func.call")[-1].attrs["callee"] == "tail"


def test_inputs_and_their_order():
    module = decoder(Shape(layers=(0, 0)))
    run_passes(module, [CacheKv()])
    names = {g.name: [v.name for v in g.inputs] for g in module}
    caches = ["k_cache_0", "v_cache_0", "k_cache_1", "v_cache_1"]
    first = ["input_ids", "positions", "seq_lens"]
    assert names == {
        "prefill_layer_0": ["hidden", "cos", "sin", "seq_lens", "slots", "k_cache", "v_cache"],
        "prefill": [*first, "slots", *caches],
        # Decode has no use for seq_lens in a layer; entries keep their inputs.
        "decode_layer_0": [
            "hidden", "cos", "sin", "block_tables", "context_lens", "slots", "k_cache", "v_cache",
        ],
        "decode": [*first, "block_tables", "context_lens", "slots", *caches],
    }  # fmt: skip
    decode = module.functions["decode"]
    types = {v.name: str(v.type) for v in decode.inputs}
    assert types["k_cache_1"] == "float32[blocks, 128, 2, 4]"
    assert types["block_tables"] == "int32[batch, max_blocks]"
    assert types["context_lens"] == "int32[batch]"
    assert types["slots"] == "int32[tokens]"


def test_text():
    module = decoder(Shape(layers=(0,), rope=False))
    run_passes(module, [CacheKv(block_size=4)])
    text = print_graph(module.functions["decode_layer_0"], locations=False)
    cache = "float32[blocks, 4, 2, 4]"
    assert (
        "  %keys, %values = llm.kv_append(%y_2, %y_3, %k_cache, %v_cache, %slots)"
        f" : {cache}, {cache}\n"
        "  %y_4 = llm.paged_attention(%y_1, %keys, %values, %block_tables, %context_lens)"
        " {scale = 0.5} : float32[tokens, 4, 4]\n"
    ) in text
    assert "llm.attention" not in text


def test_unfolded_and_folded_give_the_same_entries():
    folded, unfolded = decoder(Shape()), decoder(Shape(folded=False))
    run_passes(folded, [CacheKv(), InlineCalls()])
    run_passes(unfolded, [CacheKv()])
    assert same_structure(folded, unfolded)


def attending(**attrs) -> Module:
    graph = Graph("main")
    x = graph.add_input("x", f32(TOKENS, 2, 4))
    lens = graph.add_input("seq_lens", TensorType((BATCH,), DType.INT32))
    graph.outputs = [Attention.build(graph, x, x, x, lens, scale=1.0, **attrs).result]
    return Module({"main": graph})


def test_attention_that_is_not_causal_is_refused():
    with pytest.raises(PassError, match="attention is not causal"):
        run_passes(attending(causal=False), [CacheKv()])


def test_modules_without_attention_or_with_two_entries_are_refused():
    graph = Graph("main", outputs=[])
    with pytest.raises(PassError, match=r"there is no llm\.attention"):
        run_passes(Module({"main": graph}), [CacheKv()])
    module = attending()
    run_passes(module, [CacheKv()])
    with pytest.raises(PassError, match="2 entries, not one"):
        run_passes(module, [CacheKv()])


def test_taken_names_are_refused():
    module = attending()
    prefill = Graph("prefill", inputs=[])
    prefill.outputs = [prefill.add_input("x", f32(Sym.of("tokens")))]
    module.add(prefill)
    with pytest.raises(PassError, match="@prefill exists already"):
        run_passes(module, [CacheKv()])
