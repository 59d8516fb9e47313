"""Whatever a directory holds: exit code 2, one clear line, no traceback, nothing written."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from codegen import cli
from codegen.diff_cpp import statements

BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HOSTILE = (
    '"""\nimport os; os.abort()\n"""',
    "'); raise SystemExit(7) #",
    "{{ 7 * 7 }}{% raw %}",
    "../../../../tmp/escaped",
    "\x00\u2028\r\n",
    "\\",
    "é" * 300,
)
TARGETS = st.sampled_from(["atb-python", "atb-cpp"])
# Sizes stay small on purpose: a real size that is too large for the machine is not malformed.
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 7, 2**63, -(2**70)]),
    st.sampled_from([0.0, -1.5, 1e-30, float("inf"), float("nan")]),
    st.sampled_from(HOSTILE),
    st.sampled_from(["", "llama", "bloom", "gelu", "LlamaForCausalLM", "os", "float16"]),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.sampled_from(["rope_type", "factor", "x"]), st.integers(-2, 2), max_size=2),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.zoo import build

    return build("llama-gqa", tmp_path_factory.mktemp("fuzz"))


@contextmanager
def copied(model: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of the model that may be damaged, and an output directory that does not exist."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "model"
        shutil.copytree(model, source)
        yield source, Path(folder) / "out"


def transform(source: Path, out: Path, *flags: str) -> Result:
    arguments = ["transform", *(flags or ["-py"]), "-s", str(source), "-o", str(out)]
    return CliRunner().invoke(cli.app, arguments)


def refused(result: Result, out: Path) -> None:
    assert result.exit_code == cli.BAD_INPUT, (result.output, result.exception)
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("  - ") for line in rest)
    assert result.stdout == ""
    assert not out.exists()


def refused_or_sound(result: Result, out: Path, hostile: bool = True) -> None:
    """Either refused, or the output does not hold the hostile text as code."""
    if result.exit_code != cli.DONE:
        refused(result, out)
        return
    for path in out.rglob("*.py"):
        names = {
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Name, ast.Attribute))
        }
        assert not names & {"SystemExit", "abort"}, path
    for path in (*out.rglob("*.cpp"), *out.rglob("*.h")):
        for statement in statements(path.read_text()):
            code = re.sub(r'"(\\.|[^"])*"', "", statement.text)
            assert not re.search(r"SystemExit|abort|[^ -~]", code), statement


def test_the_model_itself_is_fine(model: Path, tmp_path: Path) -> None:
    assert transform(model, tmp_path / "out").exit_code == cli.DONE


@BOUNDED
@given(data=st.data())
def test_mutated_configuration(model: Path, data: st.DataObject) -> None:
    with copied(model) as (source, out):
        path = source / "config.json"
        config = json.loads(path.read_text())
        for _ in range(data.draw(st.integers(1, 2))):
            key = data.draw(st.sampled_from([*sorted(config), "auto_map", "quantization_config"]))
            config[key] = data.draw(VALUES)
        path.write_text(json.dumps(config))
        refused_or_sound(transform(source, out, "--target", data.draw(TARGETS)), out)


@BOUNDED
@given(data=st.data())
def test_damaged_configuration_bytes(model: Path, data: st.DataObject) -> None:
    with copied(model) as (source, out):
        path = source / "config.json"
        raw = bytearray(path.read_bytes())
        cut = data.draw(st.integers(0, len(raw) - 3))
        raw[cut:] = data.draw(st.binary(max_size=8))
        path.write_bytes(raw)
        refused(transform(source, out), out)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 10_000, '{"model_type": 1}', "NaN"])
def test_a_configuration_that_is_none(model: Path, text: str) -> None:
    with copied(model) as (source, out):
        (source / "config.json").write_text(text)
        refused(transform(source, out), out)


def header(source: Path) -> tuple[dict[str, Any], bytes]:
    raw = (source / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def write_weights(source: Path, tensors: dict[str, Any], data: bytes) -> None:
    text = json.dumps(tensors).encode()
    (source / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


@BOUNDED
@given(data=st.data())
def test_hostile_tensor_names(model: Path, data: st.DataObject) -> None:
    with copied(model) as (source, out):
        tensors, rest = header(source)
        name = data.draw(st.sampled_from(sorted(tensors)))
        tensors[data.draw(st.sampled_from(HOSTILE))] = tensors.pop(name)
        write_weights(source, tensors, rest)
        refused_or_sound(transform(source, out, "--target", data.draw(TARGETS)), out)


@BOUNDED
@given(data=st.data())
def test_malformed_weights(model: Path, data: st.DataObject) -> None:
    with copied(model) as (source, out):
        tensors, rest = header(source)
        name = data.draw(st.sampled_from(sorted(set(tensors) - {"__metadata__"})))
        key = data.draw(st.sampled_from(["shape", "dtype", "data_offsets"]))
        tensors[name][key] = data.draw(VALUES)
        write_weights(source, tensors, rest)
        refused_or_sound(transform(source, out), out)


@BOUNDED
@given(cut=st.floats(0, 0.999), size=st.sampled_from([None, 0, 2**40, 2**64 - 1]))
def test_truncated_weights(model: Path, cut: float, size: int | None) -> None:
    with copied(model) as (source, out):
        path = source / "model.safetensors"
        raw = path.read_bytes()
        head = raw[:8] if size is None else struct.pack("<Q", size)
        path.write_bytes((head + raw[8:])[: int(cut * len(raw))])
        refused(transform(source, out), out)


def test_weights_are_not_needed(model: Path) -> None:
    with copied(model) as (source, out):
        (source / "model.safetensors").unlink()
        assert transform(source, out).exit_code == cli.DONE


def test_no_configuration(model: Path) -> None:
    with copied(model) as (source, out):
        (source / "config.json").unlink()
        refused(transform(source, out), out)


def test_source_is_a_file(model: Path, tmp_path: Path) -> None:
    refused(transform(model / "config.json", tmp_path / "out"), tmp_path / "out")


def test_output_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        result = transform(model, out)
        assert result.exit_code == cli.BAD_INPUT
        assert result.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@BOUNDED
@given(data=st.data())
def test_verify_of_a_damaged_output(
    model: Path, generated: Callable[[], Path], data: st.DataObject
) -> None:
    with copied(generated()) as (out, _):
        path = out / data.draw(st.sampled_from(sorted(p.name for p in out.glob("*.*"))))
        raw = path.read_bytes()
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        result = CliRunner().invoke(cli.app, ["verify", str(out), "-s", str(model)])
        assert result.exit_code in (cli.DONE, cli.DIFFERENT, cli.BAD_INPUT), result.output
        assert "Traceback" not in result.stderr
        if result.exit_code == cli.BAD_INPUT:
            assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def generated(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    out = tmp_path_factory.mktemp("generated") / "out"
    assert transform(model, out).exit_code == cli.DONE
    return lambda: out
