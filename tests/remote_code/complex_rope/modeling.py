"""Rotation as a product of complex numbers."""

import torch

from .common import Attention, CausalLM, Layer, frequencies


class ComplexAttention(Attention):
    def rotate(self, q, k, positions):
        angles = torch.outer(positions.float(), frequencies(self.head_dim, 10000.0))
        turns = torch.polar(torch.ones_like(angles), angles)
        return turn(q, turns), turn(k, turns)


def turn(x, turns):
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(3).type_as(x)


class ComplexLayer(Layer):
    attention_class = ComplexAttention


class Model(CausalLM):
    layer_class = ComplexLayer
