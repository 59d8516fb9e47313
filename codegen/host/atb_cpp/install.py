"""Makes ``torch.classes.ModelTorch`` run a compiled model library on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.library import check, message, precision_number, runtime
from codegen.host.atb_cpp.model_torch import ModelTorch, Watcher

#: Seconds that a rank waits for the others.
RANK_TIMEOUT = 120.0


@dataclass
class Host:
    """A loaded model library; ``install`` makes it.

    Attributes:
        precision: ``float32``, ``float16`` or ``bfloat16``.
    """

    precision: str
    _watchers: list[Watcher] = field(default_factory=list[Watcher])
    _models: weakref.WeakSet[ModelTorch] = field(default_factory=weakref.WeakSet[ModelTorch])

    @property
    def model_names(self) -> list[str]:
        """Names of the registered models."""
        return runtime().llmc_model_names().decode().split()

    def watch(self, watcher: Watcher) -> None:
        """Calls ``watcher`` after every operation that any model of this library executes.

        Ranks are threads, so it is called from several of them.
        """
        self._watchers.append(watcher)

    def model(self, name: str) -> ModelTorch:
        """What ``torch.classes.ModelTorch.ModelTorch(name)`` gives."""
        made = ModelTorch(name, self.precision, self._watchers)
        self._models.add(made)
        return made

    def close(self) -> None:
        """Destroys all models."""
        for model in list(self._models):
            model.close()


@contextmanager
def install(
    library: Path, precision: str = "float32", rank_timeout: float = RANK_TIMEOUT
) -> Iterator[Host]:
    """Loads a compiled model library and makes ``torch.classes.ModelTorch`` give its models.

    Args:
        library: What ``compile_model`` made.
        precision: ``float32`` computes without rounding: float32 stands for the half types, which
            no tensor may have. ``float16`` and ``bfloat16`` round every result to its type.
        rank_timeout: Seconds that a rank waits for the others.

    Yields:
        The host. Models end with the context.

    Raises:
        HostError: The library cannot be loaded, registers no model, or a name that is taken.
    """
    precision_number(precision)
    if not library.is_file():
        raise HostError(f"model library {library} does not exist")
    loaded = runtime()
    handle = loaded.llmc_library_open(str(library.resolve()).encode())
    if not handle:
        raise HostError(message())
    host = Host(precision)
    classes: Any = torch.classes
    before = vars(classes).get("ModelTorch")
    loaded.llmc_set_rank_timeout(rank_timeout)
    classes.ModelTorch = SimpleNamespace(ModelTorch=host.model)
    try:
        yield host
    finally:
        if before is None:
            vars(classes).pop("ModelTorch", None)
        else:
            classes.ModelTorch = before
        host.close()
        check(loaded.llmc_library_close(handle))
