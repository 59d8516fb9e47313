"""The mean of all tokens is added to every token."""

from .common import CausalLM, Layer


class MeanLayer(Layer):
    def forward(self, x, positions, cache):
        return super().forward(x + x.mean(dim=1, keepdim=True), positions, cache)


class Model(CausalLM):
    layer_class = MeanLayer
