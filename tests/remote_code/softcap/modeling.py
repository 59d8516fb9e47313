"""Scores and logits are capped by tanh."""

import torch

from .common import Attention, CausalLM, Layer


class CappedAttention(Attention):
    def scores(self, q, k):
        return torch.tanh(super().scores(q, k) / 5.0) * 5.0


class CappedLayer(Layer):
    attention_class = CappedAttention


class Model(CausalLM):
    layer_class = CappedLayer

    def logits(self, hidden):
        return 3.0 * torch.tanh(super().logits(hidden) / 3.0)
