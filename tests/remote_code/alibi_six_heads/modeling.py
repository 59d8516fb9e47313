"""ALiBi for six heads, slopes computed in the code, no rotary embedding."""

import math

import torch

from .common import Attention, CausalLM, Layer


def slopes(heads):
    closest = 2 ** math.floor(math.log2(heads))
    base = 2 ** (-(2 ** -(math.log2(closest) - 3)))
    extra = 2 ** (-(2 ** -(math.log2(2 * closest) - 3)))
    powers = [base ** (i + 1) for i in range(closest)]
    return powers + [extra ** (2 * i + 1) for i in range(heads - closest)]


class AlibiAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        table = torch.tensor(slopes(self.heads))[:, None, None]
        self.register_buffer("slopes", table, persistent=False)

    def rotate(self, q, k, positions):
        return q, k

    def mask(self, queries, keys, dtype, device):
        rows = torch.arange(keys - queries, keys, device=device)[:, None]
        distance = (torch.arange(keys, device=device)[None, :] - rows).to(dtype)
        return super().mask(queries, keys, dtype, device) + self.slopes * distance


class AlibiLayer(Layer):
    attention_class = AlibiAttention


class Model(CausalLM):
    layer_class = AlibiLayer
