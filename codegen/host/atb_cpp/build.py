"""Builds the host runtime and compiles emitted models against it, both cached by content."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from codegen.errors import HostError
from codegen.host.atb_cpp.toolchain import (
    HERE,
    INCLUDE,
    SOURCE,
    common_flags,
    compile_all,
    json_include,
    key_of,
    made_once,
    run_compiler,
    torch_directory,
)

RUNTIME = "libllmc_atb.so"
_MODEL = "libmodel.so"
_PRELUDE = "atb_prelude.h"
_WARNINGS = ["-Wall", "-Wextra", "-Werror"]
_HEADERS = ("*.h", "*.hpp")


def _contents(files: Sequence[Path], root: Path) -> list[tuple[str, bytes]]:
    return [(str(file.relative_to(root)), file.read_bytes()) for file in sorted(files)]


def _runtime_flags() -> list[str]:
    torch_include = torch_directory() / "include"
    return [
        *common_flags(),
        "-O1",
        "-Wall",
        "-Wextra",
        f"-I{INCLUDE}",
        f"-I{SOURCE}",
        "-isystem",
        str(torch_include),
        "-isystem",
        str(json_include()),
    ]


def _model_flags() -> list[str]:
    # What models spend their time in is the runtime; their own code need not be fast.
    return [*common_flags(), "-O0", f"-I{INCLUDE}", "-isystem", str(json_include())]


def build_runtime() -> Path:
    """The directory with the runtime library, built if these sources were not built before.

    Raises:
        HostError: No compiler, no JSON header, or the runtime does not compile.
    """
    return _build_runtime(tuple(_runtime_flags()), tuple(_model_flags()))


@cache
def _build_runtime(flags: tuple[str, ...], model_flags: tuple[str, ...]) -> Path:
    sources = sorted(SOURCE.rglob("*.cpp"))
    headers = [*SOURCE.rglob("*.h"), *INCLUDE.rglob("*.h")]
    key = key_of(_contents([*sources, *headers], HERE), [*flags, *model_flags])

    def make(into: Path) -> None:
        objects = compile_all(sources, flags, into)
        libraries = torch_directory() / "lib"
        run_compiler(
            [
                "-shared",
                *map(str, objects),
                "-o",
                str(into / RUNTIME),
                f"-L{libraries}",
                f"-Wl,-rpath,{libraries}",
                "-Wl,--no-undefined",
                "-ltorch_cpu",
                "-lc10",
                "-ldl",
                "-lpthread",
            ],
            RUNTIME,
        )
        for made in objects:
            made.unlink()
        prelude = into / _PRELUDE
        prelude.write_text((HERE / "include" / _PRELUDE).read_text())
        run_compiler(
            [*model_flags, "-x", "c++-header", str(prelude), "-o", f"{prelude}.gch"], _PRELUDE
        )

    return made_once("atb_cpp", key, make)


def compile_model(sources: Sequence[Path], include_dirs: Sequence[Path] = ()) -> Path:
    """Compiles the C++ of a model to a library that the runtime can load.

    Args:
        sources: The ``.cpp`` files.
        include_dirs: Where their headers are; all ``.h`` and ``.hpp`` below count for the cache.

    Returns:
        The shared library, in the cache.

    Raises:
        HostError: No source, or it does not compile without warnings.
    """
    if not sources:
        raise HostError("there is no C++ source to compile")
    runtime = build_runtime()
    files = [(str(i), path) for i, path in enumerate(sources)]
    for i, root in enumerate(include_dirs):
        found = sorted(header for kind in _HEADERS for header in root.rglob(kind))
        files += [(f"{i}/{header.relative_to(root)}", header) for header in found]
    flags = [*_model_flags(), *_WARNINGS, *(f"-I{path}" for path in include_dirs)]
    # The include directories themselves are left aside: their content counts, not their place.
    facts = [runtime.name, *_model_flags(), *_WARNINGS, *(path.name for path in sources)]
    key = key_of([(name, path.read_bytes()) for name, path in files], facts)

    def make(into: Path) -> None:
        prelude = ["-Winvalid-pch", "-include", str(runtime / _PRELUDE)]
        objects = compile_all(sources, [*prelude, *flags], into)
        run_compiler(
            [
                "-shared",
                *map(str, objects),
                "-o",
                str(into / _MODEL),
                f"-L{runtime}",
                f"-Wl,-rpath,{runtime}",
                "-Wl,--no-undefined",
                "-lllmc_atb",
            ],
            "the model library",
        )
        for made in objects:
            made.unlink()

    return made_once("atb_cpp_models", key, make) / _MODEL
