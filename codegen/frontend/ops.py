"""Operations that tracing adds to the ``aten.*`` ones: things worth keeping as one node.

They keep HuggingFace's layout, batch of one first: queries ``[1, heads, tokens, head_dim]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from ir.graph import Attr, Node
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import Dim, DType, TensorType, parse_dim


@dataclass(frozen=True)
class Visibility:
    """Which keys a query sees; the conditions that are set hold together.

    Attributes:
        causal: No key after the query.
        window: Only keys less than this many positions before the query.
        chunk: Only keys of the same chunk of this many positions.
    """

    causal: bool = False
    window: int | None = None
    chunk: int | None = None

    @staticmethod
    def of(attrs: Mapping[str, Attr]) -> Visibility:
        """Reads the attributes ``causal``, ``window`` and ``chunk`` of a node."""
        window, chunk = cast("tuple[int | None, int | None]", (attrs["window"], attrs["chunk"]))
        return Visibility(bool(attrs["causal"]), window, chunk)

    def table(self, queries: int, keys: int) -> torch.Tensor:
        """The boolean table ``[queries, keys]``, true where a query sees a key."""
        query, key = torch.arange(queries)[:, None], torch.arange(keys)[None, :]
        seen = torch.ones(queries, keys, dtype=torch.bool)
        if self.causal:
            seen = seen & (key <= query)
        if self.window is not None:
            seen = seen & (key > query - self.window)
        if self.chunk is not None:
            seen = seen & (key // self.chunk == query // self.chunk)
        return seen


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    sinks: torch.Tensor | None,
    scale: float,
    seen: Visibility,
    softcap: float | None,
) -> torch.Tensor:
    """Attention as eager HuggingFace code computes it; shapes as in `Attention`."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    scores = (q @ k.transpose(2, 3)) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    hidden = ~seen.table(q.shape[2], k.shape[2])
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    if sinks is not None:
        column = sinks.reshape(1, -1, 1, 1).expand(q.shape[0], -1, q.shape[2], 1)
        scores = torch.cat((scores, column), dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32)[..., : k.shape[2]].to(q.dtype)
    return (weights @ v).transpose(1, 2).contiguous()


def visible(
    padding: torch.Tensor | None, queries: int, keys: int, seen: Visibility, additive: bool
) -> torch.Tensor:
    """A mask ``[1, 1, queries, keys]``; see `Mask`."""
    table = seen.table(queries, keys)[None, None]
    if padding is not None:
        table = table & padding.bool()[:, None, None, :]
    if not additive:
        return table
    return torch.zeros(table.shape).masked_fill(~table, torch.finfo(torch.float32).min)


def rope_frequencies(
    positions: torch.Tensor,
    inv_freq: torch.Tensor,
    long_inv_freq: torch.Tensor | None,
    original_max_position: int,
    dynamic_factor: float | None,
    dynamic_base: float | None,
) -> torch.Tensor:
    """Radians per position for a sequence of this length; see `RopeFrequencies`."""
    length = int(positions.max()) + 1
    if length <= original_max_position:
        return inv_freq.clone()
    if long_inv_freq is not None:
        return long_inv_freq.clone()
    assert dynamic_factor is not None
    assert dynamic_base is not None
    dim = 2 * inv_freq.numel()
    stretch = dynamic_factor * length / original_max_position - (dynamic_factor - 1)
    base = dynamic_base * stretch ** (dim / (dim - 2))
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


class Attention(Op):
    """Attention through HuggingFace's attention interface.

    Query head ``h`` reads key-value head ``h // (heads / kv_heads)``. The order is: scale, softcap,
    mask, sinks, softmax in float32.
    """

    name = "trace.attention"
    q = Operand("``[1, heads, queries, head_dim]``.")
    k = Operand("``[1, kv_heads, keys, head_dim]``.")
    v = Operand("``[1, kv_heads, keys, value_dim]``.")
    mask = Operand(
        "Boolean (true: sees) or float (added to the scores), broadcast to "
        "``[1, heads, queries, keys]``; beside what the attributes say.",
        optional=True,
    )
    sinks = Operand("A score per head that takes part in the softmax only, ``[heads]``.", True)
    scale = Attribute(float, doc="Factor on ``q·k``.")
    causal = Attribute(bool, False, "A query sees no later key.")
    window = Attribute(int, None, "A query sees only keys less than this many positions before.")
    chunk = Attribute(int, None, "A query sees only keys of its own chunk of this many positions.")
    softcap = Attribute(float, None, "``softcap * tanh(score / softcap)``.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        """Heads move behind the tokens: ``[1, queries, heads, value_dim]``."""
        q, v = node.operand(0).type, node.operand(2).type
        return [q.with_shape(q.shape[0], q.shape[2], q.shape[1], v.shape[3])]

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        """Ranks and head counts must fit."""
        q, k, v = (node.operand(i).type for i in range(3))
        if any(t.rank != 4 for t in (q, k, v)):
            return [f"q {q}, k {k} and v {v} must have four dimensions"]
        heads, kv_heads = q.shape[1], k.shape[1]
        if not (isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads == 0):
            return [f"{heads} query heads are not a multiple of {kv_heads} key-value heads"]
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        """See `attend`."""
        q, k, v = cast("Tensors", inputs[:3])
        scale, softcap = cast("tuple[float, float | None]", _get(node, "scale", "softcap"))
        seen = Visibility.of(node.attrs)
        return [attend(q, k, v, inputs[3], inputs[4], scale, seen, softcap)]


class Mask(Op):
    """The mask that HuggingFace's mask functions describe; queries and keys start at position 0."""

    name = "trace.mask"
    padding = Operand("True or 1 where a key exists, ``[1, keys]``.", optional=True)
    queries = Attribute(str, doc="Number of queries, a size expression such as ``tokens``.")
    keys = Attribute(str, doc="Number of keys, a size expression.")
    causal = Attribute(bool, False, "As in trace.attention.")
    window = Attribute(int, None, "As in trace.attention.")
    chunk = Attribute(int, None, "As in trace.attention.")
    additive = Attribute(
        bool, False, "float32, 0 where a key is seen and the lowest number elsewhere; else boolean."
    )

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        """``[1, 1, queries, keys]``."""
        queries, keys = (parse_dim(str(node.attrs[name])) for name in ("queries", "keys"))
        dtype = DType.FLOAT32 if node.attrs["additive"] else DType.BOOL
        return [TensorType((1, 1, queries, keys), dtype)]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        """See `visible`."""
        queries, keys = (_size(parse_dim(str(node.attrs[n])), env) for n in ("queries", "keys"))
        seen = Visibility.of(node.attrs)
        return [visible(inputs[0], queries, keys, seen, bool(node.attrs["additive"]))]


class RopeFrequencies(Op):
    """Rotary frequencies that depend on the length of the sequence (its last position + 1).

    Up to ``original_max_position`` they are ``inv_freq``. Above it they are ``long_inv_freq``
    (longrope), or, where that is absent, those of the base
    ``dynamic_base * (dynamic_factor * length / original_max_position - (dynamic_factor - 1))
    ** (dim / (dim - 2))`` (dynamic NTK).
    """

    name = "trace.rope_frequencies"
    positions = Operand("int64 ``[1, tokens]``.")
    inv_freq = Operand("Radians per position, float32 ``[rotary_dim / 2]``.")
    long_inv_freq = Operand("As ``inv_freq``, for long sequences.", optional=True)
    original_max_position = Attribute(int, doc="Longest sequence for which ``inv_freq`` holds.")
    dynamic_factor = Attribute(float, None, "NTK factor; none for longrope.")
    dynamic_base = Attribute(float, None, "Base theta; none for longrope.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        """The type of ``inv_freq``."""
        return [node.operand(1).type]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        """See `rope_frequencies`."""
        positions, inv_freq = cast("Tensors", inputs[:2])
        limit, factor, base = cast(
            "tuple[int, float | None, float | None]",
            _get(node, "original_max_position", "dynamic_factor", "dynamic_base"),
        )
        return [rope_frequencies(positions, inv_freq, inputs[2], limit, factor, base)]


def _get(node: Node, *names: str) -> tuple[Attr, ...]:
    return tuple(node.attrs[name] for name in names)


def _size(dim: Dim, env: Env) -> int:
    return dim if isinstance(dim, int) else dim.bind(env.sizes)
