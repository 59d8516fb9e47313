"""Logits of the last token only."""

from .common import CausalLM


class Model(CausalLM):
    def logits(self, hidden):
        return super().logits(hidden[:, -1:])
