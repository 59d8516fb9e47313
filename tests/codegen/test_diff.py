"""Differences are told by meaning where the format has one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from clang_format import get_executable

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


CPP = """#include <vector>
// What it does.
namespace model {
enum TensorId : uint32_t { IN_A = 0, IN_B };

atb::Status AddNorm(atb::GraphParam &graph)
{
    opParam.epsilon = 1e-06F;
    node.inTensorIds = {IN_A, IN_B};
    Log("a  // b", R"(" // x)");
    return atb::NO_ERROR;
}
}  // namespace model
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("// What it does.\n", "/* What\n   it did. */ // today\n"),
        ("// What it does.\n", ""),
        ("(atb::GraphParam &graph)\n{", "(\n    atb :: GraphParam& graph) {"),
        ("{IN_A, IN_B}", "{\n\t\tIN_A , /* first */\n\t\tIN_B\n}"),
        ("1e-06F;", "\\\n1e-06F ; // \\\n epsilon = 1;"),
        ("#include <vector>", "#include\t<vector>  // for vectors"),
        ("\n", "\r\n"),
    ],
)
def test_cpp_layout_and_comments_are_only_text(
    folders: tuple[Path, Path], old: str, new: str
) -> None:
    assert old in CPP
    found = one(folders, "layer.cpp", CPP.replace(old, new), CPP)
    assert (found.status, found.meaning) == ("text", ())


GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "atb-cpp" / "bytellama"
SOURCES = [path for path in sorted(GOLDEN.rglob("*.*")) if path.suffix in (".cpp", ".h")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_cpp_in_another_style_is_only_text(folders: tuple[Path, Path], path: Path) -> None:
    style = "{BasedOnStyle: GNU, ColumnLimit: 60, SortIncludes: Never, BreakStringLiterals: false}"
    command = [get_executable("clang-format"), f"--style={style}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    without = re.sub(r"^ *//.*\n", "", done.stdout, flags=re.MULTILINE)
    assert len(without) != len(path.read_text())
    assert one(folders, path.name, without, path.read_text()).status == "text"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("1e-06F", "1e-05F", "AddNorm: - opParam.epsilon = 1e-06F;"),
        ("1e-06F", "1e-05F", "AddNorm: + opParam.epsilon = 1e-05F;"),
        ("{IN_A, IN_B};\n    L", "{IN_B, IN_A};\n    L", "AddNorm: + IN_A}"),
        ("IN_A = 0, IN_B", "IN_B = 0, IN_A", "TensorId: + IN_B = 0,"),
        ("a  // b", "a // b", 'AddNorm: + Log("a // b", R"(" // x)");'),
        ("a  // b", "a  // c", 'AddNorm: + Log("a  // c"'),
        ("// x)", "// y)", 'AddNorm: + Log("a  // b", R"(" // y)");'),
        ("<vector>", '"vector"', 'file: + #include "vector"'),
        ("#include <vector>\n", "", "file: - #include <vector>"),
        ("return atb::NO_ERROR;", "// return atb::NO_ERROR;", "AddNorm: - return atb::NO_ERROR;"),
        ("return atb", "// \\\nreturn atb", "AddNorm: - return atb::NO_ERROR;"),
        ("// What it does.\n", "#define A B\n;\n", "file: + #define A B"),
        ("AddNorm", "Normalize", "Normalize: + atb::Status Normalize("),
    ],
)
def test_cpp_changes_name_their_function(
    folders: tuple[Path, Path], old: str, new: str, line: str
) -> None:
    assert old in CPP
    found = one(folders, "layer.cpp", CPP.replace(old, new), CPP)
    assert found.status == "meaning"
    assert any(known.startswith(line) for known in found.meaning), found.meaning


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#define F(x) 1\n", "#define F (x) 1\n"),
        ("#define A B\n;", "#define A B ;"),
        ("a = b + +c;", "a = b ++c;"),
        ("a = b - -c;", "a = b --c;"),
        ("#if 0\nf();\n#endif\ng();", "f();\n#if 0\ng();\n#endif"),
        ("a = 1'000;", "a = 1000 ;"),
        ("a = L'x';", "a = L 'x';"),
    ],
)
def test_cpp_that_only_looks_alike(folders: tuple[Path, Path], old: str, new: str) -> None:
    assert one(folders, "a.h", f"{new}\n", f"{old}\n").status == "meaning"


def test_templates_may_end_in_two_ways(folders: tuple[Path, Path]) -> None:
    old, new = "std::vector<std::vector<int>> a;\n", "std::vector<std::vector<int> > a;\n"
    assert one(folders, "a.hpp", new, old).status == "text"


def test_files_in_folders(folders: tuple[Path, Path]) -> None:
    for folder, epsilon in zip(folders, ("1e-05F", "1e-06F"), strict=True):
        (folder / "model" / "layer").mkdir(parents=True)
        (folder / "model" / "layer" / "norm.cpp").write_text(CPP.replace("1e-06F", epsilon))
        (folder / "model" / "same.h").write_text(CPP)
    (folders[0] / "llama").mkdir()
    (folders[0] / "llama" / "llama.json").write_text("{}")
    found = {file.path: file for file in diff(*folders).files}
    assert {path: file.status for path, file in found.items()} == {
        "llama/llama.json": "extra",
        "model/layer/norm.cpp": "meaning",
        "model/same.h": "same",
    }
    assert found["model/layer/norm.cpp"].meaning == (
        "AddNorm: - opParam.epsilon = 1e-06F;",
        "AddNorm: + opParam.epsilon = 1e-05F;",
    )


@pytest.mark.parametrize(("name", "status"), [("README.md", "text"), ("a.csv", "meaning")])
def test_documents_are_only_text(folders: tuple[Path, Path], name: str, status: str) -> None:
    assert one(folders, name, "new\n", "old\n").status == status


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
