"""The emitted package: its program runs, and nothing from the model breaks out of its text."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.errors import BadInputError
from codegen.frontend.checkpoint import read_config
from codegen.targets.atb.emit_package import PackageSpec, literal, package_files, package_spec
from tests.codegen.host.toy_package import (
    expected,
    model_torch,
    write_checkpoint,
    write_package,
)

SPEC = PackageSpec(
    model_type="gpt2",
    model_class="GPT2LMHeadModel",
    compiled={"n_embd": 8, "scale": float("inf"), "kinds": ["a", "b"]},
    sizes={"hidden_size": 8, "vocab_size": 10, "max_position_embeddings": 16},
    attribute_map={"hidden_size": "n_embd", "num_hidden_layers": "n_layer"},
    cpp_folder="gpt2lmheadmodel",
)
PROMPTS = [[3, 4, 5], [10] * 9, [1]]


def run(package: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Executes run.py as a program, with the toy in place of the compiled C++."""
    from codegen.host import atb_cpp

    monkeypatch.setattr(atb_cpp, "compile_model", lambda sources, include_dirs: Path("library"))
    monkeypatch.setattr(atb_cpp, "install", model_torch)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    code = compile((package / "run.py").read_text(encoding="utf-8"), package / "run.py", "exec")
    exec(code, {"__name__": "__main__", "__file__": str(package / "run.py")})


def blocks(text: str) -> list[tuple[list[int], list[int]]]:
    found = re.findall(r"={30}\nInput: ([\d,]+)\nOutput: ([\d,]+)\n", text)
    return [(list(map(int, i.split(","))), list(map(int, o.split(",")))) for i, o in found]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("out"), checkpoint)


@pytest.mark.parametrize(
    "more",
    [
        ["--block_size", "4"],
        ["--block_size", "128", "--dtype", "float16"],
        ["--block_size", "3", "--max_batch_size", "2"],
        ["--world_size", "2"],
    ],
)
def test_run_continues_prompts(
    package: Path,
    checkpoint: Path,
    more: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = [",".join(map(str, prompt)) for prompt in PROMPTS]
    arguments = [f"--model_path={checkpoint}", "--device", "cpu", "--max_output_length", "8"]
    run(package, [*arguments, "--input_ids", *ids, *more], monkeypatch)
    want = [(prompt, prompt + expected(prompt, 8)) for prompt in PROMPTS]
    assert blocks(capsys.readouterr().out) == want


def test_run_stops_at_the_end_token(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 3 4 5 12 24 48 ...: the second new token ends it, the other sequence goes on.
    other = write_checkpoint(tmp_path / "ends", eos_token_id=[24, 95])
    arguments = [f"--model_path={other}", "--device=cpu", "--max_output_length=4"]
    run(package, [*arguments, "--input_ids", "3,4,5", "1"], monkeypatch)
    assert [out for _, out in blocks(capsys.readouterr().out)] == [
        [3, 4, 5, 12, 24],
        [1, 1, 2, 4, 8],
    ]
    run(package, [*arguments, "--input_ids", "3,4,5", "--ignore_eos"], monkeypatch)
    assert [out for _, out in blocks(capsys.readouterr().out)] == [[3, 4, 5, 12, 24, 48, 0]]


def test_run_is_a_program(package: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(package / "run.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = call("--help")
    assert shown.returncode == 0 and "--model_path" in shown.stdout
    bad = call("--model_path=x", "--max_output_length=0")
    assert bad.returncode == 2 and "--max_output_length" in bad.stderr


def test_run_takes_text_where_there_is_a_tokenizer() -> None:
    with_text = package_files(SPEC)["gpt2/run.py"]
    assert '"--input_texts"' in with_text and "load_tokenizer=True" in with_text
    without = package_files(replace(SPEC, has_tokenizer=False))["gpt2/run.py"]
    assert "--input_texts" not in without and "load_tokenizer=False" in without


def test_run_without_cpp_has_no_cpu() -> None:
    text = package_files(replace(SPEC, cpp_folder=None))["gpt2/run.py"]
    assert "cpu" not in text and "codegen" not in text


def test_the_configuration_class() -> None:
    text = package_files(SPEC)["gpt2/config_gpt2.py"]
    made: dict[str, Any] = {}
    exec(_without_base(text), made)
    config = made["Gpt2Config"]
    assert (config.n_embd, config.vocab_size) == (8, 10)
    assert config.attribute_map == {"hidden_size": "n_embd"}
    made["check_compiled"]({"n_embd": 8, "scale": float("inf"), "kinds": ["a", "b"], "more": 1})
    with pytest.raises(ValueError, match=r"config.json: kinds is \['a'\]"):
        made["check_compiled"]({"n_embd": 8, "scale": float("inf"), "kinds": ["a"]})
    with pytest.raises(ValueError, match=r"config.json: kinds is None, .* \['a', 'b'\]; generate"):
        made["check_compiled"]({})


def test_keys_that_change_nothing_are_not_compiled(checkpoint: Path) -> None:
    config = read_config(checkpoint)
    spec = _spec({**config, "transformers_version": "1", "use_cache": True}, hidden_size=16)
    assert set(spec.compiled) & {"transformers_version", "use_cache", "eos_token_id"} == set()
    assert spec.compiled["rms_norm_eps"] == 1e-6
    assert spec.compiled["rope_scaling"] is None
    assert spec.sizes == {"hidden_size": 16, "max_position_embeddings": 2048}


@pytest.mark.parametrize("kind", ["", "Llama", "a-b", "class", "é", "../x", None, "1a"])
def test_model_types_that_cannot_name_files(kind: Any) -> None:
    with pytest.raises(BadInputError, match="cannot name"):
        package_files(replace(SPEC, model_type=kind))


@pytest.mark.parametrize(
    "changed",
    [
        {"model_class": 'X"""\nimport os'},
        {"cpp_folder": "../x"},
        {"attribute_map": {"hidden_size": "n_embd = 8\nimport os  #"}},
    ],
)
def test_names_that_are_no_identifiers(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="identifier"):
        package_files(replace(SPEC, **changed))


@pytest.mark.parametrize("text", ['"""', "\n", "\\", "{{ 1 }}", "\u2028", '"}\nimport os #', "\0"])
def test_keys_and_values_stay_in_their_strings(text: str) -> None:
    made = package_files(replace(SPEC, compiled={text: [{text: text}]}))["gpt2/config_gpt2.py"]
    assigned = next(node for node in ast.parse(made).body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assigned.value) == {text: [{text: text}]}
    assert "import os" not in [ast.unparse(node) for node in ast.parse(made).body]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(json_values)
def test_literals_mean_their_value(value: Any) -> None:
    assert eval(literal(value)) == value


def test_deep_values_are_refused() -> None:
    value: list[Any] = []
    for _ in range(500):
        value = [value]
    with pytest.raises(BadInputError, match="nested"):
        literal(value)


def test_the_same_spec_gives_the_same_text() -> None:
    again = replace(SPEC, compiled=dict(reversed(list(SPEC.compiled.items()))))
    assert package_files(SPEC) == package_files(again)


def _spec(config: dict[str, Any], **values: Any) -> PackageSpec:
    understood: Any = type("Understood", (), {"attribute_map": {}, **values})()
    return package_spec(
        config,
        understood,
        model_class="LlamaForCausalLM",
        dtype="float16",
        has_tokenizer=False,
        cpp_folder=None,
    )


def _without_base(text: str) -> str:
    return text.replace("from atb_llm.models.base.config import BaseConfig", "BaseConfig = object")
