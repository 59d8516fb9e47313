"""The module tree: repeated layers once, inputs, weights."""

from __future__ import annotations

import json
from typing import Any

from tests.codegen.report.subjects import published, zoo


def tree(name: str) -> dict[str, Any]:
    return json.loads(zoo(name).file(".json"))


def find(node: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    inner = [*node.get("children", ()), *([node["repeat_block"]] if "repeat_block" in node else ())]
    own = [node] if node.get("kind") == kind else []
    return own + [found for child in inner for found in find(child, kind)]


def test_files_are_named_after_the_class() -> None:
    assert list(zoo("llama-gqa").files()) == [
        "llamaforcausallm/llamaforcausallm.html",
        "llamaforcausallm/llamaforcausallm.json",
        "llamaforcausallm/llamaforcausallm_operators.csv",
    ]


def test_repeated_layers_are_one_block() -> None:
    made = tree("llama-gqa")
    assert made["name"] == "LlamaForCausalLM"
    (layers,) = find(made, "Layers")
    assert layers["name"] == "layers"
    assert layers["repeat_count"] == 3
    block = layers["repeat_block"]
    assert block["kind"] == "LlamaDecoderLayer"
    parts = ["self_attn", "mlp", "input_layernorm", "post_attention_layernorm"]
    assert [child["name"] for child in block["children"]] == parts
    assert len(find(made, "LlamaDecoderLayer")) == 1


def test_inputs() -> None:
    made = tree("llama-gqa")
    assert made["inputs"] == [
        {"name": "input_ids", "shape": [1, "tokens"], "dtype": "int64"},
        {"name": "position_ids", "shape": [1, "tokens"], "dtype": "int64"},
    ]
    (block,) = find(made, "LlamaDecoderLayer")
    assert block["inputs"] == ["model.embed_tokens", "model.rotary_emb"]
    by_name = {node["name"]: node["inputs"] for node in find(made, "Linear")}
    layer = "model.layers.0"
    assert by_name["q_proj"] == by_name["v_proj"] == [f"{layer}.input_layernorm"]
    assert by_name["o_proj"] == [f"{layer}.self_attn"]
    assert by_name["up_proj"] == [f"{layer}.post_attention_layernorm"]
    assert by_name["lm_head"] == ["model.norm"]


def test_weights() -> None:
    (embedding,) = find(tree("llama-gqa"), "Embedding")
    assert embedding["weights"] == {"weight": [104, 64]}
    assert find(tree("gpt2"), "Conv1D")[0]["weights"]["bias"] == [192]


def test_layers_that_only_compute_differently_are_two_kinds() -> None:
    """Gemma 2 alternates between a window and none; the modules look the same."""
    first, second = find(tree("gemma2"), "Layers")
    assert (first["indices"], second["indices"]) == ([0, 2], [1, 3])
    assert first["repeat_count"] == second["repeat_count"] == 2
    assert second["repeat_block"]["name"] == "1"


def test_layers_of_a_real_model() -> None:
    made = json.loads(published("llama-3.1-70b").file(".json"))
    assert [layers["repeat_count"] for layers in find(made, "Layers")] == [80]
