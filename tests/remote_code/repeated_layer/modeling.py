"""One layer's weights are used three times, each time with a cache of its own."""

from torch import nn

from .common import CausalLM, Layer


class ThriceLayer(Layer):
    def forward(self, x, positions, cache):
        for index in range(3):
            self.self_attn.layer_idx = index
            x = super().forward(x, positions, cache)
        return x


class Model(CausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([ThriceLayer(config, 0)])
