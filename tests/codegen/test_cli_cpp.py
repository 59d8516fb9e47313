"""The command with its default target, ATB C++: files, closing words, report, calls, headers."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nlohmann_json import __file__ as nlohmann
from typer.testing import CliRunner, Result

from codegen import cli, manifest
from codegen.host.atb_cpp.toolchain import INCLUDE
from codegen.vendor import VARIABLES
from tests.codegen.test_cli import fails_with

SPACE, PACKAGE = "llamaforcausallm", "llama"
CPP = {
    *(f"{SPACE}/model/{name}" for name in ("decoder_model.cpp", "decoder_model.h")),
    *(f"{SPACE}/model/{name}" for name in ("param.cpp", "param.h")),
    *(f"{SPACE}/layer/{kind}.{end}" for kind in ("decoder_layer", "embedding", "head")
      for end in ("cpp", "h")),
}  # fmt: skip
PYTHON = {
    *(f"{PACKAGE}/{name}" for name in ("__init__.py", "run.py", "llama.json", "config_llama.py")),
    *(f"{PACKAGE}/{name}_llama.py" for name in ("router", "modeling", "flash_causal")),
}
REPORT = {f"{SPACE}/{SPACE}{end}" for end in (".json", ".html", "_operators.csv")}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def listed(stdout: str) -> list[str]:
    """The paths that the closing words list."""
    found = re.search(r"^Generated files: \[\n(.*?)^\]$", stdout, re.DOTALL | re.MULTILINE)
    assert found, stdout
    return [line.strip().removesuffix(",") for line in found[1].splitlines()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration alone."""
    from tests.zoo import build

    folder = build("llama-gqa", tmp_path_factory.mktemp("source"))
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def generated(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "out"
    done = run("transform", "-s", source, "-o", out)
    assert done.exit_code == cli.DONE, done.output
    return out


@pytest.fixture(autouse=True)
def no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


# -- files and closing words ---------------------------------------------------------------------


def test_default_target_and_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("transform", "-s", source)
    assert done.exit_code == cli.DONE, done.output
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["llama_atb_cpp"]
    out = Path("llama_atb_cpp")
    assert files(out).keys() == CPP | PYTHON | {"README.md", "config.json", "manifest.json"}
    record = manifest.read(out)
    assert record.target == "atb-cpp"
    assert record.files.keys() == files(out).keys() - {manifest.NAME}
    assert record.edited(out) == []
    assert record.pipeline[-1] == "fuse-residual-norm"
    assert listed(done.stdout) == sorted(str(out / path) for path in CPP | PYTHON)
    assert "copy llama_atb_cpp/llamaforcausallm to MindIE-LLM's" in done.stdout
    assert "python llama_atb_cpp/llama/run.py --model_path=MODEL_DIR\n" in done.stdout


def test_current_directory_as_output(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the document that the command comes from."""
    monkeypatch.chdir(tmp_path)
    done = run("transform", "-s", source, "-o", ".", "--target", "atb-cpp")
    assert listed(done.stdout) == sorted(CPP | PYTHON)


def test_existing_files_are_replaced_only_with_force(
    generated: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(generated, out)
    layer = f"{SPACE}/layer/head.cpp"
    (out / layer).write_text("mine")
    (out / SPACE / "notes.txt").write_text("mine too")
    before = files(out)
    fails_with(run("transform", "-s", source, "-o", out), cli.BAD_INPUT, r"already holds .*--force")
    assert files(out) == before
    assert run("transform", "-s", source, "-o", out, "--force").exit_code == cli.DONE
    assert files(out) == files(generated) | {f"{SPACE}/notes.txt": b"mine too"}


def test_a_folder_in_the_way(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / SPACE).write_text("mine")
    done = run("transform", "-s", source, "-o", out, "--force")
    fails_with(done, cli.BAD_INPUT, "is not a plain directory")
    assert files(out) == {SPACE: b"mine"}


# -- the report ------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["-py"]], ids=["atb-cpp", "atb-python"])
def test_report_beside_the_code(flags: list[str], source: Path, tmp_path: Path) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert run("transform", "-s", source, "-o", plain, *flags).exit_code == cli.DONE
    done = run("transform", "-s", source, "-o", out, "-a", *flags)
    assert done.exit_code == cli.DONE, done.output
    made = files(out)
    assert {path: made[path] for path in files(plain) if path != manifest.NAME} == {
        path: data for path, data in files(plain).items() if path != manifest.NAME
    }
    assert made.keys() - files(plain).keys() == REPORT
    assert manifest.read(out).edited(out) == []
    assert manifest.read(out).files.keys() == made.keys() - {manifest.NAME}
    rows = list(csv.reader(made[f"{SPACE}/{SPACE}_operators.csv"].decode().splitlines()))
    assert ",".join(rows[0]) == (
        "ori_op_name,ori_op_type,op_name,op_type,soc_type,engine,is_supported"
    )
    assert len(rows) > 20
    assert all(len(row) == 7 for row in rows)
    json.loads(made[f"{SPACE}/{SPACE}.json"])
    assert made[f"{SPACE}/{SPACE}.html"].startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("model", "name", "flags", "reason"),
    [
        ("mixtral", "mixtralforcausallm", [], "a mixture of experts cannot be compiled"),
        ("xglm", "xglmforcausallm", [], "the constant %position_table has no ATB form"),
        ("xglm", "xglmforcausallm", ["-py"], "the constant %position_table has no ATB form"),
    ],
)
def test_report_alone_of_what_is_not_supported(
    zoo: Callable[[str], Path],
    tmp_path: Path,
    model: str,
    name: str,
    flags: list[str],
    reason: str,
) -> None:
    out = tmp_path / "out"
    done = run("transform", "-s", zoo(model), "-o", out, "-a", *flags)
    fails_with(done, cli.BAD_INPUT, f"(?m)^error: unsupported.*{re.escape(reason)}")
    assert re.search(f"the report is in {out}", done.stderr)
    assert files(out).keys() == {
        f"{name}/{name}{end}" for end in (".json", ".html", "_operators.csv")
    }
    before = files(out)
    again = run("transform", "-s", zoo(model), "-o", out, "-a", *flags)
    fails_with(again, cli.BAD_INPUT, r"already holds .*--force")
    assert run("transform", "-s", zoo(model), "-o", out, "--force", "-a", *flags).exit_code == 2
    assert files(out) == before


def test_without_it_nothing_is_written(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    done = run("transform", "-s", zoo("mixtral"), "-o", tmp_path / "out")
    fails_with(done, cli.BAD_INPUT, "^error: unsupported")
    assert list(tmp_path.iterdir()) == []


# -- calls of C++ that is there --------------------------------------------------------------------


@pytest.mark.parametrize("given", ["decoder_model.cpp", "decoder_model.h", ""])
@pytest.mark.parametrize("flag", ["-atb", "--atb_model_path"])
def test_calls_of_our_own(
    generated: Path, source: Path, tmp_path: Path, given: str, flag: str
) -> None:
    out = tmp_path / "out"
    done = run("transform", "-s", source, flag, generated / SPACE / "model" / given, "-o", out)
    assert done.exit_code == cli.DONE, done.output
    assert done.stderr == ""
    made, whole = files(out), files(generated)
    assert made.keys() == PYTHON | {"config.json", "manifest.json"}
    # Only what says where the C++ is differs.
    assert {path for path in made if made[path] != whole[path]} == {
        f"{PACKAGE}/run.py",
        manifest.NAME,
    }
    assert listed(done.stdout) == sorted(str(out / path) for path in PYTHON)
    assert "They call llamaforcausallm_DecoderModel," in done.stdout
    record = manifest.read(out)
    assert record.model["calls"] == "llamaforcausallm_DecoderModel"
    assert record.edited(out) == []


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ([], "", "needs one C.. source file and its header, has 0 source files and 0 headers"),
        (["a.cpp"], "", "has 1 source files and 0 headers"),
        (["a.h"], "", "has 0 source files and 1 headers"),
        (["a.cpp", "b.h"], "", r"a\.cpp and b\.h are no pair, the names differ"),
        (
            ["a.cpp", "a.h", "b.cpp", "b.h"],
            "",
            r"holds 2 .* 2 headers, give one of them: a\.cpp, b",
        ),
        (["a.cpp", "b.h"], "a.cpp", r"a\.cpp: there is no header a\.h beside it"),
        (["a.cpp", "b.h"], "b.h", r"b\.h: there is no source file b\.cpp beside it"),
        (["a.txt"], "a.txt", "not a C.. source file or header"),
        ([], "none.cpp", "no such file or folder"),
    ],
)
def test_what_is_called_must_be_clear(
    source: Path, generated: Path, tmp_path: Path, names: list[str], given: str, message: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in names:
        twin = generated / SPACE / "model" / f"decoder_model{Path(name).suffix}"
        (folder / name).write_text(twin.read_text() if twin.is_file() else "")
    done = run("transform", "-s", source, "-atb", folder / given, "-o", tmp_path / "out")
    fails_with(done, cli.BAD_INPUT, f"^error: .*{message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("cpp", "source", "message"),
    [
        ("mistral", "mistral-no-window", r"decoder_model\.cpp reads .*: it is another model's$"),
        ("llama-gqa", "qwen2", r"decoder_model\.(cpp|h): cannot be called for this model"),
        ("llama-gqa", "gpt2", "unsupported: .*not MindIE's kind of decoder"),
    ],
)
def test_calls_of_another_models(
    zoo: Callable[[str], Path], tmp_path: Path, cpp: str, source: str, message: str
) -> None:
    made, out = tmp_path / "cpp", tmp_path / "out"
    assert run("transform", "-s", zoo(cpp), "-o", made).exit_code == cli.DONE
    (folder,) = made.glob("*/model")
    done = run("transform", "-s", zoo(source), "-atb", folder, "-o", out)
    fails_with(done, cli.BAD_INPUT, f"^error: .*{message}")
    assert done.stderr.count("\n") == 1
    assert not out.exists()


# -- the vendor's headers --------------------------------------------------------------------------


def test_vendors_headers_that_are_not_there(generated: Path, tmp_path: Path) -> None:
    done = run("verify", generated, "--vendor-headers")
    fails_with(done, cli.BAD_INPUT, r"^error: no atb/atb_infer\.h found: source CANN's set_env\.sh")
    assert done.stderr.count("\n") == 1
    done = run("verify", generated, "--vendor-headers", "-I", tmp_path / "none")
    fails_with(done, cli.BAD_INPUT, "^error: no such folder: .*none\n$")


def test_vendors_headers_are_of_no_use_for_python(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("transform", "-s", source, "-py", "-o", out).exit_code == cli.DONE
    done = run("verify", out, "--vendor-headers")
    fails_with(done, cli.BAD_INPUT, r"^error: --vendor-headers: target atb-python has no C\+\+\n$")


def test_vendors_headers_that_fit(generated: Path) -> None:
    json_headers = Path(nlohmann).parent / "include"
    options = ["--vendor-headers", "-I", INCLUDE, "--include", json_headers, "--json"]
    done = run("verify", generated, *options)
    assert done.exit_code == cli.DONE, done.output
    sources = {path for path in CPP if path.endswith(".cpp")}
    assert json.loads(done.stdout)["vendor_headers"] == {path: [] for path in sources}


def test_vendors_headers_that_do_not_fit(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = tmp_path / "atb" / "include" / "atb" / "atb_infer.h"
    header.parent.mkdir(parents=True)
    header.write_text("#error another interface\n")
    monkeypatch.setenv("ATB_HOME_PATH", str(tmp_path / "atb"))
    done = run("verify", generated, "--vendor-headers")
    assert done.exit_code == cli.DIFFERENT, done.output
    assert f"vendor's headers: {SPACE}/layer/head.cpp: REFUSED\n" in done.stdout
    assert done.stdout.endswith("FAILED: the vendor's headers do not fit\n")
    body = json.loads(run("verify", generated, "--vendor-headers", "--json").stdout)
    assert body["passed"] is False
    assert all(found["passed"] for found in body["ranks"].values())
    assert "another interface" in body["vendor_headers"][f"{SPACE}/layer/head.cpp"][0]


# -- graphs ----------------------------------------------------------------------------------------


def test_inspect(source: Path) -> None:
    shown = run("inspect", source, "--level", "atb")
    assert shown.exit_code == cli.DONE, shown.output
    assert "atb.paged_attention" in shown.stdout
    assert "atb.pre_rms_norm" not in shown.stdout
    after = run("inspect", source, "--print-after", "fuse-residual-norm", "--time-passes")
    assert after.exit_code == cli.DONE, after.output
    assert after.stdout.startswith("# after fuse-residual-norm\n")
    assert "atb.pre_rms_norm" in after.stdout
    assert re.search(r"fuse-residual-norm +\d+ rewrites", after.stderr)
