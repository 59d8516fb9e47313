"""``pack-linears``: which linear layers are packed, into what, and that numbers stay."""

import pytest
import torch

from ir.graph import Graph, Module, Value
from ir.llm.linear import Linear
from ir.passes import InlineCalls, PackLinears, SimplifyViews, run_passes
from ir.recipe import Source, Transpose
from ir.text import print_graph
from tests.ir.models import SHAPES, TOKENS, Shape, decoder, f32, logits, weights

#: Groups and gated activations in one layer function.
MATCHES = {
    "llama": 3,
    "unfolded": 3,
    "alternating": 3,
    "mha-bias": 3,
    "mqa-gpt2": 1,
    "alibi": 1,
    "parallel-gated": 3,
    "parallel-plain": 1,
    "fused-gate-up": 2,
}


@pytest.mark.parametrize("name", SHAPES)
def test_numbers_and_number_of_rewrites(name):
    shape = SHAPES[name]
    module = decoder(shape)
    checkpoint = weights(module)
    expected = logits(module, checkpoint)
    records = run_passes(module, [SimplifyViews(), PackLinears()])
    layers = len(set(shape.layers)) if shape.folded else len(shape.layers)
    assert records[1].result.matches == MATCHES[name] * layers
    torch.testing.assert_close(logits(module, checkpoint), expected, rtol=1e-5, atol=1e-5)
    again = run_passes(module, [PackLinears()])
    assert not again[0].result.modified


def test_text_of_a_layer():
    module = decoder(Shape(layers=(0,), bias=True, rope=False))
    run_passes(module, [PackLinears()])
    assert (
        print_graph(module.functions["layer_0"], locations=False)
        == """\
func @layer_0(%hidden: float32[tokens, 12], %seq_lens: int32[batch]) {
  param %norm1_weight: float32[12] = "norm1.weight"
  param %o_bias: float32[12] = "o.bias"
  param %o_weight: float32[12, 16] = "o.weight"
  param %norm2_weight: float32[12] = "norm2.weight"
  param %down_bias: float32[12] = "down.bias"
  param %down_weight: float32[12, 10] = "down.weight"
  param %packed_weight: float32[32, 12] = concat(0, "q.weight", "k.weight", "v.weight")
  param %packed_bias: float32[32] = concat(0, "q.bias", "k.bias", "v.bias")
  param %packed_weight_1: float32[20, 12] = concat(0, "gate.weight", "up.weight")
  param %packed_bias_1: float32[20] = concat(0, "gate.bias", "up.bias")
  %y = llm.rms_norm(%hidden, %norm1_weight) {eps = 1e-05} : float32[tokens, 12]
  %packed = llm.linear(%y, %packed_weight, %packed_bias) : float32[tokens, 32]
  %q, %k, %v = llm.split(%packed) {axis = 1, sizes = (16, 8, 8)} : \
float32[tokens, 16], float32[tokens, 8], float32[tokens, 8]
  %y_1 = llm.reshape(%q) {tail = (4, 4)} : float32[tokens, 4, 4]
  %y_2 = llm.reshape(%k) {tail = (2, 4)} : float32[tokens, 2, 4]
  %y_3 = llm.reshape(%v) {tail = (2, 4)} : float32[tokens, 2, 4]
  %y_4 = llm.attention(%y_1, %y_2, %y_3, %seq_lens) {scale = 0.5} : float32[tokens, 4, 4]
  %y_5 = llm.reshape(%y_4) {tail = (16,)} : float32[tokens, 16]
  %o = llm.linear(%y_5, %o_weight, %o_bias) : float32[tokens, 12]
  %y_6 = llm.add(%hidden, %o) : float32[tokens, 12]
  %y_7 = llm.rms_norm(%y_6, %norm2_weight) {eps = 1e-05} : float32[tokens, 12]
  %packed_1 = llm.linear(%y_7, %packed_weight_1, %packed_bias_1) : float32[tokens, 20]
  %y_9 = llm.gated_activation(%packed_1) {kind = "silu"} : float32[tokens, 10]
  %down = llm.linear(%y_9, %down_weight, %down_bias) : float32[tokens, 12]
  %y_10 = llm.add(%y_6, %down) : float32[tokens, 12]
  return %y_10
}
"""
    )


def recipes(module: Module) -> list[str]:
    lines = print_graph(module.functions["layer_0"]).splitlines()
    return [line.split(" = ")[1] for line in lines if "concat" in line]


def test_gate_comes_first_whatever_the_order_in_the_model():
    module = decoder(Shape(up_first=True))
    run_passes(module, [PackLinears()])
    assert recipes(module)[1] == 'concat(0, "gate.weight", "up.weight")'


def test_untransposed_weights_are_packed_along_their_columns():
    module = decoder(SHAPES["mqa-gpt2"])
    run_passes(module, [PackLinears()])
    assert recipes(module) == [
        'concat(1, "q.weight", "k.weight", "v.weight")',
        'concat(0, "q.bias", "k.bias", "v.bias")',
    ]


def test_parallel_blocks_are_packed_by_what_they_feed():
    module = decoder(SHAPES["parallel-gated"])
    run_passes(module, [PackLinears()])
    assert recipes(module) == [
        'concat(0, "q.weight", "k.weight", "v.weight")',
        'concat(0, "gate.weight", "up.weight")',
    ]


def siblings(*rows: tuple[str, bool]) -> Module:
    """A graph with a linear layer, of the given weight and with or without bias, for each row."""
    graph = Graph("main")
    x = graph.add_input("x", f32(TOKENS, 4))
    for name, biased in rows:
        weight = graph.add_parameter(f32(4, 4), name)
        bias = graph.add_parameter(f32(4), name + ".bias") if biased else None
        graph.outputs.append(Linear.build(graph, x, weight, bias, named=("y_" + name,)).result)
    return Module({"main": graph})


def test_tied_weights_stay_alone():
    module = siblings(("a", False), ("a", False), ("b", False))
    (record,) = run_passes(module, [PackLinears()])
    assert not record.result.modified
    assert record.result.notes == ("@main: %a is used more than once (unknown place)",) * 2


def test_weights_that_share_a_checkpoint_tensor_stay_alone():
    module = siblings(("a", False), ("b", False))
    graph = module.functions["main"]
    other = graph.add_parameter(f32(4, 4), Transpose(Source("a")), "other")
    graph.outputs.append(Linear.build(graph, graph.outputs[0], other).result)
    (record,) = run_passes(module, [PackLinears()])
    assert record.result.matches == 0
    assert "shares checkpoint tensors" in record.result.notes[0]


def test_layers_with_and_without_bias_are_not_mixed():
    module = siblings(("a", True), ("b", False), ("c", True))
    (record,) = run_passes(module, [PackLinears()])
    assert record.result.matches == 1
    text = print_graph(module.functions["main"])
    assert 'concat(0, "a", "c")' in text
    assert "return %y_a, %y_b, %y_c" in text


def test_an_activation_that_is_read_elsewhere_keeps_the_split():
    module = decoder(Shape(layers=(0,)))
    graph = module.functions["layer_0"]
    (active,) = graph.find("llm.activation")
    before = active.attrs["kind"]
    graph.outputs.append(active.result)
    graph_main = module.functions["main"]
    (call,) = graph_main.find("func.call")
    call.results.append(Value(graph_main.fresh("active"), active.result.type, call, 1))
    (record,) = run_passes(module, [PackLinears()])
    assert not graph.find("llm.gated_activation")
    assert graph.find("llm.activation")[0].attrs["kind"] == before
    assert record.result.matches == 2


def test_unfolded_layers_share_nothing():
    folded, unfolded = decoder(Shape()), decoder(Shape(folded=False))
    run_passes(folded, [PackLinears(), InlineCalls()])
    run_passes(unfolded, [PackLinears()])
    checkpoint = weights(decoder(Shape()))
    assert torch.equal(logits(folded, checkpoint), logits(unfolded, checkpoint))
