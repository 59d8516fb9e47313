"""The best of two MLPs is chosen for every token."""

import torch
from torch import nn

from .common import MLP, CausalLM, Layer


class RoutedMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, 2, bias=False)
        self.experts = nn.ModuleList(MLP(config) for _ in range(2))

    def forward(self, x):
        chosen = self.gate(x).argmax(-1, keepdim=True)
        return torch.where(chosen == 0, self.experts[0](x), self.experts[1](x))


class RoutedLayer(Layer):
    mlp_class = RoutedMLP


class Model(CausalLM):
    layer_class = RoutedLayer
