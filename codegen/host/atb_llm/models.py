"""How a model directory finds its router."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from codegen.host.atb_llm.model_utils import safe_get_config_dict

__all__ = ["DEFAULT_CONFIG_PATH", "LLMConfig", "get_model"]

#: Where the original has its settings; the stand-in has none.
DEFAULT_CONFIG_PATH = ""


class LLMConfig:
    """Settings of the engine; the stand-in has none that emitted code would see."""

    def __init__(self, llm_config_path: str) -> None:
        self.llm_config_path = llm_config_path

    def update(
        self, config_dict: object, allow_new_keys: bool = False, current_path: str = ""
    ) -> None:
        """Accepts settings."""

    def merge_models_config(self, model_name: str) -> None:
        """Accepts the settings of one model."""


def get_model(
    model_name_or_path: str,
    is_flash_causal_lm: bool = True,
    load_tokenizer: bool = True,
    max_position_embeddings: int | None = None,
    revision: str | None = None,
    tokenizer_path: str | None = None,
    trust_remote_code: bool = False,
    enable_atb_torch: bool = False,
    enable_edge: bool = False,
    llm_config_path: str | None = None,
    models_dict: dict[str, Any] | None = None,
    sub_model_path: str = "",
) -> Any:
    """Makes the router for a model directory, by the model type of its config.json.

    Raises:
        NotImplementedError: No package of that model type is there.
    """
    config = safe_get_config_dict(model_name_or_path)
    kind = config["model_type"] = str(config["model_type"]).lower()
    name = f"atb_llm.models.{kind}.router_{kind}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise NotImplementedError(
            f"unsupported model type: {kind} of {Path(model_name_or_path).name} is not that of the "
            "installed package"
        ) from error
    router: Any = getattr(module, f"{kind.capitalize()}Router")
    return router(
        model_name_or_path,
        config,
        is_flash_causal_lm,
        load_tokenizer,
        max_position_embeddings,
        revision,
        tokenizer_path,
        trust_remote_code,
        enable_atb_torch,
        enable_edge,
        LLMConfig(llm_config_path or DEFAULT_CONFIG_PATH),
        sub_model_path,
    )
