"""llm modules made by hand, as raising makes them, for tests of the ATB target."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import torch

from ir import DType, Graph, Location, Module, Sym, TensorType, Value, verify
from ir.func import Call
from ir.llm.attention import Attention
from ir.llm.elementwise import (
    Activation,
    Add,
    Clamp,
    GatedActivation,
    Mul,
    Offset,
    Scale,
    Softcap,
)
from ir.llm.linear import Embedding, Linear
from ir.llm.norm import LayerNorm, RmsNorm
from ir.llm.rope import Rope, RopeTable
from ir.llm.shape import Reshape, Split
from ir.passes import CacheKv, PackLinears, run_passes

TOKENS, BATCH = Sym.of("tokens"), Sym.of("batch")
VOCAB, HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM = 48, 64, 96, 4, 2, 32


@dataclass(frozen=True)
class Spec:
    """One small model.

    Attributes:
        layers: Attention window of each layer.
    """

    layers: tuple[int | None, ...] = (None, None)
    kv_heads: int = KV_HEADS
    norm: str = "rms"
    unit_offset: bool = False
    norm_weight: bool = True
    bias: bool = False
    transpose_weight: bool = True
    rope: str | None = "half"
    rotary_dim: int = HEAD_DIM
    rope_attrs: dict[str, float | int] = field(default_factory=dict)
    long_rope: bool = False
    q_only: bool = False
    alibi: bool = False
    softcap: float | None = None
    qk_norm: str | None = None
    gate: str | None = "silu"
    activation: str = "gelu_tanh"
    packed: bool = False
    clamp: float | None = None
    learned_positions: int | None = None
    tied: bool = False
    logit_softcap: float | None = None
    multiplier: float | None = None
    parallel: bool = False
    scale: float = HEAD_DIM**-0.5
    causal: bool = True


def f32(*shape: int | Sym) -> TensorType:
    return TensorType(shape, DType.FLOAT32)


def llama_like(spec: Spec) -> Module:
    """The module with the entry ``main``."""
    module = Module(meta=dict(_META))
    functions: dict[int | None, Graph] = {}
    for window in spec.layers:
        if window not in functions:
            functions[window] = module.add(_layer(spec, window, len(functions)))
    module.add(_main(spec, functions))
    verify(module)
    return module


def with_cache(spec: Spec, pack: bool = True) -> Module:
    """The module with the entries ``prefill`` and ``decode``."""
    module = llama_like(spec)
    run_passes(module, [*([PackLinears()] if pack else []), CacheKv()])
    return module


_META = {
    "model_class": "LlamaForCausalLM",
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "dtype": "bfloat16",
    "max_position_embeddings": 512,
    "eos_token_id": 2,
}


def weights(module: Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random checkpoint tensors for every source of a module, float32."""
    made: dict[str, torch.Tensor] = {}

    def collect(graph: Graph, scope: str) -> None:
        for value in graph.parameters:
            assert value.recipe is not None
            sources = list(value.recipe.scoped(scope).sources())
            for source in sources:
                if source.name not in made:
                    made[source.name] = _random(source.name, _shape(value, len(sources)), seed)
        for call in graph.find("func.call"):
            inner = ".".join(p for p in (scope, str(call.attrs["scope"])) if p)
            collect(module.callee(call), inner)

    for entry in module.entries:
        collect(module.functions[entry], "")
    return made


def _shape(value: Value, parts: int) -> tuple[int, ...]:
    assert parts == 1, "make weights before packing"
    return tuple(int(str(dim)) for dim in value.type.shape)


def _random(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
    made = torch.randn(shape, generator=generator)
    if "norm" in name:
        return 1.0 + 0.2 * made if name.endswith("weight") else 0.2 * made
    return made * (0.5 if "embed" in name else 0.15)


class _Builder:
    def __init__(self, graph: Graph, spec: Spec, scope: str) -> None:
        self.graph, self.spec, self.scope = graph, spec, scope

    def loc(self, name: str) -> Location:
        path = ".".join(p for p in (self.scope, name) if p)
        return Location(path, f"modeling.py:{len(self.graph.nodes) + 10}")

    def weight(self, name: str, *shape: int) -> Value:
        return self.graph.add_parameter(f32(*shape), name)

    def linear(self, x: Value, name: str, inner: int, out: int, bias: bool | None = None) -> Value:
        spec = self.spec
        shape = (out, inner) if spec.transpose_weight else (inner, out)
        wants_bias = spec.bias if bias is None else bias
        return Linear.build(
            self.graph,
            x,
            self.weight(f"{name}.weight", *shape),
            self.weight(f"{name}.bias", out) if wants_bias else None,
            transpose_weight=spec.transpose_weight,
            loc=self.loc(name),
            named=[name.rpartition(".")[2]],
        ).result

    def norm(self, x: Value, name: str) -> Value:
        spec, loc = self.spec, self.loc(name)
        weight = self.weight(f"{name}.weight", HIDDEN) if spec.norm_weight else None
        if spec.norm == "rms":
            attrs = {"eps": 1e-6, "unit_offset": spec.unit_offset}
            return RmsNorm.build(self.graph, x, weight, loc=loc, named=["normed"], **attrs).result
        bias = self.weight(f"{name}.bias", HIDDEN) if spec.bias else None
        made = LayerNorm.build(self.graph, x, weight, bias, eps=2e-5, loc=loc, named=["normed"])
        return made.result

    def op(self, op, *operands: Value, at: str = "", named: str = "y", **attrs) -> Value:
        return op.build(self.graph, *operands, loc=self.loc(at), named=[named], **attrs).result


def _layer(spec: Spec, window: int | None, index: int) -> Graph:
    graph = Graph("decoder_layer" if index == 0 else f"decoder_layer_{index + 1}")
    x = graph.add_input("hidden_states", f32(TOKENS, HIDDEN))
    table: list[Value] = []
    if spec.rope:
        width = f32(TOKENS, spec.rotary_dim)
        table = [graph.add_input("cos", width), graph.add_input("sin", width)]
    seq_lens = graph.add_input("seq_lens", TensorType((BATCH,), DType.INT32))
    first = next(i for i, w in enumerate(spec.layers) if w == window)
    b = _Builder(graph, spec, f"model.layers.{first}")
    normed = b.norm(x, "input_layernorm")
    attended = _attention(b, normed, table, seq_lens, window)
    if spec.parallel:
        mixed = b.op(Add, attended, _mlp(b, normed), named="branches")
        graph.outputs = [b.op(Add, x, mixed, named="layer_out")]
        return graph
    x = b.op(Add, x, _multiplied(b, attended), named="attention_residual")
    inner = _mlp(b, b.norm(x, "post_attention_layernorm"))
    graph.outputs = [b.op(Add, x, _multiplied(b, inner), named="layer_out")]
    return graph


def _multiplied(b: _Builder, x: Value) -> Value:
    factor = b.spec.multiplier
    return x if factor is None else b.op(Scale, x, factor=factor, named="multiplied")


def _attention(
    b: _Builder, x: Value, table: list[Value], seq_lens: Value, window: int | None
) -> Value:
    spec, kv = b.spec, b.spec.kv_heads
    sizes = (HEADS * HEAD_DIM, kv * HEAD_DIM, kv * HEAD_DIM)
    if spec.packed:
        qkv = b.linear(x, "self_attn.qkv_proj", HIDDEN, sum(sizes))
        node = Split.build(b.graph, qkv, axis=1, sizes=sizes, loc=b.loc("self_attn"))
        q, k, v = node.results
    else:
        q, k, v = (
            b.linear(x, f"self_attn.{n}_proj", HIDDEN, size)
            for n, size in zip("qkv", sizes, strict=True)
        )
    if spec.clamp:
        q, k, v = (
            b.op(Clamp, t, low=-spec.clamp, high=spec.clamp, at="self_attn", named="clamped")
            for t in (q, k, v)
        )
    q, k, v = (
        b.op(Reshape, t, tail=(size // HEAD_DIM, HEAD_DIM), at="self_attn", named=n)
        for t, size, n in zip((q, k, v), sizes, "qkv", strict=True)
    )
    if spec.qk_norm:
        q = _head_norm(b, q, "q_norm", HEADS)
        k = _head_norm(b, k, "k_norm", kv)
    if table:
        style = str(spec.rope)
        q = b.op(Rope, q, *table, style=style, at="self_attn", named="q_rotated")
        if not spec.q_only:
            k = b.op(Rope, k, *table, style=style, at="self_attn", named="k_rotated")
    slopes = None
    if spec.alibi:
        data = torch.tensor([2.0 ** -(2 * (i + 1)) for i in range(HEADS)])
        slopes = b.graph.add_constant(data, f32(HEADS), "slopes")
    y = Attention.build(
        b.graph,
        q,
        k,
        v,
        seq_lens,
        slopes,
        scale=spec.scale,
        window=window,
        softcap=spec.softcap,
        causal=spec.causal,
        loc=b.loc("self_attn"),
        named=["attended"],
    ).result
    y = b.op(Reshape, y, tail=(HEADS * HEAD_DIM,), at="self_attn", named="joined")
    return b.linear(y, "self_attn.o_proj", HEADS * HEAD_DIM, HIDDEN)


def _head_norm(b: _Builder, x: Value, name: str, heads: int) -> Value:
    spec, path = b.spec, f"self_attn.{name}"
    shape = (heads, HEAD_DIM) if spec.qk_norm == "per_head" else (HEAD_DIM,)
    weight = b.weight(f"{path}.weight", *shape)
    op = RmsNorm if spec.norm == "rms" else LayerNorm
    return op.build(b.graph, x, weight, eps=1e-6, loc=b.loc(path), named=[f"{name}ed"]).result


def _mlp(b: _Builder, x: Value) -> Value:
    spec = b.spec
    if spec.gate is None:
        inner = b.linear(x, "mlp.fc1", HIDDEN, INNER)
        inner = b.op(Activation, inner, kind=spec.activation, at="mlp.act", named="active")
        return b.linear(inner, "mlp.fc2", INNER, HIDDEN)
    if spec.packed:
        both = b.linear(x, "mlp.gate_up_proj", HIDDEN, 2 * INNER)
        inner = b.op(GatedActivation, both, kind=spec.gate, at="mlp", named="gated")
    else:
        gate = b.linear(x, "mlp.gate_proj", HIDDEN, INNER)
        active = b.op(Activation, gate, kind=spec.gate, at="mlp.act_fn", named="active")
        up = b.linear(x, "mlp.up_proj", HIDDEN, INNER)
        inner = b.op(Mul, active, up, at="mlp", named="gated")
    return b.linear(inner, "mlp.down_proj", INNER, HIDDEN)


def _main(spec: Spec, functions: dict[int | None, Graph]) -> Graph:
    graph = Graph("main")
    ids = graph.add_input("input_ids", TensorType((TOKENS,), DType.INT64))
    positions = graph.add_input("positions", TensorType((TOKENS,), DType.INT64))
    seq_lens = graph.add_input("seq_lens", TensorType((BATCH,), DType.INT32))
    b = _Builder(graph, spec, "")
    table = b.weight("model.embed_tokens.weight", VOCAB, HIDDEN)
    x = b.op(Embedding, ids, table, at="model.embed_tokens", named="embedded")
    if spec.multiplier:
        x = b.op(Scale, x, factor=3.0, at="model", named="scaled")
    if spec.learned_positions is not None:
        rows = positions
        if spec.learned_positions:
            rows = b.op(Offset, positions, value=spec.learned_positions, at="model.embed_positions")
        learned = b.weight("model.embed_positions.weight", 64, HIDDEN)
        x = b.op(Add, x, b.op(Embedding, rows, learned, at="model.embed_positions"), named="x")
    rotary: list[Value] = []
    if spec.rope:
        rotary = _rope_table(b, positions, seq_lens)
    for index, window in enumerate(spec.layers):
        (x,) = Call.build(
            graph,
            x,
            *rotary,
            seq_lens,
            callee=functions[window].name,
            scope=f"model.layers.{index}",
            types=[x.type],
            named=["hidden_states"],
            loc=b.loc(f"model.layers.{index}"),
        ).results
    x = b.norm(x, "model.norm")
    if spec.tied:
        x = b.op(Linear, x, table, at="lm_head", named="logits")
    else:
        x = b.linear(x, "lm_head", HIDDEN, VOCAB, bias=spec.bias)
    if spec.logit_softcap:
        x = b.op(Softcap, x, cap=spec.logit_softcap, named="capped")
    graph.outputs = [x]
    return graph


def _rope_table(b: _Builder, positions: Value, seq_lens: Value) -> list[Value]:
    spec, half = b.spec, b.spec.rotary_dim // 2
    freq = 1.0 / (1000.0 ** (torch.arange(0, spec.rotary_dim, 2).float() / spec.rotary_dim))
    constants = [b.graph.add_constant(freq, f32(half), "inv_freq")]
    if spec.long_rope:
        constants.append(b.graph.add_constant(freq / 3.0, f32(half), "long_inv_freq"))
    attrs = {"style": str(spec.rope), **spec.rope_attrs}
    node = RopeTable.build(
        b.graph, positions, seq_lens, *constants, loc=b.loc("model.rotary_emb"), **attrs
    )
    return list(node.results)
