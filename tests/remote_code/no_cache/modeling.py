"""A model that keeps no keys and values."""

from .common import CausalLM


class Model(CausalLM):
    def forward(self, input_ids, **kwargs):
        return super().forward(input_ids, use_cache=False)
