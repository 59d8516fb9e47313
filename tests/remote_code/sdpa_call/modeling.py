"""torch's scaled_dot_product_attention, called directly."""

from torch import nn

from .common import Attention, CausalLM, Layer, repeat_kv


class SdpaAttention(Attention):
    def forward(self, x, positions, cache):
        batch, tokens, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.project(x))
        q, k = self.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        k, v = (repeat_kv(part, self.heads // self.kv_heads) for part in (k, v))
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=tokens > 1)
        return self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1))


class SdpaLayer(Layer):
    attention_class = SdpaAttention


class Model(CausalLM):
    layer_class = SdpaLayer
