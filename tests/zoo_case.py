"""What one tiny model of the zoo is, and the option sets that the lists of cases share.

Every case is a HuggingFace configuration small enough to run in milliseconds, with no default
value where a default could hide a mistake (epsilons, RoPE base, multipliers, head sizes).
transformers is imported only when a configuration is asked for.

Conventions, unless a case says otherwise: 3 layers, hidden 64, 4 query heads of size 16,
vocabulary 104, at most 64 positions. Families whose partial rotary factor fixes the rotated size
use hidden 128 (head size 32, 16 rotated), because Ascend's RoPE wants at least 16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Tier = Literal["required", "extra"]


@dataclass(frozen=True)
class Case:
    """One tiny model.

    Attributes:
        name: Kebab-case key of the case; also part of the seed of its weights.
        config: Makes a fresh configuration; imports transformers when called.
        tier: "required" for the architectures the product promises, "extra" for breadth.
        notes: What this case makes visible.
        rope_boundary: Longest sequence (in tokens) for which the rotary frequencies are those of
            a short sequence; beyond it they depend on the sequence length, so that cached keys
            and a forward pass without a cache disagree. None where frequencies never change.
    """

    name: str
    config: Callable[[], PretrainedConfig]
    tier: Tier
    notes: str
    rope_boundary: int | None = None
    seed: int = 0


def _make(model_type: str, options: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    # A copy, because configurations write their defaults into the dictionaries they are given.
    return AutoConfig.for_model(model_type, **copy.deepcopy(options))


def case(
    name: str,
    model_type: str,
    options: dict[str, Any],
    notes: str,
    *,
    tier: Tier = "required",
    rope_boundary: int | None = None,
    seed: int = 0,
) -> Case:
    """Returns a case whose configuration is `model_type` with `options`."""
    return Case(name, partial(_make, model_type, options), tier, notes, rope_boundary, seed)


TOKENS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
COMMON: dict[str, Any] = {"vocab_size": 104, "tie_word_embeddings": False, **TOKENS}
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
ROPE: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}
# Pre-norm, gated MLP, RMSNorm: the layout most families share.
BASE: dict[str, Any] = {
    **COMMON,
    **SIZES,
    **ROPE,
    "num_key_value_heads": 2,
    "intermediate_size": 112,
    "rms_norm_eps": 1e-6,
}
# The same with LayerNorm; each family spells its epsilon differently.
BASE_LN: dict[str, Any] = {k: v for k, v in BASE.items() if k != "rms_norm_eps"}
NO_KV: dict[str, Any] = {k: v for k, v in BASE_LN.items() if k != "num_key_value_heads"}
WIDE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 112}
# Of every LayerNorm and some RMSNorms: so large that a wrong epsilon is far outside any tolerance.
EPSILON = 1e-3
# The test prompts have 7 and 12 tokens and 8 more are decoded, so every prompt outgrows the window.
WINDOW = 5
# Length at which length-dependent RoPE switches: the short prompt crosses it while decoding, the
# long prompt is past it from the start.
SHORT_CONTEXT = 10
SHORT = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.1, 3.8]
LONG = [1.5, 2.2, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0]


def rope(rope_type: str, **options: Any) -> dict[str, Any]:
    """Returns the option that selects a kind of rotary embedding; the base is 1000 if not given."""
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 1000.0, **options}}
