"""The page as a whole, counts, and that the same model gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.report import operation_counts, units
from tests.codegen.report.subjects import zoo

ROOT = Path(__file__).parents[3]


def test_operations_per_layer_kind() -> None:
    counts = {(c.phase, c.layer): c for c in operation_counts(zoo("llama-gqa").compiled)}
    assert {key: (c.repeats, c.operations) for key, c in counts.items()} == {
        ("prefill", "embedding"): (1, 1),
        ("prefill", "decoder_layer"): (3, 13),
        ("prefill", "head"): (1, 2),
        ("decode", "embedding"): (1, 1),
        ("decode", "decoder_layer"): (3, 13),
        ("decode", "head"): (1, 2),
    }
    assert counts["decode", "decoder_layer"].types == (
        ("Linear", 4), ("Elewise", 2), ("RmsNorm", 2), ("Activation", 1), ("PagedAttention", 1),
        ("ReshapeAndCache", 1), ("Rope", 1), ("Split", 1),
    )  # fmt: skip


def test_page_shows_the_counts() -> None:
    page = zoo("llama-gqa").file(".html")
    cells = '<td class="mono">decoder_layer</td><td class="num">3</td>'
    assert f'{cells}<td class="num strong">13</td><td class="num strong">13</td>' in page


def test_page_has_all_parts() -> None:
    page = zoo("llama-gqa").file(".html")
    for title in (
        "LlamaForCausalLM", "Public ATB operations per layer kind", "Memory of one rank",
        "Layer graphs", "Cost of one prefill step", "Cost of one decode step",
        "Unsupported operations", "every operation is supported",
    ):  # fmt: skip
        assert title in page
    assert "What cannot be compiled" not in page


def test_same_bytes_twice_and_no_path() -> None:
    subject = zoo("llama-gqa")
    assert subject.fresh_files() == subject.fresh_files()
    assert str(subject.source.path) not in "".join(subject.files().values())


_SCRIPT = """
import hashlib
from tests.codegen.report.subjects import zoo
for name in ("llama-gqa", "mixtral"):
    print(hashlib.sha256(repr(zoo(name).files()).encode()).hexdigest())
"""


def test_hash_seed_does_not_matter() -> None:
    """The seed of this process is random unless somebody sets it."""
    running = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )  # fmt: skip
    here = [
        hashlib.sha256(repr(zoo(name).files()).encode()).hexdigest()
        for name in ("llama-gqa", "mixtral")
    ]
    assert running.communicate()[0].split() == here


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (units.count(1_230_000), "1.23 M"), (units.count(999), "999"), (units.count(0), "0"),
        (units.data(1536), "1.50 KiB"), (units.data(12), "12 B"), (units.data(2**30), "1.00 GiB"),
        (units.time(0.0123), "12.3 ms"), (units.time(4.56e-6), "4.56 µs"), (units.time(0), "0"),
        (units.time(2e-9), "2.00 ns"), (units.ratio(723.4), "723"),
    ],
)  # fmt: skip
def test_units(made: str, text: str) -> None:
    assert made == text
