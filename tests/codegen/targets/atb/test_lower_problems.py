from __future__ import annotations

import pytest
import torch

from codegen.errors import UnsupportedError
from codegen.targets.atb.lower import lower
from ir.errors import PassError
from ir.func import Call
from ir.graph import Graph, Location, Module
from ir.llm.elementwise import Add, Offset
from ir.llm.shape import Slice
from ir.verify import verify
from tests.codegen.targets.atb.handmade import Spec, f32, llama_like, with_cache


def spoiled() -> Module:
    """A module with three things that ATB cannot express, in both phases."""
    module = with_cache(Spec())
    for name in ("prefill_decoder_layer", "decode_decoder_layer"):
        graph = module.functions[name]
        x = graph.inputs[0]
        first = graph.nodes[0]
        where = Location("model.layers.0.odd", "modeling.py:70")
        odd = Slice.build(graph, x, axis=1, start=0, stop=64, step=2, loc=where, before=first)
        number = graph.add_constant(torch.ones(32), f32(32), "number")
        there = Location("model.layers.0.plus", "modeling.py:71")
        Add.build(graph, odd.result, number, loc=there, before=first)
    return module


def problems_of(module: Module) -> list[tuple[str, str, str, str]]:
    with pytest.raises(UnsupportedError) as caught:
        lower(module)
    return [(p.module, p.source, p.reason, p.remedy) for p in caught.value.problems]


def test_all_problems_are_listed_once_with_their_place() -> None:
    found = problems_of(spoiled())
    assert [(module, source) for module, source, _, _ in found] == [
        ("model.layers.0.odd", "modeling.py:70"),
        ("model.layers.0.plus", "modeling.py:71"),
    ]
    assert "every 2th element" in found[0][2]
    assert found[0][3]  # a remedy
    assert "constant" in found[1][2]


def test_contract_violations_name_the_place() -> None:
    found = problems_of(with_cache(Spec(rotary_dim=8)))
    assert any("head dimension 8 is not in 16" in reason for _, _, reason, _ in found)
    assert all(module.startswith("model.layers.0") for module, _, _, _ in found)


def test_only_positions_can_be_shifted() -> None:
    module = with_cache(Spec(rope=None, learned_positions=2))
    for name in module.entries:
        graph = module.functions[name]
        (node,) = graph.find(Offset.name)
        node.set_operand(0, graph.inputs[0])  # token ids
    assert "only positions" in problems_of(module)[0][2]


def test_the_entries_must_be_prefill_and_decode() -> None:
    with pytest.raises(PassError, match="prefill"):
        lower(llama_like(Spec()))


def test_the_llm_module_is_not_changed() -> None:
    module = with_cache(Spec())
    before = {g.name: [(n.op, dict(n.attrs), len(n.operands)) for n in g.nodes] for g in module}
    lower(module)
    after = {g.name: [(n.op, dict(n.attrs), len(n.operands)) for n in g.nodes] for g in module}
    assert before == after
    verify(module)


def test_entries_hold_calls_only_and_unused_inputs_are_gone() -> None:
    made = lower(with_cache(Spec(rope=None, alibi=True)))
    for name in made.entries:
        entry: Graph = made.functions[name]
        assert {node.op for node in entry.nodes} == {Call.name}
        assert all(value.uses for value in entry.inputs)
        assert "positions" not in [value.name for value in entry.inputs]
