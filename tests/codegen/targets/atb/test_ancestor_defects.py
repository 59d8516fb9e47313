"""The known defects of the ancestor tool (``msit llm transform``) do not return, one test each."""

from __future__ import annotations

import ast
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from codegen.emission import emit_atb_python
from codegen.errors import HostError, UnsupportedError
from codegen.frontend.hf import load
from codegen.host.atb_python import Host
from codegen.pipeline import Stages, to_atb, to_llm, to_steps, transform
from codegen.request import Request
from codegen.targets.atb.emit_python import emit
from codegen.targets.atb.lower import lower
from codegen.targets.atb.lower_graph import RULES
from tests.codegen.targets.atb import emitting, stepping
from tests.codegen.targets.atb.handmade import Spec, llama_like, weights, with_cache
from tests.zoo import CASES

MODEL = f"{emitting.NAME}.py"
PROMPTS = [list(prompt) for prompt in stepping.PROMPTS]


# -- from a configuration to the emitted code ------------------------------------------------------


@cache
def code(case: str, changes: str = "{}") -> str:
    """The emitted model file of a case of the zoo with some fields of config.json changed."""
    with TemporaryDirectory() as folder:
        path = Path(folder)
        CASES[case].config().save_pretrained(path)
        config = json.loads((path / "config.json").read_text())
        config["architectures"] = [architecture(config["model_type"])]
        config.update(json.loads(changes))
        (path / "config.json").write_text(json.dumps(config))
        source, stages = load(path), Stages()
        atb = to_atb(to_steps(to_llm(source, stages).module, stages), stages)
        files = emit_atb_python(source, atb, Request(path, "atb-python")).files
    return next(text for name, text in files.items() if name.endswith("_atb_float.py"))


def architecture(model_type: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]


@dataclass(frozen=True)
class Operation:
    """One ``graph.add`` of the emitted code."""

    graph: str
    type: str
    param: Mapping[str, Any]
    inputs: tuple[str, ...]


def operations(text: str) -> list[Operation]:
    found: list[Operation] = []
    for function in ast.parse(text).body:
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and isinstance(function, ast.FunctionDef)):
                continue
            if ast.unparse(call.func) == "graph.add":
                _, kind, param, inputs, _ = call.args
                assert isinstance(inputs, ast.List)
                names = tuple(ast.unparse(name) for name in inputs.elts)
                found.append(
                    Operation(function.name, ast.literal_eval(kind), ast.literal_eval(param), names)
                )
    return found


def meaning(text: str) -> str:
    """What is computed: no docstrings and comments, and no facts in ``Model``."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if getattr(node, "name", "") != "Model"]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def function(text: str, name: str) -> str:
    tree = ast.parse(text)
    (found,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    return ast.unparse(found)


# -- the emitted code while it runs ----------------------------------------------------------------


@dataclass
class Running:
    """Emitted code on the host runtime with its weights set."""

    model: Any
    runtime: Any
    host: Host


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    folder = emitting.write(emit(lower(with_cache(Spec()))), tmp_path)
    with emitting.imported(folder) as (model, runtime, host):
        made = runtime.ATBModel(model.Model(), dtype=torch.float32, device="cpu")
        made.set_weights(weights(llama_like(Spec())))
        yield Running(made, runtime, host)


def spy(model: Any, phase: str) -> list[Any]:
    """The steps that a phase is given from now on."""
    steps: list[Any] = []
    run: Callable[..., torch.Tensor] = getattr(model, phase)

    def watched(step: Any, *rest: Any) -> torch.Tensor:
        steps.append(step)
        return run(step, *rest)

    setattr(model, phase, watched)
    return steps


# -- the defects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 3e-4])
def test_epsilon_is_the_models_and_where_the_registry_reads_it(eps: float) -> None:
    norms = [
        op
        for op in operations(code("llama-gqa", json.dumps({"rms_norm_eps": eps})))
        if op.type == "RmsNorm"
    ]
    assert len(norms) == 5  # two in each layer graph, one in front of the head
    for norm in norms:
        assert norm.param["normParam"]["epsilon"] == eps
        assert not {"epsilon", "layerNormEps", "eps"} & norm.param.keys()


def test_every_token_has_a_slot_of_its_own(running: Running) -> None:
    prefills, decodes = (spy(running.model.model, phase) for phase in ("prefill", "decode"))
    running.model.prefill(PROMPTS)
    for step in range(3):
        running.model.decode([step, step + 1])
    slots = torch.cat([step.slots for step in (*prefills, *decodes)])
    assert len(slots.unique()) == len(slots) == sum(map(len, PROMPTS)) + 3 * len(PROMPTS)
    for held in running.model.cache.tensors:
        written = held.flatten(0, 1).flatten(1).abs().amax(1).nonzero().flatten()
        assert written.tolist() == sorted(slots.tolist())


def test_rotary_tables_are_rows_of_the_tokens_and_not_gathered_again(running: Running) -> None:
    assert not [
        op
        for op in operations(code("llama-gqa"))
        if op.type == "Gather" and {"'cos'", "'sin'"} & set(op.inputs)
    ]
    decodes = spy(running.model.model, "decode")
    running.model.prefill(PROMPTS)
    running.model.decode([3, 5])
    (step,) = decodes
    assert step.positions.tolist() == [len(prompt) for prompt in PROMPTS]
    emitted = running.model.model.__init__.__globals__
    cos = emitted["decode_inputs"](step)["cos"]
    half = emitted["INV_FREQ"][None, :] * step.positions[:, None]
    assert torch.equal(cos, torch.cat([half, half], dim=-1).cos())


def test_a_decode_step_computes_what_a_longer_prompt_does(running: Running) -> None:
    running.model.prefill([prompt[:-2] for prompt in PROMPTS])
    running.model.decode([prompt[-2] for prompt in PROMPTS])
    step = running.model.decode([prompt[-1] for prompt in PROMPTS])
    whole = running.model.prefill(PROMPTS, last_only=True)
    assert torch.allclose(step, whole, atol=1e-4)


def test_generation_runs_the_prompts_once(running: Running) -> None:
    ran: Counter[tuple[str, str]] = Counter()
    running.host.watch(lambda graph, node, kind, results: ran.update([(graph, node)]))
    new = running.model.generate(PROMPTS, max_new_tokens=6, eos_token_ids=())
    assert [len(tokens) for tokens in new] == [6, 6]
    per_phase = {(graph.partition("_model_")[0], times) for (graph, _), times in ran.items()}
    assert per_phase == {
        ("embedding", 6),
        ("prefill_decoder_layer", 1),
        ("decode_decoder_layer", 5),
        ("head", 6),
    }


def test_integer_weights_stay_what_they_are(running: Running, tmp_path: Path) -> None:
    integers = {
        "int8": torch.tensor([-128, 127, 1], dtype=torch.int8),
        "int64": torch.tensor([2**62 + 1, -1], dtype=torch.int64),
        "int32": torch.tensor([2**31 - 1], dtype=torch.int32),
    }
    save_file(integers, tmp_path / "weights.safetensors")
    torch.save(integers, tmp_path / "weights.bin")
    for file in ("weights.safetensors", "weights.bin"):
        loaded = running.runtime.load_weights(tmp_path / file)
        bound: dict[str, torch.Tensor] = {}
        model = running.model.model
        stage = model.stages[0]._replace(
            weights=lambda read: {name: read(name) for name in integers}
        )
        stage.prefill.bind = bound.update
        for dtype in (torch.float16, torch.bfloat16):
            model.stages = [stage]
            model.set_weights(loaded.__getitem__, dtype, torch.device("cpu"))
            for name, tensor in integers.items():
                assert bound[name].dtype is tensor.dtype
                assert torch.equal(bound[name], tensor)


def test_weights_under_another_name_are_an_error(running: Running) -> None:
    named = {
        name.replace("down_proj.weight", "down_proj.quant_weight"): tensor
        for name, tensor in weights(llama_like(Spec())).items()
    }
    with pytest.raises(KeyError, match=r"layers\.0\.mlp\.down_proj\.weight"):
        running.model.set_weights(named)
    graph = running.model.model.stages[1].prefill
    unknown = "model.layers.0.mlp.down_proj.quant_weight"
    with pytest.raises(HostError, match=r"down_proj\.quant_weight' is set as weight, but is no"):
        graph.set_weights({unknown: named[unknown]})


@pytest.mark.parametrize("operation", ["llm.rms_norm", "llm.gated_activation", "llm.rope"])
def test_what_has_no_atb_form_is_an_error_and_nothing_is_written(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CASES["llama-gqa"].config().save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(
        json.dumps({**config, "architectures": ["LlamaForCausalLM"]})
    )
    monkeypatch.delitem(RULES, operation)
    with pytest.raises(UnsupportedError) as raised:
        transform(tmp_path / "model", tmp_path / "out", target="atb-python")
    assert any(operation in problem.reason for problem in raised.value.problems)
    assert all(problem.module and problem.source for problem in raised.value.problems)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


ARCHITECTURES = ("llama-gqa", "qwen3", "gemma2", "gpt2", "falcon")


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ARCHITECTURES, 2)))
def test_architectures_do_not_get_the_same_text(one: str, other: str) -> None:
    layers = [
        [(op.type, json.dumps(op.param, sort_keys=True)) for op in operations(code(name))]
        for name in (one, other)
    ]
    assert layers[0] != layers[1]


def test_the_same_layer_gets_the_same_text() -> None:
    llama = code("llama-gqa")
    mistral = code("mistral", json.dumps({"sliding_window": None, "rms_norm_eps": 1e-6}))
    assert "class Model" in mistral
    for name in ("prefill_decoder_layer", "decode_decoder_layer", "decoder_layer_weights"):
        assert function(llama, name) == function(mistral, name)


def rope(rope_type: str, **options: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": rope_type, "rope_theta": 1000.0, **options}}


#: Field of the configuration that the ancestor ignored, in which model, and its other value.
CARRIED: dict[str, tuple[str, dict[str, Any]]] = {
    "epsilon": ("llama-gqa", {"rms_norm_eps": 2e-6}),
    "epsilon of LayerNorm": ("gpt2", {"layer_norm_epsilon": 2e-6}),
    "rope base": ("llama-gqa", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    "rope scaling linear": ("llama-gqa", rope("linear", factor=2.0)),
    "rope scaling dynamic": ("llama-gqa", rope("dynamic", factor=2.0)),
    "factor of rope scaling dynamic": ("llama-rope-dynamic", rope("dynamic", factor=2.0)),
    "rope scaling yarn": (
        "llama-gqa",
        rope("yarn", factor=2.0, original_max_position_embeddings=32),
    ),
    "rope scaling llama3": (
        "llama-gqa",
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "partial rotary": (
        "phi",
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000.0,
                "partial_rotary_factor": 1.0,
            }
        },
    ),
    "head_dim": ("llama-gqa", {"head_dim": 32}),
    "GQA": ("llama-gqa", {"num_key_value_heads": 1}),
    "softcap of attention": ("gemma2", {"attn_logit_softcapping": 7.0}),
    "softcap of logits": ("gemma2", {"final_logit_softcapping": 7.0}),
    "attention scale": ("gemma2", {"query_pre_attn_scalar": 5}),
    "residual multiplier": ("granite", {"residual_multiplier": 0.77}),
    "embedding multiplier": ("granite", {"embedding_multiplier": 7.7}),
    "logits scaling": ("granite", {"logits_scaling": 7.7}),
    "attention multiplier": ("granite", {"attention_multiplier": 0.077}),
    "parallel residual": ("gpt_neox", {"use_parallel_residual": False}),
    "sliding window": ("mistral", {"sliding_window": 6}),
    "activation": ("llama-gqa", {"hidden_act": "gelu"}),
}


@pytest.mark.parametrize("field", CARRIED)
def test_the_emitted_code_carries(field: str) -> None:
    case, changes = CARRIED[field]
    assert meaning(code(case)) != meaning(code(case, json.dumps(changes)))


def test_the_emitted_code_carries_alibi() -> None:
    text = code("bloom")
    kinds = {
        op.param["maskType"]
        for op in operations(text)
        if op.type in ("SelfAttention", "PagedAttention")
    }
    assert kinds == {"MASK_TYPE_ALIBI"}
    slopes = [2.0 ** (-8 * head / 4) for head in range(1, 5)]  # of four heads
    assert text.count(f"slopes = torch.tensor({slopes})") == 2
