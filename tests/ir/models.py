"""Small decoders built by hand, with weights and inputs, for tests of passes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ir.func import Call
from ir.graph import Graph, Location, Module, Value
from ir.interpret import interpret
from ir.llm.attention import Attention
from ir.llm.elementwise import Activation, Add, Mul
from ir.llm.linear import Embedding, Linear
from ir.llm.norm import RmsNorm
from ir.llm.rope import Rope, RopeTable
from ir.llm.shape import Reshape, Slice
from ir.recipe import Source
from ir.types import DType, Sym, TensorType

TOKENS, BATCH = Sym.of("tokens"), Sym.of("batch")
HIDDEN, HEAD_DIM, INNER, VOCAB, BLOCK = 12, 4, 10, 17, 4
F32 = DType.FLOAT32


@dataclass(frozen=True)
class Shape:
    """What a decoder looks like.

    Attributes:
        layers: For every layer the number of the function that it calls.
        folded: Layers are functions; else they all stand in ``main``.
    """

    layers: tuple[int, ...] = (0, 0, 1)
    folded: bool = True
    heads: int = 4
    kv_heads: int = 2
    bias: bool = False
    transpose_weight: bool = True
    gated: bool = True
    up_first: bool = False
    parallel: bool = False
    rope: bool = True
    slopes: bool = False
    tied: bool = False
    window: int | None = None
    fused_gate_up: bool = False


def f32(*shape: int | Sym) -> TensorType:
    return TensorType(tuple(shape), F32)


class Layer:
    """Appends one decoder layer to a graph."""

    def __init__(self, graph: Graph, shape: Shape, prefix: str, eps: float) -> None:
        self.graph, self.shape, self.prefix, self.eps = graph, shape, prefix, eps

    def weight(self, name: str, *dims: int) -> Value:
        return self.graph.add_parameter(f32(*dims), self.prefix + name)

    def linear(self, x: Value, name: str, out: int) -> Value:
        inner = int(str(x.type.shape[-1]))
        dims = (out, inner) if self.shape.transpose_weight else (inner, out)
        bias = self.weight(f"{name}.bias", out) if self.shape.bias else None
        return Linear.build(
            self.graph,
            x,
            self.weight(f"{name}.weight", *dims),
            bias,
            transpose_weight=self.shape.transpose_weight,
            loc=Location(self.prefix + name, "tiny.py:1"),
            named=(name,),
        ).result

    def norm(self, x: Value, name: str) -> Value:
        weight = self.weight(f"{name}.weight", HIDDEN)
        return RmsNorm.build(self.graph, x, weight, eps=self.eps).result

    def attention(self, x: Value, cos: Value | None, sin: Value | None, lens: Value) -> Value:
        shape, graph = self.shape, self.graph
        heads: list[Value] = []
        for name, count in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            y = self.linear(x, name, count * HEAD_DIM)
            y = Reshape.build(graph, y, tail=(count, HEAD_DIM)).result
            if cos is not None and name != "v":
                y = Rope.build(graph, y, cos, sin, style="half").result
            heads.append(y)
        slopes = None
        if shape.slopes:
            data = torch.tensor([2.0 ** -(i + 1) for i in range(shape.heads)])
            slopes = graph.add_constant(data, f32(shape.heads), "slopes")
        attended = Attention.build(
            graph, *heads, lens, slopes, scale=HEAD_DIM**-0.5, window=shape.window
        ).result
        flat = Reshape.build(graph, attended, tail=(shape.heads * HEAD_DIM,)).result
        return self.linear(flat, "o", HIDDEN)

    def mlp(self, x: Value) -> Value:
        graph, shape = self.graph, self.shape
        if not shape.gated:
            inner = Activation.build(graph, self.linear(x, "fc1", INNER), kind="gelu").result
            return self.linear(inner, "fc2", HIDDEN)
        if shape.fused_gate_up:
            both = self.linear(x, "gate_up", 2 * INNER)
            gate, up = (
                Slice.build(graph, both, axis=1, start=i * INNER, stop=(i + 1) * INNER).result
                for i in range(2)
            )
        elif shape.up_first:
            up, gate = self.linear(x, "up", INNER), self.linear(x, "gate", INNER)
        else:
            gate, up = self.linear(x, "gate", INNER), self.linear(x, "up", INNER)
        active = Activation.build(graph, gate, kind="silu").result
        operands = (up, active) if shape.up_first else (active, up)
        return self.linear(Mul.build(graph, *operands).result, "down", HIDDEN)

    def build(self, x: Value, cos: Value | None, sin: Value | None, lens: Value) -> Value:
        normed = self.norm(x, "norm1")
        attended = self.attention(normed, cos, sin, lens)
        if self.shape.parallel:
            both = Add.build(self.graph, attended, self.mlp(normed)).result
            return Add.build(self.graph, x, both).result
        x = Add.build(self.graph, x, attended).result
        return Add.build(self.graph, x, self.mlp(self.norm(x, "norm2"))).result


def decoder(shape: Shape) -> Module:
    """A decoder with entry ``main``; the functions differ in the epsilon of their norms."""
    module = Module(meta={"model_class": "Tiny", "vocab_size": VOCAB})
    table = f32(TOKENS, HEAD_DIM)
    for number in sorted(set(shape.layers)) if shape.folded else ():
        graph = module.add(Graph(f"layer_{number}"))
        x = graph.add_input("hidden", f32(TOKENS, HIDDEN))
        cos, sin = (
            (graph.add_input("cos", table), graph.add_input("sin", table))
            if shape.rope
            else (None, None)
        )
        lens = graph.add_input("seq_lens", TensorType((BATCH,), DType.INT32))
        graph.outputs = [Layer(graph, shape, "", eps(number)).build(x, cos, sin, lens)]
    main = module.add(Graph("main"))
    ids = main.add_input("input_ids", TensorType((TOKENS,), DType.INT64))
    positions = main.add_input("positions", TensorType((TOKENS,), DType.INT64))
    lens = main.add_input("seq_lens", TensorType((BATCH,), DType.INT32))
    rows = main.add_parameter(f32(VOCAB, HIDDEN), "embed.weight")
    x = Embedding.build(main, ids, rows).result
    cos = sin = None
    if shape.rope:
        freq = main.add_constant(torch.tensor([1.0, 0.1]), f32(HEAD_DIM // 2), "inv_freq")
        made = RopeTable.build(main, positions, lens, freq, style="half")
        cos, sin = made.results
    for position, number in enumerate(shape.layers):
        if shape.folded:
            passed = [v for v in (x, cos, sin, lens) if v is not None]
            attrs = {"callee": f"layer_{number}", "scope": f"layers.{position}"}
            call = Call.build(main, *passed, types=[x.type], named=("hidden",), **attrs)
            x = call.result
        else:
            layer = Layer(main, shape, f"layers.{position}.", eps(number))
            x = layer.build(x, cos, sin, lens)
    head = rows if shape.tied else main.add_parameter(f32(VOCAB, HIDDEN), "head.weight")
    main.outputs = [Linear.build(main, x, head, named=("logits",)).result]
    return module


def eps(number: int) -> float:
    return 1e-5 * 10**number


SHAPES = {
    "llama": Shape(),
    "unfolded": Shape(folded=False),
    "alternating": Shape(layers=(0, 1, 0, 1), window=2),
    "mha-bias": Shape(kv_heads=4, bias=True, up_first=True),
    "mqa-gpt2": Shape(kv_heads=1, bias=True, gated=False, transpose_weight=False),
    "alibi": Shape(rope=False, slopes=True, gated=False, folded=False, layers=(0, 1)),
    "parallel-gated": Shape(parallel=True, tied=True),
    "parallel-plain": Shape(parallel=True, gated=False, bias=True),
    "fused-gate-up": Shape(fused_gate_up=True),
}


def weights(module: Module) -> dict[str, torch.Tensor]:
    """Random checkpoint tensors of every plain source, the same for the same name and shape."""
    made: dict[str, torch.Tensor] = {}
    for name in module.entries:
        for scope, graph in scopes(module, module.functions[name], ""):
            for value in graph.parameters:
                assert isinstance(value.recipe, Source)
                full = next(value.recipe.scoped(scope).sources()).name
                generator = torch.Generator().manual_seed(zlib.crc32(full.encode()))
                dims = [int(str(dim)) for dim in value.type.shape]
                made[full] = torch.randn(*dims, generator=generator) * 0.4
    return made


def scopes(module: Module, graph: Graph, scope: str) -> Iterator[tuple[str, Graph]]:
    """Every graph that runs, with the scope that it runs under."""
    yield scope, graph
    for call in graph.find("func.call"):
        inner = ".".join(part for part in (scope, str(call.attrs["scope"])) if part)
        yield from scopes(module, module.callee(call), inner)


def inputs(lens: tuple[int, ...] = (3, 5)) -> dict[str, torch.Tensor]:
    """Inputs of ``main``: sequences of the given lengths, from their first token."""
    generator = torch.Generator().manual_seed(sum(lens))
    return {
        "input_ids": torch.randint(VOCAB, (sum(lens),), generator=generator),
        "positions": torch.cat([torch.arange(n) for n in lens]),
        "seq_lens": torch.tensor(lens, dtype=torch.int32),
    }


def logits(module: Module, checkpoint: dict[str, torch.Tensor]) -> torch.Tensor:
    """The only output of ``main`` for the standard inputs."""
    (result,) = interpret(module, inputs(), checkpoint).values()
    return result
