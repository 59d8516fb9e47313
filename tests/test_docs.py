"""The pages that are generated: the README's matrix and the reference of operations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.status_matrix import BEGIN, END, matrix, render

ROOT = Path(__file__).resolve().parents[1]


def test_models_that_behave_alike_share_a_row() -> None:
    agrees = {"architecture": "Llama", "status": "parity"}
    refused = {"architecture": "Opt", "status": "unsupported", "reason": "x | y", "remedy": "z"}
    alone = {"b": agrees, "a": agrees, "c": refused, "d": agrees}
    divided = {**agrees, "ranks": "1, 2, 4"}
    ranks = {"b": divided, "a": divided, "c": refused, "d": {**divided, "whole": "attention"}}
    assert matrix({"atb-python": alone, "atb-cpp": ranks}).splitlines() == [
        "| architecture | variants tested | ATB Python | ATB C++ |",
        "| --- | --- | --- | --- |",
        "| Llama | a, b | parity | parity on 1, 2, 4 ranks |",
        "| Llama | d | parity | parity on 1, 2, 4 ranks, attention not divided |",
        "| Opt | c | unsupported | unsupported: x \\| y; z |",
    ]
    assert matrix({"atb-python": alone}).splitlines()[2:] == [
        "| Llama | a, b, d | parity |",
        "| Opt | c | unsupported: x \\| y; z |",
    ]


def test_render_replaces_what_is_between_the_markers() -> None:
    text = f"head\n{BEGIN}\nold\n{END}\ntail\n"
    assert render(text, "new") == f"head\n{BEGIN}\nnew\n{END}\ntail\n"
    with pytest.raises(SystemExit):
        render("no markers", "new")


@pytest.mark.parametrize("script", ["status_matrix.py", "reference.py"])
def test_generated_pages_are_up_to_date(script: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, "run make docs"
