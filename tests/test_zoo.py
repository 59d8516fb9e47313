"""The zoo itself: reproducible models, a coherent reference, numbers in which mistakes show."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.zoo import CASES, DECODE_STEPS, PROMPTS, Reference, build, load

ROOT = Path(__file__).resolve().parent.parent

Zoo = Callable[[str], Path]
References = Callable[[str], list[Reference]]

each_case = pytest.mark.parametrize("name", CASES)


def test_required_cases_come_first() -> None:
    tiers = [case.tier for case in CASES.values()]
    assert tiers == sorted(tiers, reverse=True)
    assert tiers.count("required") >= 40


def test_configurations_do_not_leak_into_each_other() -> None:
    forward = {name: case.config().to_json_string() for name, case in CASES.items()}
    backward = {name: CASES[name].config().to_json_string() for name in reversed(CASES)}
    assert forward == backward


@each_case
def test_same_name_gives_same_bytes(name: str, zoo: Zoo, tmp_path: Path) -> None:
    assert _contents(build(name, tmp_path)) == _contents(zoo(name))


def test_another_process_gives_same_bytes(zoo: Zoo, tmp_path: Path) -> None:
    names = ["gpt_oss", "phi", "llama-gqa"]
    script = (
        "import sys, pathlib; from tests.zoo import build; "
        "[build(name, pathlib.Path(sys.argv[1])) for name in sys.argv[2:]]"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
    )
    for name in names:
        assert _contents(tmp_path / name) == _contents(zoo(name))


@each_case
def test_nothing_is_warned_about(
    name: str, zoo: Zoo, zoo_reference: References, caplog: pytest.LogCaptureFixture
) -> None:
    if name == "apertus":
        pytest.skip("xIELU always says that its CUDA kernel is missing")
    logger = logging.getLogger("transformers")  # does not propagate to the root logger
    logger.addHandler(caplog.handler)
    try:
        load(zoo(name))
        zoo_reference(name)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == []


@each_case
def test_shapes_and_greedy_tokens(name: str, zoo_reference: References) -> None:
    for prompt, run in zip(PROMPTS, zoo_reference(name), strict=True):
        vocab = CASES[name].config().vocab_size
        assert run.prompt == prompt
        assert run.prefill.shape == (len(prompt), vocab)
        assert [logits.shape for logits in run.decode] == [(vocab,)] * DECODE_STEPS
        last = torch.stack([run.prefill[-1], *run.decode])
        assert run.tokens == tuple(last.argmax(-1).tolist())


@each_case
def test_decode_agrees_with_a_forward_without_cache(
    name: str, zoo: Zoo, zoo_reference: References
) -> None:
    boundary = CASES[name].rope_boundary
    for run in zoo_reference(name):
        sequence = run.prompt + run.tokens[:-1]
        if boundary is not None:
            sequence = sequence[: max(boundary, len(run.prompt))]
        cached = torch.cat([run.prefill, torch.stack(run.decode)])[: len(sequence)]
        torch.testing.assert_close(_forward(zoo(name), sequence), cached, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [c.name for c in CASES.values() if c.rope_boundary])
def test_decode_crosses_the_rope_boundary(name: str, zoo: Zoo, zoo_reference: References) -> None:
    run = zoo_reference(name)[0]
    boundary = CASES[name].rope_boundary
    sequence = run.prompt + run.tokens[:-1]
    assert boundary is not None
    assert len(run.prompt) < boundary < len(sequence)
    assert boundary < len(PROMPTS[1])
    assert (_forward(zoo(name), sequence)[-1] - run.decode[-1]).abs().max() > 0.1


@each_case
def test_logits_are_not_degenerate(name: str, zoo_reference: References) -> None:
    for run in zoo_reference(name):
        logits = torch.cat([run.prefill, torch.stack(run.decode)])
        assert logits.std(-1).min() > 0.3
        assert 1.0 < logits.abs().max() < 30.0
        assert len(set(run.prefill.argmax(-1).tolist())) >= 3
        assert len(set(run.tokens)) >= 2


@each_case
def test_later_logits_depend_on_earlier_tokens_and_their_order(name: str, zoo: Zoo) -> None:
    prompt = PROMPTS[1]
    changed = (*prompt[:3], 99, *prompt[4:])
    swapped = (*prompt[:3], prompt[4], prompt[3], *prompt[5:])
    before = _forward(zoo(name), prompt)
    for other in (changed, swapped):
        after = _forward(zoo(name), other)
        torch.testing.assert_close(after[:3], before[:3], rtol=0, atol=1e-4)
        assert (after[-1] - before[-1]).abs().max() > 0.01


@torch.no_grad()
def _forward(path: Path, tokens: Sequence[int]) -> Tensor:
    """Returns the logits `[len(tokens), vocab]` of a model that has seen nothing before."""
    return load(path)(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def _contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}
