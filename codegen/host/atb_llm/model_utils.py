"""Reads what lies beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

__all__ = ["BaseModel", "safe_get_config_dict", "safe_get_tokenizer_from_pretrained"]


class BaseModel(nn.Module):
    """Base of all models."""


def safe_get_config_dict(model_path: str, **options: object) -> dict[str, Any]:
    """Reads config.json of a directory, or the file itself.

    Raises:
        OSError: There is no such file.
        ValueError: It does not hold a JSON object.
    """
    path = Path(model_path)
    content = json.loads((path / "config.json" if path.is_dir() else path).read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"{model_path}: no JSON object")
    return content


def safe_get_tokenizer_from_pretrained(model_path: str, **options: Any) -> Any:
    """The directory's tokenizer; nothing is downloaded."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path, local_files_only=True, **options)
