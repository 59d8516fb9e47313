"""The manifest is deterministic, free of the machine it was written on, and checked when read."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import codegen
from codegen import manifest
from codegen.errors import BadInputError
from codegen.manifest import Manifest

FILES: dict[str, str | bytes] = {"b.py": "two\n", "a.py": b"one\n"}
EXAMPLE = Manifest(
    target="atb-python",
    options={"python_api": "torch_atb", "trust_remote_code": False},
    source={"config.json": manifest.sha256("{}")},
    pipeline=("cache-kv", "pack-linears"),
    model={"model_class": "LlamaForCausalLM", "vocab_size": 32},
    files=manifest.digests(FILES),
)


def test_round_trips(tmp_path: Path) -> None:
    (tmp_path / manifest.NAME).write_text(EXAMPLE.to_json())
    assert manifest.read(tmp_path) == EXAMPLE


def test_order_of_insertion_does_not_matter() -> None:
    turned = replace(EXAMPLE, files=dict(reversed(EXAMPLE.files.items())))
    assert turned.to_json() == EXAMPLE.to_json()


def test_names_the_edited_and_the_missing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"one\n")
    assert EXAMPLE.edited(tmp_path) == ["b.py"]
    (tmp_path / "b.py").write_text("three\n")
    assert EXAMPLE.edited(tmp_path) == ["b.py"]
    (tmp_path / "b.py").write_text("two\n")
    assert EXAMPLE.edited(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "{",
        "[" * 100_000,
        json.dumps({"schema": 2}),
        json.dumps({"schema": 1}),
        json.dumps({**json.loads(EXAMPLE.to_json()), "files": ["a.py"]}),
        json.dumps({**json.loads(EXAMPLE.to_json()), "target": 3}),
        json.dumps({**json.loads(EXAMPLE.to_json()), "options": {"x": {"y": 1}}}),
    ],
)
def test_a_damaged_manifest_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.NAME).write_text(text)
    with pytest.raises(BadInputError, match=r"manifest\.json"):
        manifest.read(tmp_path)


def test_not_text_at_all(tmp_path: Path) -> None:
    (tmp_path / manifest.NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match=r"manifest\.json"):
        manifest.read(tmp_path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not an output of transform"):
        manifest.read(tmp_path)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["version"] == codegen.__version__
