"""One projection for queries, keys and values, with a bias, split in thirds."""

from torch import nn

from .common import Attention, CausalLM, Layer


class FusedAttention(Attention):
    def make_projections(self, config):
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def project(self, x):
        parts = self.c_attn(x).split(self.heads * self.head_dim, dim=2)
        return tuple(part.view(*x.shape[:2], self.heads, self.head_dim) for part in parts)


class FusedLayer(Layer):
    attention_class = FusedAttention


class Model(CausalLM):
    layer_class = FusedLayer
