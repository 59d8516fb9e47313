"""Heads are the fast axis of the projection: [width, heads]."""

from .common import Attention, CausalLM, Layer


class WovenAttention(Attention):
    def project(self, x):
        batch, tokens, _ = x.shape
        parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        return tuple(part.view(batch, tokens, self.head_dim, -1).transpose(2, 3) for part in parts)


class WovenLayer(Layer):
    attention_class = WovenAttention


class Model(CausalLM):
    layer_class = WovenLayer
