"""Single graphs as operations: views, names of functions, tensors."""

from __future__ import annotations

import pytest

from codegen.errors import CodegenError
from codegen.targets.atb import ops
from codegen.targets.atb.cpp.block import BlockPrinter, Input, Operation, TensorIds, View, Views
from codegen.targets.atb.cpp.params import Field
from codegen.targets.atb.cpp.sizes import Local
from codegen.targets.atb.emit_python_weights import WeightNames
from codegen.targets.atb.sharding import GraphShards
from codegen.targets.atb.sharding.solve import solve
from ir.graph import Graph, Location, Value
from ir.types import DType, Sym, TensorType

T, B = Sym.of("tokens"), Sym.of("batch")


def f32(*shape: int | Sym) -> TensorType:
    return TensorType(shape, DType.FLOAT32)


class Block:
    """A graph of one input ``x`` that is printed with its input and output under their names."""

    def __init__(self, *shape: int | Sym) -> None:
        self.graph = Graph("prefill_block")
        self.x = self.graph.add_input("x", f32(*shape))
        self.views: Views = {}

    def view(self, x: Value, *shape: int | tuple[int, ...], named: str = "view") -> Value:
        return ops.Reshape.build(self.graph, x, shape=shape, named=[named]).result

    def gelu(self, x: Value, at: str = "m.act", named: str = "active") -> Value:
        kind = {"activation_type": "ACTIVATION_GELU"}
        return ops.Activation.build(self.graph, x, loc=Location(at), named=[named], **kind).result

    def operations(self, *outputs: Value, shards: GraphShards | None = None) -> list[Operation]:
        self.graph.outputs = list(outputs)
        printer = BlockPrinter(
            self.graph,
            shards or GraphShards({}, {}, frozenset(), None, ()),
            TensorIds(),
            {value: value.name for value in self.graph.inputs},
            {value: value.name for value in outputs},
            WeightNames(),
            self.views,
        )
        return printer.operations()


def test_a_view_of_a_view_is_one_of_the_tensor_behind_both() -> None:
    block = Block(T, 64)
    inner = block.view(block.view(block.x, (0,), 4, 16), (0,), 2, 2, 16, named="inner")
    (made,) = block.operations(block.gelu(inner))
    dims = ("oldShape.dims[0]", "2", "2", "16")
    assert made.inputs == (Input("IN_X", View("ViewInner", (), dims)),)


def test_equal_views_are_one_and_others_get_another_name() -> None:
    block = Block(T, 64)
    read = [block.view(block.x, (0,), 4, 16), block.view(block.x, (0,), 4, 16)]
    read += [block.view(block.x, (0,), 2, 32)]
    for index, value in enumerate(read):
        value.name = "heads"  # names are unique in a graph, but not those of both phases
        block.gelu(value, at=f"m.act{index}", named=f"y{index}")
    block.operations()
    assert [(v.name, v.dims[1:]) for v in block.views.values()] == [
        ("ViewHeads", ("4", "16")),
        ("ViewHeads2", ("2", "32")),
    ]


def test_a_view_cannot_have_the_name_of_the_one_that_gathering_needs() -> None:
    block = Block(T, 64)
    block.gelu(block.view(block.x, (0,), 4, 16, named="logit_rows"))
    block.operations()
    assert [view.name for view in block.views.values()] == ["ViewLogitRows2"]


def test_unknown_sizes_are_read_off_the_tensor() -> None:
    block = Block(B, 4, 16)
    rows, joined = block.view(block.x, (0, 1), 16), block.view(block.x, (0,), 64)
    block.gelu(rows, named="a")
    block.gelu(joined, named="b")
    block.operations()
    assert [view.dims for view in block.views.values()] == [
        ("oldShape.dims[0] * 4", "16"),
        ("oldShape.dims[0]", "64"),
    ]
    block = Block(Sym((("batch", 4),)), 16)
    block.gelu(block.view(block.x, -1, 64))
    block.graph.nodes[0].result.type = f32(B, 64)
    block.operations()
    assert [view.dims for view in block.views.values()] == [("oldShape.dims[0] / 4", "64")]


def test_sizes_that_no_axis_has_are_refused() -> None:
    block = Block(T, 64)
    block.gelu(block.view(block.x, (0,), 4, 16))
    block.graph.nodes[0].result.type = f32(Sym.of("other"), 4, 16)
    with pytest.raises(CodegenError, match="dimension other of a view is not a multiple"):
        block.operations()


def test_views_of_a_rank_take_its_numbers() -> None:
    block = Block(T, 32)
    graph = block.graph
    weights = [
        graph.add_parameter(f32(*s), n, n) for n, s in (("up", (64, 32)), ("down", (32, 64)))
    ]
    up = ops.Linear.build(graph, block.x, weights[0], has_bias=False, named=["up_out"]).result
    wide = block.gelu(block.view(up, (0,), 64, 1, named="wide"))
    back = block.view(wide, (0,), 64, named="back")
    y = ops.Linear.build(graph, back, weights[1], has_bias=False, named=["y"]).result
    graph.outputs = [y]
    made = block.operations(y, shards=solve(graph, ()))
    local = Local("intermediateSize", 64, "intermediate features")
    assert [view.locals for view in block.views.values()] == [(local,), (local,)]
    assert [view.dims for view in block.views.values()] == [
        ("oldShape.dims[0]", "intermediateSize", "1"),
        ("oldShape.dims[0]", "intermediateSize"),
    ]
    assert [operation.locals for operation in made] == [(), (local,), (local,)]
    assert Field("rankSize", "param.worldSize") in made[2].parallel
    assert not made[0].parallel


def test_functions_are_named_after_the_modules() -> None:
    block = Block(T, 64)
    up = block.gelu(block.x, at="layers.0.mlp.act_fn")
    total = ops.Elewise.build(
        block.graph, block.x, up, elewise_type="ELEWISE_ADD", loc=Location("layers.0"), named=["y"]
    ).result
    other = ops.Elewise.build(
        block.graph,
        total,
        up,
        elewise_type="ELEWISE_MUL",
        loc=Location("layers.0.mlp"),
        named=["z"],
    ).result
    made = block.operations(block.gelu(other, at="layers.0.norm"))
    assert [o.function for o in made] == ["AddMlpActFn", "AddResidual", "AddMlp", "AddNorm"]


def test_tensors_are_written_where_they_are_read() -> None:
    block = Block(T, 64)
    first = block.gelu(block.x, named="first")
    first_of_other_phase = block.gelu(first, at="m.other", named="last")
    made = block.operations(first_of_other_phase)
    assert [(o.inputs[0].id, o.outputs) for o in made] == [
        ("IN_X", ("INTERMEDIATE_FIRST",)),
        ("INTERMEDIATE_FIRST", ("OUT_LAST",)),
    ]


def test_only_products_can_be_summed_over_ranks() -> None:
    block = Block(T, 64)
    y = block.gelu(block.x)
    assert y.producer is not None
    shards = GraphShards({}, {}, frozenset([y.producer]), None, ())
    with pytest.raises(CodegenError, match=r"atb\.activation cannot be summed over ranks"):
        block.operations(y, shards=shards)
