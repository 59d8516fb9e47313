"""Rotary positions start at one and are divided by four."""

from .common import Attention, CausalLM, Layer


class OffsetAttention(Attention):
    def rotate(self, q, k, positions):
        return super().rotate(q, k, (positions + 1) / 4.0)


class OffsetLayer(Layer):
    attention_class = OffsetAttention


class Model(CausalLM):
    layer_class = OffsetLayer
