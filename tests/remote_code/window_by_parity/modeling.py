"""Odd layers see a window of 9 tokens, cut out of the mask in the layer."""

import torch

from .common import Attention, CausalLM, Layer


class WindowAttention(Attention):
    def mask(self, queries, keys, dtype, device):
        mask = super().mask(queries, keys, dtype, device)
        if self.layer_idx % 2:
            rows = torch.arange(keys - queries, keys, device=device)[:, None]
            far = torch.arange(keys, device=device)[None, :] <= rows - 9
            mask = mask.masked_fill(far, torch.finfo(dtype).min)
        return mask


class WindowLayer(Layer):
    attention_class = WindowAttention


class Model(CausalLM):
    layer_class = WindowLayer
