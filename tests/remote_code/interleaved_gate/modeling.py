"""One matrix for the MLP; even columns are the gate, odd ones the values."""

from torch import nn

from .common import CausalLM, Layer


class WovenMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.both = nn.Linear(size, 2 * inner)
        self.down = nn.Linear(inner, size, bias=False)

    def forward(self, x):
        both = self.both(x)
        return self.down(nn.functional.silu(both[..., ::2]) * (both[..., 1::2] + 1))


class WovenLayer(Layer):
    mlp_class = WovenMLP


class Model(CausalLM):
    layer_class = WovenLayer
