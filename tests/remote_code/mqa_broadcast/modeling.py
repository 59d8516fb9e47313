"""One key-value head that matmul broadcasts over the query heads."""

import torch

from .common import Attention, CausalLM, Layer


class BroadcastAttention(Attention):
    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.head_dim**-0.5
        scores = scores + self.mask(tokens, k.shape[2], x.dtype, x.device)
        out = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1))


class BroadcastLayer(Layer):
    attention_class = BroadcastAttention


class Model(CausalLM):
    layer_class = BroadcastLayer
