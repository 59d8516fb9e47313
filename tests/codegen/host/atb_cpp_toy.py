"""The hand-written C++ test model and its reference: weights, inputs, a step, logits with torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from codegen.host.atb_cpp import Host, ModelTorch, compile_model

FOLDER = Path(__file__).parent / "atb_cpp_model"
NAME = "toy_ToyModel"
LAYERS, HEADS, KV_HEADS, HEAD, HIDDEN, INTER, VOCAB = 2, 4, 4, 16, 64, 64, 50
EPSILON, BLOCK, BLOCKS, POSITIONS = 1e-5, 8, 12, 64


def library() -> Path:
    return compile_model(sorted(FOLDER.glob("*.cpp")), [FOLDER])


@dataclass
class Weights:
    """The whole model's weights in the order of the C++ model."""

    embedding: torch.Tensor
    layers: list[list[torch.Tensor]]
    norm: torch.Tensor
    head: torch.Tensor

    @classmethod
    def random(cls, seed: int = 0) -> Weights:
        g = torch.Generator().manual_seed(seed)

        def w(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=g) / shape[-1] ** 0.5

        def layer() -> list[torch.Tensor]:
            q, kv = HEADS * HEAD, KV_HEADS * HEAD
            return [
                1 + w(HIDDEN), w(q, HIDDEN), w(kv, HIDDEN), w(kv, HIDDEN), w(HIDDEN, q),
                1 + w(HIDDEN), w(2 * INTER, HIDDEN), w(HIDDEN, INTER),
            ]  # fmt: skip

        return cls(
            w(VOCAB, HIDDEN), [layer() for _ in range(LAYERS)], 1 + w(HIDDEN), w(VOCAB, HIDDEN)
        )

    def of_rank(self, rank: int, size: int, dtype: torch.dtype) -> list[torch.Tensor]:
        flat = [self.embedding]
        for norm, q, k, v, o, norm2, gate_up, down in self.layers:
            gate, up = (half.chunk(size)[rank] for half in gate_up.chunk(2))
            flat += [norm, *(t.chunk(size)[rank] for t in (q, k, v)), o.chunk(size, 1)[rank]]
            flat += [norm2, torch.cat([gate, up]), down.chunk(size, 1)[rank]]
        return [t.to(dtype).contiguous() for t in (*flat, self.norm, self.head)]


def rope_tables() -> tuple[torch.Tensor, torch.Tensor]:
    frequencies = 10000.0 ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angles = torch.outer(torch.arange(POSITIONS).float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def reference(weights: Weights, tokens: list[int]) -> torch.Tensor:
    """Logits of one sequence, all at once, in float32: ``[tokens, vocabulary]``."""
    cos, sin = (table[: len(tokens)][:, None] for table in rope_tables())
    x = weights.embedding[tokens]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (HIDDEN,), weight, EPSILON)

    def rotate(x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    for first, q, k, v, o, second, gate_up, down in weights.layers:
        y = norm(x, first)
        q, k, v = ((y @ w.T).unflatten(1, (-1, HEAD)) for w in (q, k, v))
        q, k = rotate(q), rotate(k)
        y = F.scaled_dot_product_attention(
            q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), is_causal=True
        )
        x = x + y.transpose(0, 1).flatten(1) @ o.T
        gate, up = (norm(x, second) @ gate_up.T).chunk(2, -1)
        x = x + (F.silu(gate) * up) @ down.T
    return norm(x, weights.norm) @ weights.head.T


@dataclass
class Runner:
    """The C++ model of one rank with its caches, prefill and decode."""

    host: Host
    weights: Weights
    rank: int = 0
    size: int = 1
    dtype: torch.dtype = torch.float32
    prefill: ModelTorch = field(init=False)
    decode: ModelTorch = field(init=False)
    tables: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape = (BLOCKS, BLOCK, KV_HEADS // self.size, HEAD)
        self.keys = [torch.zeros(shape, dtype=self.dtype) for _ in range(LAYERS)]
        self.values = [torch.zeros(shape, dtype=self.dtype) for _ in range(LAYERS)]
        self.prefill, self.decode = self._model(True), self._model(False)
        # Blocks out of order, so that a wrong table is noticed.
        self.tables = torch.randperm(BLOCKS, generator=torch.Generator().manual_seed(1))
        self.tables = self.tables.reshape(3, 4).to(torch.int32)

    def _model(self, is_prefill: bool) -> ModelTorch:
        model = self.host.model(NAME)
        model.set_param(json.dumps(self.param(is_prefill)))
        model.set_weight(self.weights.of_rank(self.rank, self.size, self.dtype))
        model.set_kv_cache(self.keys, self.values)
        return model

    def param(self, is_prefill: bool) -> dict[str, object]:
        return {
            "isPrefill": is_prefill, "numHiddenLayers": LAYERS, "headNum": HEADS // self.size,
            "kvHeadNum": KV_HEADS // self.size, "headDim": HEAD, "epsilon": EPSILON,
            "rank": self.rank, "rankSize": self.size,
        }  # fmt: skip

    def slots(self, row: int, positions: range) -> list[int]:
        return [int(self.tables[row, p // BLOCK]) * BLOCK + p % BLOCK for p in positions]

    def inputs(
        self, ids: list[int], positions: list[int], slots: list[int], lengths: list[int]
    ) -> list[torch.Tensor]:
        mask = torch.full((32, 32), -torch.inf).triu(1)
        if self.dtype is torch.bfloat16:
            mask = torch.ones(32, 32).triu(1)
        cos, sin = rope_tables()
        return [
            torch.tensor(ids), torch.tensor(positions), cos.to(self.dtype), sin.to(self.dtype),
            mask.to(self.dtype), torch.tensor(slots, dtype=torch.int32),
            self.tables[: len(lengths)].contiguous(), torch.tensor(lengths, dtype=torch.int32),
        ]  # fmt: skip

    def run_prefill(self, sequences: list[list[int]]) -> torch.Tensor:
        ids = [token for sequence in sequences for token in sequence]
        positions = [p for sequence in sequences for p in range(len(sequence))]
        slots = [s for i, q in enumerate(sequences) for s in self.slots(i, range(len(q)))]
        lengths = [len(sequence) for sequence in sequences]
        inputs = self.inputs(ids, positions, slots, lengths)
        return self.prefill.execute(inputs, json.dumps({"seqLen": lengths}))[0]

    def run_decode(self, ids: list[int], lengths: list[int]) -> torch.Tensor:
        positions = [length - 1 for length in lengths]
        slots = [s for i, p in enumerate(positions) for s in self.slots(i, range(p, p + 1))]
        inputs = self.inputs(ids, positions, slots, lengths)
        return self.decode.execute(inputs, json.dumps({"seqLen": lengths}))[0]
