"""What became of an operation of the model, and whether each chip has what it became."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from codegen.errors import UnsupportedError
from codegen.report.devices import Device
from codegen.report.engines import Engine
from codegen.report.lowered import Placed
from codegen.targets.atb.emit_python_facts import element_type
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import AtbOp, Soc
from ir.graph import Node
from ir.op import lookup
from ir.types import DType


@dataclass(frozen=True)
class Fate:
    """What an operation of the model becomes.

    Attributes:
        names: Names of the ATB operations in the emitted code; empty if it becomes none of its
            own, or nothing was emitted.
        types: Their types, ``Linear``.
        engine: Where they run.
        nodes: The ATB operations themselves; empty where nothing was compiled.
        reason: Why it cannot be compiled at all; empty if it can.
        how: In words, why it has these ATB operations, or none.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    engine: Engine
    nodes: tuple[Node, ...] = ()
    reason: str = ""
    how: str = ""


class Contracts:
    """Checks ATB operations against the contract of each chip.

    The element type is what the model runs in there: the emitted one on the A2, float16 on the
    310P, which has no bfloat16.
    """

    def __init__(self, atb: AtbModule | None) -> None:
        self._a2 = DType.BFLOAT16
        if atb is not None:
            # Where neither type fits, the reasons are found again, operation by operation.
            with suppress(UnsupportedError):
                self._a2 = element_type(atb)[0]
        self._found: dict[tuple[Node, Soc], tuple[str, ...]] = {}

    def problems(self, node: Node, device: Device) -> tuple[str, ...]:
        """What the chip refuses of a node."""
        key = (node, device.soc)
        if key not in self._found:
            op = lookup(node.op)
            assert issubclass(op, AtbOp)
            kind = self._a2 if device.soc is Soc.A2 else DType.FLOAT16
            self._found[key] = tuple(op.problems(node, device.soc, kind))
        return self._found[key]

    def reasons(self, fate: Fate, device: Device) -> tuple[str, ...]:
        """Why a chip does not have what an operation became; empty if it does."""
        if fate.reason:
            return (fate.reason,)
        found = (
            f"{lookup(node.op).name}: {problem}"
            for node in fate.nodes
            for problem in self.problems(node, device)
        )
        return tuple(dict.fromkeys(found))


def joined(parts: list[Placed]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Node, ...]]:
    """Names, types and nodes of ATB operations, each name once."""
    by_name = {part.name: part.op_type for part in parts if part.op_type}
    return tuple(by_name), tuple(by_name.values()), tuple(part.node for part in parts)
