"""Compares a traced module with the model it was traced from, on numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from codegen.errors import Problem, UnsupportedError
from codegen.frontend.hf import Source, accepted, build_real, load_config
from codegen.frontend.weights import WeightNames
from ir.graph import Module
from ir.interpret import interpret

_PROMPT_LENGTHS = (1, 5, 11)
_TOLERANCE = 1e-4


def self_check(source: Source, module: Module) -> float:
    """Runs a traced module and HuggingFace's model on the same random weights.

    A trace can silently lose what the code does behind the tracer's back, such as assigning to
    ``weight.data`` in forward. That shows here.

    Args:
        source: The directory the module was traced from; its weights are not read.
        module: What ``trace`` returned for it.

    Returns:
        The largest absolute difference of logits.

    Raises:
        UnsupportedError: The numbers differ by more than 1e-4 of the largest logit.
        BadInputError: The model cannot be built.
    """
    return compare(build_real(source, load_config(source)), module, source)


def compare(model: PreTrainedModel, module: Module, source: Source) -> float:
    """As `self_check`, for a model that was built already; its weights are overwritten."""
    names = WeightNames(model, source.weights)
    randomise(model)
    weights = {
        names.stored[name]: tensor
        for name, tensor in model.state_dict().items()
        if name in names.stored
    }
    worst = 0.0
    for length in _PROMPT_LENGTHS:
        wanted, made = _logits(model, module, weights, length)
        difference = (wanted - made).abs().max().item()
        limit = _TOLERANCE * max(1.0, wanted.abs().max().item())
        if not difference <= limit:
            reason = (
                f"the traced graph does not compute what the model computes: logits differ by "
                f"{difference:.1e} for {length} tokens (limit {limit:.1e})"
            )
            remedy = "forward must not change weights or depend on values in Python"
            raise UnsupportedError([Problem("", "", reason, remedy)])
        worst = max(worst, difference)
    return worst


@torch.no_grad()
def _logits(
    model: PreTrainedModel, module: Module, weights: Mapping[str, torch.Tensor], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(_vocabulary(model), (1, length), generator=generator)
    inputs = {"input_ids": ids, "position_ids": torch.arange(length)[None]}
    given = {name: inputs[name] for name in ("input_ids", *accepted(model, "position_ids"))}
    (made,) = interpret(module, inputs, weights).values()
    # A copy, because rotary embeddings and forwards that change weights remember what they saw.
    wanted = copy.deepcopy(model)(**given, use_cache=False).logits
    return wanted, made


def _vocabulary(model: PreTrainedModel) -> int:
    named = getattr(model.config, "vocab_size", None)
    tables = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)]
    return named if isinstance(named, int) else max(tables, default=1)


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Gives every parameter values so large that a mistake shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter.add_(0.3 * noise)
        else:
            parameter.copy_(1.2 * noise * parameter.shape[-1] ** -0.5)


def shrunk(config: PreTrainedConfig, layers: int = 2) -> PreTrainedConfig:
    """A configuration of the same model with fewer layers."""
    small = copy.deepcopy(config)
    if getattr(small, "num_hidden_layers", 0) > layers:
        kinds = getattr(small, "layer_types", None)
        small.num_hidden_layers = layers
        if isinstance(kinds, list):
            small.layer_types = kinds[:layers]
    return small
