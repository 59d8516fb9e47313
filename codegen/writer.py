"""Writes the files of one generation: all of them or none."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from codegen.errors import BadInputError

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,126}")
# Names that Windows keeps for devices, whatever their extension.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}
_SHOWN = 5


def write_tree(root: Path, files: Mapping[str, str | bytes], force: bool = False) -> None:
    """Writes files under a directory.

    Everything is written beside its place first and then renamed, so that a full disk, a missing
    permission or an interrupt leaves the directory as it was.

    Args:
        root: Output directory; it and its parents are made if they do not exist.
        files: Contents by path relative to `root`, with ``/``; text is written as UTF-8 with the
            line ends it has.
        force: Replace files that exist.

    Raises:
        BadInputError: A path is not portable or leaves `root`, a file exists and `force` is not
            given, or the operating system refuses.
    """
    check_paths(files)
    data = {
        path: text.encode("utf-8") if isinstance(text, str) else text
        for path, text in sorted(files.items())
    }
    try:
        _check_places(root, data, force)
        with _new_directories(root.parent):
            if root.is_dir():
                _merge(root, data)
            else:
                _create(root, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(f"cannot write to {root}: {reason}") from error


def check_paths(paths: Mapping[str, str | bytes]) -> None:
    """Checks that paths mean the same file on every system and stay inside their root.

    Raises:
        BadInputError: One does not.
    """
    seen: dict[str, str] = {}
    for path in paths:
        for part in path.split("/"):
            stem = part.partition(".")[0].lower()
            if not _COMPONENT.fullmatch(part) or part.endswith(".") or stem in _RESERVED:
                raise BadInputError(f"not a portable relative file name: {path!r}")
        twin = seen.setdefault(path.lower(), path)
        if twin != path:
            raise BadInputError(f"{twin!r} and {path!r} are one file where case does not count")
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent).lower() in seen:
                raise BadInputError(f"{str(parent)!r} is both a file and the folder of {path!r}")


def _check_places(root: Path, paths: Mapping[str, bytes], force: bool) -> None:
    if root.exists() and not root.is_dir():
        raise BadInputError(f"the output {root} exists and is not a directory")
    for path in paths:
        place = root / path
        for folder in place.parents:
            if folder == root:
                break
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise BadInputError(f"{folder} is not a plain directory")
        if place.is_symlink() or (place.exists() and not place.is_file()):
            raise BadInputError(f"{place} exists and is not a plain file")
    taken = [path for path in paths if (root / path).exists()]
    if taken and not force:
        more = f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else ""
        raise BadInputError(
            f"{root} already holds {', '.join(taken[:_SHOWN])}{more}: "
            "give --force to replace them, or another -o"
        )


@contextmanager
def _new_directories(*wanted: Path) -> Iterator[None]:
    """Makes directories with their parents; those it made are removed again on an error."""
    made: list[Path] = []
    try:
        for folder in wanted:
            missing = [p for p in (folder, *folder.parents) if not p.exists()]
            for path in reversed(missing):
                path.mkdir()
                made.append(path)
        yield
    except BaseException:
        for path in reversed(made):
            path.rmdir()
        raise


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A new empty directory in `parent` that does not outlive the block."""
    # Not tempfile: its directories are private, and this one becomes the user's.
    path = parent / f".llm-codegen-{secrets.token_hex(6)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fill(folder: Path, data: Mapping[str, bytes]) -> None:
    for path, content in data.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _create(root: Path, data: Mapping[str, bytes]) -> None:
    with _staging(root.parent) as stage:
        _fill(stage / "new", data)
        (stage / "new").rename(root)


def _merge(root: Path, data: Mapping[str, bytes]) -> None:
    with _staging(root) as stage:
        _fill(stage / "new", data)
        folders = sorted({(root / path).parent for path in data})
        placed: list[str] = []
        with _new_directories(*folders):
            try:
                for path in data:
                    _set_aside(root / path, stage / "old" / path)
                    placed.append(path)
                    os.replace(stage / "new" / path, root / path)  # noqa: PTH105
            except BaseException:
                for path in reversed(placed):
                    _put_back(root / path, stage / "old" / path)
                raise


def _set_aside(place: Path, backup: Path) -> None:
    if place.exists():
        backup.parent.mkdir(parents=True, exist_ok=True)
        place.rename(backup)


def _put_back(place: Path, backup: Path) -> None:
    place.unlink(missing_ok=True)
    if backup.exists():
        backup.rename(place)
