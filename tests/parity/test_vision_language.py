"""Vision-language models: the language model on ATB, fed with HuggingFace's image features."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from codegen.emitted import run_emitted
from codegen.errors import UnsupportedError, VerificationError
from codegen.frontend.hf import build, load, load_config
from codegen.frontend.trace import trace_model
from codegen.frontend.vision import image_token
from codegen.pipeline import transform
from codegen.request import PYTHON_APIS
from codegen.verification import verify
from ir.graph import Module
from tests.zoo import perturb
from tests.zoo_case import BASE

IMAGE = 99
#: One image is (12 / 6)^2 tokens.
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 6,
    "projection_dim": 24,
}
TEXT = {**BASE, "model_type": "llama"}
LLAVA = {"text_config": TEXT, "vision_config": TOWER, "image_token_index": IMAGE}
#: Model type and options of models that compile, and the name of the generated file.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llava": ("llava", LLAVA, "llamaforcausallm_atb_float"),
    "llava-window": (
        "llava",
        {**LLAVA, "text_config": {**TEXT, "model_type": "mistral", "sliding_window": 5}},
        "mistralforcausallm_atb_float",
    ),
    "internvl": (
        "internvl",
        {
            "text_config": {**TEXT, "model_type": "qwen2"},
            "vision_config": {
                "model_type": "internvl_vision",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": [16, 16],
                "patch_size": [4, 4],
            },
            "image_token_id": IMAGE,
        },
        "qwen2forcausallm_atb_float",
    ),
}
#: What does not fit, and a part of the reason.
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "attention depends on images": (
        "gemma3",
        {
            "text_config": {**TEXT, "model_type": "gemma3_text"},
            "vision_config": {**TOWER, "model_type": "siglip_vision_model"},
            "image_token_index": IMAGE,
        },
        "takes token_type_ids",
    ),
    "features need more than pixels": ("llava_next", LLAVA, "from the pixels of one image alone"),
    "scaled after the merge": (
        "llava",
        {**LLAVA, "text_config": {**TEXT, "model_type": "granite", "embedding_multiplier": 3.0}},
        "between image features and layers",
    ),
    "cross attention": ("mllama", {}, "has no get_image_features"),
}
#: One sequence with an image of four tokens, a longer one without.
PROMPTS = ((17, 3, *[IMAGE] * 4, 42, 9, 71), (5, 63, 12, 90, 34, 8, 77, 50, 21, 66, 11, 95))
DECODE_STEPS = 8
MERGE = 'tensors["hidden_states"][places] = self._place(image_features)'


def configuration(model_type: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    config = AutoConfig.for_model(model_type, **copy.deepcopy(options))
    config.architectures = [MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)].__name__]
    return config


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Callable[[str], Path]:
    """Returns a function from a name to its model directory, built on first use."""
    root = tmp_path_factory.mktemp("vision_language")

    @cache
    def make(name: str) -> Path:
        from transformers import AutoModelForImageTextToText
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        config = configuration(*MODELS[name][:2])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        perturb(model, name)
        model.save_pretrained(root / name)
        return root / name

    return make


@pytest.fixture(scope="module")
def llava(models, tmp_path_factory) -> tuple[Path, Path]:
    """A model directory and what is generated from it; nobody changes either."""
    out = tmp_path_factory.mktemp("generated") / "out"
    transform(models("llava"), out, target="atb-python")
    return models("llava"), out


@pytest.mark.parametrize("api", PYTHON_APIS)
@pytest.mark.parametrize("name", MODELS)
def test_parity_with_and_without_image(name, api, models, tmp_path):
    result = transform(models(name), tmp_path / "out", target="atb-python", python_api=api)
    assert result.manifest.model["module"] == MODELS[name][2]
    found = verify(tmp_path / "out", models(name), prompts=PROMPTS, decode_steps=DECODE_STEPS)
    strict = [phase for phase in found.phases if phase.rounding == "float32"]
    assert found.passed
    assert [(p.name, p.positions) for p in strict] == [
        ("prefill", sum(map(len, PROMPTS))),
        ("decode", DECODE_STEPS * len(PROMPTS)),
    ]
    assert all(phase.limit is not None and phase.limit <= 1e-4 * 30 for phase in strict)


@pytest.mark.parametrize(
    "wrong",
    ["pass", MERGE.replace("(image_features)", "(image_features).roll(1, 0)")],
    ids=["ignored", "shifted-by-one"],
)
def test_wrong_features_fail(wrong, llava, tmp_path):
    path, out = llava
    edited = copy_of(out, tmp_path / "edited")
    file = edited / "llamaforcausallm_atb_float.py"
    assert MERGE in file.read_text()
    file.write_text(file.read_text().replace(MERGE, wrong))
    result = verify(edited, path, prompts=PROMPTS)
    assert not result.passed
    assert result.departure is not None
    assert result.departure.layer == "language_model.model.layers.0"


def test_text_alone(llava):
    path, out = llava
    assert verify(out, path, prompts=[PROMPTS[1], PROMPTS[1][:5]]).passed


def test_features_that_do_not_fit_the_image_tokens(llava):
    path, out = llava
    with pytest.raises(VerificationError, match="4 image tokens for 3 image features"):
        run_emitted(
            out, "llamaforcausallm_atb_float", path, PROMPTS, [], image_features=torch.zeros(3, 64)
        )


def test_configuration_alone(llava, tmp_path):
    path, out = llava
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    result = transform(tmp_path, tmp_path / "out", target="atb-python")
    assert read(tmp_path / "out", "*.py") == read(out, "*.py")
    assert "saved to: " + str(tmp_path / "out" / "run_vl.py") in result.closing
    assert "run.py" not in result.manifest.files
    # Default prompts: two with an image, one without.
    found = verify(tmp_path / "out")
    assert found.passed
    assert found.phases[1].positions == 3 * DECODE_STEPS


def test_twin_of_a_large_model(llava):
    path, out = llava
    result = verify(out, path, max_parameters=145_000)
    assert result.passed
    assert "a twin with 2 layers ran" in result.notes[0]


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: name.replace(" ", "-"))
def test_refused(name, tmp_path):
    kind, options, reason = REFUSED[name]
    configuration(kind, options).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        transform(tmp_path, tmp_path / "out", target="atb-python")
    assert not (tmp_path / "out").exists()
    (problem,) = caught.value.problems
    assert reason in problem.reason
    assert "language model" in problem.remedy


@pytest.fixture(scope="module")
def traced(llava) -> tuple[Module, Module]:
    source = load(llava[0])
    model = build(source, load_config(source), "llm_codegen")
    return trace_model(source, model), trace_model(source, model, with_image=True)


def test_where_images_enter(traced):
    assert image_token(*traced) == IMAGE


def compare_with_ge(module: Module) -> None:
    (node,) = module.functions["main"].find("aten.eq.Scalar")
    node.op = "aten.ge.Scalar"


def change_features(module: Module) -> None:
    (node,) = module.functions["main"].find("aten.cat.default")[:1]
    node.op = "aten.neg.default"


def merge_elsewhere(module: Module) -> None:
    main = module.functions["main"]
    (merge,) = main.find("aten.masked_scatter.default")
    first, second, *_ = main.find("func.call")
    first.set_operand(0, merge.operand(0))
    second.set_operand(0, merge.result)


def compute_something_else(module: Module) -> None:
    node = module.functions["decoder_layer"].find("aten.add.Tensor")[0]
    node.attrs["args"] = ("%", 2e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (compare_with_ge, "not those of one token"),
        (change_features, "changed before they reach"),
        (merge_elsewhere, "between image features and layers"),
        (compute_something_else, "computes something else when there is an image"),
    ],
)
def test_images_that_enter_otherwise(change, reason, traced):
    plain, merged = traced
    changed = merged.copy()
    change(changed)
    with pytest.raises(UnsupportedError, match=reason):
        image_token(plain, changed)


def test_run_vl_answers_as_huggingface(llava, tmp_path):
    path = copy_of(llava[0], tmp_path / "model")
    wanted = with_processor(path)
    done = run_vl(llava[1], "-i", path / "image.png", "-m", path, "--dtype", "float32", "-n", "6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["Input: Describe the image.", f"Output: {wanted}"]


def test_run_vl_without_pillow(llava, tmp_path):
    (tmp_path / "PIL.py").write_text("raise ImportError\n")
    done = run_vl(llava[1], "-i", "image.png", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == "images are read with Pillow: pip install pillow"


def run_vl(out: Path, *arguments: object, path: Path | None = None) -> Any:
    search = [str(path)] * (path is not None) + [str(Path(__file__).parents[2])]
    return subprocess.run(
        [sys.executable, "-B", out / "run_vl.py", "--device", "cpu", *map(str, arguments)],
        env={"PYTHONPATH": ":".join(search), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def with_processor(path: Path) -> str:
    """Puts a processor and an image into a model directory; HuggingFace's answer to the default."""
    from PIL import Image
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        AutoModelForImageTextToText,
        CLIPImageProcessorPil,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    words = {f"w{i}": i for i in range(104) if i not in (0, IMAGE)}
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "<image>": IMAGE, **words}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": 12, "width": 12}, do_center_crop=False
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="?", additional_special_tokens=["<image>"]
        ),
        patch_size=TOWER["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(path)
    image = Image.linear_gradient("L").convert("RGB")
    image.save(path / "image.png")
    inputs = processor(images=image, text="<image>\nDescribe the image.", return_tensors="pt")
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    made = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def read(folder: Path, pattern: str) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.glob(pattern)}


def test_manifest_names_the_source(llava):
    record = json.loads((llava[1] / "manifest.json").read_text())
    assert record["model"]["class"] == "LlamaForCausalLM"
