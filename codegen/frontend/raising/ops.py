"""Attention as raising leaves it between its two steps: found, but still in the traced layout."""

from __future__ import annotations

from ir.llm.attention import AttentionScores
from ir.op import Attribute, Op, Operand


class FoundAttention(AttentionScores, Op):
    """Attention whose mask is already understood; tensors have their traced layouts."""

    name = "raise.attention"
    q = Operand("``[1, heads, tokens, head_dim]``, or without the 1.")
    k = Operand("``[1, kv_heads, tokens, head_dim]``, or without the 1.")
    v = Operand("``[1, kv_heads, tokens, value_dim]``, or without the 1.")
    slopes = Operand("ALiBi slope of each head, float32 ``[heads]``.", optional=True)
    causal = Attribute(bool, True)
