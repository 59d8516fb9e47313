"""The last half of every head turns, the first half does not."""

import torch

from .common import Attention, CausalLM, Layer, rotary


class LastAttention(Attention):
    def rotate(self, q, k, positions):
        return turn_last(q, positions), turn_last(k, positions)


def turn_last(x, positions):
    half = x.shape[-1] // 2
    return torch.cat((x[..., :half], rotary(x[..., half:], positions, 10000.0)), dim=-1)


class LastLayer(Layer):
    attention_class = LastAttention


class Model(CausalLM):
    layer_class = LastLayer
