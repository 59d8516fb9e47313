"""Sizes that depend on the number of ranks, as C++ expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.emit_python_graph import measured
from codegen.targets.atb.sharding import Layout, Part, Unit
from ir.graph import Value
from ir.types import Dim

_VARIABLES = {"heads": "headNum", "kv_heads": "kvHeadNum", "intermediate": "intermediateSize"}
_WHAT = {
    "heads": "attention heads",
    "kv_heads": "key-value heads",
    "intermediate": "intermediate features",
}


def unit_name(unit: Unit) -> str:
    """What a unit is called in text: ``attention heads``.

    Raises:
        CodegenError: It never appears in text.
    """
    if unit.name not in _WHAT:
        raise CodegenError(f"no C++ name for a share of {unit.name}")
    return _WHAT[unit.name]


@dataclass(frozen=True)
class Local:
    """How many of a unit this rank has.

    Attributes:
        variable: ``headNum``.
        count: How many the whole model has.
        what: ``attention heads``.
    """

    variable: str
    count: int
    what: str


class Sizes:
    """Makes expressions and remembers which per-rank numbers they use."""

    def __init__(self) -> None:
        self._locals: dict[Unit, Local] = {}

    @property
    def locals(self) -> tuple[Local, ...]:
        """The numbers that were used, in order of first use."""
        return tuple(self._locals.values())

    def parts(self, parts: Sequence[Part]) -> str:
        """Elements that this rank has of these parts."""
        return " + ".join(self._part(part) for part in parts)

    def axis(self, value: Value, axis: int, layout: Layout | None) -> str:
        """Size of an axis that is known in the whole model."""
        if layout is not None and layout.axis == axis:
            return self.parts(layout.parts)
        return str(value.type.shape[axis])

    def first(self, part: Part) -> str:
        """Index of the first element that this rank has of a part."""
        assert part.unit is not None
        first = f"param.FirstOf({part.unit.count})"
        return first if part.width == 1 else f"{first} * {part.width}"

    def _part(self, part: Part) -> str:
        if part.unit is None:
            return str(part.size)
        variable = self._local(part.unit).variable
        return variable if part.width == 1 else f"{variable} * {part.width}"

    def _local(self, unit: Unit) -> Local:
        if unit not in self._locals:
            what, variable = unit_name(unit), _VARIABLES[unit.name]
            taken = {known.variable for known in self._locals.values()}
            name, count = variable, 1
            while name in taken:
                count += 1
                name = f"{variable}{count}"
            self._locals[unit] = Local(name, unit.count, what)
        return self._locals[unit]


def viewed_dim(dim: Dim, shown: Value) -> str:
    """A dimension of unknown size, from the shape of the tensor that a view shows."""
    if isinstance(dim, int):
        return str(dim)
    axis, times, parts = measured(dim, shown)
    size = f"oldShape.dims[{axis}]"
    if times > 1:
        return f"{size} * {times}"
    return f"{size} / {parts}" if parts > 1 else size
