"""``dead-code``: what goes, what stays."""

import torch

from ir.graph import Graph, Module
from ir.llm.cache import KvAppend
from ir.llm.elementwise import Add, Scale
from ir.passes import RemoveDead, run_passes
from ir.structure import exact_key
from ir.types import DType, Sym, TensorType
from tests.ir.models import SHAPES, Shape, decoder, f32, logits, weights


def test_living_modules_stay_as_they_are():
    for shape in SHAPES.values():
        module = decoder(shape)
        before = exact_key(module)
        (record,) = run_passes(module, [RemoveDead()])
        assert (record.result.modified, record.result.matches) == (False, 0)
        assert exact_key(module) == before


def test_dead_chains_weights_and_constants_go():
    module = decoder(Shape(layers=(0,)))
    checkpoint = weights(module)
    expected = logits(module, checkpoint)
    graph = module.functions["layer_0"]
    before = exact_key(module)
    w = graph.add_parameter(f32(12), "unused")
    c = graph.add_constant(torch.ones(12), f32(12))
    y = Add.build(graph, w, c).result
    Scale.build(graph, y, factor=2.0)
    (record,) = run_passes(module, [RemoveDead()])
    assert record.result.matches == 2
    assert exact_key(module) == before
    assert torch.equal(logits(module, checkpoint), expected)


def test_unused_inputs_go_from_functions_and_calls_and_make_more_dead():
    module = decoder(Shape(layers=(0, 0)))
    graph = module.functions["layer_0"]
    for rope in graph.find("llm.rope"):
        graph.replace_uses(rope.result, rope.operand(0))
    (record,) = run_passes(module, [RemoveDead()])
    # Two rotations, the inputs cos and sin, and the table in main.
    assert record.result.matches == 5
    assert [v.name for v in graph.inputs] == ["hidden", "seq_lens"]
    main = module.functions["main"]
    assert not main.find("llm.rope_table")
    assert not main.constants
    assert [v.name for v in main.inputs] == ["input_ids", "positions", "seq_lens"]


def test_uncalled_functions_go():
    module = decoder(Shape(layers=(0, 1)))
    main = module.functions["main"]
    first, second = main.find("func.call")
    main.replace_uses(second.result, first.result)
    (record,) = run_passes(module, [RemoveDead()])
    assert list(module.functions) == ["layer_0", "main"]
    assert record.result.matches == 2


def test_weights_alone_count_as_a_change():
    graph = Graph("main")
    graph.outputs = [graph.add_input("x", f32(2))]
    graph.add_parameter(f32(12), "unused")
    (record,) = run_passes(Module({"main": graph}), [RemoveDead()])
    assert record.result.modified
    assert not graph.parameters


def test_cache_writes_stay():
    graph = Graph("main")
    tokens = Sym.of("tokens")
    k = graph.add_input("k", f32(tokens, 2, 4))
    cache = graph.add_input("cache", f32(Sym.of("blocks"), 4, 2, 4))
    slots = graph.add_input("slots", TensorType((tokens,), DType.INT32))
    KvAppend.build(graph, k, k, cache, cache, slots)
    (record,) = run_passes(Module({"main": graph}), [RemoveDead()])
    assert not record.result.modified
    assert graph.find("llm.kv_append")
