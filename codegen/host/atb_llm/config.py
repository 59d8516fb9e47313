"""Base of the emitted configuration class."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import torch

__all__ = ["BaseConfig"]

#: What the original makes an object of, with the fields that always exist.
_SECTIONS: dict[str, dict[str, Any]] = {
    "rope_scaling": {"factor": 1.0, "type": "linear", "rope_type": None},
    "quantization_config": {
        "group_size": 0,
        "kv_quant_type": None,
        "fa_quant_type": None,
        "reduce_quant_type": None,
    },
    "generation_config": {"max_new_tokens": None, "pad_token_id": None, "eos_token_id": None},
}
#: The sections that take only the keys that they know.
_CLOSED = frozenset(
    "factor type long_factor short_factor low_freq_factor high_freq_factor rope_type rope_theta "
    "original_max_position_embeddings attention_factor beta_fast beta_slow mrope_section "
    "mrope_interleaved".split()
)


class BaseConfig:
    """Values of config.json as attributes.

    Names in ``attribute_map`` are other spellings: reading or writing one reaches the field that
    it stands for.
    """

    attribute_map: ClassVar[dict[str, str]] = {}
    model_type: str = ""
    max_position_embeddings: int = 0
    vocab_size: int = 0
    quantize: str | None = None
    tie_word_embeddings: bool = True
    do_sample: bool = False
    eos_token_id: int | list[int] | None = None
    torch_dtype: Any = None
    rope_scaling: Any = None
    quantization_config: Any = None
    generation_config: Any = None
    is_reasoning_model: bool = False

    def __init__(self, **values: Any) -> None:
        for key, value in values.items():
            setattr(self, key, value)
        if isinstance(self.torch_dtype, str):
            self.torch_dtype = getattr(torch, self.torch_dtype)
        for name, defaults in _SECTIONS.items():
            given: Mapping[str, Any] = getattr(self, name) or {}
            unknown = set(given) - _CLOSED if name == "rope_scaling" else set[str]()
            if unknown:
                raise TypeError(f"{name} got an unexpected keyword {sorted(unknown)[0]!r}")
            setattr(self, name, SimpleNamespace(**{**defaults, **given}))

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(type(self).attribute_map.get(key, key), value)

    def __getattribute__(self, key: str) -> Any:
        names: dict[str, str] = object.__getattribute__(self, "__class__").attribute_map
        return super().__getattribute__(names.get(key, key))

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **values: Any) -> Self:
        """Makes the configuration and checks it.

        Raises:
            ValueError: A value cannot be used.
        """
        config_dict.update(values)
        config = cls(**config_dict)
        config.validate()
        return config

    def validate(self) -> None:
        """Checks values.

        Raises:
            ValueError: One cannot be used.
        """
        for name in ("max_position_embeddings", "vocab_size"):
            if getattr(self, name) == 0:
                raise ValueError(f"The parameter `{name}` is not initialized.")
