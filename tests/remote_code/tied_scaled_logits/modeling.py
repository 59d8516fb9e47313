"""The output matrix is the embedding; logits are divided by a width ratio."""

from .common import CausalLM


class Model(CausalLM):
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}

    def logits(self, hidden):
        return super().logits(hidden) / (self.config.hidden_size / 16)
