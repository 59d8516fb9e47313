"""The output of the attention is gated by a sigmoid of the input."""

import torch
from torch import nn

from .common import Attention, CausalLM, Layer


class GatedAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.gate = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x, positions, cache):
        return super().forward(x, positions, cache) * torch.sigmoid(self.gate(x))


class GatedLayer(Layer):
    attention_class = GatedAttention


class Model(CausalLM):
    layer_class = GatedLayer
