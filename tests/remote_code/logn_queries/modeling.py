"""Queries grow with log(position) beyond the training length, from a stored table."""

import math

import torch

from .common import Attention, CausalLM, Layer


class LognAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        trained = config.trained_length
        table = [math.log(i, trained) if i > trained else 1.0 for i in range(1, 1025)]
        self.register_buffer("logn", torch.tensor(table)[None, None, :, None], persistent=False)

    def rotate(self, q, k, positions):
        q, k = super().rotate(q, k, positions)
        return q * self.logn[:, :, positions], k


class LognLayer(Layer):
    attention_class = LognAttention


class Model(CausalLM):
    layer_class = LognLayer
