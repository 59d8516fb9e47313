"""The semantic level: what a decoder-only language model computes, over a ragged batch of tokens.

Every activation has the tokens of all sequences of the batch, one after the other, as its first
dimension ``tokens``; there is no batch dimension and no padding. ``seq_lens`` (int32 ``[batch]``)
says how many tokens each sequence brings in this step. Only attention and the rotary table look
at it: everything else works token by token.
"""

from ir.llm import attention, cache, elementwise, linear, norm, rope, shape

__all__ = ["attention", "cache", "elementwise", "linear", "norm", "rope", "shape"]
