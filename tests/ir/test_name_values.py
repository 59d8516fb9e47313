"""`name-values`: roles, modules and blocks give the names; numbers and structure stay."""

from __future__ import annotations

import pytest
import torch

from codegen.frontend.raising import raise_module
from ir.interpret import interpret
from ir.passes.base import run_passes
from ir.passes.cache_kv import CacheKv
from ir.passes.name_values import NameValues, joined_name
from ir.passes.pack_linears import PackLinears
from ir.structure import same_structure
from tests.codegen.frontend.test_raising import prefill_inputs
from tests.frontend_util import load_module, weights_of


def layer_names(path, *passes) -> list[str]:
    module = raise_module(load_module(path)).module
    run_passes(module, [*passes, NameValues()])
    graph = next(graph for graph in module if graph.name not in module.entries)
    return [value.name for node in graph.nodes for value in node.results]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (["q_proj", "k_proj", "v_proj"], "qkv_proj"),
        (["gate_proj", "up_proj"], "gate_up_proj"),
        (["w1", "w3"], "w1_w3"),
        (["q", "k", "v"], "qkv"),
    ],
)
def test_joined_name(parts, name):
    assert joined_name(parts) == name


def test_names_of_a_packed_decode_layer(zoo):
    assert layer_names(zoo("llama-gqa"), PackLinears(), CacheKv()) == [
        "input_layernorm_out", "qkv_proj_out", "q_proj_out", "k_proj_out", "v_proj_out",
        "query_heads", "key_heads", "value", "query", "key", "keys", "values",
        "attn_out", "attn_flat", "o_proj_out", "after_self_attn",
        "post_attention_layernorm_out", "gate_up_proj_out", "gated", "down_proj_out", "after_mlp",
    ]  # fmt: skip


def test_head_norms_and_rotations_keep_apart(zoo):
    names = layer_names(zoo("qwen3"))
    assert {"q_proj_heads", "q_norm_out", "k_norm_out", "query", "key", "value"} <= set(names)
    assert len(set(names)) == len(names)


def test_only_names_change(zoo):
    path = zoo("gpt_neox")
    before, after = (raise_module(load_module(path)).module for _ in range(2))
    record = run_passes(after, [NameValues()])[0]
    assert record.result.matches > 10
    assert same_structure(before, after)
    read = weights_of(path)
    (a,), (b,) = (
        list(interpret(module, prefill_inputs(), read).values()) for module in (before, after)
    )
    assert torch.equal(a, b)
    assert run_passes(after, [NameValues()])[0].result.matches == 0
