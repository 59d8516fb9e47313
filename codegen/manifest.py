"""The record of a generation: what was made from what. No time and no absolute path in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen import __version__
from codegen.errors import BadInputError

#: Name of the manifest in the output directory.
NAME = "manifest.json"
_TOOL = "llm-codegen"
_SCHEMA = 1

Option = None | bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What was generated from what.

    Attributes:
        target: ``"atb-python"``.
        options: The options that decide the output, by name.
        source: SHA-256 of every source file that decides the output, by name.
        pipeline: Names of the passes that ran, in order.
        model: Facts about the model that readers of the output want (class, type, dtype).
        files: SHA-256 of every generated file but the manifest, by path.
        tool: Name and version of the generator.
    """

    target: str
    options: Mapping[str, Option]
    source: Mapping[str, str]
    pipeline: tuple[str, ...]
    model: Mapping[str, Option]
    files: Mapping[str, str]
    tool: str = f"{_TOOL} {__version__}"

    def to_json(self) -> str:
        """The manifest as text: sorted keys, two spaces, a newline at the end."""
        body = {
            "schema": _SCHEMA,
            "tool": self.tool,
            "target": self.target,
            "options": dict(self.options),
            "source": dict(self.source),
            "pipeline": list(self.pipeline),
            "model": dict(self.model),
            "files": dict(self.files),
        }
        return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=True) + "\n"

    def edited(self, folder: Path) -> list[str]:
        """Files whose bytes are not those that were generated, missing ones included."""
        return [
            path
            for path, digest in sorted(self.files.items())
            if not (folder / path).is_file() or sha256((folder / path).read_bytes()) != digest
        ]


def sha256(data: str | bytes) -> str:
    """Hexadecimal SHA-256 of bytes, of text as UTF-8."""
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).hexdigest()


def digests(files: Mapping[str, str | bytes]) -> dict[str, str]:
    """SHA-256 of every file, by path."""
    return {path: sha256(data) for path, data in sorted(files.items())}


def read(folder: Path) -> Manifest:
    """Reads the manifest of an output directory.

    Raises:
        BadInputError: There is none, or it is not one of ours.
    """
    path = folder / NAME
    try:
        body: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(f"{folder} is not an output of transform: {NAME}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("schema") != _SCHEMA:
        raise BadInputError(f"{path} is not a manifest of this version of {_TOOL}")
    try:
        return Manifest(
            target=_text(body["target"]),
            options={k: _option(v) for k, v in body["options"].items()},
            source={k: _text(v) for k, v in body["source"].items()},
            pipeline=tuple(_text(v) for v in body["pipeline"]),
            model={k: _option(v) for k, v in body["model"].items()},
            files={k: _text(v) for k, v in body["files"].items()},
            tool=_text(body["tool"]),
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise BadInputError(f"{path} is damaged: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _option(value: Any) -> Option:
    if isinstance(value, list):
        return tuple(_text(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} is not an option")
