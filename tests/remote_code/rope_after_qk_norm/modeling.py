"""Queries and keys are normalised per head, the rotation comes after that."""

from .common import Attention, CausalLM, Layer, RMSNorm


class NormedAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def rotate(self, q, k, positions):
        return super().rotate(self.q_norm(q), self.k_norm(k), positions)


class NormedLayer(Layer):
    attention_class = NormedAttention


class Model(CausalLM):
    layer_class = NormedLayer
