"""Generated code that was changed is executed as it is, and what departs first is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import codegen
from codegen.errors import BadInputError, VerificationError
from codegen.parity import Verification

MODEL_FILE = "llamaforcausallm_atb_float.py"
PREFILL, DECODE = "def prefill_decoder_layer", "def decode_decoder_layer"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated from a configuration alone."""
    from tests.zoo import build

    folder = tmp_path_factory.mktemp("generated")
    source = build("llama-gqa", folder)
    (source / "model.safetensors").unlink()
    codegen.transform(source, folder / "out", target="atb-python")
    return folder / "out"


def edited(generated: Path, folder: Path, path: str, after: str, old: str, new: str) -> Path:
    """A copy with the first match of `old` behind `after` replaced in one file."""
    out = folder / "out"
    shutil.copytree(generated, out)
    head, found, tail = (out / path).read_text().partition(after)
    changed, count = re.subn(old, new, tail, count=1)
    assert count == 1
    (out / path).write_text(head + found + changed)
    return out


def test_without_source_and_weights(generated: Path) -> None:
    result = codegen.verify(generated)
    assert result.passed
    assert result.departure is None
    assert result.notes == ("there are no weights: seeded random ones are used",)
    assert [layer.name for layer in result.layers] == [f"model.layers.{i}" for i in range(3)]
    assert all(layer.sqnr_db > 110 for layer in result.layers)
    assert [(p.name, p.rounding) for p in result.phases if p.limit is None] == [
        (phase, rounding) for rounding in ("bfloat16", "float16") for phase in ("prefill", "decode")
    ]
    assert not list(generated.rglob("*.pyc"))


FAULTS = {
    "epsilon": (PREFILL, '"epsilon": 1e-06', '"epsilon": 1e-05', "atb.rms_norm", "input_layernorm"),
    "scale": (PREFILL, '"qkScale": 0.25', '"qkScale": 0.2', "atb.self_attention", "self_attn"),
    "pairing": (PREFILL, '"rotaryCoeff": 2', '"rotaryCoeff": 16', "atb.rope", "self_attn"),
    "swapped pieces": (
        PREFILL,
        r'("splitSizes": .*\s+\[.*\],\s+)\[("\w+"), ("\w+"), ("\w+")\]',
        r"\1[\2, \4, \3]",
        "atb.rope",
        "self_attn",
    ),
    "residual": (
        PREFILL,
        r'("ELEWISE_ADD"\},\s+)\["\w+", ("\w+")\]',
        r"\1[\2, \2]",
        "atb.elewise",
        "",
    ),
    "decode scale": (
        DECODE,
        '"qkScale": 0.25',
        '"qkScale": 0.2',
        "atb.paged_attention",
        "self_attn",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_wrong_operation_is_named(generated: Path, tmp_path: Path, fault: str) -> None:
    after, old, new, operation, module = FAULTS[fault]
    result = codegen.verify(edited(generated, tmp_path, MODEL_FILE, after, old, new))
    assert not result.passed
    assert result.departure is not None
    assert result.departure.phase == ("decode" if after == DECODE else "prefill")
    assert result.departure.layer == "model.layers.0"
    assert result.departure.operation == operation
    assert result.departure.module == f"model.layers.0.{module}".rstrip(".")
    assert re.fullmatch(r"modeling_llama\.py:\d+", result.departure.source)
    assert any(note.startswith("edited since") for note in result.notes)
    body = json.loads(result.to_json())
    assert body["passed"] is False
    assert body["departure"]["operation"] == operation


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("position % BLOCK_SIZE", "(position + 1) % BLOCK_SIZE"),
        (r"\[self._lengths\[s\] for", "[self._lengths[s] - 1 for"),
    ],
)
def test_faults_of_the_runtime(generated: Path, tmp_path: Path, old: str, new: str) -> None:
    result = codegen.verify(edited(generated, tmp_path, "atb_runtime.py", "def step", old, new))
    assert not result.passed
    assert result.departure is not None
    assert result.departure.phase == "decode"
    assert result.departure.operation == "atb.paged_attention"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"graph\.build\(\)", "graph.build(", r"SyntaxError"),
        ('"qkScale"', '"qkscale"', r"qkscale"),
        (r"graph\.build\(\)", "raise SystemExit(0)", r"SystemExit"),
        ("import json", "import no_such_module", r"no_such_module"),
        ('"k_cache", "v_cache", "slots"', '"k_cache", "k_cache", "slots"', r"ReshapeAndCache"),
    ],
)
def test_code_that_does_not_run(
    generated: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    out = edited(generated, tmp_path, MODEL_FILE, '"""', old, new)
    with pytest.raises(VerificationError, match=message) as caught:
        codegen.verify(out)
    assert "\n" not in str(caught.value)


def test_prompts_are_longer_than_the_tile_of_the_mask(generated: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    config = json.loads((generated / "config.json").read_text()) | {"max_position_embeddings": 256}
    (source / "config.json").write_text(json.dumps(config))
    codegen.transform(source, out, target="atb-python")
    assert codegen.verify(out).passed
    text = (out / MODEL_FILE).read_text()
    (out / MODEL_FILE).write_text(text.replace('"isTriuMask": 1', '"isTriuMask": 0'))
    with pytest.raises(VerificationError, match="does not cover a sequence of 140 tokens"):
        codegen.verify(out)


def test_another_model(generated: Path, zoo: Callable[[str], Path]) -> None:
    with pytest.raises(VerificationError):
        codegen.verify(generated, zoo("llama-head-dim"))
    other: Verification = codegen.verify(generated, zoo("llama-gqa"))
    assert other.passed


def test_of_a_model_that_is_too_large_a_shallow_twin_runs(generated: Path, tmp_path: Path) -> None:
    result = codegen.verify(generated, max_parameters=110_000)
    assert result.passed
    assert "a twin with 2 layers ran" in result.notes[0]
    assert [layer.name for layer in result.layers] == ["model.layers.0", "model.layers.1"]
    out = edited(generated, tmp_path, MODEL_FILE, PREFILL, "1e-06", "1e-05")
    with pytest.raises(BadInputError, match="is not what is generated for this model"):
        codegen.verify(out, max_parameters=110_000)


def test_too_large(generated: Path) -> None:
    with pytest.raises(BadInputError, match=r"even 2 of its layers have .* parameters"):
        codegen.verify(generated, max_parameters=1000)


def test_weights_must_be_complete(
    generated: Path, zoo: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(zoo("llama-gqa") / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInputError, match=r"lack model\.norm\.weight"):
        codegen.verify(generated, zoo("llama-gqa"), tmp_path)
    with pytest.raises(BadInputError, match="not a directory with safetensors"):
        codegen.verify(generated, zoo("llama-gqa"), tmp_path / "model.safetensors")


def test_a_fault_of_lowering_is_found_in_the_graph(
    generated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from codegen import pipeline, verification
    from codegen.targets.atb.lower import lower

    def wrong(steps: object) -> object:
        atb = lower(steps)  # pyright: ignore[reportArgumentType]
        for node in (node for graph in atb for node in graph.nodes):
            if node.op == "atb.self_attention":
                node.attrs["qk_scale"] = 0.3
        return atb

    monkeypatch.setattr(pipeline, "lower", wrong)
    pipeline.transform(generated, tmp_path / "out", target="atb-python")
    result = verification.verify(tmp_path / "out")
    assert not result.passed
    assert result.departure is not None
    assert result.departure.operation == "atb.self_attention for llm.attention"
    assert result.departure.layer == "model.layers.0"


def test_weights_of_another_format_are_not_taken_for_none(generated: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(generated / "config.json", source)
    (source / "pytorch_model.bin").write_bytes(b"")
    (note,) = codegen.verify(generated, source).notes
    assert "pytorch_model.bin are not read" in note
