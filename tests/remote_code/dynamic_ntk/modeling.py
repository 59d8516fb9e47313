"""The rotary base grows with the length of the sequence, decided in Python."""

import math

from .common import Attention, CausalLM, Layer, rotary


class NtkAttention(Attention):
    def rotate(self, q, k, positions):
        length = positions.shape[0]
        alpha = 1.0
        if length > self.config.trained_length:
            alpha = 2 ** math.ceil(math.log(length / self.config.trained_length, 2) + 1) - 1
        theta = self.config.rope_theta * alpha ** (self.head_dim / (self.head_dim - 2))
        return rotary(q, positions, theta), rotary(k, positions, theta)


class NtkLayer(Layer):
    attention_class = NtkAttention


class Model(CausalLM):
    layer_class = NtkLayer
