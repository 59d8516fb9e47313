"""The outside contract of the command: spelling of flags, exit codes, what goes to which stream."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codegen import cli, pipeline
from codegen.errors import BadInputError, Problem, UnsupportedError
from ir.errors import PassError

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    return lambda *arguments: CliRunner().invoke(cli.app, [str(a) for a in arguments])


def fails_with(result: Result, code: int, pattern: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.search(pattern, result.stderr), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["transform", "--help"], ["verify", "-h"]]
)
def test_help(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == cli.DONE
    assert "Usage:" in result.stdout


def test_help_names_every_flag_of_the_seed_documents() -> None:
    typer_command = cli.typer.main.get_command(cli.app)
    options = {
        spelling
        for parameter in typer_command.commands["transform"].params
        for spelling in parameter.opts
    }
    assert options >= {
        *("-s", "--source", "-atb", "--atb_model_path", "--enable-sparse", "-py", "--to-python"),
        *("-quant", "--to-quant", "--quant-disable-names", "-a", "--analyze", "-l", "--log-level"),
    }


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys, codegen.cli\n"
        "try: codegen.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'jinja2', 'numpy', 'safetensors', 'lark'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_diff_imports_nothing_heavy(tmp_path: Path) -> None:
    for name, text in (("a.cpp", "int a;"), ("a.py", "a = 1")):
        (tmp_path / name).write_text(text)
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "a.cpp").write_text("int b;")
    code = (
        "import sys, codegen.cli\n"
        f"try: codegen.cli.app(['diff', {str(tmp_path)!r}, {str(golden)!r}])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(run: Run) -> None:
    assert run("--version").stdout == "llm-codegen 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["-py", "-quant"], "-quant is"),
        (["-py", "--to-quant", "--quant-disable-names", "lm_head"], "-quant is"),
        (["--enable-sparse"], "--enable-sparse is"),
        (["--target", "ggml"], "target ggml is"),
        (["--target", "onnx"], "target onnx is"),
    ],
)
def test_what_is_not_there_yet_says_so(
    run: Run, tmp_path: Path, arguments: list[str], subject: str
) -> None:
    result = run("transform", "-s", tmp_path, *arguments)
    fails_with(result, cli.BAD_INPUT, f"^error: {re.escape(subject)} not available yet")
    assert result.stderr.count("\n") == 1


def test_layer_sources_are_not_there_yet(run: Run) -> None:
    fails_with(run("transform", "-s", "layer.cpp"), cli.BAD_INPUT, "C.. layer sources is not")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-quant"], "-quant needs -py"),
        (["-py", "--quant-disable-names", "x"], "--quant-disable-names needs -quant"),
        (["-py", "--target", "ggml"], "-py means --target atb-python, not ggml"),
        (["-quant", "--target", "atb-cpp"], "-quant needs -py"),
        (["-py", "-atb", "model.cpp"], "-atb writes Python that calls C.*: .* not go with -py"),
        (["--target", "atb-python", "--atb_model_path=x.h"], "-atb writes Python that calls C"),
    ],
)
def test_flags_that_contradict(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    fails_with(run("transform", "-s", tmp_path, *arguments), cli.BAD_INPUT, message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["transform"],
        ["transform", "-s", "x", "--target", "cuda"],
        ["transform", "-s", "x", "-l", "loud"],
        ["transform", "-s", "x", "--python-api", "other"],
        ["transform", "-s", "x", "-pyx"],
        ["inspect", "x", "--level", "hlo"],
        ["nothing"],
    ],
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == cli.BAD_INPUT
    assert "Traceback" not in result.stderr


def test_missing_source(run: Run, tmp_path: Path) -> None:
    result = run("transform", "-s", tmp_path / "none", "-py", "-o", tmp_path / "out")
    fails_with(result, cli.BAD_INPUT, "^error: .*none")
    assert not (tmp_path / "out").exists()


def failing(error: Exception) -> Callable[..., None]:
    def run(*_: object) -> None:
        raise error

    return run


def test_every_problem_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problems = [
        Problem("model.layers.0.attn", "modelling.py:12", "no such mask", "use another"),
        Problem("model.layers.0.attn", "modelling.py:12", "no such mask", "use another"),
        Problem("model.layers.0.mlp", "", "no experts"),
    ]
    monkeypatch.setattr(pipeline, "run", failing(UnsupportedError(problems)))
    result = run("transform", "-s", tmp_path, "-py")
    assert result.exit_code == cli.BAD_INPUT
    assert result.stderr == (
        "error: unsupported, 2 problems:\n"
        "  - model.layers.0.attn at modelling.py:12: no such mask (remedy: use another)\n"
        f"  - model.layers.0.mlp: no experts (remedy: {Problem.remedy})\n"
    )


@pytest.mark.parametrize("error", [BadInputError("two\nlines"), PassError("graph")])
def test_known_errors_are_bad_input(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    monkeypatch.setattr(pipeline, "run", failing(error))
    result = run("transform", "-s", tmp_path, "-py")
    fails_with(result, cli.BAD_INPUT, "^error: (two lines|graph)\n$")


def test_defects_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pipeline, "run", failing(ZeroDivisionError("a\nb")))
    result = run("transform", "-s", tmp_path, "-py")
    fails_with(result, cli.INTERNAL, "^internal error, .*: ZeroDivisionError: a b\n$")
    shown = run("transform", "-s", tmp_path, "-py", "-l", "debug")
    assert isinstance(shown.exception, ZeroDivisionError)


def test_diff_exit_codes(run: Run, tmp_path: Path) -> None:
    out, golden = tmp_path / "out", tmp_path / "golden"
    out.mkdir()
    golden.mkdir()
    same = run("diff", out, golden)
    assert (same.exit_code, same.stdout) == (cli.DONE, "same: 0 files\n")
    (out / "x.py").write_text("a[0] = 1\n")
    (golden / "x.py").write_text("a[0] = 2\n")
    different = run("diff", out, golden)
    assert different.exit_code == cli.DIFFERENT
    assert "x.py: means something else" in different.stdout
    assert "module: + a[0] = 1" in different.stdout
    machine = run("diff", out, golden, "--json")
    assert machine.exit_code == cli.DIFFERENT
    assert json.loads(machine.stdout)["files"][0]["status"] == "meaning"
    fails_with(run("diff", out, tmp_path / "none"), cli.BAD_INPUT, "not a directory")


def test_transform_prints_the_closing_blocks_of_the_seed(
    run: Run, zoo: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zoo("llama-gqa")
    monkeypatch.chdir(tmp_path)
    result = run("transform", "-s", source, "-py", "-o", ".")
    assert result.exit_code == cli.DONE, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "=" * 30,
        "Saved to: llamaforcausallm_atb_float.py",
        "",
        "=" * 30,
        "atb_model config:",
        lines[5],
    ]
    assert lines[5].startswith("{'vocab_size': 104, 'num_attention_heads': 4, 'head_dim': 16,")
    assert lines[6:12] == ["", "=" * 30, "Run like:", "", 'python3 -c "', "import torch, torch_npu"]
    assert "import llamaforcausallm_atb_float" in lines
    assert lines[-3:] == [
        "=" * 30,
        "End-to-end inference example saved to: run.py",
        "Execute by: python run.py",
    ]
    assert (tmp_path / "run.py").is_file()
    again = run("transform", "-s", source, "-py", "-o", ".")
    fails_with(again, cli.BAD_INPUT, r"already holds .*--force")
    assert run("transform", "-s", source, "-py", "-o", ".", "--force").exit_code == cli.DONE


def test_verify_and_inspect_of_a_small_model(
    run: Run, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    source, out = zoo("llama-gqa"), tmp_path / "out"
    assert run("transform", "-s", source, "--to-python", "-o", out).exit_code == cli.DONE
    verified = run("verify", out, "-s", source, "--json")
    assert verified.exit_code == cli.DONE, verified.output
    body = json.loads(verified.stdout)
    assert body["target"] == "atb-python"
    assert body["passed"] is True
    assert body["prefill"]["argmax_agree"] == body["decode"]["argmax_agree"] == 1.0
    assert body["decode"]["steps"] >= 8
    assert [layer["name"] for layer in body["layers"]] == [f"model.layers.{i}" for i in range(3)]
    for level, mark in (("aten", "aten."), ("llm", "llm.attention"), ("atb", "atb.")):
        shown = run("inspect", source, "--level", level, "--time-passes")
        assert shown.exit_code == cli.DONE, shown.output
        assert mark in shown.stdout
        assert re.search(r"\d\.\d{3} s  trace", shown.stderr)
    after = run("inspect", source, "--print-after", "cache-kv")
    assert "# after cache-kv" in after.stdout
    assert "llm.paged_attention" in after.stdout
    explained = run("inspect", source, "--explain")
    assert explained.stdout == "every pattern that was tried fits\n"
    fails_with(run("inspect", source, "--print-after", "x"), cli.BAD_INPUT, "no pass 'x'")


def test_the_model_itself_is_no_output(
    run: Run, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((zoo("llama-gqa") / "config.json").read_text())
    result = run("transform", "-s", tmp_path, "-py", "-o", tmp_path, "--force")
    fails_with(result, cli.BAD_INPUT, "is the model itself")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_what_raising_tried_is_explained_when_it_fails(
    run: Run, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    config = json.loads((zoo("llama-gqa") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"rms_norm_eps": -1e-5}))
    result = run("inspect", tmp_path, "--explain")
    fails_with(result, cli.BAD_INPUT, "the epsilon -1e-05 is not a number from 0 on")
