"""All files or none, nothing outside the output directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from codegen import writer
from codegen.errors import BadInputError
from codegen.writer import write_tree


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_writes_new_directory_with_parents(tmp_path: Path) -> None:
    write_tree(tmp_path / "a" / "b", {"x.py": "é\n", "deep/y.bin": b"\x00\r\n"})
    assert tree(tmp_path) == {"a/b/x.py": "é\n".encode(), "a/b/deep/y.bin": b"\x00\r\n"}


def test_new_directory_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write_tree(tmp_path / "out", {"x": ""})
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_merges_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    write_tree(tmp_path, {"x.py": "1"})
    assert tree(tmp_path) == {"mine.txt": b"keep", "x.py": b"1"}


def test_refuses_existing_files_and_lists_them(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("old")
    with pytest.raises(BadInputError, match=r"already holds x\.py: give --force"):
        write_tree(tmp_path, {"x.py": "new", "y.py": "new"})
    assert tree(tmp_path) == {"x.py": b"old"}


def test_force_replaces(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("old")
    write_tree(tmp_path, {"x.py": "new"}, force=True)
    assert tree(tmp_path) == {"x.py": b"new"}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/x",
        "../x",
        "a/../x",
        "a//x",
        "./x",
        "",
        "a/",
        "a\\x",
        "C:x",
        "x\n.py",
        "x y",
        "-x",
        "nul.py",
        "x.",
        "é.py",
        "a" * 200,
        "x\x00",
    ],
)
def test_refuses_paths_that_are_not_portable(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInputError, match="portable"):
        write_tree(tmp_path / "out", {"good.py": "", path: ""})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pair", [("a.py", "A.py"), ("a", "a/b"), ("A", "a/b")])
def test_refuses_paths_that_collide(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(BadInputError):
        write_tree(tmp_path / "out", dict.fromkeys(pair, ""))
    assert not (tmp_path / "out").exists()


def test_does_not_follow_links_out(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "folder").symlink_to(elsewhere)
    (out / "file.py").symlink_to(elsewhere / "file.py")
    for path in ("folder/x.py", "file.py"):
        with pytest.raises(BadInputError, match="plain"):
            write_tree(out, {path: "new"}, force=True)
    assert not tree(elsewhere)


def test_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInputError, match=r"cannot write|not a directory"):
            write_tree(out, {"x.py": ""}, force=True)
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("failing", ["write", "replace"])
def test_nothing_is_left_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, failing: str
) -> None:
    out = tmp_path / "parent" / "out"
    if exists:
        out.mkdir(parents=True)
        (out / "a.py").write_text("old a")
        (out / "c.py").write_text("old c")
    before, folders = tree(tmp_path), sorted(tmp_path.rglob("*"))

    def after(calls: int, real: Callable[..., object]) -> Callable[..., object]:
        count = 0

        def wrapped(*args: object) -> object:
            nonlocal count
            count += 1
            if count > calls:
                raise OSError(28, "No space left on device")
            return real(*args)

        return wrapped

    if failing == "write":
        monkeypatch.setattr(Path, "write_bytes", after(1, Path.write_bytes))
    else:
        monkeypatch.setattr(writer.os, "replace", after(1, writer.os.replace))
        monkeypatch.setattr(Path, "rename", after(1 + exists, Path.rename) if exists else _refuse)
    with pytest.raises(BadInputError, match=r"cannot write to .*: No space left"):
        write_tree(out, {"a.py": "new", "b/b.py": "new", "c.py": "new"}, force=True)
    monkeypatch.undo()
    assert tree(tmp_path) == before
    assert sorted(tmp_path.rglob("*")) == folders


def _refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")
