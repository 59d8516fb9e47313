"""Attention and MLP read the same norm and are added together."""

from .common import CausalLM, Layer


class ParallelLayer(Layer):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        del self.post_attention_layernorm

    def forward(self, x, positions, cache):
        normed = self.input_layernorm(x)
        return x + self.self_attn(normed, positions, cache) + self.mlp(normed)


class Model(CausalLM):
    layer_class = ParallelLayer
