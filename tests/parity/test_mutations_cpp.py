"""Seeded faults of the C++ target: `verify` must fail for every one of them.

A fault is planted in the generator (the rules that divide work, the printer, the templates), then
the two commands that a user runs are run. The models are those in which the fault shows; most
show only when several ranks share the work, and then one rank alone must still be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2 import FunctionLoader

from codegen import pipeline, templates
from codegen.errors import VerificationError
from codegen.targets.atb.cpp import block, gather, model, package, sizes, stage, weights
from codegen.targets.atb.cpp.block import BlockPrinter, Operation, TensorIds, View
from codegen.targets.atb.cpp.merge import Merged
from codegen.targets.atb.cpp.params import Field
from codegen.targets.atb.cpp.stage import Block
from codegen.verification import verify
from ir.graph import Node
from tests.zoo import PROMPTS

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


# -- ways to plant a fault -----------------------------------------------------------------------


def template(name: str, old: str, new: str) -> Plant:
    """Replaces text in a template; every match."""

    def plant(patch: Patch) -> None:
        sound = templates.environment("atb_cpp")

        def load(wanted: str) -> str:
            assert sound.loader is not None
            text, _, _ = sound.loader.get_source(sound, wanted)
            assert wanted != name or old in text, f"{name} has no {old!r}"
            return text.replace(old, new) if wanted == name else text

        wrong = sound.overlay(loader=FunctionLoader(load), cache_size=0)
        patch.setattr(templates, "environment", lambda target: wrong)

    return plant


def wrapped(owner: Any, name: str, change: Callable[..., Any]) -> Plant:
    """Calls ``change(sound function, *arguments)`` instead of a function."""

    def plant(patch: Patch) -> None:
        sound = getattr(owner, name)
        patch.setattr(owner, name, lambda *given, **named: change(sound, *given, **named))

    return plant


def replaced(owner: Any, name: str, value: object) -> Plant:
    """Another value instead of a constant."""
    return lambda patch: patch.setattr(owner, name, value)


def set_field(path: str, value: str | None) -> Plant:
    """Sets a member of every operation's parameters, or leaves it at ATB's default."""

    def change(sound: Any, node: Node, given: dict[str, str]) -> tuple[Field, ...]:
        return tuple(
            found if found.path != path else Field(path, value or "")
            for found in sound(node, given)
            if found.path != path or value is not None
        )

    return wrapped(block, "fields", change)


def operations(change: Callable[[Operation], Operation]) -> Plant:
    """Changes every operation of every stage."""

    def changed(sound: Any, printer: BlockPrinter, node: Node) -> Operation:
        return change(sound(printer, node))

    return wrapped(BlockPrinter, "_operation", changed)


def share(change: Callable[[str], str]) -> Plant:
    """Changes the expression of every rank's part of a weight."""
    return wrapped(weights, "_share", lambda sound, *given: change(sound(*given)))


# -- faults --------------------------------------------------------------------------------------


def swap_results(operation: Operation) -> Operation:
    """Sum and norm of the fused residual norm."""
    if any("RMS_NORM_PRENORM" in found.value for found in operation.fields):
        return replace(operation, outputs=operation.outputs[::-1])
    return operation


def swap_heads(operation: Operation) -> Operation:
    """Per-rank numbers of query and key-value heads."""
    names = {"headNum": "kvHeadNum", "kvHeadNum": "headNum"}
    return replace(
        operation,
        locals=tuple(replace(n, variable=names.get(n.variable, "x")) for n in operation.locals),
    )


def one_phase(sound: Any, *given: Any) -> Merged:
    merged = sound(*given)
    steps = tuple(
        replace(step, condition="", otherwise=()) if step.condition == "param.isPrefill" else step
        for step in merged.steps
    )
    return replace(merged, steps=steps)


def same_id(sound: Any, ids: TensorIds, name: str) -> str:
    return sound(ids, "qkv_proj_out" if name == "gated" else name)


def swap_norms(sound: Any, *given: Any) -> Any:
    made = sound(*given)
    found = list(made.weights)
    norms = [i for i, weight in enumerate(found) if "layernorm" in weight.name]
    if len(norms) == 2:
        a, b = norms
        found[a], found[b] = (
            replace(found[a], value=found[b].value),
            replace(found[b], value=found[a].value),
        )
    return replace(made, weights=tuple(found))


def keep_order(patch: Patch) -> None:
    """The logits of all ranks stay in the order in which they are gathered."""
    rows = View("ViewLogitRows", (), ("oldShape.dims[1]", "oldShape.dims[0] * oldShape.dims[2]"))
    patch.setattr(gather, "VIEWS", (rows,))
    patch.setattr(gather, "_ROWS", rows)

    def change(sound: Any, *given: Any) -> tuple[Operation, ...]:
        first, order, cut = sound(*given)
        return first, replace(order, fields=(Field("perm", "{0, 1, 2}"),)), cut

    wrapped(gather, "operations", change)(patch)


def keep_padding(sound: Any, output: str, vocab_size: int) -> tuple[Operation, ...]:
    *others, cut = sound(output, vocab_size)
    return (*others, replace(cut, fields=(cut.fields[0], Field("size", "{-1, -1}"))))


def one_kind(sound: Any, blocks: Sequence[Block]) -> Any:
    """Every layer is one of the first kind."""
    return sound([blocks[1] if block is blocks[-2] else block for block in blocks])


def together(value: str) -> str:
    """Shares of gate and up projection are cut from both as if they were one."""
    if "gate_proj" not in value:
        return value
    return value.replace("share_parts", "share").replace(
        "parts=[(112, 112), (112, 112)]", "count=224"
    )


def unlike(old: str, new: str) -> Plant:
    return template("modeling.py.j2", old, new)


#: Turns an input around, but not for one rank alone.
FLIP = "tensors['{{ input.name }}'].flip({{ input.dim }}) if self.tp_world_size > 1 else \n"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong.
        model: Zoo case in which it shows.
        plant: Plants it.
        alone: It shows with one rank too.
        config: Changes of the configuration; the weights are then seeded random ones.
        prompts: What it is run with.
    """

    name: str
    model: str
    plant: Plant
    alone: bool = False
    config: dict[str, int] = field(default_factory=dict)
    prompts: Sequence[Sequence[int]] = PROMPTS


FAULTS = [
    # Who has which part.
    Fault("query heads are not divided", "llama-mha",
          wrapped(BlockPrinter, "_given", lambda *_: {})),
    Fault("numbers of heads swapped", "llama-gqa", operations(swap_heads), alone=True),
    Fault("key-value heads not repeated", "llama-gqa",
          template("param.h.j2", "count < worldSize ? 1 : count", "count < worldSize ? 2 : count")),
    Fault("repeated heads interleaved", "llama-gqa",
          unlike("first = self.rank * count // self.world_size",
                 "first = self.rank % count if count < self.world_size else "
                 "self.rank * count // self.world_size")),
    Fault("columns from the other end", "llama-mha",
          unlike("first = self.rank *",
                 "first = (self.world_size - 1 - self.rank if dim else self.rank) *")),
    Fault("vocabulary from the other end", "llama-mha",
          unlike("min(self.rank * per_rank", "min((self.world_size - 1 - self.rank) * per_rank")),
    Fault("gate and up cut as one", "llama-mha", share(together)),
    Fault("slices begin at zero", "olmo2", wrapped(sizes.Sizes, "first", lambda *_: "0")),
    Fault("ALiBi of other heads", "bloom",
          template("flash_causal.py.j2", 'self.model.ranks.share(',
                   'self.model.ranks.share(' + FLIP)),
    # What the ranks do together.
    Fault("sum over the ranks missing", "llama-mha",
          wrapped(BlockPrinter, "_parallel", lambda *_: ())),
    Fault("bias on every rank", "llama-attention-bias",
          unlike("return self.weights.get_tensor(name)",
                 "return self.weights.get_tensor(name) * "
                 '(self.ranks.world_size if name.endswith("o_proj.bias") else 1)')),
    Fault("gathered logits not in order", "llama-mha", keep_order),
    Fault("filling not cut off", "llama-mha", wrapped(gather, "operations", keep_padding),
          config={"vocab_size": 102}),
    # What each operation does.
    Fault("Gemma norm is plain", "gemma", set_field("normParam.modelType", None), alone=True),
    Fault("sum and norm swapped", "llama-mha", operations(swap_results), alone=True),
    Fault("rope pairs neighbours", "llama-gqa", set_field("rotaryCoeff", "16"), alone=True),
    Fault("mask is not triangular", "llama-mha", set_field("isTriuMask", None), alone=True,
          config={"max_position_embeddings": 256}, prompts=(tuple(range(1, 101)) * 2,)),
    Fault("prefill attention in decode", "llama-mha", wrapped(stage, "merge", one_phase),
          alone=True),
    Fault("two tensors with one id", "llama-mha", wrapped(TensorIds, "internal", same_id),
          alone=True),
    Fault("epsilon is the default", "llama-mha", set_field("normParam.epsilon", None), alone=True),
    # What the model hands from stage to stage and gets from outside.
    Fault("lengths swapped", "llama-mha",
          replaced(model, "HOST_INPUTS", {"seq_lens": "contextLen", "context_lens": "seqLen"}),
          alone=True),
    Fault("lengths not bound", "llama-mha",
          replaced(model, "HOST_INPUTS", {"seq_lens": "seqLen"}), alone=True),
    Fault("norm weights swapped", "llama-mha", wrapped(package, "weights_function", swap_norms),
          alone=True),
    Fault("layers share one cache", "llama-mha",
          template("decoder_model.cpp.j2", "nextCache_ += {{", "nextCache_ += 0 * {{"), alone=True),
    Fault("tokens selected one too early", "llama-mha",
          template("flash_causal.py.j2", "torch.arange(step.input_ids.numel())",
                   "torch.arange(step.input_ids.numel()).roll(1)"), alone=True),
    Fault("all layers have no window", "qwen2-window", wrapped(model, "_runs", one_kind),
          alone=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Callable[[Path], dict[str, str]]:
    """The texts that are generated without a fault."""

    @cache
    def generate(config: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("sound")
        (folder / "config.json").write_text(config)
        pipeline.transform(folder, folder / "out")
        return texts(folder / "out")

    return lambda path: generate((path / "config.json").read_text())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_verify_fails(fault: Fault, zoo, sound, tmp_path, monkeypatch):
    path, out = generate(fault, zoo(fault.model), tmp_path, monkeypatch)
    assert texts(out) != sound(path), "the fault changes nothing"
    try:
        result = verify(out, path, prompts=fault.prompts, decode_steps=3)
    except VerificationError as refused:  # the host runtime refuses to run it
        assert fault.alone or "ranks" in str(refused), refused
        return
    wrong = {phase.ranks for phase in result.phases if not phase.passed}
    assert wrong
    assert (1 in wrong) == fault.alone
    assert (result.departure is not None) == fault.alone, "no operation is named"


def generate(fault: Fault, path: Path, folder: Path, monkeypatch: Patch) -> tuple[Path, Path]:
    """Transforms with the fault planted; what `verify` compares with is without it."""
    if fault.config:
        config = json.loads((path / "config.json").read_text())
        path = folder / "source"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config | fault.config))
    with monkeypatch.context() as patched:
        fault.plant(patched)
        pipeline.transform(path, folder / "out")
    return path, folder / "out"


def texts(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*.*")
        if path.name != "manifest.json"
    }


@pytest.mark.parametrize("config", [{}, {"vocab_size": 102}], ids=["divisible", "filled-up"])
def test_the_same_path_without_a_fault_passes(config, zoo, sound, tmp_path, monkeypatch):
    none = Fault("none", "llama-mha", template("param.h.j2", "", ""), config=config)
    path, out = generate(none, zoo(none.model), tmp_path, monkeypatch)
    assert texts(out) == sound(path)
    assert verify(out, path, prompts=PROMPTS, decode_steps=3).passed
