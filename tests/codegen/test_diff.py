"""Differences are told by meaning where the format has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen.diff import FileDiff, diff
from codegen.errors import BadInputError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    out, golden = tmp_path / "out", tmp_path / "golden"
    out.mkdir()
    golden.mkdir()
    return out, golden


def one(folders: tuple[Path, Path], name: str, new: str, old: str) -> FileDiff:
    out, golden = folders
    (out / name).write_text(new)
    (golden / name).write_text(old)
    (only,) = diff(out, golden).files
    return only


def test_same_folders(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        (folder / "a.py").write_text("x = 1\n")
        (folder / "__pycache__").mkdir()
    (folders[0] / "__pycache__" / "a.pyc").write_bytes(b"\x00")
    result = diff(*folders)
    assert result.same
    assert json.loads(result.to_json()) == {
        "same": True,
        "files": [{"path": "a.py", "status": "same", "meaning": [], "text": ""}],
    }


def test_missing_and_extra(folders: tuple[Path, Path]) -> None:
    (folders[0] / "new.py").write_text("")
    (folders[1] / "old.py").write_text("")
    result = diff(*folders)
    assert [(f.path, f.status) for f in result.files] == [
        ("new.py", "extra"),
        ("old.py", "missing"),
    ]
    assert not result.same


def test_json_is_compared_by_structure(folders: tuple[Path, Path]) -> None:
    old = {"norm": {"epsilon": 1e-6, "mode": "a"}, "list": [1, 2], "flag": True, "gone": None}
    new = {"norm": {"epsilon": 1e-5, "mode": "a"}, "list": [1, 3], "flag": 1, "new": 0}
    found = one(folders, "x.json", json.dumps(new), json.dumps(old))
    assert found.status == "meaning"
    assert found.meaning == (
        "flag: true -> 1",
        "gone: removed, was null",
        "list[1]: 2 -> 3",
        "new: added, 0",
        "norm.epsilon: 1e-06 -> 1e-05",
    )


def test_json_layout_is_only_text(folders: tuple[Path, Path]) -> None:
    found = one(folders, "x.json", '{"a": 1, "b": 2}', '{\n"b": 2,\n"a": 1}\n')
    assert (found.status, found.meaning) == ("text", ())
    assert "+{" in found.text


def test_python_layout_comments_and_docstrings_are_only_text(folders: tuple[Path, Path]) -> None:
    old = '"""Old."""\ndef f(a):\n    """Doc."""\n    return g(a, "x")  # why\n'
    new = "def f(a):\n    return g(\n        a,\n        'x',\n    )\n"
    assert one(folders, "x.py", new, old).status == "text"


def test_python_changes_name_their_function(folders: tuple[Path, Path]) -> None:
    old = "class Model:\n    def norm(self):\n        return rms(1e-6)\n    def gone(self): ...\n"
    new = "class Model:\n    def norm(self):\n        return rms(1e-5)\n    def more(self): ...\n"
    assert one(folders, "x.py", new, old).meaning == (
        "Model.norm: - return rms(1e-06)",
        "Model.norm: + return rms(1e-05)",
        "Model.gone: removed",
        "Model.more: added",
    )


def test_python_signatures_count(folders: tuple[Path, Path]) -> None:
    found = one(folders, "x.py", "def f(a, b=2): pass\n", "def f(a, b=1): pass\n")
    assert found.meaning == ("f: - def f(a, b=1):", "f: + def f(a, b=2):")


def test_broken_python_is_said_to_be_broken(folders: tuple[Path, Path]) -> None:
    assert one(folders, "x.py", "def (", "x = 1").meaning == ("not valid Python",)


def test_manifest_digests_are_not_repeated(folders: tuple[Path, Path]) -> None:
    old = {"options": {"python_api": "torch_atb"}, "files": {"a.py": "00"}}
    new = {"options": {"python_api": "_libatb_torch"}, "files": {"a.py": "11"}}
    found = one(folders, "manifest.json", json.dumps(new), json.dumps(old))
    assert found.meaning == ('options.python_api: "torch_atb" -> "_libatb_torch"',)


def test_binary_files(folders: tuple[Path, Path]) -> None:
    (folders[0] / "x.bin").write_bytes(b"\xff\x00")
    (folders[1] / "x.bin").write_bytes(b"\xff")
    assert diff(*folders).files[0].meaning == ("binary: 1 -> 2 bytes",)


def test_long_differences_are_cut(folders: tuple[Path, Path]) -> None:
    old = "\n".join(f"x{i} = {i}" for i in range(200))
    found = one(folders, "x.py", old.replace(" = ", " = 1"), old)
    assert len(found.meaning) == 41
    assert found.meaning[-1].endswith(" more")
    assert len(found.text.splitlines()) == 61


def test_not_a_directory(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not a directory"):
        diff(tmp_path / "no", tmp_path)
