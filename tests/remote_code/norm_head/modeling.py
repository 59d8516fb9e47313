"""The output matrix is normalised row by row in every forward."""

import torch
from torch import nn

from .common import CausalLM


class NormHead(nn.Module):
    def __init__(self, size, vocabulary):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, size))

    def forward(self, hidden):
        return nn.functional.linear(hidden, nn.functional.normalize(self.weight))


class Model(CausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.lm_head = NormHead(config.hidden_size, config.vocab_size)
