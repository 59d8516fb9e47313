"""Embeddings are scaled and normalised, logits are scaled."""

from .common import CausalLM, RMSNorm


class Model(CausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.embed_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def embed(self, input_ids, positions):
        return self.embed_norm(super().embed(input_ids, positions) * 12.0)

    def logits(self, hidden):
        return super().logits(hidden / 0.37) * 0.125
