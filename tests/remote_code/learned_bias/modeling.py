"""A learned bias per head and distance is added to the scores."""

import torch
from torch import nn

from .common import Attention, CausalLM, Layer


class BiasAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.relative = nn.Embedding(32, self.heads)

    def mask(self, queries, keys, dtype, device):
        rows = torch.arange(keys - queries, keys, device=device)[:, None]
        distance = (rows - torch.arange(keys, device=device)[None, :]).clamp(0, 31)
        bias = self.relative(distance).permute(2, 0, 1)
        return super().mask(queries, keys, dtype, device) + bias


class BiasLayer(Layer):
    attention_class = BiasAttention


class Model(CausalLM):
    layer_class = BiasLayer
