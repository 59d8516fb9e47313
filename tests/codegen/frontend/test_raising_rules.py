"""Single rules of raising: what they read off the graph, and what must not match."""

from __future__ import annotations

import pytest
import torch

from codegen.frontend.raising import raise_module
from codegen.frontend.raising.activations import raise_activations
from codegen.frontend.raising.canon import aligned_shape, flat_type
from codegen.frontend.raising.norms import raise_norms
from codegen.frontend.raising.problems import Reasons
from ir.graph import Graph, Location, Module, Value
from ir.llm.elementwise import ACTIVATIONS
from ir.op import lookup
from ir.types import DType, Sym, TensorType
from tests.frontend_util import load_module
from tests.zoo import CASES

TOKENS = Sym.of("tokens")
LOC = Location("model.layers.0.mlp", "modeling.py:1")


def flat_graph(*tail: int) -> tuple[Graph, Value]:
    graph = Graph("layer")
    return graph, graph.add_input("x", TensorType((TOKENS, *tail), DType.FLOAT32))


def aten(graph: Graph, name: str, *args: object, shape: tuple | None = None) -> Value:
    """Adds ``aten.<name>``; values among the arguments become operands."""
    operands = [arg for arg in args if isinstance(arg, Value)]
    marks = tuple("%" if isinstance(arg, Value) else arg for arg in args)
    type = operands[0].type if shape is None else operands[0].type.with_shape(*shape)
    op = lookup(f"aten.{name}")
    return op.build(graph, *operands, loc=LOC, types=[type], args=marks).result


def only(graph: Graph) -> tuple[str, dict]:
    (node,) = graph.nodes
    return node.op, node.attrs


@pytest.mark.parametrize(
    ("traced", "flat"),
    [
        ((1, TOKENS, 64), (TOKENS, 64)),
        ((TOKENS, 64), (TOKENS, 64)),
        ((1, 4, TOKENS, 16), (TOKENS, 4, 16)),
        ((1, TOKENS, 4, 16), (TOKENS, 4, 16)),
        ((1, 1, TOKENS, 16), (TOKENS, 1, 16)),
        ((4, TOKENS, 16), (TOKENS, 4, 16)),
        ((64, 32), (64, 32)),
    ],
)
def test_flat_type(traced, flat):
    assert flat_type(TensorType(traced, DType.FLOAT32)).shape == flat


def test_flat_type_refuses_scores():
    with pytest.raises(ValueError, match="several token dimensions"):
        flat_type(TensorType((1, 4, TOKENS, TOKENS), DType.FLOAT32))


def test_operands_are_aligned_to_the_broadcast_of_the_trace():
    result = (1, 4, TOKENS, 16)
    assert aligned_shape((1, 1, TOKENS, 16), result) == (TOKENS, 1, 16)
    assert aligned_shape((TOKENS, 16), result) == (TOKENS, 1, 16)
    assert aligned_shape((16,), result) == (16,)
    assert aligned_shape((4, 1, 1), result) == (4, 1)


def gelu_tanh(graph: Graph, x: Value, factor: float = 0.7978845608028654) -> Value:
    cube = aten(graph, "pow.Tensor_Scalar", x, 3.0)
    inner = aten(graph, "add.Tensor", x, aten(graph, "mul.Tensor", cube, 0.044715))
    wave = aten(graph, "tanh.default", aten(graph, "mul.Tensor", inner, factor))
    half = aten(graph, "mul.Tensor", x, 0.5)
    return aten(graph, "mul.Tensor", half, aten(graph, "add.Tensor", wave, 1.0))


def test_written_out_gelu_is_recognised_by_its_numbers():
    graph, x = flat_graph(8)
    graph.outputs = [gelu_tanh(graph, x)]
    assert raise_activations(graph, Reasons()) == 1
    assert only(graph) == ("llm.activation", {"kind": "gelu_tanh"})


def test_a_gelu_with_another_constant_is_not_gelu():
    graph, x = flat_graph(8)
    graph.outputs = [gelu_tanh(graph, x, factor=0.8)]
    reasons = Reasons()
    raise_activations(graph, reasons)
    kinds = [node.attrs["kind"] for node in graph.find("llm.activation")]
    assert kinds == ["tanh"]  # the bare tanh is one, the whole is not
    assert "no known activation" in str(reasons.misses[0])
    assert "model.layers.0.mlp at modeling.py:1" in str(reasons.misses[0])


@pytest.mark.parametrize("cap", [30.0, 50.0, 7.25])
def test_softcap_reads_its_cap(cap):
    graph, x = flat_graph(8)
    wave = aten(graph, "tanh.default", aten(graph, "div.Tensor", x, cap))
    graph.outputs = [aten(graph, "mul.Tensor", wave, cap)]
    assert raise_activations(graph, Reasons()) == 1
    assert only(graph) == ("llm.softcap", {"cap": cap})


def test_a_gate_is_not_taken_for_part_of_the_activation():
    graph, x = flat_graph(8)
    up = graph.add_input("up", x.type)
    graph.outputs = [aten(graph, "mul.Tensor", aten(graph, "silu.default", x), up)]
    assert raise_activations(graph, Reasons()) == 1
    assert [node.op for node in graph.nodes] == ["llm.activation", "aten.mul.Tensor"]


def test_activations_differ_from_each_other_on_the_grid():
    grid = torch.linspace(-12, 12, 4801)
    outputs = [function(grid) for function in ACTIVATIONS.values()]
    gaps = [float((a - b).abs().max()) for i, a in enumerate(outputs) for b in outputs[:i]]
    assert min(gaps) > 4e-4  # a hundred times the tolerance of the match


def rms(graph: Graph, x: Value, dims: tuple = (-1,), eps: object = 1e-6) -> Value:
    square = aten(graph, "pow.Tensor_Scalar", x, 2)
    mean = aten(graph, "mean.dim", square, dims, True, shape=(*x.type.shape[:-1], 1))
    root = aten(graph, "rsqrt.default", aten(graph, "add.Tensor", mean, eps))
    return aten(graph, "mul.Tensor", x, root)


def test_rms_norm_keeps_epsilon_and_weight():
    graph, x = flat_graph(8)
    weight = graph.add_parameter(TensorType((8,), DType.FLOAT32), "norm.weight")
    graph.outputs = [aten(graph, "mul.Tensor", rms(graph, x, eps=3e-6), weight, shape=x.type.shape)]
    assert raise_norms(graph, Reasons()) == 1
    assert only(graph) == ("llm.rms_norm", {"eps": 3e-6, "unit_offset": False})
    assert graph.nodes[0].operand(1) is weight


def test_zero_centred_weights_are_seen():
    graph, x = flat_graph(8)
    weight = graph.add_parameter(TensorType((8,), DType.FLOAT32), "norm.weight")
    one_plus = aten(graph, "add.Tensor", weight, 1.0)
    graph.outputs = [aten(graph, "mul.Tensor", rms(graph, x), one_plus, shape=x.type.shape)]
    assert raise_norms(graph, Reasons()) == 1
    assert only(graph) == ("llm.rms_norm", {"eps": 1e-6, "unit_offset": True})


def test_a_norm_over_another_dimension_does_not_match():
    graph, x = flat_graph(4, 8)
    graph.outputs = [rms(graph, x, dims=(-2,))]
    reasons = Reasons()
    assert raise_norms(graph, reasons) == 0
    assert "not over the last dimension" in str(reasons.misses[0])


def test_a_learned_epsilon_does_not_match():
    graph, x = flat_graph(8)
    eps = graph.add_parameter(TensorType((1,), DType.FLOAT32), "norm.eps")
    graph.outputs = [rms(graph, x, eps=eps)]
    reasons = Reasons()
    assert raise_norms(graph, reasons) == 0
    assert "epsilon is not a constant" in str(reasons.misses[0])


def attentions(module: Module) -> list[dict]:
    return [node.attrs for graph in module for node in graph.find("llm.attention")]


def test_windows_follow_the_layers(zoo):
    module = raise_module(load_module(zoo("gemma2"))).module
    assert {a["window"] for a in attentions(module)} == {None, 5}
    assert {a["softcap"] for a in attentions(module)} != {None}
    calls = module.functions["main"].find("func.call")
    assert len({call.attrs["callee"] for call in calls}) == 2


def test_alibi_slopes_are_those_of_the_paper(zoo):
    module = raise_module(load_module(zoo("bloom"))).module
    (node,) = [node for graph in module for node in graph.find("llm.attention")]
    slopes = node.operand(4).data
    assert slopes is not None
    assert torch.equal(slopes, torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]))


def test_query_scaling_becomes_attention_scale(zoo):
    module = raise_module(load_module(zoo("opt"))).module
    assert [a["scale"] for a in attentions(module)] == [16**-0.5]


@pytest.mark.parametrize(
    ("name", "style", "rotary"),
    [("llama-gqa", "half", 16), ("gptj", "interleaved", 16), ("phi", "half", 16)],
)
def test_rope_style_and_width(name, style, rotary, zoo):
    module = raise_module(load_module(zoo(name))).module
    (table,) = module.functions["main"].find("llm.rope_table")
    assert table.attrs["style"] == style
    assert table.results[0].type.shape == (TOKENS, rotary)


def test_layers_without_rope_have_none(zoo):
    module = raise_module(load_module(zoo("smollm3"))).module
    kinds = [bool(graph.find("llm.rope")) for graph in module if graph.name != "main"]
    assert sorted(kinds) == [False, True]


def test_a_window_that_the_modelling_code_cuts_out_itself_is_seen(zoo):
    """GPT-Neo hides distant keys with a stored table, beside the mask that transformers makes."""
    module = raise_module(load_module(zoo("gpt_neo"))).module
    windows = [a["window"] for a in attentions(module)]
    assert None in windows
    assert CASES["gpt_neo"].config().window_size in windows
