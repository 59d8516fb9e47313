"""How a weight of the graph is made from tensors of the checkpoint.

A recipe is a small pure expression. Packing ``q_proj``, ``k_proj`` and ``v_proj`` into one matrix
is ``Concat(0, (Source("q_proj.weight"), ...))``; targets print recipes into the emitted loading
code and the host runtimes evaluate them, so there is one definition of every packed weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch


class Recipe:
    """Base of the expressions below; compared and hashed by structure."""

    __slots__ = ()

    def sources(self) -> Iterator[Source]:
        """Every checkpoint tensor it reads, in reading order."""
        raise TypeError("Recipe is abstract")

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        """The weight; ``read`` gives the checkpoint tensor of a name."""
        raise TypeError("Recipe is abstract")

    def scoped(self, scope: str) -> Recipe:
        """The same recipe with every relative name put under ``scope``."""
        raise TypeError("Recipe is abstract")

    @property
    def hint(self) -> str:
        """The first checkpoint name, for naming values."""
        return next(self.sources()).name


@dataclass(frozen=True)
class Source(Recipe):
    """A tensor of the checkpoint.

    Attributes:
        name: Its name; in a layer function relative to the scope of the call.
        absolute: The name is not relative: ``scoped`` leaves it alone.
    """

    name: str
    absolute: bool = False

    def sources(self) -> Iterator[Source]:
        yield self

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return read(self.name)

    def scoped(self, scope: str) -> Recipe:
        if self.absolute or not scope:
            return self
        return Source(f"{scope}.{self.name}", absolute=True)


@dataclass(frozen=True)
class Concat(Recipe):
    """Parts joined along ``axis``."""

    axis: int
    parts: tuple[Recipe, ...]

    def sources(self) -> Iterator[Source]:
        for part in self.parts:
            yield from part.sources()

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.evaluate(read) for part in self.parts], dim=self.axis)

    def scoped(self, scope: str) -> Recipe:
        return replace(self, parts=tuple(part.scoped(scope) for part in self.parts))


@dataclass(frozen=True)
class Unary(Recipe):
    """Base of recipes with one part."""

    part: Recipe

    def sources(self) -> Iterator[Source]:
        yield from self.part.sources()

    def scoped(self, scope: str) -> Recipe:
        return replace(self, part=self.part.scoped(scope))


@dataclass(frozen=True)
class Transpose(Unary):
    """A matrix with rows and columns exchanged, contiguous."""

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return self.part.evaluate(read).t().contiguous()


@dataclass(frozen=True)
class Slice(Unary):
    """Elements ``start`` to ``stop`` along ``axis``."""

    axis: int
    start: int
    stop: int

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        part = self.part.evaluate(read)
        return part.narrow(self.axis, self.start, self.stop - self.start).contiguous()


@dataclass(frozen=True)
class Reshape(Unary):
    """The same elements in another shape."""

    shape: tuple[int, ...]

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return self.part.evaluate(read).reshape(self.shape)


@dataclass(frozen=True)
class Permute(Unary):
    """Dimensions in another order, contiguous."""

    order: tuple[int, ...]

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return self.part.evaluate(read).permute(self.order).contiguous()


@dataclass(frozen=True)
class Affine(Unary):
    """``scale * part + shift``, computed in float32 and rounded back once."""

    scale: float = 1.0
    shift: float = 0.0

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        part = self.part.evaluate(read)
        return (part.float() * self.scale + self.shift).to(part.dtype)


@dataclass(frozen=True)
class Fill(Recipe):
    """A constant vector that no checkpoint holds, such as the zero bias an operator insists on."""

    shape: tuple[int, ...]
    value: float

    #: Fills read nothing, so they are named after what they are.
    hint: ClassVar[str] = "fill"  # pyright: ignore[reportIncompatibleMethodOverride]

    def sources(self) -> Iterator[Source]:
        yield from ()

    def evaluate(self, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
        return torch.full(self.shape, self.value)

    def scoped(self, scope: str) -> Recipe:
        return self
