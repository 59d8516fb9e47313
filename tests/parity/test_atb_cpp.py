"""Rung 4: emitted ATB C++, compiled with g++ and executed on the host runtime.

Every zoo model goes through the same door as a user's: `transform`, then `verify`, on one, two and
four ranks. What comes out is compared with docs/status.json; see test_atb_python.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codegen.errors import UnsupportedError
from codegen.pipeline import transform
from codegen.verification import RANKS, verify
from tests.parity.conftest import read_status
from tests.parity.test_atb_python import architecture
from tests.zoo import CASES, DECODE_STEPS, PROMPTS

#: What the product promises for this target.
PROMISED = (
    "gemma",
    "gpt2",
    "gpt_neox",
    "granite",
    "llama",
    "mistral",
    "olmo",
    "olmo2",
    "opt",
    "phi3",
    "qwen2",
    "qwen3",
    "stablelm",
    "starcoder2",
)


@pytest.mark.parametrize("name", CASES)
def test_model(name, zoo, tmp_path, settle):
    path, out = zoo(name), tmp_path / "out"
    outcome = {"architecture": architecture(path), "tier": CASES[name].tier}
    try:
        transform(path, out, target="atb-cpp")
    except UnsupportedError as refused:
        first = refused.problems[0]
        assert not out.exists()
        outcome |= {"status": "unsupported", "reason": first.reason, "remedy": first.remedy}
    else:
        passed, ranks = agrees(out, path)
        outcome |= {"status": "parity" if passed else "differs", "ranks": ranks}
        if "Not divided" in (out / "README.md").read_text():
            outcome["whole"] = "attention"
    settle("atb-cpp", name, outcome)


def agrees(out: Path, path: Path) -> tuple[bool, str]:
    """Prefill and 8 decode steps of two sequences, every logit, on all numbers of ranks."""
    result = verify(out, path, prompts=PROMPTS, decode_steps=DECODE_STEPS)
    deciding = [phase for phase in result.phases if phase.limit is not None]
    ranks = sorted({phase.ranks for phase in deciding})
    assert ranks[0] == 1
    for size in ranks:
        assert [(p.name, p.positions, p.rounding) for p in deciding if p.ranks == size] == [
            ("prefill", sum(map(len, PROMPTS)), "float32"),
            ("decode", DECODE_STEPS * len(PROMPTS), "float32"),
        ]
    # Logits of the zoo are below 30: a limit that depended on something else would be larger.
    assert all(phase.limit <= 1e-4 * 30 for phase in deciding)
    half = {phase.rounding for phase in result.phases} - {"float32"}
    assert half == {"float16", "bfloat16"} or result.notes
    return result.passed, ", ".join(map(str, ranks))


def test_what_is_promised_agrees():
    status = read_status()["atb-cpp"]
    reached = {name for name, outcome in status.items() if outcome["status"] == "parity"}
    for family in PROMISED:
        variants = {name for name in CASES if CASES[name].config().model_type == family}
        assert variants, family
        assert variants <= reached, variants - reached
        assert {status[name]["ranks"] for name in variants} == {"1, 2, 4"}


def test_of_these_most_layers_are_divided():
    """Attention that every rank computes whole is right, but no gain."""
    status = read_status()["atb-cpp"]
    whole = {name for name, outcome in status.items() if "whole" in outcome}
    assert whole == {"gemma2", "falcon", "falcon-one-norm", "stablelm-parallel"}


def test_json_names_every_number_of_ranks(zoo, tmp_path):
    transform(zoo("llama-gqa"), tmp_path / "out", target="atb-cpp")
    result = verify(tmp_path / "out", zoo("llama-gqa"), prompts=PROMPTS, decode_steps=2)
    body = json.loads(result.to_json())
    assert body["ranks"].keys() == {f"{n}.{p}" for n in RANKS for p in ("prefill", "decode")}
    assert body["target"] == "atb-cpp"
    assert body["decode"]["steps"] == 2
