"""The first four tokens see each other in both directions."""

import torch

from .common import Attention, CausalLM, Layer


class PrefixAttention(Attention):
    def mask(self, queries, keys, dtype, device):
        mask = super().mask(queries, keys, dtype, device)
        prefix = torch.arange(keys, device=device)[None, :] < 4
        return mask.masked_fill(prefix, 0.0)


class PrefixLayer(Layer):
    attention_class = PrefixAttention


class Model(CausalLM):
    layer_class = PrefixLayer
