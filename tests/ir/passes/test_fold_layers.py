"""``fold-layers`` and ``inline-calls``: what counts as the same, and that both forms agree."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir.func import Call
from ir.graph import Graph, Module
from ir.passes import FoldLayers, InlineCalls, run_passes
from ir.recipe import Affine, Source
from ir.structure import exact_key, graph_key, same_structure
from ir.text import print_module
from ir.types import DType, Sym, TensorType
from tests.ir.models import SHAPES, Shape, decoder, f32, logits, weights


def unshared(shape: Shape) -> Module:
    """The decoder with a function of its own, under another name, for every layer."""
    module = decoder(shape)
    main = module.functions.pop("main")
    made: dict[str, Graph] = {}
    for position, call in enumerate(main.find("func.call")):
        twin, _ = module.callee(call).copy(f"block_{position}")
        for value in twin.values():
            value.name = f"{value.name}_of_{position}"
        call.attrs["callee"] = twin.name
        made[twin.name] = twin
    module.functions = {**made, "main": main}
    return module


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple))
def test_folding_finds_exactly_the_distinct_layers(layers):
    module, expected = unshared(Shape(layers=layers)), decoder(Shape(layers=layers))
    (record,) = run_passes(module, [FoldLayers()])
    assert record.result.matches == len(layers) - len(set(layers))
    assert record.result.modified == (record.result.matches > 0)
    assert len(module.functions) == len(expected.functions)
    assert same_structure(module, expected)
    again = run_passes(module, [FoldLayers()])
    assert not again[0].result.modified


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.folded])
def test_folded_and_unfolded_agree(name):
    shape = SHAPES[name]
    folded, unfolded = unshared(shape), unshared(shape)
    checkpoint = weights(unfolded)
    expected = logits(unfolded, checkpoint)
    records = run_passes(folded, [FoldLayers()])
    assert records[0].result.notes[0] == "@block_1 is @block_0" or shape.layers[:2] == (0, 1)
    run_passes(unfolded, [InlineCalls()])
    assert unfolded.functions.keys() == {"main"}
    assert torch.equal(logits(folded, checkpoint), expected)
    assert torch.equal(logits(unfolded, checkpoint), expected)
    run_passes(folded, [InlineCalls()])
    assert same_structure(folded, unfolded)


def test_inlining_gives_the_graph_that_was_built_without_functions():
    module = decoder(Shape())
    (record,) = run_passes(module, [InlineCalls()])
    assert record.result.matches == 3
    assert same_structure(module, decoder(Shape(folded=False)))


def test_nested_calls_inline_under_joined_scopes():
    module = decoder(Shape(layers=(0, 0)))
    main = module.functions.pop("main")
    pair = module.add(Graph("pair"))
    passed = [pair.add_input(v.name, v.type) for v in main.find("func.call")[0].inputs]
    x = passed[0]
    for number in range(2):
        attrs = {"callee": "layer_0", "scope": f"{number}"}
        x = Call.build(pair, x, *passed[1:], types=[x.type], **attrs).result
    pair.outputs = [x]
    first, second = main.find("func.call")
    first.attrs |= {"callee": "pair", "scope": "layers"}
    main.replace_uses(second.result, first.result)
    main.erase(second)
    module.add(main)
    ir.verify(module)
    run_passes(module, [InlineCalls()])
    assert same_structure(module, decoder(Shape(layers=(0, 0), folded=False)))


def test_functions_that_call_equal_functions_are_equal():
    module = Module()
    x = f32(Sym.of("tokens"), 4)
    for name in ("a", "b"):
        inner = module.add(Graph(name))
        inner.outputs = [inner.add_input("x", x)]
    for name, callee in (("outer_a", "a"), ("outer_b", "b")):
        outer = module.add(Graph(name))
        given_x = outer.add_input("x", x)
        outer.outputs = Call.build(outer, given_x, callee=callee, scope="s", types=[x]).results
    main = module.add(Graph("main"))
    y = main.add_input("x", x)
    for callee in ("outer_a", "outer_b"):
        y = Call.build(main, y, callee=callee, scope="t", types=[x]).result
    main.outputs = [y]
    (record,) = run_passes(module, [FoldLayers()])
    assert record.result.notes == ("@b is @a", "@outer_b is @outer_a")
    assert list(module.functions) == ["a", "outer_a", "main"]


def scaled(factor: object = 1.0, recipe=None, data=None, dims: int = 4, op: str = "llm.scale"):
    """A graph with one node, one weight and one constant, each of which can be varied."""
    graph = Graph("f")
    x = graph.add_input("x", f32(Sym.of("tokens"), dims))
    w = graph.add_parameter(f32(4), recipe or Source("w"))
    constant = torch.zeros(1) if data is None else data
    c = graph.add_constant(constant, TensorType((1,), DType.FLOAT32))
    node = graph.make(op, [x], {"factor": factor}, [x.type], ["y"], ir.Location())
    graph.outputs = [node.result, w, c]
    return graph


@pytest.mark.parametrize(
    "other",
    [
        scaled(factor=1),
        scaled(factor=True),
        scaled(factor="1.0"),
        scaled(factor=(1.0,)),
        scaled(factor=-1.0),
        scaled(factor=1.0000000000000002),
        scaled(recipe=Source("v")),
        scaled(recipe=Source("w", absolute=True)),
        scaled(recipe=Affine(Source("w"), 1.0, -0.0)),
        scaled(data=torch.tensor([-0.0])),
        scaled(data=torch.tensor([1e-40])),
        scaled(dims=5),
        scaled(op="llm.softcap"),
    ],
)
def test_small_differences_count(other):
    assert graph_key(scaled()) == graph_key(scaled())
    assert graph_key(other) != graph_key(scaled())


def test_minus_zero_and_nan_are_told_apart():
    assert graph_key(scaled(0.0)) != graph_key(scaled(-0.0))
    assert graph_key(scaled(float("nan"))) == graph_key(scaled(float("nan")))


def test_names_locations_and_order_of_weights_do_not_count():
    one, other = decoder(Shape()), decoder(Shape())
    graph = other.functions["layer_0"]
    graph.parameters.reverse()
    for node in graph.nodes:
        node.loc = ir.Location("elsewhere", "x.py:1")
        for value in node.results:
            value.name += "_renamed"
    assert graph_key(graph) == graph_key(one.functions["layer_0"])
    assert same_structure(one, other)
    assert exact_key(one) != exact_key(other)


def test_dataflow_counts():
    one, other = decoder(Shape()), decoder(Shape())
    (attention,) = other.functions["layer_0"].find("llm.attention")
    k, v = attention.operands[1:3]
    attention.set_operand(1, v)
    attention.set_operand(2, k)
    assert not same_structure(one, other)


def test_text_after_folding():
    module = unshared(Shape(layers=(0, 0)))
    run_passes(module, [FoldLayers()])
    calls = [line.split(" : ")[0] for line in print_module(module).splitlines() if ".call" in line]
    assert [call.split("{")[1] for call in calls] == [
        'callee = "block_0", scope = "layers.0"}',
        'callee = "block_0", scope = "layers.1"}',
    ]
