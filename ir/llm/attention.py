"""Attention of new tokens over their own sequence (prefill)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ir.graph import Node
from ir.llm.linear import given
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import TensorType


class AttentionScores:
    """Attributes that every attention operation has."""

    scale = Attribute(float, doc="Factor on ``q·k``.")
    window = Attribute(int, None, "A query sees this many keys, itself included; none for all.")
    softcap = Attribute(float, None, "``softcap * tanh(score / softcap)``; none for no cap.")


def attend(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor | None,
    causal: bool,
) -> torch.Tensor:
    """One sequence: ``[queries, heads, D]`` over ``[keys, kv_heads, D]``.

    The queries are the last of the keys. Softmax in float32; ALiBi adds
    ``slope * (key position - query position)`` (Press et al. 2021, arXiv:2108.12409).
    """
    heads, kv_heads = q.shape[1], k.shape[1]
    k = k.repeat_interleave(heads // kv_heads, dim=1)
    v = v.repeat_interleave(heads // kv_heads, dim=1)
    scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * float(str(node.attrs["scale"]))
    softcap, window = node.attrs["softcap"], node.attrs["window"]
    if softcap is not None:
        scores = torch.tanh(scores / float(str(softcap))) * float(str(softcap))
    key = torch.arange(k.shape[0])[None, :]
    query = torch.arange(k.shape[0] - q.shape[0], k.shape[0])[:, None]
    if slopes is not None:
        scores = scores + slopes.float()[:, None, None] * (key - query).float()
    hidden = torch.zeros(q.shape[0], k.shape[0], dtype=torch.bool)
    if causal:
        hidden = hidden | (key > query)
    if window is not None:
        hidden = hidden | (key <= query - int(str(window)))
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v.float()).to(q.dtype)


class Attention(AttentionScores, Op):
    """Scaled dot-product attention, each token over the tokens of its own sequence.

    MHA, GQA and MQA are the same operation: query head ``h`` reads key-value head
    ``h // (heads / kv_heads)``.
    """

    name = "llm.attention"
    q = Operand("``[tokens, heads, head_dim]``.")
    k = Operand("``[tokens, kv_heads, head_dim]``.")
    v = Operand("``[tokens, kv_heads, value_dim]``.")
    seq_lens = Operand("Tokens of each sequence in this step, int32 ``[batch]``.")
    slopes = Operand("ALiBi slope of each head, float32 ``[heads]``.", optional=True)
    causal = Attribute(bool, True, "A token sees no later token.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        q, v = node.operand(0).type, node.operand(2).type
        return [q.with_shape(*q.shape[:2], v.shape[2])]

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        q, k, v = (node.operand(i).type for i in range(3))
        problems = [f"{t} is not [tokens, heads, head_dim]" for t in (q, k, v) if t.rank != 3]
        if problems:
            return problems
        heads, kv_heads = q.shape[1], k.shape[1]
        if not (isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads == 0):
            problems.append(f"{heads} query heads are not a multiple of {kv_heads} key-value heads")
        if k.shape[1] != v.shape[1] or q.shape[2] != k.shape[2]:
            problems.append(f"q {q}, k {k} and v {v} do not fit together")
        return problems

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        q, k, v, seq_lens = (given(inputs, i) for i in range(4))
        lens = seq_lens.tolist()
        causal = bool(node.attrs["causal"])
        rows = [
            attend(node, *of_sequence, inputs[4], causal)
            for of_sequence in zip(q.split(lens), k.split(lens), v.split(lens), strict=True)
        ]
        return [torch.cat(rows)]
