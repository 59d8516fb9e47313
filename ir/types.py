"""Element types, symbolic dimensions and tensor types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import torch

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class DType(Enum):
    """Element type of a tensor; the value is its spelling in graph text."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"
    INT8 = "int8"
    UINT8 = "uint8"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"

    @property
    def torch(self) -> torch.dtype:
        """The torch element type of the same name."""
        return getattr(torch, self.value)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.torch.itemsize

    @property
    def is_float(self) -> bool:
        """Whether values are floating point numbers."""
        return self.torch.is_floating_point

    @staticmethod
    def of(dtype: torch.dtype) -> DType:
        """The element type of a torch tensor; ``ValueError`` for one the graph does not know."""
        return DType(str(dtype).removeprefix("torch."))


@dataclass(frozen=True)
class Sym:
    """A linear expression over named sizes: ``2*tokens + 1``.

    Attributes:
        terms: ``(name, coefficient)`` sorted by name; no coefficient is zero.
        const: The constant part.
    """

    terms: tuple[tuple[str, int], ...]
    const: int = 0

    @staticmethod
    def of(name: str) -> Sym:
        """The size called ``name`` itself."""
        if not _SYMBOL.fullmatch(name):
            raise ValueError(f"not a size name: {name!r}")
        return Sym(((name, 1),))

    @property
    def names(self) -> frozenset[str]:
        """The sizes this expression depends on."""
        return frozenset(name for name, _ in self.terms)

    def bind(self, sizes: dict[str, int]) -> int:
        """The number this expression stands for once every name has a size."""
        return self.const + sum(coef * sizes[name] for name, coef in self.terms)

    def __str__(self) -> str:
        parts = [name if coef == 1 else f"{coef}*{name}" for name, coef in self.terms]
        if self.const:
            parts.append(str(self.const))
        return " + ".join(parts)


Dim = int | Sym


def _linear(dim: Dim) -> tuple[dict[str, int], int]:
    return ({}, dim) if isinstance(dim, int) else (dict(dim.terms), dim.const)


def _dim(terms: dict[str, int], const: int) -> Dim:
    kept = tuple(sorted((name, coef) for name, coef in terms.items() if coef))
    return Sym(kept, const) if kept else const


def add_dims(a: Dim, b: Dim) -> Dim:
    """``a + b``, an int again where the names cancel."""
    (left, m), (right, n) = _linear(a), _linear(b)
    return _dim({k: left.get(k, 0) + right.get(k, 0) for k in left | right}, m + n)


def scale_dim(a: Dim, factor: int) -> Dim:
    """``a * factor``."""
    terms, const = _linear(a)
    return _dim({k: v * factor for k, v in terms.items()}, const * factor)


def parse_dim(text: str) -> Dim:
    """Reads what ``str`` of a dimension prints.

    Raises:
        ValueError: The text is not a linear expression over names.
    """
    total: Dim = 0
    for part in text.split("+"):
        number, star, name = part.strip().rpartition("*")
        if star:
            total = add_dims(total, scale_dim(Sym.of(name.strip()), int(number)))
        elif _SYMBOL.fullmatch(name):
            total = add_dims(total, Sym.of(name))
        else:
            total = add_dims(total, int(name))
    return total


@dataclass(frozen=True)
class TensorType:
    """Shape and element type of a value."""

    shape: tuple[Dim, ...]
    dtype: DType

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def with_shape(self, *shape: Dim) -> TensorType:
        """The same element type in another shape."""
        return TensorType(shape, self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.value}[{', '.join(map(str, self.shape))}]"
