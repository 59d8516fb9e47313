"""Writes emitted files to a folder and runs them on the host runtime, unchanged."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from codegen.host.atb_python import Host, install
from tests.codegen.targets.atb.stepping import PROMPTS, STEPS

NAME = "llamaforcausallm_atb_float"


def write(files: Mapping[str, str], folder: Path) -> Path:
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@contextmanager
def imported(
    folder: Path, precision: str = "float32"
) -> Iterator[tuple[ModuleType, ModuleType, Host]]:
    """The model module, the runtime module and the host that they run on."""
    own = (NAME, "atb_runtime")
    with install(precision) as host:
        sys.path.insert(0, str(folder))
        try:
            for name in own:
                sys.modules.pop(name, None)
            importlib.invalidate_caches()
            model, runtime = (importlib.import_module(name) for name in own)
            yield model, runtime, host
        finally:
            sys.path.remove(str(folder))
            for name in own:
                sys.modules.pop(name, None)


def trajectory(
    folder: Path, weights: Mapping[str, torch.Tensor], prompts: Sequence[Sequence[int]] = PROMPTS
) -> list[torch.Tensor]:
    """Logits of the emitted code for the same steps as ``stepping.trajectory``."""
    with imported(folder) as (model, runtime, _):
        made = runtime.ATBModel(model.Model(), dtype=torch.float32, device="cpu")
        made.set_weights(weights)
        logits = [made.prefill(prompts)]
        for number in range(STEPS):
            logits.append(made.decode([(7 * number + 3) % 48, (11 * number + 5) % 48]))
        return logits
