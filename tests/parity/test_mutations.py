"""Seeded faults: `verify` must fail for every one of them.

A fault is planted where a compiler would have it, in the lowered graph or in the emitted text,
between the two commands that a user runs. The models are those in which the fault shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from codegen import pipeline
from codegen.errors import VerificationError
from codegen.targets.atb.module import AtbModule
from codegen.verification import verify
from ir.graph import Graph, Module, Node
from ir.recipe import Concat, Permute, Reshape, Source
from tests.zoo import PROMPTS

Change = Callable[[Module], None]


def nodes(module: Module, op: str, phase: str = "") -> list[Node]:
    return [n for g in module if g.name.startswith(phase) for n in g.find(op)]


def layers(module: Module) -> list[Graph]:
    return [graph for graph in module if "decoder_layer" in graph.name]


def set_attr(op: str, name: str, value: object, phase: str = "") -> Change:
    def change(module: Module) -> None:
        found = nodes(module, op, phase)
        assert any(node.attrs[name] != value for node in found)
        for node in found:
            node.attrs[name] = value  # type: ignore[assignment]

    return change


def swap_operands(op: str, first: int, second: int) -> Change:
    def change(module: Module) -> None:
        for node in nodes(module, op):
            a, b = node.operands[first], node.operands[second]
            node.set_operand(first, b)
            node.set_operand(second, a)

    return change


def swap_packed(first: str) -> Change:
    """Exchanges the first two parts of every packed weight that begins with ``first``."""

    def change(module: Module) -> None:
        changed = 0
        for graph in layers(module):
            for value in graph.parameters:
                recipe = value.recipe
                if isinstance(recipe, Concat) and first in recipe.hint:
                    a, b, *rest = recipe.parts
                    value.recipe = Concat(recipe.axis, (b, a, *rest))
                    changed += 1
        assert changed

    return change


def interleave_groups(module: Module) -> None:
    """Query head h reads key-value head h % 2 instead of h // 2: rows of q_proj move."""
    for graph in layers(module):
        for value in graph.parameters:
            recipe = value.recipe
            if isinstance(recipe, Concat) and "q_proj" in recipe.hint:
                q, *rest = recipe.parts
                assert isinstance(q, Source)
                grouped = Permute(Reshape(q, (2, 2, 16, 64)), (1, 0, 2, 3))
                value.recipe = Concat(recipe.axis, (Reshape(grouped, (64, 64)), *rest))


def drop_bias(module: Module) -> None:
    linears = [n for n in nodes(module, "atb.linear") if n.attrs["has_bias"]]
    assert linears
    for node in linears:
        node.attrs["has_bias"] = False
        node.set_operand(2, None)
    for graph in module:
        graph.remove_dead(keep=lambda node: node.op != "atb.linear")


def forget_windows(module: Module) -> None:
    assert isinstance(module, AtbModule)
    windows = [f for f in module.feeds if getattr(f.source, "window", None) is not None]
    assert windows
    module.feeds = tuple(
        replace(f, source=replace(f.source, window=None)) if f in windows else f
        for f in module.feeds
    )


def skip_residual(module: Module) -> None:
    for graph in layers(module):
        for node in graph.find("atb.elewise"):
            if node.result.name == "after_self_attn":
                graph.replace_uses(node.result, node.operand(1))
                graph.erase(node)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        model: Zoo case in which it shows.
        change: What is done to the lowered module; None for faults of the text.
        old: Text of the emitted code to replace, in `file`.
        new: What it becomes.
        file: Which emitted file.
        weights: Use the checkpoint; else the random weights of `verify`, which have small
            embeddings, so that a tiny epsilon counts.
    """

    name: str
    model: str
    change: Change | None = None
    old: str = ""
    new: str = ""
    file: str = "atb_runtime.py"
    weights: bool = True


FAULTS = [
    Fault("eps is the default", "llama-mha", set_attr("atb.rms_norm", "epsilon", 1e-5)),
    Fault("eps 1e-6 is 1e-5", "qwen2", set_attr("atb.rms_norm", "epsilon", 1e-5), weights=False),
    Fault("eps of layer norms", "gpt2", set_attr("atb.layer_norm", "epsilon", 1e-5)),
    Fault("q and k swapped in rope", "llama-mha", swap_operands("atb.rope", 0, 1)),
    Fault("q and k weights swapped", "llama-mha", swap_packed("q_proj")),
    Fault("scale missing in prefill", "llama-gqa", set_attr("atb.self_attention", "qk_scale", 1.0)),
    Fault("scale missing in decode", "llama-gqa", set_attr("atb.paged_attention", "qk_scale", 1.0)),
    Fault("rope pairs neighbours", "llama-gqa", set_attr("atb.rope", "rotary_coeff", 16)),
    Fault("rope pairs halves", "gptj", set_attr("atb.rope", "rotary_coeff", 2)),
    Fault("bias dropped", "qwen2", drop_bias),
    Fault("gate and up swapped", "llama-gqa", swap_packed("gate_proj")),
    Fault("window ignored", "mistral", forget_windows),
    Fault("GQA groups interleaved", "llama-gqa", interleave_groups),
    Fault("residual skipped", "llama-gqa", skip_residual),
    Fault("1 + w is w", "gemma", set_attr("atb.rms_norm", "model_type", "LLAMA_MODEL")),
    Fault("gelu for gelu_tanh", "gemma2", set_attr("atb.activation", "gelu_mode", "NONE_MODE")),
    Fault(
        "slots are zero",
        "llama-gqa",
        old="slots=torch.tensor(slots, dtype=torch.int32)",
        new="slots=torch.zeros(len(slots), dtype=torch.int32)",
    ),
    Fault(
        "context_lens is off by one",
        "llama-gqa",
        old="context_lens=torch.tensor([self._lengths[s] for s",
        new="context_lens=torch.tensor([self._lengths[s] - 1 for s",
    ),
    Fault(
        "positions of decode start at zero",
        "llama-gqa",
        old="positions.append(position)",
        new="positions.append(position % len(tokens))",
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_verify_fails(fault: Fault, zoo, tmp_path, monkeypatch):
    path, out = zoo(fault.model), tmp_path / "out"
    if not fault.weights:
        (tmp_path / "config.json").write_text((path / "config.json").read_text())
        path = tmp_path
    generate(fault, path, out, monkeypatch)
    try:
        result = verify(out, path, prompts=PROMPTS)
    except VerificationError:
        return  # the host runtime refuses to run it
    assert not result.passed
    assert result.departure is not None, "no operation is named"


def generate(fault: Fault, path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transforms with the fault planted; what `verify` compares with is without it."""
    if fault.change is not None:
        lower, change = pipeline.lower, fault.change

        def faulty(module: Module) -> Module:
            atb = lower(module)
            change(atb)
            return atb

        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "lower", faulty)
            pipeline.transform(path, out, target="atb-python")
        return
    pipeline.transform(path, out, target="atb-python")
    file = out / fault.file
    text = file.read_text()
    assert fault.old in text
    file.write_text(text.replace(fault.old, fault.new))


def test_the_same_path_without_a_fault_passes(zoo, tmp_path, monkeypatch):
    generate(
        Fault("none", "llama-gqa", lambda module: None),
        zoo("llama-gqa"),
        tmp_path / "out",
        monkeypatch,
    )
    assert verify(tmp_path / "out", zoo("llama-gqa"), prompts=PROMPTS).passed
