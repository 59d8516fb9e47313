from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruff import find_ruff_bin
from safetensors.torch import save_file

from codegen.errors import BadInputError, CodegenError
from codegen.targets.atb.emit_python import EmitOptions, emit
from codegen.targets.atb.lower import lower
from ir.recipe import Source
from tests.codegen.targets.atb import emitting, stepping
from tests.codegen.targets.atb.handmade import Spec, llama_like, weights, with_cache
from tests.codegen.targets.atb.test_lower import VARIANTS

APIS = ("_libatb_torch", "torch_atb")
GQA = VARIANTS["gqa"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", VARIANTS)
def test_emitted_code_on_the_host_equals_llm(name: str, api: str, tmp_path: Path) -> None:
    checkpoint = weights(llama_like(VARIANTS[name]))
    module = with_cache(VARIANTS[name])
    folder = emitting.write(emit(lower(module), EmitOptions(api=api)), tmp_path)
    wanted = stepping.trajectory(module, checkpoint)
    assert stepping.worst(wanted, emitting.trajectory(folder, checkpoint)) < 1e-5


def emitted(spec: Spec = GQA, api: str = "_libatb_torch", tokenizer: bool = True) -> dict[str, str]:
    return emit(lower(with_cache(spec)), EmitOptions(api=api, has_tokenizer=tokenizer))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", VARIANTS)
def test_emitted_python_is_ruff_clean(name: str, api: str, tmp_path: Path) -> None:
    folder = emitting.write(emitted(VARIANTS[name], api), tmp_path)
    rules = "E,F,W,B,UP,SIM,C4,RET,PIE,PTH,D1,N,ARG"
    for command in (
        ["check", "--isolated", "--no-cache", "--line-length=100", f"--select={rules}"],
        ["format", "--isolated", "--no-cache", "--line-length=100", "--check"],
    ):
        done = subprocess.run(
            [find_ruff_bin(), *command, str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_emission_is_deterministic() -> None:
    assert emitted(VARIANTS["mixed-windows"]) == emitted(VARIANTS["mixed-windows"])


@pytest.mark.parametrize("seed", ["0", "1", "7"])
def test_emission_does_not_depend_on_the_hash_seed(seed: str) -> None:
    code = (
        "import hashlib, json\n"
        "from tests.codegen.targets.atb.test_emit_python import emitted\n"
        "from tests.codegen.targets.atb.test_lower import VARIANTS\n"
        "text = json.dumps([emitted(VARIANTS[n]) for n in ('mixed-windows', 'softcap')])\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    text = json.dumps([emitted(VARIANTS[n]) for n in ("mixed-windows", "softcap")])
    root = Path(__file__).parents[4]
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=root, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("api", APIS)
def test_generate_equals_greedy_decoding_of_the_llm_graph(api: str, tmp_path: Path) -> None:
    checkpoint = weights(llama_like(Spec()))
    stepper = stepping.Stepper(with_cache(Spec()), checkpoint, len(stepping.PROMPTS))
    logits = stepper.step("prefill", stepping.PROMPTS)
    ends = torch.tensor([len(p) for p in stepping.PROMPTS]).cumsum(0) - 1
    wanted = [[int(token)] for token in logits[ends].argmax(-1)]
    for _ in range(7):
        logits = stepper.step("decode", [[tokens[-1]] for tokens in wanted])
        for tokens, token in zip(wanted, logits.argmax(-1).tolist(), strict=True):
            tokens.append(token)
    with emitting.imported(emitting.write(emitted(api=api), tmp_path)) as (model, runtime, _):
        made = runtime.ATBModel(model.Model(), dtype=torch.float32, device="cpu")
        made.set_weights(checkpoint)
        assert made.generate(stepping.PROMPTS, 8, eos_token_ids=()) == wanted
        # a sequence that ends early leaves the batch; the other goes on as before
        stop = wanted[0][2]
        short = made.generate(stepping.PROMPTS, 8, eos_token_ids=(stop,))
        for tokens, full in zip(short, wanted, strict=True):
            end = full.index(stop) + 1 if stop in full else len(full)
            assert tokens == full[:end]


def test_decoding_across_a_block_boundary_and_a_growing_cache(tmp_path: Path) -> None:
    checkpoint = weights(llama_like(Spec()))
    tokens = [(5 * i + 1) % 48 for i in range(140)]
    stepper = stepping.Stepper(with_cache(Spec()), checkpoint, 2)
    wanted = [stepper.step("prefill", [tokens[:126], tokens[:3]])]
    wanted += [stepper.step("decode", [[tokens[126 + i]], [tokens[3 + i]]]) for i in range(6)]
    with emitting.imported(emitting.write(emitted(), tmp_path)) as (model, runtime, _):
        model.Model.CONFIG = {**model.Model.CONFIG, "max_seq_len": 1}  # one block to begin with
        made = runtime.ATBModel(model.Model(), dtype=torch.float32, device="cpu")
        made.set_weights(checkpoint)
        got = [made.prefill([tokens[:126], tokens[:3]])]
        got += [made.decode([tokens[126 + i], tokens[3 + i]]) for i in range(6)]
        assert len(made.cache.tensors[0]) > 1
    assert stepping.worst(wanted, got) < 1e-5


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["gqa", "window", "no-rope-alibi", "softcap", "clamp"])
def test_half_precision_stays_near_float32(name: str, precision: str, tmp_path: Path) -> None:
    if (name, precision) == ("clamp", "float16"):
        pytest.skip("ReLU has no float16 kernel; see the next test")
    checkpoint = weights(llama_like(VARIANTS[name]))
    folder = emitting.write(emitted(VARIANTS[name]), tmp_path)
    exact = emitting.trajectory(folder, checkpoint)
    with emitting.imported(folder, precision) as (model, runtime, _):
        made = runtime.ATBModel(model.Model(), dtype=getattr(torch, precision), device="cpu")
        made.set_weights(checkpoint)
        logits = made.prefill(stepping.PROMPTS).float()
        step = made.decode([3, 5]).float()
    assert stepping.worst([exact[0], exact[1]], [logits, step]) < 0.08


def test_element_type_avoids_operations_without_a_kernel() -> None:
    module = with_cache(VARIANTS["learned-positions"])  # ReLU
    module.meta["dtype"] = "float16"
    text = emit(lower(module))["llamaforcausallm_atb_float.py"]
    assert "DTYPE = torch.bfloat16" in text
    assert "not float16: atb.activation" in text


def test_hostile_names_do_not_reach_the_code() -> None:
    module = lower(with_cache(Spec()))
    module.meta["model_class"] = 'X"""; import os #'
    with pytest.raises(BadInputError):
        emit(module)
    module.meta["model_class"] = "LlamaForCausalLM"
    for entry in module.entries:
        for call in module.functions[entry].nodes:
            if call.attrs["scope"]:
                call.attrs["scope"] = 'model.layers"+evil()+"0'
    with pytest.raises(BadInputError):
        emit(module)


def test_hostile_tensor_names_are_quoted(tmp_path: Path) -> None:
    name = 'lm_head{__import__("os")}"\n.weight'
    module = with_cache(Spec())
    for entry in module.entries:
        graph = module.functions[entry]
        for value in graph.parameters:
            if value.recipe == Source("lm_head.weight"):
                value.recipe = Source(name)
    checkpoint = weights(llama_like(Spec()))
    checkpoint[name] = checkpoint.pop("lm_head.weight")
    folder = emitting.write(emit(lower(module)), tmp_path)
    wanted = stepping.trajectory(module, checkpoint)
    assert stepping.worst(wanted, emitting.trajectory(folder, checkpoint)) < 1e-5


def test_epsilon_is_where_the_registry_reads_it() -> None:
    text = emitted()["llamaforcausallm_atb_float.py"]
    assert '"normParam": {"epsilon": 1e-06}' in text


def test_code_has_nothing_that_the_model_does_not_use() -> None:
    text = emitted()["llamaforcausallm_atb_float.py"].lower()
    assert not [word for word in ("alibi", "window", "softcap", "positions for") if word in text]


def test_forward_takes_what_the_seed_shows(tmp_path: Path) -> None:
    checkpoint = weights(llama_like(Spec()))
    with emitting.imported(emitting.write(emitted(), tmp_path)) as (model, runtime, _):
        made = runtime.ATBModel(model.Model(), dtype=torch.float32, device="cpu")
        made.set_weights(checkpoint)
        out = made.forward(input_ids=torch.arange(32), position_ids=torch.arange(32))
        assert {key: value.shape for key, value in out.items()} == {"output": (32, 48)}
        both = made.forward(torch.arange(32), seq_lens=[20, 12])["output"]
        assert torch.allclose(both[:20], out["output"][:20], atol=1e-5)
        assert not torch.allclose(both[20:], out["output"][20:], atol=1e-2)
        with pytest.raises(ValueError, match="at least one token"):
            made.prefill([[1], []])
        with pytest.raises(KeyError):
            made.set_weights({})


def test_run_py_generates_on_the_cpu(tmp_path: Path) -> None:
    folder = emitting.write(emitted(tokenizer=False), tmp_path)
    save_file(weights(llama_like(Spec())), folder / "model.safetensors")
    root = Path(__file__).parents[4]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run.py", "--device", "cpu", "--dtype", "float32", "-n", "3"]
    done = subprocess.run(
        [*command, "-i", "3,17,9", "5,11"],
        capture_output=True,
        text=True,
        env=env,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Output: ") == 2
    missing = subprocess.run(
        [*command, "-w", "nowhere"],
        capture_output=True,
        text=True,
        env=env,
        cwd=folder,
        check=False,
    )
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr
    assert "no weights at nowhere" in missing.stderr


#: Faults seeded into the emitted text: what is there, what it becomes, in which variant.
FAULTS = {
    "epsilon": ("gqa", '"epsilon": 1e-06', '"epsilon": 1e-02'),
    "scale": ("gqa", '"qkScale": 0.1767766952966369', '"qkScale": 0.2'),
    "rope pairing": ("gqa", '"rotaryCoeff": 2', '"rotaryCoeff": 32'),
    "rope swapped": ("gqa", '"cos", "sin", "seq_lens"]', '"sin", "cos", "seq_lens"]'),
    "q and k packed wrongly": ("gqa", 'read(f"{prefix}.self_attn.k_proj.weight"),', ""),
    "gate and up swapped": (
        "gqa",
        'read(f"{prefix}.mlp.gate_proj.weight"), read(f"{prefix}.mlp.up_proj.weight")',
        'read(f"{prefix}.mlp.up_proj.weight"), read(f"{prefix}.mlp.gate_proj.weight")',
    ),
    "window ignored": ("window", "| (key <= query - 5)", ""),
    "window off by one": ("window", "key <= query - 5", "key < query - 5"),
    "softcap dropped": ("softcap", '"ELEWISE_TANH"', '"ELEWISE_NEG"'),
    "alibi without slopes": ("no-rope-alibi", "* (key - query)", "* 0 * (key - query)"),
    "zero slots": ("gqa", '"slots": step.slots,', '"slots": step.slots * 0,'),
    "positions from zero": ("gqa", "step.positions.float()", "(step.positions * 0).float()"),
    "offset of positions": ("learned-positions", "step.positions + 2", "step.positions + 1"),
    "bias dropped": ("layer-norm", '.fc1.bias")', '.fc1.bias") * 0'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_shows(fault: str, tmp_path: Path) -> None:
    name, right, wrong = FAULTS[fault]
    files = emitted(VARIANTS[name])
    path = f"{emitting.NAME}.py"
    assert right in files[path], "the fault does not apply any more"
    files[path] = files[path].replace(right, wrong)
    checkpoint = weights(llama_like(VARIANTS[name]))
    folder = emitting.write(files, tmp_path)
    try:
        got = emitting.trajectory(folder, checkpoint)
    except (CodegenError, RuntimeError):
        return  # refused, which is as good
    assert stepping.worst(stepping.trajectory(with_cache(VARIANTS[name]), checkpoint), got) > 1e-3


@pytest.mark.parametrize("wrong", ["self._lengths[s] - 1", "self._lengths[s] + 1"])
def test_context_lens_off_by_one_shows(wrong: str, tmp_path: Path) -> None:
    files = emitted()
    right = "[self._lengths[s] for s in sequences]"
    assert right in files["atb_runtime.py"]
    files["atb_runtime.py"] = files["atb_runtime.py"].replace(
        right, f"[{wrong} for s in sequences]"
    )
    checkpoint = weights(llama_like(GQA))
    got = emitting.trajectory(emitting.write(files, tmp_path), checkpoint)
    assert stepping.worst(stepping.trajectory(with_cache(GQA), checkpoint), got) > 1e-3
