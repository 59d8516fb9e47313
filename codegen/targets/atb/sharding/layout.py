"""What a rank has of a tensor."""

from __future__ import annotations

from dataclasses import dataclass


class ConflictError(Exception):
    """Layouts that do not go together; the solver then leaves the tensors whole."""


@dataclass(frozen=True)
class Unit:
    """What the ranks divide among themselves.

    Attributes:
        name: ``heads``, ``kv_heads``, ``intermediate`` or ``vocab``.
        count: How many there are in the whole model.
    """

    name: str
    count: int

    @property
    def repeats(self) -> bool:
        """Several ranks share one where there are fewer than ranks."""
        return self.name == "kv_heads"

    @property
    def pads(self) -> bool:
        """The last rank is filled up with zeros where the ranks do not divide the count."""
        return self.name == "vocab"

    def per_rank(self, world_size: int) -> int:
        """How many a rank has.

        Raises:
            ValueError: They cannot be divided among so many ranks.
        """
        if self.pads:
            return -(-self.count // world_size)
        if self.count % world_size == 0:
            return self.count // world_size
        if self.repeats and world_size % self.count == 0:
            return 1
        raise ValueError(f"{self.count} {self.name} cannot be divided among {world_size} ranks")


@dataclass(frozen=True)
class Part:
    """A run of elements along an axis.

    Attributes:
        size: Elements in the whole model, a multiple of the unit's count.
        unit: What is divided; None for elements that every rank has all of.
    """

    size: int
    unit: Unit | None = None

    @property
    def width(self) -> int:
        """Elements of one unit; all of them without a unit."""
        return self.size if self.unit is None else self.size // self.unit.count

    def per_rank(self, world_size: int) -> int:
        """Elements that a rank has."""
        return self.size if self.unit is None else self.width * self.unit.per_rank(world_size)

    def scaled(self, numerator: int, denominator: int) -> Part:
        """The same part where ``denominator`` elements became ``numerator``.

        Raises:
            ConflictError: A unit would be cut.
        """
        size, rest = divmod(self.size * numerator, denominator)
        if rest or size == 0 or (self.unit is not None and size % self.unit.count):
            raise ConflictError(f"{self.size} * {numerator} / {denominator} cuts a unit")
        return Part(size, self.unit)


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Layout:
    """A tensor of which each rank has a part.

    Attributes:
        axis: The axis that is divided, not negative.
        parts: What lies along it, in order; at least one part is divided.
    """

    axis: int
    parts: Parts

    @property
    def units(self) -> tuple[Unit, ...]:
        """Everything that is divided."""
        return tuple(dict.fromkeys(part.unit for part in self.parts if part.unit is not None))

    def per_rank(self, world_size: int) -> int:
        """Size of the axis on a rank."""
        return sum(part.per_rank(world_size) for part in self.parts)

    def moved(self, axis: int) -> Layout:
        """The same parts along another axis."""
        return Layout(axis, self.parts)


def divided(axis: int, parts: Parts) -> Layout | None:
    """The layout of these parts, None where every rank has all of them."""
    return Layout(axis, parts) if any(part.unit is not None for part in parts) else None


def total(parts: Parts) -> int:
    """Elements of all parts in the whole model."""
    return sum(part.size for part in parts)


def cut(parts: Parts, sizes: tuple[int, ...]) -> list[Parts]:
    """The parts sorted into consecutive runs of the given sizes.

    Raises:
        ConflictError: A run ends inside a part.
    """
    waiting = list(parts)
    runs: list[Parts] = []
    for size in sizes:
        run: list[Part] = []
        while sum(part.size for part in run) < size and waiting:
            run.append(waiting.pop(0))
        if sum(part.size for part in run) != size:
            raise ConflictError(f"a piece of {size} elements ends inside a part")
        runs.append(tuple(run))
    return runs
