"""The paged KV cache: writing new keys and values, attending over cached ones (decode).

Block tables and slots follow vLLM's PagedAttention (Kwon et al. 2023, arXiv:2309.06180): the cache
of a layer is ``[blocks, block_size, kv_heads, head_dim]``; slot ``s`` is row ``s % block_size`` of
block ``s // block_size``; ``block_tables`` lists the blocks of each sequence in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ir.graph import Node
from ir.llm.attention import AttentionScores, attend
from ir.llm.linear import given
from ir.op import Env, Op, Operand, Tensors
from ir.types import TensorType


class KvAppend(Op):
    """Writes the keys and values of new tokens into their cache slots, in place."""

    name = "llm.kv_append"
    k = Operand("``[tokens, kv_heads, head_dim]``.")
    v = Operand("``[tokens, kv_heads, value_dim]``.")
    k_cache = Operand("``[blocks, block_size, kv_heads, head_dim]``, written.")
    v_cache = Operand("``[blocks, block_size, kv_heads, value_dim]``, written.")
    slots = Operand("Slot of each token, int32 ``[tokens]``.")
    results = ("k_cache", "v_cache")
    effects = True

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [node.operand(2).type, node.operand(3).type]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        k, v, k_cache, v_cache, slots = (given(inputs, i) for i in range(5))
        for new, cache in ((k, k_cache), (v, v_cache)):
            cache.view(-1, *cache.shape[2:])[slots.long()] = new.to(cache.dtype)
        return [k_cache, v_cache]


class PagedAttention(AttentionScores, Op):
    """One new token of each sequence attends over everything its sequence has in the cache."""

    name = "llm.paged_attention"
    q = Operand("``[batch, heads, head_dim]``, one token for each sequence.")
    k_cache = Operand("``[blocks, block_size, kv_heads, head_dim]``.")
    v_cache = Operand("``[blocks, block_size, kv_heads, value_dim]``.")
    block_tables = Operand("Blocks of each sequence, int32 ``[batch, max_blocks]``.")
    context_lens = Operand("Cached tokens of each sequence, int32 ``[batch]``.")
    slopes = Operand("ALiBi slope of each head, float32 ``[heads]``.", optional=True)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        q, v_cache = node.operand(0).type, node.operand(2).type
        return [q.with_shape(*q.shape[:2], v_cache.shape[3])]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        q, k_cache, v_cache, block_tables, context_lens = (given(inputs, i) for i in range(5))
        rows: list[torch.Tensor] = []
        for row, length in enumerate(context_lens.tolist()):
            blocks = block_tables[row].long()
            k = k_cache[blocks].flatten(0, 1)[:length]
            v = v_cache[blocks].flatten(0, 1)[:length]
            rows.append(attend(node, q[row : row + 1], k, v, inputs[5], causal=True))
        return [torch.cat(rows)]
