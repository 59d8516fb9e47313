"""Attention, mask and rotary embedding in plain torch, nothing else special."""

from .common import CausalLM


class Model(CausalLM):
    pass
