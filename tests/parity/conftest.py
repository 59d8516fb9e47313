"""The recorded outcome of every zoo model, and the option that records it anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

STATUS = Path(__file__).resolve().parents[2] / "docs" / "status.json"


def read_status() -> dict[str, dict[str, str]]:
    """What docs/status.json says; empty if it does not exist."""
    return json.loads(STATUS.read_text()) if STATUS.exists() else {}


@pytest.fixture
def settle(request) -> Callable[[str, dict[str, str]], None]:
    """Compares an outcome with the record, or records it under ``--update-status``.

    Recording works in one process only (``-n 0``): the file is rewritten after every test.
    """

    def check(name: str, outcome: dict[str, str]) -> None:
        status = read_status()
        if request.config.getoption("--update-status"):
            status[name] = outcome
            STATUS.write_text(json.dumps(status, indent=2, sort_keys=True) + "\n")
            return
        assert name in status, f"no outcome of {name} is recorded: run make status"
        assert outcome == status[name]

    return check
