"""Queries grow with the position, in steps of 32 tokens."""

import torch

from .common import Attention, CausalLM, Layer


class SteppedAttention(Attention):
    def rotate(self, q, k, positions):
        q, k = super().rotate(q, k, positions)
        steps = torch.floor((positions.float() + 1.0) / 32.0)
        return q * (torch.log1p(steps) * 0.1 + 1.0)[:, None], k


class SteppedLayer(Layer):
    attention_class = SteppedAttention


class Model(CausalLM):
    layer_class = SteppedLayer
