"""Compilation: cached by content, once however many ask, errors with what the compiler said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.errors import HostError
from codegen.host.atb_cpp import build_runtime, compile_model
from codegen.host.atb_cpp.toolchain import cache_directory

SOURCE = '#include "value.h"\n#include <atb/atb_infer.h>\nint Answer() { return kValue; }\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of one source and one header, and a cache that holds only the runtime."""
    build_runtime()
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "atb_cpp").symlink_to(cache_directory() / "atb_cpp")
    monkeypatch.setenv("LLM_CODEGEN_CACHE", str(cache))
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.cpp").write_text(SOURCE)
    (made / "value.h").write_text("constexpr int kValue = 42;\n")
    return made


def compiled(folder: Path) -> Path:
    return compile_model([folder / "model.cpp"], [folder])


def test_the_content_decides(folder: Path) -> None:
    first = compiled(folder)
    assert first.is_file()
    stamp = first.stat().st_mtime_ns
    again = compiled(folder)
    assert (again, again.stat().st_mtime_ns) == (first, stamp)
    (folder / "model.cpp").write_text(f"{SOURCE}\n")
    second = compiled(folder)
    assert second != first
    (folder / "value.h").write_text("constexpr int kValue = 43;\n")
    assert compiled(folder) not in (first, second)


def test_several_processes_compile_once(folder: Path) -> None:
    calls = folder / "calls"
    wrapper = folder / "counting-g++"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec g++ "$@"\n')
    wrapper.chmod(0o755)
    script = (
        "import sys, pathlib; from codegen.host.atb_cpp import compile_model; "
        "p = pathlib.Path(sys.argv[1]); print(compile_model([p / 'model.cpp'], [p]))"
    )
    environment = {**os.environ, "CXX": str(wrapper)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert len(results) == 1
    assert Path(results.pop()).is_file()
    compilations = [line for line in calls.read_text().splitlines() if " -c " in line]
    assert len(compilations) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("int Answer() { return missing; }\n", r"model.cpp does not compile:\n.*error: 'missing'"),
        ("int Answer(int x) { return 1; }\n", "error: unused parameter"),
        ("int Missing();\nint Answer() { return Missing(); }\n", "undefined reference to"),
        (
            "#include <atb/atb_infer.h>\nint Answer() { return atb::infer::LinearParam().bias; }\n",
            "has no member named",
        ),
    ],
)
def test_errors_of_the_compiler_are_shown(folder: Path, text: str, problem: str) -> None:
    (folder / "model.cpp").write_text(text)
    with pytest.raises(HostError, match=problem):
        compiled(folder)
    left = [p for p in (cache_directory() / "atb_cpp_models").iterdir() if p.is_dir()]
    assert left == []


def test_a_missing_compiler_is_an_error_with_a_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(HostError, match=r"no-such-compiler is missing.*remedy: install g\+\+"):
        compiled(folder)


def test_there_must_be_a_source(folder: Path) -> None:
    with pytest.raises(HostError, match=r"no C\+\+ source"):
        compile_model([], [folder])
