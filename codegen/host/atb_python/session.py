"""A run of emitted code on the CPU: its precision and who watches it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import NoReturn

import torch

from codegen.errors import HostError
from ir.types import DType

#: ``(graph name, node name, operation type, results by tensor name)``, after every operation.
Watch = Callable[[str, str, str, dict[str, torch.Tensor]], None]

PRECISIONS = {
    "float32": DType.FLOAT32,
    "float16": DType.FLOAT16,
    "bfloat16": DType.BFLOAT16,
}


@dataclass
class Host:
    """The modules ``_libatb_torch`` and ``torch_atb`` while they run on the CPU.

    A context manager that ``install`` makes: on leaving it, what was imported before is back.

    Attributes:
        precision: ``FLOAT32``, the reference: nothing is rounded, tensors that ATB declares as
            float16 or bfloat16 carry float32. Or ``FLOAT16`` or ``BFLOAT16``: every result is
            rounded to its declared type, operations accumulate in float32.
    """

    precision: DType
    _watchers: list[Watch] = field(default_factory=list[Watch])
    _replaced: dict[str, ModuleType | None] = field(default_factory=dict[str, ModuleType | None])

    @property
    def reference(self) -> bool:
        """Whether nothing is rounded."""
        return self.precision is DType.FLOAT32

    def watch(self, callback: Watch) -> None:
        """Calls ``callback`` after every operation, in the order in which they run."""
        self._watchers.append(callback)

    def report(self, graph: str, node: str, kind: str, results: dict[str, torch.Tensor]) -> None:
        """Tells the watchers about one operation."""
        for callback in self._watchers:
            callback(graph, node, kind, results)

    def carried(self, tensor: torch.Tensor, declared: DType) -> torch.Tensor:
        """A tensor as it is held between operations: rounded, or float32 in the reference."""
        if not declared.is_float:
            return tensor
        return tensor.float() if self.reference else tensor.to(declared.torch)

    def put(self, modules: dict[str, ModuleType]) -> None:
        """Makes modules importable and this host the active one."""
        for name, module in modules.items():
            self._replaced[name] = sys.modules.get(name)
            sys.modules[name] = module
        _active.append(self)

    def undo(self) -> None:
        """Takes the modules away again and restores what they replaced."""
        if self not in _active:
            return
        _active.remove(self)
        for name, module in self._replaced.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


_active: list[Host] = []


def active() -> Host:
    """The host that was installed last.

    Raises:
        HostError: None is installed.
    """
    if not _active:
        raise HostError(
            "the ATB host runtime is not installed: use codegen.host.atb_python.install"
        )
    return _active[-1]


def fail(graph: str, problem: str, node: str = "", kind: str = "") -> NoReturn:
    """Raises ``HostError`` with the place in front."""
    place = f"graph {graph!r}" if graph else "ATB"
    if node:
        place += f", node {node!r}"
    if kind:
        place += f" ({kind})"
    raise HostError(f"{place}: {problem}")
