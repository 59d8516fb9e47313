"""Keys turn with another base than queries."""

from .common import Attention, CausalLM, Layer, rotary


class TwoBasesAttention(Attention):
    def rotate(self, q, k, positions):
        return rotary(q, positions, 10000.0), rotary(k, positions, 500.0)


class TwoBasesLayer(Layer):
    attention_class = TwoBasesAttention


class Model(CausalLM):
    layer_class = TwoBasesLayer
