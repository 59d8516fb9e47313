"""Names come from files: none of them may become markup, script, a formula or another row."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from codegen.errors import Problem
from codegen.report.compose import compose
from codegen.report.drawing import Item, draw
from codegen.report.evidence import Evidence
from codegen.report.files import file_name
from codegen.report.mapping import fates
from codegen.report.memory import DefaultPerRank
from codegen.report.operators_csv import operators_text
from codegen.report.page import render, script_json
from codegen.report.scenario import Scenario
from codegen.report.tree import tree_text
from codegen.report.verdict import Contracts
from tests.codegen.report.subjects import zoo

HOSTILE = (
    '</script><img src=x onerror="alert(1)">',
    "=cmd|' /C calc'!A0",
    'a",b\nc;d',
    "{{ page }}{% raw %}",
    "\u2028<!--",
    "'>\x00\x1b[31m",
    "-2+3",
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.script = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() and str(self.get_starttag_text()).startswith("<script"):
            self.script += data


def _hostile(name: str, text: str) -> Evidence:
    evidence = zoo(name).evidence()
    operations = tuple(
        replace(o, name=f"{text}{o.name}", type=f"{o.type}{text}", module=f"{text}{o.module}",
                source=f"{text}:1")
        for o in evidence.operations
    )  # fmt: skip
    problem = Problem(text, text, text, text)
    return replace(
        evidence, class_name=text, model_type=text, operations=operations, problems=(problem,),
        inputs=((text, (1,), "int64"),),
    )  # fmt: skip


def _page(evidence: Evidence) -> str:
    contracts = Contracts(evidence.atb)
    rule = DefaultPerRank(evidence.heads)
    return render(compose(evidence, fates(evidence), contracts, Scenario(), rule))


def _parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    return tags


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["llama-gqa", "mixtral"])
def test_page(name: str, text: str) -> None:
    evidence = _hostile(name, text)
    plain = _parsed(_page(_hostile(name, "plain")))
    tags = _parsed(_page(evidence))
    assert tags.tags == plain.tags
    assert tags.attributes == plain.attributes
    assert tags.tags["script"] == 1
    data = json.loads(tags.script)
    assert data["class"] == text
    assert data["problems"][0]["reason"] == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["llama-gqa", "mixtral"])
def test_table(name: str, text: str) -> None:
    evidence = _hostile(name, text)
    made = operators_text(evidence.operations, fates(evidence), Contracts(evidence.atb))
    table = list(csv.reader(io.StringIO(made)))
    assert {len(row) for row in table} == {7}
    assert len(table) == 1 + 2 * len(evidence.operations)
    assert not [c for row in table for c in row if c.startswith(("=", "+", "-", "@"))]
    assert made.count("\n") == len(table)
    assert made.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_tree(text: str) -> None:
    evidence = _hostile("llama-gqa", text)
    made = tree_text(evidence.skeleton.root, evidence.inputs, evidence.operations)
    assert json.loads(made)["inputs"][0]["name"] == text
    assert made.isascii()


@pytest.mark.parametrize("text", HOSTILE)
def test_script_data(text: str) -> None:
    made = script_json({text: [text]})
    assert not set(made) & set("<>&\u2028\u2029")
    assert json.loads(made) == {text: [text]}


@pytest.mark.parametrize("text", [*HOSTILE, "../../etc/passwd", "", "A" * 1000])
def test_file_names_stay_in_the_folder(text: str) -> None:
    name = file_name(text)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert len(name) <= 100


def test_nothing_is_loaded() -> None:
    page = zoo("llama-gqa").file(".html")
    tags = _parsed(page)
    assert not tags.attributes & {"src", "href", "srcset", "onclick", "onload"}
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page


def test_a_drawing_takes_any_text() -> None:
    drawing = draw(HOSTILE[0], [Item("a", HOSTILE[0], HOSTILE[0] * 9, "input", ("missing",))])
    assert len(drawing.boxes[0].detail) <= 32
