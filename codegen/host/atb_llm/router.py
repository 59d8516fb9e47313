"""Base of the emitted router, which says where a model's parts are."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.host.atb_llm.model_utils import (
    safe_get_config_dict,
    safe_get_tokenizer_from_pretrained,
)

__all__ = ["BaseRouter"]

_RANGES = {
    "vocab_size": (1, 2147483647),
    "max_position_embeddings": (1, 2147483647),
    "hidden_size": (1, 2147483647),
    "num_hidden_layers": (1, 1000),
    "num_attention_heads": (1, 10000),
}


@dataclass
class BaseRouter:
    """Finds configuration, tokenizer and model class by the names of modules and classes.

    Attributes:
        model_name_or_path: The model directory.
        config_dict: What its config.json holds.
        load_tokenizer: Whether ``tokenizer`` is wanted.
        max_position_embeddings: Replaces the one of config.json.
        tokenizer_path: Where the tokenizer is, default the model directory.
        trust_remote_code: Run code that lies in the directory.
        sub_model_path: Subdirectory with one rank's quantized weights.
    """

    model_name_or_path: str = ""
    config_dict: Any = None
    is_flash_causal_lm: bool = True
    load_tokenizer: bool = True
    max_position_embeddings: int | None = None
    revision: str | None = None
    tokenizer_path: str | None = None
    trust_remote_code: bool = False
    enable_atb_torch: bool = False
    enable_edge: bool = False
    llm_config: Any = None
    sub_model_path: str = ""

    _config: Any = None
    _tokenizer: Any = None

    def __post_init__(self) -> None:
        self.model_type: str = self.config_dict["model_type"]
        self.model_type_cap = self.model_type.capitalize()
        if not self.tokenizer_path:
            self.tokenizer_path = self.model_name_or_path

    @property
    def config(self) -> Any:
        """The configuration, made once by ``get_config``."""
        if self._config is None:
            generation = self.get_generation_config()
            self.config_dict.update(generation)
            self.config_dict["generation_config"] = generation
            self._config = self.get_config()
            if self.max_position_embeddings is not None:
                self._config.max_position_embeddings = self.max_position_embeddings
        return self._config

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, made once by ``get_tokenizer``; None if it is not wanted."""
        if self._tokenizer is None and self.load_tokenizer:
            self._tokenizer = self.get_tokenizer()
        return self._tokenizer

    @property
    def model_cls(self) -> Any:
        """The model class."""
        return self.get_model_cls()

    @staticmethod
    def check_config(config: Any) -> None:
        """Checks the ranges of values.

        Raises:
            ValueError: One is out of its range.
        """
        for name, (low, high) in _RANGES.items():
            value = getattr(config, name, None)
            if value is not None and not low <= value <= high:
                raise ValueError(f"self._config.{name} must be between {low} and {high}")

    def get_config(self) -> Any:
        """Makes the configuration from ``config_dict``."""
        config = self.get_config_cls().from_dict(self.config_dict)
        self.check_config(config)
        return config

    def get_generation_config(self) -> dict[str, Any]:
        """Reads generation_config.json, if there is one."""
        path = Path(self.model_name_or_path) / "generation_config.json"
        return safe_get_config_dict(str(path)) if path.exists() else {}

    def get_config_cls(self) -> Any:
        """The class ``<Type>Config`` of the module ``config_<type>``."""
        return getattr(self._module("config"), f"{self.model_type_cap}Config")

    def get_model_cls(self) -> Any:
        """The class ``Flash<Type>ForCausalLM`` of the module ``flash_causal_<type>``."""
        return getattr(self._module("flash_causal"), f"Flash{self.model_type_cap}ForCausalLM")

    def get_tokenizer(self) -> Any:
        """Reads the tokenizer."""
        return safe_get_tokenizer_from_pretrained(
            self.tokenizer_path or "",
            revision=self.revision,
            padding_side="left",
            truncation_side="left",
            trust_remote_code=self.trust_remote_code,
            use_fast=True,
        )

    def _module(self, kind: str) -> Any:
        package = f"atb_llm.models.{self.model_type}"
        return importlib.import_module(f"{package}.{kind}_{self.model_type}")
