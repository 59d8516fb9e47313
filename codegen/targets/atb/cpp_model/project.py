"""Finds the files of a C++ model: the pair that is meant, and what it derives from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import BadInputError
from codegen.targets.atb.cpp_model.syntax import SourceFile, parse, string_value, text, walk

_SOURCE, _HEADER = (".cpp", ".cc", ".cxx"), (".h", ".hpp")
#: Headers worth following: those of models and of their parameters, not of layers and operations.
_FOLLOWED = re.compile(r"(.*/)?(model|param)/[^/]+\.(h|hpp)|[^/]+\.(h|hpp)")
_FILES = 64
_SHOWN = 4


@dataclass(frozen=True)
class Pair:
    """A source file and its header."""

    source: Path
    header: Path


def find_pair(path: Path) -> Pair:
    """The pair that a file or folder means.

    Args:
        path: A source file or header whose twin lies beside it, or a folder with exactly one pair,
            or with exactly one that registers a model.

    Raises:
        BadInputError: There is none, or there are several.
    """
    if path.is_dir():
        return _pair_in(path)
    if not path.exists():
        raise BadInputError(f"{path}: no such file or folder")
    if path.suffix not in (*_SOURCE, *_HEADER):
        raise BadInputError(f"{path}: not a C++ source file or header")
    wanted = _HEADER if path.suffix in _SOURCE else _SOURCE
    twin = _twin(path, wanted)
    if twin is None:
        kind = "header" if wanted is _HEADER else "source file"
        raise BadInputError(f"{path}: there is no {kind} {path.stem}{wanted[0]} beside it")
    return Pair(path, twin) if wanted is _HEADER else Pair(twin, path)


def _pair_in(folder: Path) -> Pair:
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise BadInputError(f"{folder}: {error.strerror or error}") from error
    sources = [file for file in files if file.suffix in _SOURCE]
    headers = [file for file in files if file.suffix in _HEADER]
    if not sources or not headers:
        raise BadInputError(
            f"{folder}: needs one C++ source file and its header, has {_count(files)}"
        )
    if len(sources) > 1 or len(headers) > 1:
        models = [pair for pair in _pairs(sources) if _registers(pair)]
        if len(models) == 1:
            return models[0]
        names = ", ".join(file.name for file in sources[:_SHOWN])
        raise BadInputError(f"{folder}: holds {_count(files)}, give one of them: {names}")
    if sources[0].stem != headers[0].stem:
        raise BadInputError(
            f"{folder}: {sources[0].name} and {headers[0].name} are no pair, the names differ"
        )
    return Pair(sources[0], headers[0])


def _pairs(sources: list[Path]) -> Iterator[Pair]:
    for source in sources:
        header = _twin(source, _HEADER)
        if header is not None:
            yield Pair(source, header)


def _registers(pair: Pair) -> bool:
    return any(b"REGISTER_MODEL" in parse(path).data for path in (pair.source, pair.header))


def _count(files: list[Path]) -> str:
    counts = [sum(file.suffix in kinds for file in files) for kinds in (_SOURCE, _HEADER)]
    return f"{counts[0]} source files and {counts[1]} headers"


def _twin(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    twins = [path.with_suffix(suffix) for suffix in suffixes]
    return next((twin for twin in twins if twin.is_file()), None)


def load_files(pair: Pair) -> list[SourceFile]:
    """Parses a pair and the models and parameters that it includes, the pair first.

    Headers are looked for beside the including file and in every folder above the pair; the source
    file beside a header belongs to it.

    Raises:
        BadInputError: A file cannot be read, or there are too many.
    """
    files: dict[Path, SourceFile] = {}
    waiting = [pair.source, pair.header]
    while waiting:
        path = waiting.pop(0).resolve()
        if path in files:
            continue
        if len(files) == _FILES:
            raise BadInputError(f"{pair.source}: includes more than {_FILES} headers of models")
        shown = next((p for p in (pair.source, pair.header) if p.resolve() == path), path)
        files[path] = file = parse(shown)
        for header in _includes(file):
            found = _find(header, path)
            if found is not None:
                twin = _twin(found, _SOURCE)
                waiting += [found, *([] if twin is None else [twin])]
    return list(files.values())


def _includes(file: SourceFile) -> Iterator[str]:
    for node in walk(file.root):
        if node.type == "preproc_include":
            path = node.child_by_field_name("path")
            name = None if path is None else string_value(path) or text(path).strip("<>")
            if name and _FOLLOWED.fullmatch(name) and ".." not in name:
                yield name


def _find(header: str, including: Path) -> Path | None:
    for folder in including.parents:
        candidate = folder / header
        if candidate.is_file():
            return candidate
    return None
