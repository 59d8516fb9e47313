"""Tiny random HuggingFace models on disk, and the numbers that HuggingFace computes with them.

`build` writes a model directory as `save_pretrained` does; `reference` runs it. Nothing here knows
the compiler: these are the inputs and the truth of every parity test.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tests.zoo_case import Case
from tests.zoo_configs import REQUIRED
from tests.zoo_configs_extra import EXTRA

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["CASES", "DECODE_STEPS", "PROMPTS", "Case", "Reference", "build", "load", "reference"]

CASES: dict[str, Case] = {case.name: case for case in (*REQUIRED, *EXTRA)}

PROMPTS: tuple[tuple[int, ...], ...] = (
    (17, 3, 88, 42, 9, 71, 25),
    (5, 63, 12, 90, 34, 8, 77, 50, 21, 66, 11, 95),
)
DECODE_STEPS = 8

_EMBEDDING_STD = 0.4
_NORM_STD = 0.3
_BIAS_STD = 0.2
# Times 1 / sqrt(hidden): what a matrix does to a normalised vector, so these are output magnitudes.
_LINEAR_GAIN = 1.2
_HEAD_GAIN = 2.4


@dataclass(frozen=True)
class Reference:
    """What HuggingFace computes for one prompt.

    Attributes:
        prompt: Token ids of the prompt.
        tokens: Greedy continuation, `decode_steps + 1` ids: `tokens[0]` follows the prompt,
            `tokens[i]` is the input of decode step `i`, the last one is never fed back.
        prefill: Logits of every prompt position, float32 `[len(prompt), vocab]`.
        decode: Logits of each decode step, float32 `[vocab]`.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    prefill: Tensor
    decode: tuple[Tensor, ...]


def build(name: str, root: Path) -> Path:
    """Writes one tiny model.

    Args:
        name: A key of `CASES`; it decides the weights, so equal names give equal bytes.
        root: Directory that receives the model directory.

    Returns:
        The model directory `root/name`, with config.json and model.safetensors.

    Raises:
        KeyError: There is no such case.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    case = CASES[name]
    disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)  # vectors keep a part of their initial values, see `perturb`
        model = AutoModelForCausalLM.from_config(case.config(), dtype=torch.float32)
    perturb(model, f"{name}/{case.seed}")
    path = root / name
    model.save_pretrained(path)
    return path


def load(path: Path) -> PreTrainedModel:
    """Loads a model as the reference runs it: float32, default attention, eval mode."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def reference(
    path: Path,
    prompts: Sequence[Sequence[int]] = PROMPTS,
    decode_steps: int = DECODE_STEPS,
) -> list[Reference]:
    """Runs a model with HuggingFace, each prompt alone, greedily and with the KV cache.

    Every prompt gets a model of its own, because length-dependent RoPE modules remember the
    longest sequence they have seen.

    Args:
        path: Model directory.
        prompts: Token ids of each prompt.
        decode_steps: Tokens to decode after the prefill.

    Returns:
        One reference per prompt, in order.
    """
    fresh = load(path)
    return [_run(copy.deepcopy(fresh), tuple(prompt), decode_steps) for prompt in prompts]


@torch.no_grad()
def _run(model: PreTrainedModel, prompt: tuple[int, ...], decode_steps: int) -> Reference:
    out = model(input_ids=torch.tensor([prompt]), use_cache=True)
    prefill = out.logits[0]
    tokens = [int(prefill[-1].argmax())]
    decode = []
    for _ in range(decode_steps):
        out = model(
            input_ids=torch.tensor([tokens[-1:]]),
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        decode.append(out.logits[0, -1])
        tokens.append(int(decode[-1].argmax()))
    return Reference(prompt, tuple(tokens), prefill, tuple(decode))


@torch.no_grad()
def perturb(model: PreTrainedModel, seed: str) -> None:
    """Overwrites every parameter with random values large enough to make mistakes visible.

    Vectors are moved away from what the model's own initialisation gave them (ones for norm
    weights, zeros for biases and for zero-centred norm weights), so no family needs a rule.

    Args:
        model: A model fresh from its configuration.
        seed: Together with a parameter's name, decides its values.
    """
    unit = model.config.get_text_config().hidden_size ** -0.5
    head = getattr(model.get_output_embeddings(), "weight", None)
    embedding = model.get_input_embeddings().weight
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.named_parameters():
        noise = _noise(f"{seed}/{name}", tuple(parameter.shape))
        if parameter is head:
            # A tied head gets small embeddings, else every token predicts itself.
            tied = head is embedding
            parameter.copy_(noise * (_LINEAR_GAIN if tied else _HEAD_GAIN) * unit)
        elif id(parameter) in tables:
            parameter.copy_(noise * _EMBEDDING_STD)
        elif name.endswith("bias"):
            parameter.copy_(noise * _BIAS_STD)
        elif parameter.ndim == 1 or _is_norm(name):
            parameter.add_(noise * _NORM_STD)
        else:
            parameter.copy_(noise * _LINEAR_GAIN * unit)


def _is_norm(name: str) -> bool:
    # Norm weights with one row per head ([heads, head_dim]) look like matrices.
    return name.endswith("norm.weight")


def _noise(seed: str, shape: tuple[int, ...]) -> Tensor:
    # RandomState because its stream is frozen across numpy releases.
    digest = hashlib.sha256(seed.encode()).digest()
    random = np.random.RandomState(int.from_bytes(digest[:4], "little"))
    return torch.from_numpy(random.standard_normal(shape).astype(np.float32))
