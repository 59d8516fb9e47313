"""Loading zoo models through the compiler's front end, each directory once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch

from codegen.frontend.hf import load
from codegen.frontend.trace import trace
from ir.graph import Module


@functools.cache
def load_module(path: Path) -> Module:
    """The traced module; callers do not change it."""
    return trace(load(path))


def weights_of(path: Path) -> Callable[[str], torch.Tensor]:
    """Reads a checkpoint tensor as float32."""
    checkpoint = load(path).weights
    assert checkpoint is not None
    return lambda name: checkpoint.read(name).float()
