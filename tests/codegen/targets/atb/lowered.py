"""Small models lowered to ATB operations, each once in a test run; whoever gets one must not
change it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from codegen.frontend.hf import load
from codegen.pipeline import Stages, to_atb, to_llm, to_steps
from codegen.targets.atb.cpp import CPP_PASSES
from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from ir.passes.base import run_passes
from tests.codegen.targets.atb.handmade import with_cache
from tests.codegen.targets.atb.test_lower import VARIANTS
from tests.zoo import CASES


@cache
def handmade(name: str) -> AtbModule:
    """A model of ``test_lower.VARIANTS``."""
    return lower(with_cache(VARIANTS[name]))


def zoo(name: str, layers: int = 1) -> AtbModule:
    """A model of ``tests.zoo`` with fewer layers."""
    return _zoo(name, layers)  # however it was called, it is the same model


@cache
def _zoo(name: str, layers: int) -> AtbModule:
    config = CASES[name].config()
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / name
        config.save_pretrained(folder)
        stages = Stages()
        return to_atb(to_steps(to_llm(load(folder), stages).module, stages), stages)


def for_cpp(module: AtbModule) -> AtbModule:
    """A copy after the passes that C++ is printed after."""
    twin = module.copy()
    run_passes(twin, CPP_PASSES)
    return twin
