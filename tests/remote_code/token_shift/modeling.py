"""Every token is mixed with the one before it."""

import torch

from .common import CausalLM, Layer


class ShiftLayer(Layer):
    def forward(self, x, positions, cache):
        before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
        return super().forward(0.7 * x + 0.3 * before, positions, cache)


class Model(CausalLM):
    layer_class = ShiftLayer
