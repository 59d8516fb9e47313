"""Every head has a learned temperature."""

import torch
from torch import nn

from .common import Attention, CausalLM, Layer


class WarmAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))

    def scores(self, q, k):
        return super().scores(q, k) * self.temperature


class WarmLayer(Layer):
    attention_class = WarmAttention


class Model(CausalLM):
    layer_class = WarmLayer
