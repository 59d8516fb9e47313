"""Positions count backwards from the end of the sequence."""

from .common import Attention, CausalLM, Layer


class BackwardAttention(Attention):
    def rotate(self, q, k, positions):
        return super().rotate(q, k, positions[-1] - positions)


class BackwardLayer(Layer):
    attention_class = BackwardAttention


class Model(CausalLM):
    layer_class = BackwardLayer
