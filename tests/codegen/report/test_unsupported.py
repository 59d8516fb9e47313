"""Models that cannot be compiled get the report too, with what stands in the way."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.errors import BadInputError, Problem
from codegen.frontend.hf import load
from codegen.report import report_files
from codegen.report.mapping import fates
from tests.codegen.report.subjects import zoo
from tests.codegen.report.test_tree import find, tree
from tests.zoo import CASES


def _refused(name: str) -> set[tuple[str, str]]:
    table = csv.DictReader(io.StringIO(zoo(name).file("_operators.csv")))
    return {(r["ori_op_name"], r["soc_type"]) for r in table if r["is_supported"] == "False"}


def test_experts() -> None:
    """Refused while the trace is imported: there is no graph of it at all."""
    subject = zoo("mixtral")
    assert subject.aten is None
    refused = {name for name, _ in _refused("mixtral")}
    ends = {"experts.experts", "gate.topk", "gate.sum_1"}
    assert refused == {f"model.layers.{i}.mlp.{end}" for i in range(3) for end in ends}
    assert len(_refused("mixtral")) == 2 * len(refused)


def test_the_rest_of_it_is_judged_alone() -> None:
    table = list(csv.DictReader(io.StringIO(zoo("mixtral").file("_operators.csv"))))
    by_name = {row["ori_op_name"]: row for row in table}
    product = by_name["model.layers.1.self_attn.q_proj.linear"]
    assert (product["op_type"], product["op_name"]) == ("LinearOperation", "")
    assert product["is_supported"] == "True"
    assert by_name["model.rotary_emb.cos"]["engine"] == "HOST"


def test_page_names_place_reason_and_remedy() -> None:
    page = zoo("mixtral").file(".html")
    for text in (
        "model.layers.0.mlp.experts", "modeling_mixtral.py:127",
        "a mixture of experts cannot be compiled",
        "use a dense model: experts are not supported yet",
        "ATB has no operation for aten.topk.default",
        "9 of 169 operations unsupported",
    ):  # fmt: skip
        assert text in page
    assert "every operation is supported" not in page


def test_tree_of_it() -> None:
    made = tree("mixtral")
    (layers,) = find(made, "Layers")
    assert layers["repeat_count"] == 3
    (router,) = find(made, "MixtralTopKRouter")
    assert router["inputs"] == ["model.layers.0.mlp"]
    (block,) = find(made, "MixtralDecoderLayer")
    assert "model.embed_tokens" in block["inputs"]
    later = [read for part in find(made, "MixtralExperts") for read in part["inputs"]]
    assert "model.layers.0.mlp.gate" in later


def test_repeated_layers_read_the_layer_before_them() -> None:
    """Only the first layer was traced; the others read their own inputs."""
    evidence = zoo("mixtral").evidence()
    operations = {operation.name: operation for operation in evidence.operations}
    last = [o.name for o in evidence.operations if o.module == "model.layers.1"][-1]
    assert operations["model.layers.1.input_layernorm.pow_1"].reads == (
        operations[last].name.replace("layers.1", "layers.0"),
    )
    assert operations["model.layers.2.input_layernorm.pow_1"].reads == (last,)
    assert operations["model.layers.2.mlp.gate.linear_4"].weights == (
        "model.layers.2.mlp.gate.weight",
    )


def test_a_problem_is_about_its_line_as_far_as_that_is_known() -> None:
    evidence = zoo("mixtral").evidence()
    module = "model.layers.0.self_attn"
    line = next(o.source for o in evidence.operations if o.type == "trace.attention")
    here = {o.source for o in evidence.operations if o.module == module}
    assert len(here) > 1

    def blamed(problem: Problem) -> set[str]:
        became = fates(replace(evidence, problems=(problem,)))
        return {o.source for o in evidence.operations if became[o.name].reason == "why"}

    assert blamed(Problem(module, line, "why")) == {line}
    assert blamed(Problem(module, "other.py:1", "why")) == here
    assert blamed(Problem("", "", "why")) == set()


def test_raised_but_not_lowered() -> None:
    """Only what is blamed is unsupported: every other operation had a meaning."""
    subject = zoo("xglm")
    assert subject.llm is not None
    assert subject.atb is None
    assert {name for name, _ in _refused("xglm")} == {"model.add_3"}


def test_a_problem_of_one_layer_is_one_of_all_like_it() -> None:
    """The activation of Apertus has no rule; the trace holds it once for three layers."""
    refused = {name for name, _ in _refused("apertus")}
    assert {f"model.layers.{i}.mlp.act_fn.gt" for i in range(3)} <= refused


def test_a_trace_that_fails_leaves_the_modules(tmp_path: Path) -> None:
    """Quantized weights are refused before anything is built."""
    CASES["llama-gqa"].config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"quantization_config": {"quant_method": "awq"}}
    path.write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    problem = Problem("", "config.json", "the weights are quantized")
    files = report_files(load(tmp_path), problems=[problem])
    assert sorted(Path(p).suffix for p in files) == [".csv", ".html", ".json"]
    name = "llamaforcausallm/llamaforcausallm"
    assert "the weights are quantized" in files[f"{name}.html"]
    assert '<p class="good">' not in files[f"{name}.html"]
    assert json.loads(files[f"{name}.json"])["name"] == "LlamaForCausalLM"
    assert files[f"{name}_operators.csv"].count("\n") == 1


def test_an_untraceable_model_is_its_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise BadInputError("no trace")

    monkeypatch.setattr("codegen.report.untraced.export", fail)
    source = zoo("llama-gqa").source
    problem = Problem("model.layers.0.self_attn.q_proj", "", "no", "none")
    files = report_files(source, problems=[problem])
    table = list(
        csv.DictReader(io.StringIO(files["llamaforcausallm/llamaforcausallm_operators.csv"]))
    )
    by_name = {(row["ori_op_name"], row["soc_type"]): row for row in table}
    row = by_name["model.layers.0.self_attn.q_proj", "Atlas 800I A2"]
    assert (row["ori_op_type"], row["is_supported"]) == ("Linear", "False")
    assert by_name["lm_head", "Atlas 800I A2"]["op_type"] == "LinearOperation"
    made = json.loads(files["llamaforcausallm/llamaforcausallm.json"])
    (layers,) = find(made, "Layers")
    assert layers["repeat_count"] == 3
    assert layers["repeat_block"]["inputs"] is None
