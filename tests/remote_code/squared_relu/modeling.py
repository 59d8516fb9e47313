"""The MLP squares a ReLU."""

from torch import nn

from .common import CausalLM, Layer


class SquaredMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x):
        return self.down(nn.functional.relu(self.up(x)) ** 2)


class SquaredLayer(Layer):
    mlp_class = SquaredMLP


class Model(CausalLM):
    layer_class = SquaredLayer
