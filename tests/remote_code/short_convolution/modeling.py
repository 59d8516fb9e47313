"""A causal convolution over the tokens before the attention."""

from torch import nn

from .common import CausalLM, Layer


class ConvLayer(Layer):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        size = config.hidden_size
        self.conv = nn.Conv1d(size, size, 3, padding=2, groups=size)

    def forward(self, x, positions, cache):
        mixed = self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return super().forward(x + mixed, positions, cache)


class Model(CausalLM):
    layer_class = ConvLayer
