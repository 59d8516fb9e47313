"""The C++ compiler, its flags, and compilation that is cached by content."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from codegen.errors import HostError

HERE = Path(__file__).parent
INCLUDE = HERE / "include"
SOURCE = HERE / "src"
_SHOWN_ERRORS = 5


def cache_directory() -> Path:
    """Where compiled code is kept: ``$LLM_CODEGEN_CACHE`` or ``~/.cache/llm-codegen``."""
    given = os.environ.get("LLM_CODEGEN_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "llm-codegen"


def compiler() -> str:
    """The C++ compiler: ``$CXX`` or g++.

    Raises:
        HostError: There is none.
    """
    name = os.environ.get("CXX") or "g++"
    found = shutil.which(name)
    if found is None:
        raise HostError(
            f"the C++ compiler {name} is missing, ATB C++ cannot be executed without it "
            "(remedy: install g++ 9 or newer, on Debian apt-get install g++)"
        )
    return found


@cache
def compiler_version(program: str) -> str:
    """What the compiler says about itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def common_flags() -> list[str]:
    """Flags that the runtime and models share."""
    abi = int(torch.compiled_with_cxx11_abi())
    # Unique symbols would pin a library, and its models could not be unloaded.
    return ["-std=c++17", "-fPIC", "-fno-gnu-unique", f"-D_GLIBCXX_USE_CXX11_ABI={abi}"]


def json_include() -> Path:
    """Where ``nlohmann/json.hpp`` is.

    Raises:
        HostError: The package is not installed.
    """
    spec = importlib.util.find_spec("nlohmann_json")
    if spec is None or spec.origin is None:
        raise HostError(
            "nlohmann/json.hpp is missing (remedy: pip install 'nlohmann-json>=3.12,<4')"
        )
    return Path(spec.origin).parent / "include"


def torch_directory() -> Path:
    """The installed torch, with its headers in ``include`` and libraries in ``lib``."""
    return Path(torch.__file__).parent


def key_of(files: Iterable[tuple[str, bytes]], facts: Sequence[str]) -> str:
    """A name for what is made of these files.

    Args:
        files: Name and content of each, in a fixed order.
        facts: Whatever else the result depends on.
    """
    digest = hashlib.sha256()
    version = compiler_version(compiler())
    for fact in (*facts, torch.__version__, version):
        digest.update(f"{len(fact)}:{fact}".encode())
    for name, content in files:
        digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def made_once(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """A directory that ``make`` fills, from the cache if it was made before.

    Several processes that want the same one wait for the first of them.

    Args:
        kind: What is cached, the name of a folder.
        key: The name that its content determines.
        make: Fills a directory that then gets its final name in one step.
    """
    home = cache_directory() / kind
    final = home / key
    if final.is_dir():
        return final
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"{key}.lock"):
        if not final.is_dir():
            made = Path(tempfile.mkdtemp(dir=home))
            try:
                make(made)
                made.rename(final)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return final


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released with the file, also when the process dies
        yield


def run_compiler(arguments: Sequence[str], what: str) -> None:
    """Runs the compiler.

    Raises:
        HostError: It fails; the message has its first errors.
    """
    environment = {**os.environ, "LC_ALL": "C"}  # messages that _first_errors can read
    done = subprocess.run(
        [compiler(), *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise HostError(f"{what} does not compile:\n{_first_errors(done.stderr)}")


def compile_all(sources: Sequence[Path], flags: Sequence[str], into: Path) -> list[Path]:
    """Compiles sources, as many at a time as there are cores.

    Returns:
        The object files, in the order of the sources.

    Raises:
        HostError: One of them does not compile.
    """
    objects = [into / f"{i}_{source.stem}.o" for i, source in enumerate(sources)]

    def compile_one(pair: tuple[Path, Path]) -> None:
        source, made = pair
        run_compiler([*flags, "-c", str(source), "-o", str(made)], source.name)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(compile_one, zip(sources, objects, strict=True)))
    return objects


def _first_errors(text: str) -> str:
    """The first errors with the lines that show them."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if " error: " in line or "undefined" in line]
    if not places:
        return "\n".join(lines[:_SHOWN_ERRORS])
    return "\n".join("\n".join(lines[i : i + 3]) for i in places[:_SHOWN_ERRORS])
