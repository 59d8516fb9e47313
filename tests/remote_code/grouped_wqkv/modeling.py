"""One projection whose rows are ordered by group: its queries, its key, its value."""

from torch import nn

from .common import Attention, CausalLM, Layer


class GroupedAttention(Attention):
    def make_projections(self, config):
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.wqkv = nn.Linear(config.hidden_size, width, bias=False)

    def project(self, x):
        batch, tokens, _ = x.shape
        group = self.heads // self.kv_heads
        qkv = self.wqkv(x).view(batch, tokens, self.kv_heads, group + 2, self.head_dim)
        q = qkv[..., :group, :].reshape(batch, tokens, self.heads, self.head_dim)
        return q, qkv[..., -2, :], qkv[..., -1, :]


class GroupedLayer(Layer):
    attention_class = GroupedAttention


class Model(CausalLM):
    layer_class = GroupedLayer
