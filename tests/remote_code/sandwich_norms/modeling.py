"""Norms before and after both halves of a layer."""

from .common import CausalLM, Layer, RMSNorm


class SandwichLayer(Layer):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.after_attention = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.after_mlp = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, positions, cache):
        x = x + self.after_attention(self.self_attn(self.input_layernorm(x), positions, cache))
        return x + self.after_mlp(self.mlp(self.post_attention_layernorm(x)))


class Model(CausalLM):
    layer_class = SandwichLayer
