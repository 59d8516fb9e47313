"""Neighbouring pairs of the first half of every head turn; a stored cos/sin cache."""

import torch

from .common import Attention, CausalLM, Layer, frequencies


class PairAttention(Attention):
    def rotate(self, q, k, positions):
        angles = torch.outer(positions.float(), frequencies(self.head_dim // 2, 10000.0))
        table = torch.stack((angles.cos(), angles.sin()), dim=-1)
        return turn(q, table), turn(k, table)


def turn(x, table):
    width = 2 * table.shape[1]
    turned, kept = x[..., :width], x[..., width:]
    pairs = turned.reshape(*turned.shape[:-1], width // 2, 2)
    table = table.view(1, 1, x.shape[2], width // 2, 2)
    out = torch.stack(
        (
            pairs[..., 0] * table[..., 0] - pairs[..., 1] * table[..., 1],
            pairs[..., 1] * table[..., 0] + pairs[..., 0] * table[..., 1],
        ),
        -1,
    )
    return torch.cat((out.flatten(3), kept), dim=-1)


class PairLayer(Layer):
    attention_class = PairAttention


class Model(CausalLM):
    layer_class = PairLayer
