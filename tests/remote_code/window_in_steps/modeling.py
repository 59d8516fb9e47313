"""Blocks of 16 tokens see each other and the block before, cut out of the mask in the layer."""

import torch

from .common import Attention, CausalLM, Layer


class BlockAttention(Attention):
    def mask(self, queries, keys, dtype, device):
        mask = super().mask(queries, keys, dtype, device)
        rows = torch.arange(keys - queries, keys, device=device)[:, None] // 16
        far = torch.arange(keys, device=device)[None, :] // 16 < rows - 1
        return mask.masked_fill(far, torch.finfo(dtype).min)


class BlockLayer(Layer):
    attention_class = BlockAttention


class Model(CausalLM):
    layer_class = BlockLayer
