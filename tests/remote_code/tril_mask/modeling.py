"""A stored lower triangle, sliced and used with masked_fill."""

import torch

from .common import Attention, CausalLM, Layer, repeat_kv


class TrilAttention(Attention):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        size = config.max_position_embeddings
        lower = torch.tril(torch.ones(size, size, dtype=torch.bool))[None, None]
        self.register_buffer("lower", lower, persistent=False)

    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        k, v = (repeat_kv(part, self.heads // self.kv_heads) for part in (k, v))
        keys = k.shape[2]
        seen = self.lower[:, :, keys - tokens : keys, :keys]
        scores = self.scores(q, k).masked_fill(~seen, torch.finfo(x.dtype).min)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, -1)
        return self.o_proj(out)


class TrilLayer(Layer):
    attention_class = TrilAttention


class Model(CausalLM):
    layer_class = TrilLayer
