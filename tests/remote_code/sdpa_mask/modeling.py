"""scaled_dot_product_attention with a boolean mask and grouped heads."""

import torch
from torch import nn

from .common import Attention, CausalLM, Layer


class SdpaAttention(Attention):
    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        keys = torch.arange(k.shape[2], device=x.device)
        seen = keys[None, :] <= positions[:, None]
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, scale=0.3, enable_gqa=True
        )
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1))


class SdpaLayer(Layer):
    attention_class = SdpaAttention


class Model(CausalLM):
    layer_class = SdpaLayer
