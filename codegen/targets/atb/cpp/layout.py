"""Lays emitted C++ out with clang-format."""

from __future__ import annotations

import subprocess

from codegen import templates
from codegen.errors import CodegenError


def format_cpp(text: str) -> str:
    """The text as clang-format lays it out.

    Raises:
        CodegenError: clang-format is missing or refuses the text.
    """
    style = templates.root() / "atb_cpp" / "clang-format.yaml"
    command = [_clang_format(), f"--style=file:{style}", "--assume-filename=emitted.cpp"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CodegenError(f"clang-format refuses the emitted text: {done.stderr.strip()}")
    return done.stdout


def _clang_format() -> str:
    try:
        from clang_format import get_executable
    except ImportError as error:
        raise CodegenError("clang-format is not installed: reinstall llm-codegen") from error
    return str(get_executable("clang-format"))
