"""A window of 40 tokens that is cut out by comparing distances with a product of numbers."""

import torch

from .common import Attention, CausalLM, Layer


class FarAttention(Attention):
    def mask(self, queries, keys, dtype, device):
        mask = super().mask(queries, keys, dtype, device)
        rows = torch.arange(keys - queries, keys, device=device)[:, None].float()
        far = (rows - torch.arange(keys, device=device)[None, :]) / 10.0 >= 4.0
        return mask.masked_fill(far, torch.finfo(dtype).min)


class FarLayer(Layer):
    attention_class = FarAttention


class Model(CausalLM):
    layer_class = FarLayer
