"""Generated C++ that was changed is compiled and executed as it is; whatever it does is told.

Faults of the C++ are compiled in together and chosen by an environment variable: compiling costs
more than everything else.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import codegen
from codegen import cli, manifest
from codegen.errors import BadInputError, VerificationError
from codegen.parity import Verification

LAYER = "llamaforcausallm/layer/decoder_layer.cpp"
MODEL = "llamaforcausallm/model/decoder_model.cpp"
WEIGHTS, FLASH = "llama/modeling_llama.py", "llama/flash_causal_llama.py"
VARIABLE = "LLMC_TEST_FAULT"

FAULT = f"""#include <cstdlib>
#include <stdexcept>
#include <utility>
static bool Fault(char which)
{{
    const char *wanted = std::getenv("{VARIABLE}");
    return wanted != nullptr && *wanted == which;
}}
"""
#: (file, text, what stands there instead)
EDITS = [
    (LAYER, '#include "decoder_layer.h"\n', f'#include "decoder_layer.h"\n{FAULT}'),
    (MODEL, '#include "decoder_model.h"\n', f'#include "decoder_model.h"\n{FAULT}'),
    (LAYER, "normParam.epsilon = 1e-06F", "normParam.epsilon = Fault('e') ? 1e-05F : 1e-06F"),
    (
        LAYER,
        "opParam.qkScale = 0.25F;\n    opParam.isTriuMask",
        "opParam.qkScale = Fault('s') ? 0.2F : 0.25F;\n    opParam.isTriuMask",
    ),
    (
        LAYER,
        "opParam.qkScale = 0.25F;\n    opParam.kvHeadNum",
        "opParam.qkScale = Fault('d') ? 0.2F : 0.25F;\n    opParam.kvHeadNum",
    ),
    (
        LAYER,
        "    node.outTensorIds = {INTERMEDIATE_QUERY_FLAT",
        "    if (Fault('o')) {\n"
        "        std::swap(node.inTensorIds.at(2), node.inTensorIds.at(3));\n    }\n"
        "    node.outTensorIds = {INTERMEDIATE_QUERY_FLAT",
    ),
    (
        LAYER,
        "    if (param.worldSize == 1) {\n        atb::infer::LinearParam",
        "    if (param.worldSize == 1 || Fault('r')) {\n        atb::infer::LinearParam",
    ),
    (
        MODEL,
        "    seqLens_ = ",
        "    if (Fault('n') || (Fault('2') && param_.worldSize == 2)) {\n"
        "        *static_cast<volatile int *>(nullptr) = 1;\n    }\n"
        "    if (Fault('b') && graph_.weightTensors.at(0).desc.dtype == ACL_BF16) {\n"
        "        std::abort();\n    }\n"
        "    if (Fault('x')) {\n        std::exit(0);\n    }\n"
        "    if (Fault('y')) {\n        std::exit(3);\n    }\n"
        "    if (Fault('t')) {\n        throw std::runtime_error(\"two\\nlines\");\n    }\n"
        "    if (Fault('i')) {\n        throw 3;\n    }\n"
        "    if (Fault('1') && param_.rank == 1) {\n"
        '        throw std::runtime_error("rank one is broken");\n    }\n'
        "    seqLens_ = ",
    ),
]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated from a configuration alone."""
    from tests.zoo import build

    folder = tmp_path_factory.mktemp("generated")
    source = build("llama-gqa", folder)
    (source / "model.safetensors").unlink()
    codegen.transform(source, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def faulty(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With faults that the environment switches on."""
    out = tmp_path_factory.mktemp("faulty") / "out"
    shutil.copytree(generated, out)
    for path, old, new in EDITS:
        edit(out, path, old, new)
    return out


def edit(out: Path, path: str, old: str, new: str) -> None:
    text = (out / path).read_text()
    assert old in text, old
    (out / path).write_text(text.replace(old, new, 1))


def edited(generated: Path, folder: Path, path: str, old: str, new: str) -> Path:
    """A copy with the first match replaced in one file."""
    out = folder / "out"
    shutil.copytree(generated, out)
    edit(out, path, old, new)
    return out


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["verify", *map(str, arguments)])


def failed_ranks(result: Verification) -> set[int]:
    return {phase.ranks for phase in result.phases if not phase.passed}


def test_without_source_and_weights(generated: Path) -> None:
    result = codegen.verify(generated)
    assert result.passed
    assert result.departure is None
    assert result.notes == ("there are no weights: seeded random ones are used",)
    assert [layer.name for layer in result.layers] == [f"model.layers.{i}" for i in range(3)]
    assert all(layer.sqnr_db > 110 for layer in result.layers)
    assert {(p.rounding, p.ranks) for p in result.phases if p.limit is not None} == {
        ("float32", ranks) for ranks in (1, 2, 4)
    }
    assert {p.rounding for p in result.phases if p.limit is None} == {"bfloat16", "float16"}
    assert manifest.read(generated).edited(generated) == []
    assert not list(generated.rglob("*.pyc"))
    assert not list(generated.rglob("*.o"))


def test_json(generated: Path) -> None:
    done = verify(generated, "--json")
    assert done.exit_code == cli.DONE, done.output
    body = json.loads(done.stdout)
    figures = {"max_abs_diff", "argmax_agree"}
    assert body.keys() == {
        *("target", "passed", "prefill", "decode", "layers", "departure", "rounding", "ranks"),
        *("vendor_headers", "notes"),
    }
    assert (body["target"], body["passed"], body["departure"]) == ("atb-cpp", True, None)
    assert body["prefill"].keys() == figures | {"tokens"}
    assert body["decode"].keys() == figures | {"steps"}
    assert body["decode"]["steps"] == 8
    assert body["ranks"].keys() == {
        f"{n}.{phase}" for n in (2, 4) for phase in ("prefill", "decode")
    }
    assert all(found.keys() == figures | {"passed"} for found in body["ranks"].values())
    assert body["rounding"].keys() == {
        f"{kind}.{phase}" for kind in ("float16", "bfloat16") for phase in ("prefill", "decode")
    }
    assert body["vendor_headers"] == {}
    assert {layer["name"] for layer in body["layers"]} == {f"model.layers.{i}" for i in range(3)}


def test_the_edited_code_without_a_fault_passes(faulty: Path) -> None:
    result = codegen.verify(faulty)
    assert result.passed
    assert result.notes[0] == f"edited since they were generated: {LAYER}, {MODEL}"


@pytest.mark.parametrize(
    ("fault", "phase", "operation", "module"),
    [
        ("e", "prefill", "atb.rms_norm", "input_layernorm"),
        ("s", "prefill", "atb.self_attention", "self_attn"),
        ("o", "prefill", "atb.rope", "self_attn"),
        ("d", "decode", "atb.paged_attention", "self_attn"),
    ],
)
def test_the_first_wrong_operation_is_named(
    faulty: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    phase: str,
    operation: str,
    module: str,
) -> None:
    monkeypatch.setenv(VARIABLE, fault)
    result = codegen.verify(faulty)
    assert not result.passed
    assert failed_ranks(result) == {1, 2, 4}
    assert {p.name for p in result.phases if not p.passed} == (
        {"decode"} if phase == "decode" else {"prefill", "decode"}
    )
    departure = result.departure
    assert departure is not None
    assert (departure.phase, departure.layer) == (phase, "model.layers.0")
    assert (departure.operation, departure.module) == (operation, f"model.layers.0.{module}")
    assert re.fullmatch(r"modeling_llama\.py:\d+", departure.source)
    assert departure.sqnr_db < 100


def test_the_command_names_it(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "s")
    done = verify(faulty)
    assert done.exit_code == cli.DIFFERENT
    assert "departs first: prefill, model.layers.0, atb.self_attention (mod" in done.stdout
    assert done.stdout.endswith("FAILED: the numbers are not the model's\n")


def test_a_missing_sum_shows_with_several_ranks(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "r")
    only_ranks_differ(faulty)


def test_a_wrong_share_shows_with_several_ranks(generated: Path, tmp_path: Path) -> None:
    # Of down_proj and o_proj each rank takes another's columns.
    only_ranks_differ(
        edited(
            generated,
            tmp_path,
            WEIGHTS,
            "first = self.rank * count",
            "first = (self.rank if dim == 0 else self.world_size - 1 - self.rank) * count",
        )
    )


def only_ranks_differ(out: Path) -> None:
    done = verify(out, "--json")
    assert done.exit_code == cli.DIFFERENT, done.output
    body = json.loads(done.stdout)
    assert not body["passed"]
    assert body["prefill"]["max_abs_diff"] < 1e-4
    assert {name for name, found in body["ranks"].items() if not found["passed"]} == {
        *("2.prefill", "2.decode", "4.prefill", "4.decode")
    }
    assert body["departure"] is None  # it is looked for on one rank
    assert all(layer["sqnr_db"] > 110 for layer in body["layers"])
    shown = verify(out)
    assert shown.exit_code == cli.DIFFERENT
    assert shown.stdout.endswith("FAILED: the numbers with 2 and 4 ranks are not the model's\n")


def test_cpp_that_does_not_compile(generated: Path, tmp_path: Path) -> None:
    out = edited(generated, tmp_path, LAYER, "opParam.hasBias = false", "opParam.hasBias = nope")
    done = verify(out)
    assert done.exit_code == cli.DIFFERENT
    assert done.stdout == ""
    first, *shown = done.stderr.splitlines()
    assert first.endswith("the generated C++ does not compile: decoder_layer.cpp does not compile:")
    assert re.fullmatch(r".*/decoder_layer\.cpp:\d+:\d+: error: 'nope' was not .*", shown[0])
    assert "opParam.hasBias = nope;" in shown[1]
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.o"))


def test_without_a_compiler(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = verify(generated)
    assert done.exit_code == cli.BAD_INPUT
    assert "the C++ compiler no-such-compiler is missing" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("n", "the generated C++ crashes the process (SIGSEGV)"),
        ("2", "the generated C++ with 2 ranks crashes the process (SIGSEGV)"),
        ("b", "the generated C++ in bfloat16 crashes the process (SIGABRT)"),
        ("x", "the generated C++ ends the process with exit code 0"),
        ("y", "the generated C++ ends the process with exit code 3"),
        ("t", "the generated code fails: two lines"),
        ("i", "the generated code fails: model code threw something that is no std::exception"),
        ("1", "the generated code fails with 2 ranks: rank one is broken"),
    ],
)
def test_cpp_that_does_not_come_back(
    faulty: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv(VARIABLE, fault)
    start = time.monotonic()
    done = verify(faulty)
    assert done.exit_code == cli.DIFFERENT, done.output
    assert done.stdout == ""
    assert done.stderr == f"verification failed: {message}\n"
    assert time.monotonic() - start < 60  # a rank does not wait for one that is gone


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (
            WEIGHTS,
            "        tensors = []\n",
            "        tensors = []\n        raise ValueError('a\\nb')\n",
            r"fails at modeling_llama\.py:\d+: ValueError: a b",
        ),
        (
            WEIGHTS,
            "        tensors = []\n",
            "        tensors = []\n        raise SystemExit(0)\n",
            r"fails at modeling_llama\.py:\d+: SystemExit: 0",
        ),
        (WEIGHTS, "        tensors = []", "        stages = [", r"modeling_llama\.py, line \d+"),
        (
            FLASH,
            "import torch\n",
            "import no_such_module\n",
            r"flash_causal_llama\.py:\d+: Module.*",
        ),
        (
            WEIGHTS,
            "        tensors = []\n",
            "        tensors = []\n        import os; os._exit(5)\n",
            "ends the process with exit code 5",
        ),
        (
            WEIGHTS,
            "        tensors = []\n",
            "        tensors = []\n        assert self.ranks.rank != 1, 'not here'\n",
            r"fails with 2 ranks at modeling_llama\.py:\d+: AssertionError: not here",
        ),
        (
            FLASH,
            "    def _place(self",
            "    def forward(self, *args, **kwargs):\n"
            "        return super().forward(*args, **kwargs) + self.tp_rank\n\n"
            "    def _place(self",
            "fails with 2 ranks: the ranks do not have the same prefill logits",
        ),
        (
            "llama/llama.json",
            '"interface": "',
            '"interface": "0',
            "this C.. was generated for another model than the Python package",
        ),
        (
            "llama/llama.json",
            "_DecoderModel",
            "_OtherModel",
            "no model is registered as .*OtherMod",
        ),
        ("llama/llama.json", '"seq_lens",', '"seq_lens", "slots",', "10 inputs, wants 9"),
        ("config.json", '"vocab_size": 104', '"vocab_size": 105', "is 105, but this code was"),
    ],
)
def test_packages_that_do_not_run(
    generated: Path, tmp_path: Path, path: str, old: str, new: str, message: str
) -> None:
    start = time.monotonic()
    out = edited(generated, tmp_path, path, old, new)
    source = generated if path == "config.json" else None
    with pytest.raises(VerificationError, match=message) as caught:
        codegen.verify(out, source)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 60


def test_a_fault_on_one_rank_is_named_although_several_fail(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s")
    out = edited(
        faulty,
        tmp_path,
        WEIGHTS,
        "        tensors = []\n",
        "        tensors = []\n        assert self.ranks.world_size == 1, 'alone'\n",
    )
    result = codegen.verify(out)
    assert not result.passed
    assert failed_ranks(result) == {1}
    assert result.departure is not None
    assert result.departure.operation == "atb.self_attention"
    for size in (2, 4):
        assert any(f"fails with {size} ranks at modeling_llama.py" in n for n in result.notes)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", r"config\.json: No such file"),
        ("llama", r"no router_llama\.py"),
        ("llamaforcausallm", "no C.. source to compile"),
        ("llamaforcausallm/layer/head.h", r"head\.h: No such file"),
        ("manifest.json", "is not an output of transform"),
    ],
)
def test_missing_files(generated: Path, tmp_path: Path, missing: str, message: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(generated, out)
    place = out / missing
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    done = verify(out, "-s", generated)
    assert done.exit_code in (cli.DIFFERENT, cli.BAD_INPUT), done.output
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("llama/llama.json", "flash_causal_llama.py:"),  # which reads it
        (FLASH, "flash_causal_llama.py"),
        ("llamaforcausallm/layer/head.h", "head.h:"),
        (manifest.NAME, manifest.NAME),
    ],
)
def test_files_that_are_cut_off(generated: Path, tmp_path: Path, path: str, named: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(generated, out)
    text = (out / path).read_text()
    (out / path).write_text(text[: len(text) // 2])
    done = verify(out)
    assert done.exit_code in (cli.DIFFERENT, cli.BAD_INPUT), done.output
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr


def test_a_manifest_without_the_facts(generated: Path, tmp_path: Path) -> None:
    out = edited(generated, tmp_path, manifest.NAME, '"cpp":', '"other":')
    with pytest.raises(BadInputError, match=r"manifest\.json is damaged: the model has no 'cpp'"):
        codegen.verify(out)


def test_calls_alone_cannot_be_verified(generated: Path, tmp_path: Path) -> None:
    out = tmp_path / "calls"
    run = ["transform", "-s", generated, "-atb", generated / MODEL, "-o", out]
    assert CliRunner().invoke(cli.app, list(map(str, run))).exit_code == cli.DONE
    done = verify(out)
    assert done.exit_code == cli.BAD_INPUT
    assert done.stderr == (
        f"error: {out} calls llamaforcausallm_DecoderModel and has no C++ of its own to execute\n"
    )


def test_of_a_model_that_is_too_large_a_shallow_twin_runs(generated: Path, tmp_path: Path) -> None:
    source, deep = tmp_path / "deep", tmp_path / "out"
    source.mkdir()
    config = json.loads((generated / "config.json").read_text()) | {"num_hidden_layers": 8}
    (source / "config.json").write_text(json.dumps(config))
    codegen.transform(source, deep)
    result = codegen.verify(deep, max_parameters=200_000)
    assert result.passed
    assert "a twin with 2 layers ran" in result.notes[0]
    assert [layer.name for layer in result.layers] == ["model.layers.0", "model.layers.1"]
    # Four times the twin's 81,000 parameters are too many again.
    assert {phase.ranks for phase in result.phases} == {1, 2}
    assert any(note.startswith("the model is too large to run several") for note in result.notes)
    for number, (path, old, new) in enumerate(
        [(LAYER, "1e-06F", "1e-05F"), (WEIGHTS, "dim=1, count=4", "dim=1, count=2")]
    ):
        out = edited(deep, tmp_path / str(number), path, old, new)
        with pytest.raises(BadInputError, match="is not what is generated for this model"):
            codegen.verify(out, max_parameters=200_000)
    with pytest.raises(BadInputError, match=r"even 2 of its layers have .* parameters"):
        codegen.verify(deep, max_parameters=1000)


def test_weights_in_the_cache_of_huggingface(
    generated: Path, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    """There a model's files are relative links into another folder."""
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(zoo("llama-gqa").iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    result = codegen.verify(generated, snapshot)
    assert result.passed
    assert result.notes == ()


def test_modules_in_the_current_directory_do_not_matter(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "safetensors.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert codegen.verify(generated).passed


def test_numbers_that_are_none(generated: Path, tmp_path: Path) -> None:
    """NaN is a difference like any other, and JSON stays JSON."""
    out = edited(
        generated,
        tmp_path,
        WEIGHTS,
        "        return tensor.to(",
        "        tensor = tensor * float('nan')\n        return tensor.to(",
    )
    done = verify(out, "--json")
    assert done.exit_code == cli.DIFFERENT, done.output

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    body = json.loads(done.stdout, parse_constant=refuse)
    assert body["prefill"] == {"tokens": body["prefill"]["tokens"], "max_abs_diff": None,
                               "argmax_agree": body["prefill"]["argmax_agree"]}  # fmt: skip
    assert body["departure"]["operation"] == "atb.gather"
    assert {layer["max_abs_diff"] for layer in body["layers"]} == {None}
