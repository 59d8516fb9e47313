"""Hypothesis strategies: whole modules with every kind of part, names and numbers to trip over."""

from __future__ import annotations

import math
import string
from typing import cast

import torch
from hypothesis import strategies as st

from ir.graph import Attr, Graph, Location, Module, Value
from ir.op import REQUIRED, Op, lookup
from ir.recipe import Affine, Concat, Fill, Permute, Recipe, Reshape, Slice, Source, Transpose
from ir.types import DType, Sym, TensorType, add_dims, scale_dim

texts = st.one_of(st.text(max_size=6), st.sampled_from(['"', "\\", "\n", "a.b", "%", "{{x}}", "é"]))
names = st.one_of(st.text(string.ascii_letters, min_size=1, max_size=5), texts)
floats = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-5, 1e16, 0.1, 5e-324]),
)
attrs: st.SearchStrategy[Attr] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), floats, texts),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
dims = st.one_of(
    st.integers(1, 4),
    st.builds(
        lambda name, coef, const: add_dims(scale_dim(Sym.of(name), coef), const),
        st.sampled_from(["tokens", "batch", "kv_len", "param", "true"]),
        st.sampled_from([1, 2, -1]),
        st.integers(-2, 2),
    ),
)
types = st.builds(TensorType, st.lists(dims, max_size=3).map(tuple), st.sampled_from(list(DType)))
locations = st.one_of(st.just(Location()), st.builds(Location, texts, texts))
small = st.integers(0, 9)
shapes = st.lists(small, max_size=3).map(tuple)
recipes: st.SearchStrategy[Recipe] = st.recursive(
    st.one_of(st.builds(Source, names, st.booleans()), st.builds(Fill, shapes, floats)),
    lambda inner: st.one_of(
        st.builds(Concat, small, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Transpose, inner),
        st.builds(Slice, inner, small, small, small),
        st.builds(Reshape, inner, shapes),
        st.builds(Permute, inner, shapes),
        st.builds(Affine, inner, floats, floats),
    ),
    max_leaves=4,
)
OPS = (
    "llm.linear",
    "llm.attention",
    "llm.rope_table",
    "llm.split",
    "llm.kv_append",
    "llm.concat",
    "func.call",
    "aten.add.Tensor",
)


@st.composite
def constants(draw: st.DrawFn) -> torch.Tensor:
    """A tensor of any element type, also of raw bytes (unusual NaNs), short and long."""
    dtype = draw(st.sampled_from([d for d in DType if d is not DType.BOOL])).torch
    shape = draw(st.sampled_from([(), (0,), (3,), (2, 2), (70,)]))
    raw = draw(st.binary(min_size=8 * 70, max_size=8 * 70))
    data = torch.frombuffer(bytearray(raw), dtype=dtype)[: math.prod(shape)].reshape(shape)
    return data > 0 if draw(st.booleans()) else data


def _attr_for(draw: st.DrawFn, op: type[Op]) -> dict[str, Attr]:
    made: dict[str, Attr] = {}
    for key, declared in op.attributes.items():
        if declared.default is not REQUIRED and draw(st.booleans()):
            made[key] = cast(Attr, declared.default)
        else:
            value = draw(attrs)
            made[key] = float(value) if declared.kind is float and type(value) is int else value
    return made


@st.composite
def graphs(draw: st.DrawFn, name: str) -> Graph:
    """A graph whose parts are well-formed; its shapes and attribute values need not fit."""
    graph = Graph(name)
    taken: set[str] = set()

    def fresh() -> str:
        made = draw(names.filter(lambda n: n not in taken))
        taken.add(made)
        return made

    graph.inputs = [Value(fresh(), draw(types)) for _ in range(draw(st.integers(0, 3)))]
    for _ in range(draw(st.integers(0, 3))):
        graph.parameters.append(Value(fresh(), draw(types), recipe=draw(recipes)))
    for _ in range(draw(st.integers(0, 2))):
        data = draw(constants())
        type_ = TensorType(tuple(data.shape), DType.of(data.dtype))
        graph.constants.append(Value(fresh(), type_, data=data))
    for _ in range(draw(st.integers(0, 4))):
        op = lookup(draw(st.sampled_from(OPS)))
        known = list(graph.values())
        wanted = list(op.operands)
        if wanted[-1].variadic:
            wanted = wanted[:-1] + [wanted[-1]] * draw(st.integers(0, 3))
        if not known and wanted:
            break
        operands = [
            None if o.optional and draw(st.booleans()) else draw(st.sampled_from(known))
            for o in wanted
        ]
        results = [draw(types) for _ in range(len(op.results) or draw(st.integers(1, 3)))]
        node = graph.make(
            op.name, operands, _attr_for(draw, op), results, ["r"] * len(results), draw(locations)
        )
        for value in node.results:
            value.name = fresh()
    values = list(graph.values())
    if values:
        graph.outputs = draw(st.lists(st.sampled_from(values), max_size=3))
    return graph


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """A module of up to three graphs, with facts and entries of any spelling."""
    module = Module(
        entries=tuple(draw(st.lists(names, max_size=2))),
        meta=draw(st.dictionaries(names, attrs, max_size=3)),
    )
    for name in draw(st.lists(names, max_size=3, unique=True)):
        module.add(draw(graphs(name)))
    return module
