"""The recorded outcome of every zoo model, and the option that records it anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

STATUS = Path(__file__).resolve().parents[2] / "docs" / "status.json"


def read_status() -> dict[str, dict[str, dict[str, str]]]:
    """What docs/status.json says by target and model; empty if it does not exist."""
    return json.loads(STATUS.read_text()) if STATUS.exists() else {}


@pytest.fixture
def settle(request) -> Callable[[str, str, dict[str, str]], None]:
    """Compares the outcome of a target and a model with the record.

    Under ``--update-status`` it is recorded; that works in one process only (``-n 0``), because
    the file is rewritten after every test.
    """

    def check(target: str, name: str, outcome: dict[str, str]) -> None:
        status = read_status()
        known = status.setdefault(target, {})
        if request.config.getoption("--update-status"):
            known[name] = outcome
            STATUS.write_text(json.dumps(status, indent=2, sort_keys=True) + "\n")
            return
        assert name in known, f"no outcome of {name} is recorded: run make status"
        assert outcome == known[name]

    return check
