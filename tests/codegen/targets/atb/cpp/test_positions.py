"""Where operations are in the C++ graphs: the same places that the printed functions make."""

from __future__ import annotations

from collections import Counter

import pytest

from codegen.targets.atb.cpp.positions import positions
from codegen.targets.atb.cpp.stage import Blocks
from codegen.targets.atb.cpp.text import camel
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import Reshape
from codegen.targets.atb.sharding import shard
from tests.codegen.targets.atb import lowered

NAMES = ("gqa", "mixed-windows", "softcap", "no-rope-alibi", "learned-positions", "qk-norm")


def functions(module: AtbModule, phase: str) -> list[list[str]]:
    """What is printed for each stage in one phase, in order."""
    own = "param.isPrefill" if phase == "prefill" else "!param.isPrefill"
    made: list[list[str]] = []
    for block, _ in Blocks(module, shard(module), "space").sequence():
        found: list[str] = []
        for step in block.merged.steps:
            if step.condition in ("", own):
                found += [operation.function for operation in step.operations]
            elif step.condition == "param.isPrefill":
                found += [operation.function for operation in step.otherwise]
        made.append(found)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_positions_are_those_of_the_printed_functions(name: str) -> None:
    check(lowered.for_cpp(lowered.handmade(name)))


def test_slices_behind_a_norm_over_all_heads_are_counted() -> None:
    module = lowered.for_cpp(lowered.zoo("olmo2"))
    check(module)
    found = {
        place[2]: name
        for place, (stage, name) in positions(module).items()
        if place[0] == "decode" and stage == 1
    }
    named = {name: position for position, name in found.items()}
    assert named["self_attn_k_norm"] - named["self_attn_q_norm"] == 2
    assert len(found) == max(found) + 1 - 2  # the slices have no name of their own


def check(module: AtbModule) -> None:
    found = positions(module)
    for phase in module.entries:
        printed = functions(module, phase)
        calls = module.functions[phase].nodes
        for stage, (call, made) in enumerate(zip(calls, printed, strict=True)):
            graph = module.callee(call)
            own = {p[1:]: name for p, (s, name) in found.items() if p[0] == phase and s == stage}
            # the last stage of a prefill stands behind the node that picks tokens
            last = phase == "prefill" and stage == len(calls) - 1
            assert {node for node, _ in own} == {stage + last}
            assert Counter(own.values()) == Counter(operation_names(graph).values())
            for (_, position), name in own.items():
                function = made[position]
                plain = name.removeprefix("add").strip("_") if name.startswith("add") else name
                assert camel(plain) in function, (name, function)
            others = [made[i] for i in range(len(made)) if i not in {p for _, p in own}]
            assert all(function.endswith("OfRank") for function in others)
            assert len(own) == sum(node.op != Reshape.name for node in graph.nodes)


def test_every_position_is_there_once() -> None:
    module = lowered.for_cpp(lowered.handmade("mixed-windows"))
    assert len(set(positions(module).values())) < len(positions(module))  # both phases
    for phase in module.entries:
        own = [value for place, value in positions(module).items() if place[0] == phase]
        assert len(set(own)) == len(own)
