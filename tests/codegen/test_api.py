"""The Python API is what the command line wraps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

import codegen
from codegen.request import Target


@pytest.mark.parametrize(
    ("target", "files"),
    [
        (None, {"llamaforcausallm/model/decoder_model.cpp", "llama/run.py", "README.md"}),
        ("atb-cpp", {"llamaforcausallm/layer/decoder_layer.h", "llama/router_llama.py"}),
        ("atb-python", {"llamaforcausallm_atb_float.py", "run.py", "config.json"}),
    ],
)
def test_transform_and_verify(
    zoo: Callable[[str], Path], tmp_path: Path, target: Target | None, files: set[str]
) -> None:
    source, out = zoo("llama-gqa"), tmp_path / "out"
    result = codegen.transform(source, out, **({"target": target} if target else {}))
    assert result.manifest.files.keys() >= files
    assert result.manifest.target == (target or "atb-cpp")
    first, again = codegen.verify(out, source), codegen.verify(out, source)
    assert first.passed
    assert first == again


def test_no_module_hides_a_function_of_the_same_name() -> None:
    for path in Path(str(codegen.__file__)).parent.glob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            importlib.import_module(f"codegen.{path.stem}")
    assert callable(codegen.transform)
    assert callable(codegen.verify)
