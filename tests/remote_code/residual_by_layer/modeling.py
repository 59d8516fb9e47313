"""What a layer adds is scaled by a constant of that layer."""

import math

from .common import CausalLM, Layer


class ScaledLayer(Layer):
    def forward(self, x, positions, cache):
        factor = 1.0 / math.sqrt(2.0 * (self.layer_idx + 1))
        x = x + factor * self.self_attn(self.input_layernorm(x), positions, cache)
        return x * 0.5**self.layer_idx + factor * self.mlp(self.post_attention_layernorm(x))


class Model(CausalLM):
    layer_class = ScaledLayer
