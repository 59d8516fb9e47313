"""A traced module computes what HuggingFace computes, and whatever cannot be traced says so."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codegen.errors import BadInputError, UnsupportedError
from codegen.frontend.hf import load
from codegen.frontend.self_check import self_check
from codegen.frontend.trace import trace
from ir.graph import Module
from ir.interpret import interpret
from tests import zoo as models
from tests.frontend_util import load_module

Zoo = Callable[[str], Path]
PROMPTS = (*models.PROMPTS, (5,))
TIERS = {
    tier: [c.name for c in models.CASES.values() if c.tier == tier]
    for tier in ("required", "extra")
}
MERGED_EXPERTS = {
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "phimoe",
    "granitemoe",
    "gpt_oss",
    "deepseek_v3",
}


def logits(module: Module, path: Path, prompt: tuple[int, ...]) -> torch.Tensor:
    checkpoint = load(path).weights
    assert checkpoint is not None
    inputs = {
        "input_ids": torch.tensor([prompt]),
        "position_ids": torch.arange(len(prompt))[None],
    }
    (made,) = interpret(module, inputs, checkpoint.read_float).values()
    return made[0]


@torch.no_grad()
def agrees(module: Module, path: Path) -> None:
    model = models.load(path)
    for prompt in PROMPTS:
        # A copy, because length-dependent rotary modules remember the longest sequence.
        fresh = copy.deepcopy(model)
        wanted = fresh(input_ids=torch.tensor([prompt]), use_cache=False).logits[0]
        made = logits(module, path, prompt)
        assert (made - wanted).abs().max() <= 1e-4 * max(1.0, wanted.abs().max().item())
        assert torch.equal(made.argmax(-1), wanted.argmax(-1))


@pytest.mark.parametrize("name", TIERS["required"])
def test_required_model_agrees_folded_and_unfolded(name: str, zoo: Zoo) -> None:
    path = zoo(name)
    module = load_module(path)
    agrees(module, path)
    flat = trace(load(path), fold=False)
    assert list(flat.functions) == ["main"]
    for prompt in PROMPTS:
        torch.testing.assert_close(logits(flat, path, prompt), logits(module, path, prompt))
    is_well_formed(module)


@pytest.mark.parametrize("name", [n for n in TIERS["extra"] if n not in MERGED_EXPERTS])
def test_extra_model_agrees(name: str, zoo: Zoo) -> None:
    agrees(load_module(zoo(name)), zoo(name))


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3"])
def test_experts_are_refused_with_their_place(name: str, zoo: Zoo) -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_module(zoo(name))
    assert any(".mlp.experts" in problem.module for problem in caught.value.problems)
    assert any("modeling_" in problem.source for problem in caught.value.problems)


def is_well_formed(module: Module) -> None:
    for graph in module:
        for node in graph.nodes:
            assert node.op.startswith(("aten.", "trace.", "func."))
            assert re.fullmatch(r"[\w.]*", node.loc.module)
            assert re.fullmatch(r"[\w-]+\.py:\d+", node.loc.source)
            assert not re.search(r"aten\.(detach|clone|alias|_assert\w*|\w+_)\.", node.op)
        for constant in graph.constants:
            assert constant.data is not None
            assert not constant.data.is_floating_point() or constant.data.isfinite().all()
        assert all(value.uses for value in graph.parameters)
    assert module.functions["main"].inputs[0].name == "input_ids"


def test_what_a_module_says_about_its_nodes(zoo: Zoo) -> None:
    module = load_module(zoo("llama-gqa"))
    layer = module.functions["decoder_layer"]
    (attention,) = layer.find("trace.attention")
    assert attention.loc.module == "model.layers.0.self_attn"
    assert attention.loc.source.startswith("modeling_llama.py:")
    assert str(attention.operand(0).type) == "float32[1, 4, tokens, 16]"
    assert str(attention.operand(1).type) == "float32[1, 2, tokens, 16]"
    assert str(attention.result.type) == "float32[1, tokens, 4, 16]"
    linear = layer.find("aten.linear.default")[0]
    assert linear.loc.module == "model.layers.0.self_attn.q_proj"
    assert module.meta["attention"] == "llm_codegen"
    assert module.meta["vocab_size"] == 104
    assert module.meta["position_input"] is True
    assert module.meta["dtype"] == "float32"


def test_length_dependent_frequencies_are_one_node(zoo: Zoo) -> None:
    dynamic = load_module(zoo("llama-rope-dynamic")).functions["main"]
    (node,) = dynamic.find("trace.rope_frequencies")
    assert node.attrs == {
        "original_max_position": 10, "dynamic_factor": 3.0, "dynamic_base": 1000.0,
    }  # fmt: skip
    (node,) = load_module(zoo("phi3-longrope")).functions["main"].find("trace.rope_frequencies")
    assert node.operands[2] is not None
    assert node.attrs["original_max_position"] == 10


def test_models_without_the_attention_interface_keep_their_mask(zoo: Zoo) -> None:
    module = load_module(zoo("bloom"))
    assert module.meta["attention"] == "eager"
    assert module.meta["position_input"] is False
    (mask,) = module.functions["decoder_layer"].find("trace.mask")
    assert mask.attrs["causal"] is True
    assert mask.attrs["additive"] is True


def test_tied_weights_are_one_parameter(zoo: Zoo) -> None:
    module = load_module(zoo("llama-tied"))
    assert module.meta["tied"] == (("lm_head.weight", "model.embed_tokens.weight"),)
    main = module.functions["main"]
    names = [source.name for v in main.parameters if v.recipe for source in v.recipe.sources()]
    assert names == ["model.embed_tokens.weight", "model.norm.weight"]


def test_a_limit_on_the_length_is_noted(zoo: Zoo) -> None:
    assert load_module(zoo("mpt")).meta["max_tokens"] == 63
    assert "max_tokens" not in load_module(zoo("llama-gqa")).meta


def test_self_check_sees_a_wrong_trace(zoo: Zoo) -> None:
    source = load(zoo("llama-rope-yarn"))
    module = trace(source)
    assert self_check(source, module) <= 1e-4
    wrong = module.copy()
    (attention,) = wrong.functions["decoder_layer"].find("trace.attention")
    attention.attrs["scale"] = 0.26
    with pytest.raises(UnsupportedError, match="logits differ by"):
        self_check(source, wrong)


# -- directories --------------------------------------------------------------------------------


def config_only(source: Path, target: Path, **changes: Any) -> Path:
    target.mkdir(exist_ok=True)
    config = json.loads((source / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_configuration_alone_is_enough(zoo: Zoo, tmp_path: Path) -> None:
    for name in ("llama-gqa", "gpt_neox", "gpt2"):
        path = config_only(zoo(name), tmp_path / name, torch_dtype="bfloat16")
        source = load(path)
        assert source.weights is None
        module, full = trace(source), load_module(zoo(name))
        assert [g.name for g in module] == [g.name for g in full]
        for one, other in zip(module, full, strict=True):
            assert [v.recipe for v in one.parameters] == [v.recipe for v in other.parameters]
        del module.meta["dtype"]


def test_checkpoint_of_the_bare_base_model(zoo: Zoo, tmp_path: Path) -> None:
    path = config_only(zoo("gpt2"), tmp_path / "bare")
    tensors = load_file(zoo("gpt2") / "model.safetensors")
    save_file(
        {name.removeprefix("transformer."): t for name, t in tensors.items()},
        path / "model.safetensors",
    )
    module = load_module(path)
    calls = module.functions["main"].find("func.call")
    assert calls[0].attrs["scope"] == "h.0"
    prompt = PROMPTS[0]
    wanted = logits(load_module(zoo("gpt2")), zoo("gpt2"), prompt)
    torch.testing.assert_close(logits(module, path, prompt), wanted)


def test_missing_and_misshapen_weights(zoo: Zoo, tmp_path: Path) -> None:
    tensors = load_file(zoo("llama-gqa") / "model.safetensors")
    name = "model.layers.2.mlp.up_proj.weight"
    for made, message in (
        (tensors | {name: torch.zeros(3, 3)}, rf"{name} is \[3, 3\]"),
        ({k: v for k, v in tensors.items() if k != name}, f"no tensor {name}"),
    ):
        path = config_only(zoo("llama-gqa"), tmp_path / "bad")
        save_file(made, path / "model.safetensors")
        with pytest.raises(BadInputError, match=message):
            trace(load(path))


BAD_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown type": ({"model_type": "no_such_model"}, "no model type 'no_such_model'"),
    "no type": ({"model_type": None}, "model_type is missing"),
    "type no string": ({"model_type": ["llama"]}, "model_type is missing"),
    "architectures no list": ({"architectures": "LlamaForCausalLM"}, "must be a list"),
    "architecture no name": ({"architectures": ["os.system('x')"]}, "not a class name"),
    "layers": ({"num_hidden_layers": 10**9}, "layers"),
    "no length": ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
    "dtype": ({"dtype": "int8"}, "dtype int8 in config.json"),
    "no layers": ({"num_hidden_layers": 0}, "layers"),
    "layers no number": ({"num_hidden_layers": "many"}, "many"),
    "negative size": ({"hidden_size": -64}, ""),
    "heads": ({"num_attention_heads": 0}, ""),
    "activation": ({"hidden_act": "__import__('os')"}, ""),
    "rope": ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1.0}}, ""),
    "quantized": ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
    "vision": ({"vision_config": {"model_type": "clip"}}, "text models"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_configurations_are_one_clear_line(
    changes: dict[str, Any], message: str, zoo: Zoo, tmp_path: Path
) -> None:
    path = config_only(zoo("llama-gqa"), tmp_path / "bad", **changes)
    with pytest.raises((BadInputError, UnsupportedError)) as caught:
        trace(load(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["LlamaModel", "LlamaForSequenceClassification", "Os", "BertModel"]
)
def test_other_architecture_names_mean_the_causal_model(
    name: str, zoo: Zoo, tmp_path: Path
) -> None:
    path = config_only(zoo("llama-gqa"), tmp_path / "named", architectures=[name])
    assert trace(load(path)).meta["model_class"] == "LlamaForCausalLM"


def test_hash_depends_on_content_only(zoo: Zoo, tmp_path: Path) -> None:
    first = load(zoo("llama-gqa")).config_hash
    path = config_only(zoo("llama-gqa"), tmp_path / "same")
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert load(path).config_hash == first
    assert load(config_only(path, tmp_path / "other", rms_norm_eps=0.5)).config_hash != first


# -- code of the directory's own ----------------------------------------------------------------

REMOTE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

class OwnConfig(PretrainedConfig):
    model_type = "own_{tag}"
    def __init__(self, num_hidden_layers=2, vocab_size=16, **kwargs):
        super().__init__(**kwargs)
        self.num_hidden_layers = num_hidden_layers
        self.vocab_size = vocab_size

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, 8)
        self.head = nn.Linear(8, config.vocab_size, bias=False)
        self.post_init()
    def forward(self, input_ids, use_cache=None, return_dict=None):
        hidden = self.embed(input_ids)
        {body}
        return CausalLMOutput(logits=self.head(hidden))
"""


def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, body: str) -> Path:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = tmp_path / tag
    path.mkdir()
    (path / "modeling_own.py").write_text(
        REMOTE.replace("{tag}", tag).replace("{body}", body.replace("\n", "\n        "))
    )
    config = {
        "model_type": f"own_{tag}",
        "architectures": ["OwnModel"],
        "auto_map": {
            "AutoConfig": "modeling_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnModel",
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_remote_code_needs_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = remote(tmp_path, monkeypatch, "plain", "hidden = hidden + 1")
    with pytest.raises(BadInputError, match="--trust-remote-code"):
        trace(load(path))
    assert not (tmp_path / "modules").exists()
    module = trace(load(path, trust_remote_code=True))
    (node,) = module.functions["main"].find("aten.add.Tensor")
    lines = (path / "modeling_own.py").read_text().splitlines()
    name, _, line = node.loc.source.partition(":")
    assert name == "modeling_own.py"
    assert "hidden + 1" in lines[int(line) - 1]


def test_code_of_another_repository_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = remote(tmp_path, monkeypatch, "elsewhere", "pass")
    config = json.loads((path / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "somebody/model--modeling_own.OwnModel"
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInputError, match="nothing is downloaded"):
        load(path, trust_remote_code=True)


LOST = {
    "assigned": "self.head.weight.data = nn.functional.normalize(self.head.weight)",
    "even": "hidden = hidden * 2 if input_ids.shape[1] % 2 else hidden",
    "pinned": "hidden = hidden * 2 if input_ids.shape[1] == 13 else hidden",
    "data": "hidden = hidden * 2 if bool((input_ids > 3).any()) else hidden",
    "state": "self.embed.weight.mul_(2)",
    "raises": "raise KeyError('a message\\nof two lines')",
}


@pytest.mark.parametrize(("tag", "body"), LOST.items(), ids=LOST)
def test_code_that_a_trace_would_lose_is_refused(
    tag: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = remote(tmp_path, monkeypatch, tag, body)
    with pytest.raises((UnsupportedError, BadInputError)) as caught:
        trace(load(path, trust_remote_code=True))
    assert "\n" not in str(caught.value)


def test_a_bound_on_the_length_in_code_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "hidden = hidden * 2 if input_ids.shape[1] > 30 else hidden"
    path = remote(tmp_path, monkeypatch, "bound", body)
    assert trace(load(path, trust_remote_code=True)).meta["max_tokens"] == 30
