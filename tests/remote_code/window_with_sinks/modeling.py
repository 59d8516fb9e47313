"""A window of 9 tokens, and the first two tokens are always seen."""

import torch

from .common import Attention, CausalLM, Layer


class SinkAttention(Attention):
    def mask(self, queries, keys, dtype, device):
        mask = super().mask(queries, keys, dtype, device)
        rows = torch.arange(keys - queries, keys, device=device)[:, None]
        columns = torch.arange(keys, device=device)[None, :]
        far = (columns <= rows - 9) & (columns >= 2)
        return mask.masked_fill(far, torch.finfo(dtype).min)


class SinkLayer(Layer):
    attention_class = SinkAttention


class Model(CausalLM):
    layer_class = SinkLayer
