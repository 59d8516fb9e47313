"""One matrix for both halves of the MLP, the gate is the second half."""

from torch import nn

from .common import CausalLM, Layer


class PackedMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.up_gate = nn.Linear(size, 2 * inner, bias=False)
        self.down = nn.Linear(inner, size, bias=False)

    def forward(self, x):
        up, gate = self.up_gate(x).chunk(2, dim=-1)
        return self.down(up * nn.functional.silu(gate))


class PackedLayer(Layer):
    mlp_class = PackedMLP


class Model(CausalLM):
    layer_class = PackedLayer
