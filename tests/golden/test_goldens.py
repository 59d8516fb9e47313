"""Every emitted file is, byte for byte, the one in golden/; what is golden is clean and runs.

`make golden` records the files anew; what changed is then seen in the diff of the commit.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruff import find_ruff_bin

from codegen.host.atb_cpp import compile_model
from codegen.host.atb_cpp import install as install_cpp
from codegen.host.atb_python import install
from codegen.verification import verify
from tests.golden.cases import CASES, GOLDEN, ROOT, UPDATE, Case, differences, files_of, replace

PUBLISHED = [name for name, case in CASES.items() if case.source.startswith("tests/published/")]
BUNDLED = [name for name in CASES if name not in PUBLISHED]
PYTHON = {name: case for name, case in CASES.items() if case.target == "atb-python"}
CPP = {name: case for name, case in CASES.items() if case.target == "atb-cpp"}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every_case
def test_emitted_bytes_are_the_golden_ones(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = files_of(case.generate(tmp_path / "out"))
    if request.config.getoption("--update-golden"):
        replace(case.folder, made)
    found = differences(files_of(case.folder), made)
    assert not found, "\n".join((f"{case.folder.relative_to(ROOT)} ({UPDATE} renews it)", *found))


def test_every_golden_folder_has_a_case() -> None:
    folders = [path for target in GOLDEN.iterdir() for path in target.iterdir()]
    assert {path.relative_to(GOLDEN).as_posix() for path in folders} == CASES.keys()
    assert len(PUBLISHED) == 2 * 8


@pytest.mark.parametrize("flags", [["-py"], []], ids=["atb-python", "atb-cpp"])
@pytest.mark.parametrize(
    "surroundings",
    [
        {"PYTHONHASHSEED": "0", "TZ": "UTC", "LANG": "C", "LC_ALL": "C"},
        {
            "PYTHONHASHSEED": "1",
            "TZ": "Asia/Kathmandu",
            "LANG": "de_DE.UTF-8",
            "HOME": "/nowhere",
            "ATEN_CPU_CAPABILITY": "default",  # arithmetic of a machine without vector units
        },
    ],
    ids=["plain", "strange"],
)
def test_bytes_do_not_depend_on_the_surroundings(
    surroundings: dict[str, str], flags: list[str], tmp_path: Path
) -> None:
    case = CASES[f"{'atb-python' if flags else 'atb-cpp'}/llama-3.1-8b"]
    cwd = tmp_path / surroundings["TZ"].replace("/", "-")
    cwd.mkdir()
    source = os.path.relpath(ROOT / case.source, cwd)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **surroundings}
    command = [sys.executable, "-m", "codegen", "transform", *flags, "-s", source, "-o", "made"]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = differences(files_of(case.folder), files_of(cwd / "made"))
    assert not found, "\n".join(found)


@every_case
def test_golden_python_is_clean(case: Case) -> None:
    for path in case.folder.rglob("*.py"):
        ast.parse(path.read_text("utf-8"), path.name, feature_version=(3, 10))
    command = [find_ruff_bin(), "check", "--isolated", "--no-cache", str(case.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", CPP.values(), ids=CPP.keys())
def test_golden_cpp_compiles_and_is_accepted_by_the_host_runtime(case: Case) -> None:
    """Every graph is built, for prompts and for single tokens, on one rank and on the last of 4."""
    record = json.loads((case.folder / "manifest.json").read_text())["model"]
    folder = case.folder / record["cpp"]
    facts = json.loads((case.folder / record["package"] / f"{record['package']}.json").read_text())
    library = compile_model(sorted(folder.rglob("*.cpp")), [folder])
    with install_cpp(library) as host:
        assert host.model_names == [facts["model"]]
        for is_prefill, (rank, world_size) in itertools.product((True, False), ((0, 1), (3, 4))):
            param = {
                "interface": facts["interface"],
                "isPrefill": is_prefill,
                "rank": rank,
                "worldSize": world_size,
                "backend": "hccl",
            }
            host.model(facts["model"]).set_param(json.dumps(param))


@pytest.mark.parametrize("case", PYTHON.values(), ids=PYTHON.keys())
def test_golden_graphs_are_accepted_by_the_host_runtime(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = case.folder.glob("*_atb_float.py")
    monkeypatch.syspath_prepend(str(case.folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    with install():
        model = importlib.import_module(path.stem).Model()
    sys.modules.pop(path.stem)
    assert len(model.stages) == len(model.CACHE_ROWS) // 2 + 2


@pytest.mark.parametrize("name", BUNDLED)
def test_golden_code_of_the_bundled_model_runs(name: str) -> None:
    case = CASES[name]
    result = verify(case.folder, ROOT / case.source)
    assert result.passed
    assert not result.notes


def test_a_missing_an_extra_and_a_changed_file_are_named() -> None:
    golden = {"same": b"1\n", "old.py": b"", "a.py": b"x = 1\n", "ends": b"x\n"}
    made = {"same": b"1\n", "new.py": b"", "a.py": b"x = 2\n", "ends": b"x\r\n"}
    found = "\n".join(differences(golden, made))
    assert "old.py: a golden file that is not generated any more" in found
    assert "new.py: generated, but there is no golden file" in found
    assert "-x = 1\n+x = 2" in found
    assert "only the line ends differ" in found
    assert "same" not in found
    assert len(differences({}, made)) == len(made)
