"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.zoo import Reference, build, reference


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options that record something instead of comparing it.

    ``--update-status`` records outcomes in docs/status.json, ``--update-golden`` emitted files in
    golden/.
    """
    parser.addoption("--update-status", action="store_true")
    parser.addoption("--update-golden", action="store_true")


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function from a case's name to its model directory, built on first use."""
    root = tmp_path_factory.mktemp("zoo")
    return cache(lambda name: build(name, root))


@pytest.fixture(scope="session")
def zoo_reference(zoo: Callable[[str], Path]) -> Callable[[str], list[Reference]]:
    """Returns a function from a case's name to HuggingFace's numbers for the standard prompts."""
    return cache(lambda name: reference(zoo(name)))
