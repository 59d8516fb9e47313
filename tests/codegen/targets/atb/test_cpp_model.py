"""What is read from C++ models, and the errors for what cannot be read."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.errors import BadInputError
from codegen.targets.atb.cpp_model import BASE_DECODER, CppModel, HostTensor, read_model
from tests.codegen.targets.atb.cpp_sources import (
    ENUM_HEADER,
    ENUM_SOURCE,
    MAP_HEADER,
    MAP_SOURCE,
    write_enum,
    write_mapped,
)

DEFAULT = (
    "input_ids", "positional_ids", "cosine_table", "sine_table", "attention_mask",
    "block_tables", "slots", "place_holder", "seq_len", "logits_indices",
)  # fmt: skip


def keys(model: CppModel) -> dict[str, tuple[str, bool, str]]:
    return {p.key: (p.type, p.required, p.unless) for p in model.parameters}


def test_an_enumeration(tmp_path: Path) -> None:
    model = read_model(write_enum(tmp_path))
    assert (model.name, model.style, model.bases) == ("small_SmallModel", "enum", ())
    assert model.plain_inputs == (
        "input_ids", "position_ids", "cos_table", "sin_table", "block_tables",
        "slots", "place_holder", "seq_len", "logits_indices",
    )  # fmt: skip
    assert model.inputs == model.step_inputs
    assert model.inputs[1] == "IN_TENSOR_POSITION_IDS"
    assert (model.extra_inputs, model.weights_per_layer) == ("", 50)
    assert not model.derives_from_base


def test_parameters_of_an_enumeration(tmp_path: Path) -> None:
    assert keys(read_model(write_enum(tmp_path))) == {
        "isPrefill": ("bool", True, ""),
        "numHiddenLayers": ("int", True, ""),
        # A missing key of a document that is not constant is an empty list.
        "packQuantType": ("list[list[int]]", False, ""),
        "rankTableFile": ("str", False, ""),
        "enableLcoc": ("bool", False, ""),
        "supportLcoc": ("bool", True, "enableLcoc"),
        "rmsNormEps": ("float", True, ""),
        "linearTransposeType": ("list[list[int]]", True, ""),
        "backend": ("str", False, ""),
    }


def test_steps_and_host_tensors(tmp_path: Path) -> None:
    model = read_model(write_enum(tmp_path))
    assert [(p.key, p.type, p.required) for p in model.step_parameters] == [
        ("seqLen", "list[int]", False)
    ]
    assert model.host_tensors == (HostTensor("seq_len", "seqLen"),)
    line = next(p.line for p in model.parameters if p.key == "rmsNormEps")
    number = 1 + ENUM_SOURCE[: ENUM_SOURCE.index('"rmsNormEps"')].count("\n")
    assert line == f"{tmp_path / 'small_model.cpp'}:{number}"


def test_a_table_of_names(tmp_path: Path) -> None:
    model = read_model(write_mapped(tmp_path))
    assert (model.name, model.style) == ("mapped_MappedModel", "map")
    assert model.inputs == model.step_inputs == DEFAULT
    assert model.bases == (BASE_DECODER,) and model.derives_from_base
    assert (model.weights_per_layer, model.weights_of_embedding) == (50, 1)
    assert model.host_tensors == (HostTensor("seq_len", "seqLen"),)
    assert keys(model)["positionEmbeddingType"] == ("int", False, "")
    assert keys(model)["numHiddenLayers"] == ("int", True, "")
    assert keys(model)["isLongSeq"] == ("bool", False, "")
    # Read in a function that is called under a condition, so not needed otherwise.
    assert {p.key: p.required for p in model.step_parameters} == {"seqLen": False, "qLen": False}


@pytest.mark.parametrize(
    ("values", "prefill", "step"),
    [
        ({"isLongSeq": True}, (*DEFAULT, "inv_freq", "image_0", "image_1"), (*DEFAULT, "inv_freq")),
        ({"enableSpeculate": True}, (*DEFAULT, "q_len"), (*DEFAULT, "q_len")),
        ({"skipWordEmbedding": True}, ("input_embedding", *DEFAULT[1:]), None),
        ({"isLongSeq": False}, DEFAULT, DEFAULT),
    ],
)
def test_inputs_follow_the_configuration(
    tmp_path: Path,
    values: dict[str, object],
    prefill: tuple[str, ...],
    step: tuple[str, ...] | None,
) -> None:
    model = read_model(write_mapped(tmp_path), values)
    assert model.inputs == prefill
    assert model.step_inputs == (step or prefill)


def test_inputs_of_every_layer_cannot_be_read(tmp_path: Path) -> None:
    path = write_mapped(tmp_path)
    with pytest.raises(BadInputError, match=r"decoder_model.cpp:\d+: adds inputs in a loop"):
        read_model(path, {"enableLora": True})


def test_an_unknown_condition_on_inputs(tmp_path: Path) -> None:
    changed = MAP_SOURCE.replace("if (this->param.isLongSeq)", "if (Chip() == 3)")
    with pytest.raises(BadInputError, match=r"mapped_model.cpp:\d+: the inputs depend on Chip"):
        read_model(write_mapped(tmp_path, changed))


def test_more_inputs_than_names(tmp_path: Path) -> None:
    changed = ENUM_SOURCE.replace("resize(INPUTS)", "resize(INPUTS + param_.numHiddenLayers)")
    assert read_model(write_enum(tmp_path, changed)).extra_inputs == (
        "INPUTS + param_.numHiddenLayers"
    )


def test_both_files_and_the_folder_mean_the_pair(tmp_path: Path) -> None:
    source = write_enum(tmp_path)
    found = [read_model(path) for path in (source, source.with_suffix(".h"), tmp_path)]
    assert found[0] == found[1] == found[2]


def test_a_folder_with_one_model_among_several_pairs(tmp_path: Path) -> None:
    write_enum(tmp_path)
    (tmp_path / "param.h").write_text("struct Other {};")
    (tmp_path / "param.cpp").write_text('#include "param.h"')
    assert read_model(tmp_path).name == "small_SmallModel"


def broken_folders(root: Path) -> dict[str, tuple[Path, str]]:
    """Folders and files that mean no pair, and what the error says."""
    several, mismatched, alone, empty = (root / n for n in ("several", "mismatched", "alone", "no"))
    write_enum(several)
    (several / "b.cpp").write_text(ENUM_SOURCE)
    (several / "b.h").write_text(ENUM_HEADER)
    for folder in (mismatched, alone, empty):
        folder.mkdir()
    (mismatched / "a.cpp").touch()
    (mismatched / "b.h").touch()
    (alone / "a.cpp").touch()
    return {
        "several": (several, "2 source files and 2 headers, give one of them: b.cpp, small_model"),
        "mismatched": (mismatched, "a.cpp and b.h are no pair, the names differ"),
        "file": (alone / "a.cpp", "there is no header a.h beside it"),
        "alone": (alone, "needs one C\\+\\+ source file and its header, has 1 source files and 0"),
        "none": (empty, "has 0 source files and 0 headers"),
        "missing": (root / "x", "no such file or folder"),
        "python": (Path(__file__), "not a C\\+\\+ source file or header"),
    }


@pytest.mark.parametrize(
    "case", ["several", "mismatched", "file", "alone", "none", "missing", "python"]
)
def test_what_means_no_pair(tmp_path: Path, case: str) -> None:
    path, message = broken_folders(tmp_path)[case]
    with pytest.raises(BadInputError, match=message) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "header", "message"),
    [
        (ENUM_SOURCE, ENUM_HEADER.replace("REGISTER", "NO"), "no REGISTER_MODEL here or in small"),
        (
            ENUM_SOURCE + "\nREGISTER_MODEL(small, Second);",
            ENUM_HEADER,
            r"small_model.h:\d+: registers a second model: small_Second, small_SmallModel",
        ),
        (
            ENUM_SOURCE,
            ENUM_HEADER.replace("(small, SmallModel)", "(small, Absent)"),
            r"small_model.h:\d+: registers Absent, which is not defined here",
        ),
        (
            ENUM_SOURCE.replace("graph_.inTensors.at", "Tensor"),
            ENUM_HEADER,
            r"small_model.h:\d+: how SmallModel names its inputs cannot be read",
        ),
        (
            ENUM_SOURCE,
            ENUM_HEADER.replace("IN_TENSOR_COS_TABLE,", "IN_TENSOR_COS_TABLE = 7,"),
            r"small_model.h:\d+: the entries IN_... are not numbered 0, 1, 2",
        ),
        (
            ENUM_SOURCE,
            ENUM_HEADER.replace("IDS = 0", "IDS = FIRST"),
            r"small_model.h:\d+: numbers its entries by what cannot be read",
        ),
        (
            ENUM_SOURCE.replace("at(IN_TENSOR_PLACE_HOLDER)", "at(IN_OTHER)"),
            ENUM_HEADER,
            r"small_model.h:\d+: a second enumeration numbers",
        ),
        (
            ENUM_SOURCE,
            ENUM_HEADER.replace("public Model", "public base::DecoderModel"),
            r"small_model.h:\d+: derives from base::DecoderModel, whose source is not found",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, source: str, header: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        read_model(write_enum(tmp_path, source, header))
    assert "\n" not in str(caught.value)


def test_a_model_away_from_its_base(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mapped_model.cpp").write_text(MAP_SOURCE)
    (folder / "mapped_model.h").write_text(MAP_HEADER)
    with pytest.raises(BadInputError, match=r"base::DecoderModel, whose source is not found"):
        read_model(folder)


def test_files_that_are_no_source(tmp_path: Path) -> None:
    path = write_enum(tmp_path)
    path.write_bytes(b"//" + b"x" * (1 << 20))
    with pytest.raises(BadInputError, match="larger than 1024 KiB"):
        read_model(path)
    path.write_bytes(b"int a;\0")
    with pytest.raises(BadInputError, match="zero bytes"):
        read_model(path)
    path.write_bytes(b"\xff\xfe" + ENUM_SOURCE.encode())
    assert read_model(path).name == "small_SmallModel", "other encodings only matter in comments"


@pytest.mark.parametrize("text", ["(" * 50_000, "{" * 50_000, "if (a) " * 20_000, "!" * 50_000])
def test_deep_nesting_is_no_recursion(tmp_path: Path, text: str) -> None:
    start = time.monotonic()
    changed = ENUM_SOURCE.replace("graph_.inTensors.resize(INPUTS);", f"x = {text};")
    with contextlib.suppress(BadInputError):
        read_model(write_enum(tmp_path, changed))
    assert time.monotonic() - start < 5


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    again = "{ this->ConstructInTensorMap();"
    changed = MAP_SOURCE.replace("{\n    DecoderModel::ConstructInTensorMap();", again)
    with pytest.raises(BadInputError, match="calls too deeply"):
        read_model(write_mapped(tmp_path, changed))


def test_classes_that_derive_from_each_other(tmp_path: Path) -> None:
    changed = ENUM_HEADER.replace(
        "class SmallModel : public Model",
        "class A : public SmallModel {};\nclass SmallModel : public A",
    )
    with pytest.raises(BadInputError, match="derives from SmallModel"):
        read_model(write_enum(tmp_path, header=changed))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1 << 32), cut=st.integers(1, 400), junk=st.text(max_size=12))
def test_damaged_sources_give_one_line(tmp_path: Path, seed: int, cut: int, junk: str) -> None:
    chance = random.Random(seed)

    def damage(text: str) -> str:
        at = chance.randrange(len(text))
        return text[:at] + junk.replace("\0", "") + text[at + chance.randrange(cut) :]

    for write, source, header in (
        (write_enum, ENUM_SOURCE, ENUM_HEADER),
        (write_mapped, MAP_SOURCE, MAP_HEADER),
    ):
        try:
            read_model(write(tmp_path, damage(source), damage(header)))
        except BadInputError as error:
            assert "\n" not in str(error)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300))
def test_garbage_gives_an_error(tmp_path: Path, data: bytes) -> None:
    path = write_enum(tmp_path)
    path.write_bytes(data)
    path.with_suffix(".h").write_bytes(data)
    with pytest.raises(BadInputError):
        read_model(path)


@pytest.mark.skipif("MINDIE_MODELS" not in os.environ, reason="MINDIE_MODELS is not given")
def test_real_models() -> None:
    """Every registered model below ``$MINDIE_MODELS`` (atb_framework/models) is read."""
    root = Path(os.environ["MINDIE_MODELS"])
    pairs = [*root.glob("*/model/*.cpp"), *root.glob("*/*/model/*.cpp")]
    registered = [
        path
        for path in sorted(pairs)
        if any("REGISTER_MODEL(" in p.read_text() for p in (path, path.with_suffix(".h")))
    ]
    assert len(registered) >= 20
    for path in registered:
        model = read_model(path)
        assert model.inputs, path
