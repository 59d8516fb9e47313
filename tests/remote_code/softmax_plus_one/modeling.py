"""One is added to the softmax's denominator."""

import torch

from .common import Attention, CausalLM, Layer, repeat_kv


class QuietAttention(Attention):
    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        k, v = (repeat_kv(part, self.heads // self.kv_heads) for part in (k, v))
        scores = self.scores(q, k) + self.mask(tokens, k.shape[2], x.dtype, x.device)
        weights = torch.exp(scores)
        weights = weights / (1.0 + weights.sum(-1, keepdim=True))
        return self.o_proj((weights @ v).transpose(1, 2).reshape(batch, tokens, -1))


class QuietLayer(Layer):
    attention_class = QuietAttention


class Model(CausalLM):
    layer_class = QuietLayer
