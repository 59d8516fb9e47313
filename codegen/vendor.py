"""Checks emitted C++ against the vendor's own headers, where the user has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import BadInputError

#: Where CANN's environment scripts say that ATB and the runtime are.
VARIABLES = ("ATB_HOME_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_NEEDED = "atb/atb_infer.h"
_SHOWN = 3


@dataclass(frozen=True)
class SyntaxCheck:
    """What the compiler says of one source file.

    Attributes:
        path: Relative to the output directory.
        errors: The first lines of its complaints; none if it accepts the file.
    """

    path: str
    errors: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """The compiler accepts the file."""
        return not self.errors


def check_syntax(out: Path, sources: Sequence[str], include: Sequence[Path]) -> list[SyntaxCheck]:
    """Compiles every source with ``-fsyntax-only`` against the vendor's headers.

    Args:
        out: The output directory.
        sources: C++ sources relative to it.
        include: Further folders with headers: those of MindIE-LLM and what they include.

    Raises:
        BadInputError: A folder or the headers of ATB are missing, or there is no compiler.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise BadInputError("--vendor-headers needs g++: install it (Debian: apt-get install g++)")
    folders = [*_from_environment(), *include]
    missing = [str(folder) for folder in include if not folder.is_dir()]
    if missing:
        raise BadInputError(f"no such folder: {', '.join(missing)}")
    if not any((folder / _NEEDED).is_file() for folder in folders):
        raise BadInputError(
            f"no {_NEEDED} found: source CANN's set_env.sh so that ATB_HOME_PATH is set, or name "
            "its include folder with --include"
        )
    flags = [f"-I{folder}" for folder in folders]
    return [_check(compiler, out, path, flags) for path in sources]


def _from_environment() -> list[Path]:
    homes = [Path(value) for name in VARIABLES if (value := os.environ.get(name))]
    return [home / "include" for home in homes if (home / "include").is_dir()]


def _check(compiler: str, out: Path, path: str, flags: Sequence[str]) -> SyntaxCheck:
    command = [compiler, "-std=c++17", "-fsyntax-only", *flags, str(out / path)]
    english = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=english)
    if done.returncode == 0:
        return SyntaxCheck(path, ())
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    return SyntaxCheck(path, tuple(lines[:_SHOWN]) or ("the compiler refuses it",))
