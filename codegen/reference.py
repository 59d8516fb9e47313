"""What HuggingFace computes: the truth that emitted code is compared with.

Float32, the attention that HuggingFace picks, each sequence alone, greedy decoding with its own KV
cache.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codegen.errors import VerificationError
from codegen.images import image_features

# Magnitudes of the seeded random weights. Norm weights and biases leave their trivial values, so
# that one that is dropped or applied wrongly shows in the logits.
# Small, as in trained models: a wrong epsilon in the first norm must show.
_EMBEDDING_STD = 0.05
_NORM_STD = 0.3
_BIAS_STD = 0.2
_LINEAR_GAIN = 1.2


@dataclass(frozen=True)
class ReferenceRun:
    """HuggingFace's numbers for one sequence.

    Attributes:
        prompt: Token ids of the prompt.
        fed: The token that each decode step was given.
        prefill: Logits of the prompt, float32 ``[len(prompt), vocab]``.
        decode: Logits of the decode steps, float32 ``[len(fed), vocab]``.
        layers: Output of every decoder layer in the prefill, ``[len(prompt), hidden]``, by name.
        features: Features of the prompt's images, ``[image tokens, hidden]``; None without images.
    """

    prompt: tuple[int, ...]
    fed: tuple[int, ...]
    prefill: Tensor
    decode: Tensor
    layers: dict[str, Tensor]
    features: Tensor | None = None


@torch.no_grad()
def run_reference(
    model: nn.Module,
    prompt: Sequence[int],
    decode_steps: int,
    layers: Mapping[str, str] | None = None,
    pixels: Tensor | None = None,
) -> ReferenceRun:
    """Runs one sequence.

    Args:
        model: A causal language model in evaluation mode. It is copied where running it could
            change it: RoPE modules that depend on the length remember the longest sequence.
        prompt: Token ids.
        decode_steps: Tokens to decode after the prompt, each the likeliest of the one before.
        layers: Module paths whose outputs are kept, by the name under which they are.
        pixels: The prompt's images, float ``[images, channels, height, width]``.

    Raises:
        VerificationError: The model has no KV cache.
    """
    model = _with_fresh_buffers(model)
    images = {} if pixels is None else {"pixel_values": pixels}
    with _outputs(model, layers or {}) as kept:
        out = model(input_ids=torch.tensor([list(prompt)]), use_cache=True, **images)
        hidden = dict(kept)
    prefill = out.logits[0].float()
    fed: list[int] = []
    rows: list[Tensor] = []
    last = prefill[-1]
    if getattr(out, "past_key_values", None) is None:
        raise VerificationError("the model returns no cache, so it cannot be decoded step by step")
    for _ in range(decode_steps):
        fed.append(int(last.argmax()))
        out = model(
            input_ids=torch.tensor([fed[-1:]]),
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        last = out.logits[0, -1].float()
        rows.append(last)
    features = None if pixels is None else image_features(model, pixels)
    return ReferenceRun(tuple(prompt), tuple(fed), prefill, torch.stack(rows), hidden, features)


def _with_fresh_buffers(model: nn.Module) -> nn.Module:
    shared = {id(p): p for p in model.parameters()}
    return copy.deepcopy(model, dict(shared))


@contextmanager
def _outputs(model: nn.Module, paths: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, result: Any) -> None:
            tensor = result[0] if isinstance(result, tuple) else result
            kept[name] = tensor.detach().reshape(-1, tensor.shape[-1]).float()

        return hook

    handles = [
        model.get_submodule(path).register_forward_hook(keep(name)) for name, path in paths.items()
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def randomize(model: nn.Module, seed: str) -> None:
    """Overwrites every parameter with seeded values of magnitudes a trained model has.

    Vectors are moved away from their initial values (ones, zeros), matrices keep the scale of
    what they are applied to; the values depend on the parameter's name only, not on order.

    Args:
        model: A model fresh from its configuration.
        seed: Decides the values.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    # An output matrix is scaled as one even if it is the embedding too, else every token would
    # predict itself whatever the layers do.
    for module in model.modules():
        tables -= {id(module.weight)} if isinstance(module, nn.Linear) else set()
    for name, parameter in model.named_parameters():
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in tables:
            parameter.copy_(noise * _EMBEDDING_STD)
        elif name.endswith("bias"):
            parameter.copy_(noise * _BIAS_STD)
        elif parameter.ndim == 1 or name.endswith("norm.weight"):
            parameter.add_(noise * _NORM_STD)
        else:
            parameter.copy_(noise * _LINEAR_GAIN * parameter.shape[-1] ** -0.5)
