"""Queries, keys and values are clipped before the rotation."""

from .common import Attention, CausalLM, Layer


class ClippedAttention(Attention):
    def project(self, x):
        return tuple(part.clamp(min=-0.4, max=0.4) for part in super().project(x))


class ClippedLayer(Layer):
    attention_class = ClippedAttention


class Model(CausalLM):
    layer_class = ClippedLayer
