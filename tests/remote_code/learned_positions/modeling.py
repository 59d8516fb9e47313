"""Learned positions, shifted by two, added to the embedding; no rotation."""

from torch import nn

from .common import Attention, CausalLM, Layer


class PlainAttention(Attention):
    def rotate(self, q, k, positions):
        return q, k


class PlainLayer(Layer):
    attention_class = PlainAttention


class Model(CausalLM):
    layer_class = PlainLayer

    def __init__(self, config):
        super().__init__(config)
        self.embed_positions = nn.Embedding(config.max_position_embeddings + 2, config.hidden_size)

    def embed(self, input_ids, positions):
        return super().embed(input_ids, positions) + self.embed_positions(positions + 2)
