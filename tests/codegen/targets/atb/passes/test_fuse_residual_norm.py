"""``fuse-residual-norm``: what is joined, what must not be, and that numbers stay."""

from __future__ import annotations

import pytest

from codegen.targets.atb import ops
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.passes.fuse_residual_norm import FuseResidualNorm, residual_sums
from ir.func import Call
from ir.graph import Graph, Location, Module, Node, Value
from ir.parse import parse_module
from ir.passes.base import PassResult, run_passes
from ir.text import print_graph, print_module
from ir.types import DType, Sym, TensorType
from ir.verify import verify
from tests.codegen.targets.atb import lowered
from tests.codegen.targets.atb.handmade import llama_like, weights
from tests.codegen.targets.atb.stepping import trajectory, worst
from tests.codegen.targets.atb.test_lower import VARIANTS

ROWS = TensorType((Sym.of("tokens"), 32), DType.FLOAT32)
VECTOR = TensorType((32,), DType.FLOAT32)

#: Norms that are joined, in both phases together: one in each kind of layer where a residual
#: addition stands before an RMSNorm that is not Gemma's.
MATCHES = {
    "gqa": 2,
    "mha-biases": 2,
    "packed": 2,
    "norm-without-weight": 2,
    "mixed-windows": 4,
    "qk-norm": 2,
    "qk-norm-per-head": 2,
    "clamp": 2,
    "softcap": 2,
    "one-layer": 2,
    "zero-centred-norm": 0,  # Gemma's norms
    "layer-norm": 0,
    "layer-norm-without-bias": 0,  # and a parallel residual
}


@pytest.mark.parametrize("name", MATCHES)
def test_number_of_rewrites(name: str) -> None:
    module = lowered.handmade(name).copy()
    (record,) = run_passes(module, [FuseResidualNorm()])
    assert record.result == PassResult(modified=MATCHES[name] > 0, matches=MATCHES[name])
    assert sum(len(graph.find(ops.PreRmsNorm.name)) for graph in module) == MATCHES[name]
    (again,) = run_passes(module, [FuseResidualNorm()])
    assert again.result == PassResult(modified=False, matches=0)


@pytest.mark.parametrize(
    "name", [name for name, matches in MATCHES.items() if matches and name != "one-layer"]
)
def test_numbers_stay(name: str) -> None:
    checkpoint = weights(llama_like(VARIANTS[name]))
    before = lowered.handmade(name)
    after = before.copy()
    run_passes(after, [FuseResidualNorm()])
    assert isinstance(after, AtbModule)
    assert worst(trajectory(before, checkpoint), trajectory(after, checkpoint)) < 1e-6


class Layer:
    """A graph ``hidden, delta -> ...`` in a module with an entry that calls it."""

    def __init__(self) -> None:
        self.graph = Graph("layer")
        self.hidden = self.graph.add_input("hidden", ROWS)
        self.delta = self.graph.add_input("delta", ROWS)

    def add(self, x: Value, y: Value, named: str = "sum", at: str = "") -> Value:
        attrs = {"elewise_type": "ELEWISE_ADD"}
        loc = Location(at, "m.py:2" if at else "")
        return ops.Elewise.build(self.graph, x, y, loc=loc, named=[named], **attrs).result

    def norm(self, x: Value, model: str = "LLAMA_MODEL", named: str = "normed") -> Value:
        gamma = self.graph.add_parameter(VECTOR, "norm.weight", "gamma")
        made = ops.RmsNorm.build(
            self.graph,
            x,
            gamma,
            epsilon=2e-6,
            model_type=model,
            loc=Location("layers.0.norm", "m.py:3"),
            named=[named],
        )
        return made.result

    def module(self, *outputs: Value) -> Module:
        self.graph.outputs = list(outputs)
        module = Module()
        module.add(self.graph)
        main = module.add(Graph("main"))
        passed = [main.add_input(v.name, v.type) for v in self.graph.inputs]
        types = [value.type for value in outputs]
        call = Call.build(main, *passed, callee="layer", scope="", types=types)
        main.outputs = call.results
        verify(module)
        return module

    def joined(self, *outputs: Value) -> int:
        """How many norms the pass joins; the graph is sound afterwards."""
        module = self.module(*outputs)
        (record,) = run_passes(module, [FuseResidualNorm()])
        verify(module)
        return record.result.matches


def text(layer: Layer) -> str:
    return print_graph(layer.graph)


def test_text_before_and_after() -> None:
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta)
    layer.module(total, layer.norm(total))
    assert (
        text(layer)
        == """\
func @layer(%hidden: float32[tokens, 32], %delta: float32[tokens, 32]) {
  param %gamma: float32[32] = "norm.weight"
  %sum = atb.elewise(%hidden, %delta) {elewise_type = "ELEWISE_ADD"} : float32[tokens, 32]
  %normed = atb.rms_norm(%sum, %gamma) {epsilon = 2e-06} : float32[tokens, 32] \
loc("layers.0.norm" "m.py:3")
  return %sum, %normed
}
"""
    )
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta)
    assert layer.joined(total, layer.norm(total)) == 1
    assert (
        text(layer)
        == """\
func @layer(%hidden: float32[tokens, 32], %delta: float32[tokens, 32]) {
  param %gamma: float32[32] = "norm.weight"
  %normed, %sum = atb.pre_rms_norm(%delta, _, %hidden, %gamma) {epsilon = 2e-06} : \
float32[tokens, 32], float32[tokens, 32] loc("layers.0.norm" "m.py:3")
  return %sum, %normed
}
"""
    )


def test_the_sum_may_be_read_behind_the_norm_as_often_as_one_likes() -> None:
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta)
    normed = layer.norm(total)
    assert layer.joined(layer.add(total, normed), layer.add(total, layer.delta), total) == 1


def test_the_sum_need_not_be_read_again() -> None:
    layer = Layer()
    assert layer.joined(layer.norm(layer.add(layer.hidden, layer.delta))) == 1


def test_one_of_two_norms_of_a_sum_is_joined() -> None:
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta)
    first, second = layer.norm(total), layer.norm(total, named="again")
    assert layer.joined(first, second) == 1
    assert [node.op for node in layer.graph.nodes] == ["atb.pre_rms_norm", "atb.rms_norm"]
    assert layer.graph.nodes[1].operand(0).name == "sum"


def test_sums_of_sums_are_joined_one_by_one() -> None:
    layer = Layer()
    first = layer.add(layer.hidden, layer.delta)
    inner = layer.norm(first)
    second = layer.add(first, inner, "second")
    outer = layer.norm(second, named="outer")
    assert layer.joined(outer, layer.add(second, outer)) == 2


def test_where_the_sums_came_from_is_kept() -> None:
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta, at="layers.0")
    module = layer.module(total, layer.norm(total))
    assert residual_sums(module) == {}
    run_passes(module, [FuseResidualNorm()])
    wanted = {("layer", "sum"): Location("layers.0", "m.py:2")}
    assert residual_sums(module) == wanted
    run_passes(module, [FuseResidualNorm()])
    assert residual_sums(module) == residual_sums(module.copy()) == wanted
    printed = print_module(module)
    assert residual_sums(parse_module(printed)) == wanted


def test_nothing_is_joined_in_an_entry() -> None:
    layer = Layer()
    total = layer.add(layer.hidden, layer.delta)
    module = layer.module(total, layer.norm(total))
    module.functions.pop("main")
    module.entries = ("layer",)
    (record,) = run_passes(module, [FuseResidualNorm()])
    assert record.result.matches == 0


# -- what must not be joined ---------------------------------------------------------------------


def gemma(layer: Layer) -> list[Value]:
    total = layer.add(layer.hidden, layer.delta)
    return [total, layer.norm(total, "GEMMA_MODEL")]


def read_before(layer: Layer) -> list[Value]:
    total = layer.add(layer.hidden, layer.delta)
    early = layer.add(total, layer.delta)
    return [total, layer.norm(total), early]


def vector(layer: Layer) -> list[Value]:
    bias = layer.graph.add_parameter(VECTOR, "bias")
    total = layer.add(layer.hidden, bias)
    return [total, layer.norm(total)]


def vector_in_front(layer: Layer) -> list[Value]:
    bias = layer.graph.add_parameter(VECTOR, "bias")
    total = layer.add(bias, layer.hidden)
    return [total, layer.norm(total)]


def layer_norm(layer: Layer) -> list[Value]:
    total = layer.add(layer.hidden, layer.delta)
    weight, bias = (layer.graph.add_parameter(VECTOR, name) for name in ("weight", "bias"))
    attrs = {"epsilon": 1e-6, "begin_norm_axis": 1, "begin_params_axis": 1}
    return [total, ops.LayerNorm.build(layer.graph, total, weight, bias, **attrs).result]


def difference(layer: Layer) -> list[Value]:
    kind = {"elewise_type": "ELEWISE_SUB"}
    total = ops.Elewise.build(layer.graph, layer.hidden, layer.delta, **kind).result
    return [total, layer.norm(total)]


def scaled(layer: Layer) -> list[Value]:
    total = layer.add(layer.hidden, layer.delta)
    kind = {"elewise_type": "ELEWISE_MULS", "var_attr": 0.5}
    half = ops.Elewise.build(layer.graph, total, **kind).result
    return [total, layer.norm(half)]


def of_an_input(layer: Layer) -> list[Value]:
    return [layer.norm(layer.hidden), layer.delta]


def quantized(layer: Layer) -> list[Value]:
    total = layer.add(layer.hidden, layer.delta)
    graph = layer.graph
    gamma, beta = (graph.add_parameter(VECTOR, name) for name in ("gamma", "beta"))
    scale = graph.add_parameter(TensorType((1,), DType.FLOAT32), "scale")
    offset = graph.add_parameter(TensorType((1,), DType.INT8), "offset")
    operands = (total, gamma, beta, scale, offset)
    made: Node = ops.RmsNorm.build(graph, *operands, epsilon=1e-6, quant_type="QUANT_INT8")
    return [total, made.result]


@pytest.mark.parametrize(
    "build",
    [
        gemma, read_before, vector, vector_in_front, layer_norm, difference, scaled, of_an_input,
        quantized,
    ],
)  # fmt: skip
def test_left_alone(build) -> None:
    layer = Layer()
    module = layer.module(*build(layer))
    before = text(layer)
    (record,) = run_passes(module, [FuseResidualNorm()])
    assert record.result == PassResult(modified=False, matches=0)
    assert text(layer) == before
