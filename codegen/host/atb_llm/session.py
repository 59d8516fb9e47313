"""Makes the stand-ins and one emitted package importable, and forgets both afterwards."""

from __future__ import annotations

import importlib
import keyword
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

import torch

from codegen.errors import HostError

#: Element types that a run can have. The device itself has no float32 models; here it is the
#: reference that rounds nothing.
PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

_HERE = "codegen.host.atb_llm"
#: Which module stands in for which; packages first.
_STAND_INS = {
    "atb_llm": "",
    "atb_llm.models": f"{_HERE}.models",
    "atb_llm.models.base": "",
    "atb_llm.models.base.config": f"{_HERE}.config",
    "atb_llm.models.base.flash_causal_lm": f"{_HERE}.flash_causal_lm",
    "atb_llm.models.base.model_utils": f"{_HERE}.model_utils",
    "atb_llm.models.base.router": f"{_HERE}.router",
    "atb_llm.runner": "",
    "atb_llm.runner.model_runner": f"{_HERE}.model_runner",
    "atb_llm.utils": "",
    "atb_llm.utils.configuration_utils": f"{_HERE}.models",
    "atb_llm.utils.env": f"{_HERE}.environment",
    "atb_llm.utils.log": f"{_HERE}.environment",
    "atb_llm.utils.weights": f"{_HERE}.weights",
}


@dataclass
class Host:
    """The package ``atb_llm`` while emitted code runs on the CPU; a context manager.

    Attributes:
        model_type: Name of the emitted package, importable as ``atb_llm.models.<model_type>``.
        dtype: Element type of weights, caches and activations.
    """

    model_type: str
    dtype: torch.dtype
    _folder: Path
    _before: dict[str, ModuleType] | None = None
    _writes: bool = False

    def __enter__(self) -> Host:
        self._before = _take_away()
        self._writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            self._put()
        except BaseException:
            self.undo()
            raise
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Takes the modules away again and restores what was imported before."""
        if self._before is None:
            return
        if self in _active:
            _active.remove(self)
        _take_away()
        sys.modules.update(self._before)
        sys.dont_write_bytecode = self._writes
        self._before = None

    def _put(self) -> None:
        for name, source in _STAND_INS.items():
            module = ModuleType(name)
            if source:
                exported = vars(importlib.import_module(source))
                for key in exported["__all__"]:
                    setattr(module, key, exported[key])
            if any(other.startswith(f"{name}.") for other in _STAND_INS):
                module.__path__ = []
            _register(name, module)
        emitted = ModuleType(f"atb_llm.models.{self.model_type}")
        emitted.__path__ = [str(self._folder)]
        _register(emitted.__name__, emitted)
        importlib.invalidate_caches()


def install(package: Path, precision: str = "float32") -> Host:
    """Makes ``atb_llm`` importable, with an emitted package as one of its models.

    Args:
        package: Folder with ``router_<type>.py``, ``flash_causal_<type>.py`` and so on; its name
            is the model type. Nothing is written to it.
        precision: Element type of the run.

    Returns:
        A context manager, or call ``undo`` when done.

    Raises:
        HostError: The precision is unknown, or the folder holds no such package.
    """
    if precision not in PRECISIONS:
        raise HostError(f"precision must be one of {', '.join(PRECISIONS)}, is {precision!r}")
    folder = package.resolve()
    name = folder.name
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise HostError(f"{package}: the folder's name is no model type")
    if not (folder / f"router_{name}.py").is_file():
        raise HostError(f"{package}: no router_{name}.py, so not a package of MindIE's kind")
    return Host(name, PRECISIONS[precision], folder)


def active() -> Host:
    """The host that was entered last.

    Raises:
        HostError: There is none.
    """
    if not _active:
        raise HostError("atb_llm's stand-in is not installed: use codegen.host.atb_llm.install")
    return _active[-1]


_active: list[Host] = []


def _register(name: str, module: ModuleType) -> None:
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _take_away() -> dict[str, ModuleType]:
    """Removes every module of ``atb_llm`` and returns them."""
    names = [name for name in sys.modules if name == "atb_llm" or name.startswith("atb_llm.")]
    return {name: sys.modules.pop(name) for name in names}
