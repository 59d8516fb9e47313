"""Small models written for one property each, traced without a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from codegen.frontend.hf import Source
from codegen.frontend.self_check import compare
from codegen.frontend.trace import trace_model
from ir.graph import Module

HIDDEN, VOCAB = 8, 16


class ToyConfig(PretrainedConfig):
    model_type = "toy"

    def __init__(self, layers: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_hidden_layers = layers
        self.vocab_size = VOCAB


class ToyLayer(nn.Module):
    """One linear map and a residual; subclasses change what they need."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.layer_idx = index
        self.proj = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.proj(hidden)


class ToyModel(PreTrainedModel):
    """Embedding, layers, head."""

    config_class = ToyConfig

    def __init__(
        self,
        config: ToyConfig,
        make: Callable[[int], nn.Module] = ToyLayer,
        run: Callable[[ToyModel, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(make(i) for i in range(config.num_hidden_layers))
        self.head = nn.Linear(HIDDEN, VOCAB, bias=False)
        self.run = run
        self.post_init()

    def forward(self, input_ids: Tensor, **kwargs: Any) -> CausalLMOutput:
        hidden = self.embed(input_ids)
        if self.run is not None:
            hidden = self.run(self, hidden)
        else:
            for layer in self.layers:
                hidden = layer(hidden)
        return CausalLMOutput(logits=self.head(hidden))


SOURCE = Source(Path("toy"), {}, "", "ToyModel", None, False)


def traced(model: ToyModel, fold: bool = True) -> Module:
    """Traces a toy; its parameters may be real or on the meta device."""
    return trace_model(SOURCE, model.eval().requires_grad_(False), fold)


def check(model: ToyModel, layers: int, fold: bool = True) -> Module:
    """Traces a toy, checks the number of layer functions and the numbers; returns the module."""
    module = traced(model, fold)
    functions = [name for name in module.functions if name.startswith("decoder_layer")]
    assert len(functions) == layers, functions
    compare(model, module, SOURCE)
    return module


def ids(length: int) -> Tensor:
    return torch.arange(length)[None] % VOCAB
