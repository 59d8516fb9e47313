"""The table of operations: exact columns, every operation of every layer, what it became."""

from __future__ import annotations

import csv
import io
from itertools import chain

import pytest

from codegen.report.lowered import op_type
from codegen.report.operators_csv import guarded
from codegen.targets.atb.emit_python_graph import operation_names
from tests.codegen.report.subjects import zoo

HEADER = "ori_op_name,ori_op_type,op_name,op_type,soc_type,engine,is_supported"
A2, DUO = "Atlas 800I A2", "Atlas 300I Duo"
COMPILED = ("llama-gqa", "llama-tied", "gemma2", "bloom", "phi3", "gpt2")


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(zoo(name).file("_operators.csv"))))


def test_header() -> None:
    assert zoo("llama-gqa").file("_operators.csv").splitlines()[0] == HEADER


@pytest.mark.parametrize("name", COMPILED)
def test_one_row_for_each_operation_and_chip(name: str) -> None:
    table = rows(name)
    names = [row["ori_op_name"] for row in table if row["soc_type"] == A2]
    assert len(set(names)) == len(names)
    assert [row["ori_op_name"] for row in table if row["soc_type"] == DUO] == names
    assert len(table) == 2 * len(names)
    aten = zoo(name).aten
    assert aten is not None
    calls = aten.functions["main"].find("func.call")
    called = sum(len(aten.callee(call).nodes) for call in calls)
    assert len(names) == len(aten.functions["main"].nodes) - len(calls) + called


@pytest.mark.parametrize("name", COMPILED)
def test_every_emitted_operation_is_in_it(name: str) -> None:
    """Nothing that is emitted comes from nowhere, and nothing else is claimed."""
    atb = zoo(name).compiled
    graphs = [graph for graph in atb if graph.name not in atb.entries]
    emitted = {
        (called, f"{op_type(node)}Operation")
        for graph in graphs
        for node, called in operation_names(graph).items()
    }
    table = rows(name)
    listed = set(chain.from_iterable(row["op_name"].split(";") for row in table)) - {""}
    types = set(chain.from_iterable(row["op_type"].split(";") for row in table)) - {""}
    assert listed <= {called for called, _ in emitted}
    assert types == {kind for _, kind in emitted}


def _became(name: str, operation: str) -> tuple[str, str, str]:
    (row,) = (r for r in rows(name) if r["ori_op_name"] == operation and r["soc_type"] == A2)
    return row["op_name"], row["op_type"], row["engine"]


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(
    ("operation", "became"),
    [
        ("self_attn.q_proj.linear",
         ("self_attn_qkv_proj;self_attn_qkv_proj_split", "LinearOperation;SplitOperation",
          "AICORE")),
        ("self_attn.k_proj.linear_1", ("self_attn_qkv_proj", "LinearOperation", "AICORE")),
        ("mlp.up_proj.linear_5", ("mlp_gate_up_proj", "LinearOperation", "AICORE")),
        ("mlp.mul_13", ("mlp_act_fn", "ActivationOperation", "AIVEC")),
        ("input_layernorm.pow_1", ("input_layernorm", "RmsNormOperation", "AIVEC")),
        ("self_attn.neg", ("self_attn_rope", "RopeOperation", "AIVEC")),
        ("self_attn.transpose", ("", "", "HOST")),
        ("self_attn.attention",
         ("self_attn_reshape_and_cache;self_attn_attention;self_attn_paged_attention",
          "ReshapeAndCacheOperation;SelfAttentionOperation;PagedAttentionOperation", "AICORE")),
        ("add_5", ("add_2", "ElewiseOperation", "AIVEC")),
    ],
)  # fmt: skip
def test_what_operations_became(layer: int, operation: str, became: tuple[str, str, str]) -> None:
    assert _became("llama-gqa", f"model.layers.{layer}.{operation}") == became


def test_products_of_written_out_attention_are_part_of_it() -> None:
    assert "SelfAttentionOperation" in _became("bloom", "transformer.h.1.self_attention.baddbmm")[1]


def test_rotary_tables_are_made_on_the_host() -> None:
    assert _became("llama-gqa", "model.rotary_emb.cos") == ("", "", "HOST")


def test_a_tied_head_is_not_the_embedding() -> None:
    assert _became("llama-tied", "lm_head.linear_7")[0] == "lm_head"
    assert _became("llama-tied", "model.embed_tokens.embedding")[0] == "embed_tokens"


def test_support_follows_the_contract_of_each_chip() -> None:
    table = rows("llama-gqa")
    assert {row["is_supported"] for row in table if row["soc_type"] == A2} == {"True"}
    refused = {r["ori_op_type"] for r in table if r["is_supported"] == "False"}
    assert refused == {"trace.attention"}  # the 310P wants caches and masks in another format
    page = zoo("llama-gqa").file(".html")
    assert "caches have the NZ format" in page
    assert "3 of 157 operations unsupported" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert guarded(f"{start}cmd|' /C calc'!A0").startswith("'")
    assert guarded("model.layers.0") == "model.layers.0"
    assert not set(guarded(f"a{start}b")) & set("\t\r\n")
