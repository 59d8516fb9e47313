"""Rung 3: emitted ATB Python, executed on the host runtime, against HuggingFace.

Every zoo model goes through the same door as a user's: `transform`, then `verify`. What comes out
is compared with docs/status.json, from which the README's matrix is made: a model that stops
agreeing, or starts to, fails here until the record says so.
"""

from __future__ import annotations

import json

import pytest

from codegen.errors import UnsupportedError
from codegen.pipeline import transform
from codegen.verification import verify
from tests.parity.conftest import read_status
from tests.zoo import CASES, DECODE_STEPS, PROMPTS

REQUIRED = [name for name, case in CASES.items() if case.tier == "required"]


def architecture(path) -> str:
    return json.loads((path / "config.json").read_text())["architectures"][0]


@pytest.mark.parametrize("name", CASES)
def test_model(name, zoo, tmp_path, settle):
    path, out = zoo(name), tmp_path / "out"
    outcome = {"architecture": architecture(path), "tier": CASES[name].tier}
    try:
        transform(path, out, target="atb-python")
    except UnsupportedError as refused:
        first = refused.problems[0]
        assert not out.exists()
        assert all(problem.reason and problem.remedy for problem in refused.problems)
        outcome |= {"status": "unsupported", "reason": first.reason, "remedy": first.remedy}
    else:
        outcome["status"] = "parity" if agrees(out, path) else "differs"
    settle("atb-python", name, outcome)


def agrees(out, path) -> bool:
    """Prefill and 8 decode steps of two sequences of different length, every logit."""
    result = verify(out, path, prompts=PROMPTS, decode_steps=DECODE_STEPS)
    strict = [phase for phase in result.phases if phase.rounding == "float32"]
    assert [(p.name, p.positions) for p in strict] == [
        ("prefill", sum(map(len, PROMPTS))),
        ("decode", DECODE_STEPS * len(PROMPTS)),
    ]
    # Logits of the zoo are below 30: a limit that depended on something else would be larger.
    assert all(phase.limit is not None and phase.limit <= 1e-4 * 30 for phase in strict)
    return result.passed


@pytest.mark.parametrize("name", REQUIRED)
def test_second_spelling(name, zoo, tmp_path):
    """The same model through torch_atb."""
    transform(zoo(name), tmp_path / "out", target="atb-python", python_api="torch_atb")
    assert agrees(tmp_path / "out", zoo(name))


def test_no_required_model_is_left_out():
    status = read_status()["atb-python"]
    reached = [name for name in REQUIRED if status[name]["status"] == "parity"]
    families = {CASES[name].config().model_type for name in reached}
    assert set(REQUIRED) <= status.keys()
    assert len(families) >= 20, sorted(families)
