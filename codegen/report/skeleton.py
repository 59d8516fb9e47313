"""The modules and weights of a model, which are known also where it cannot be traced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

WeightKind = Literal["linear", "embedding", "vector", "other"]


@dataclass(frozen=True)
class Weight:
    """One tensor of the checkpoint; tied tensors are one.

    Attributes:
        name: Path in the model.
        shape: Its sizes.
        kind: What it is for: the matrix of a linear layer (also the stacked ones of experts),
            a table, a vector (norms, biases), or anything else.
        in_layer: It belongs to one of the repeated layers.
    """

    name: str
    shape: tuple[int, ...]
    kind: WeightKind
    in_layer: bool

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Part:
    """A module.

    Attributes:
        path: Where it is in the model, empty for the model itself.
        kind: Name of its class.
        weights: Shapes of the tensors that it holds itself, by name; tied ones included.
        parts: The modules in it, in order; what only matters in training is left out.
        is_list: It is a list of modules, such as the layers.
    """

    path: str
    kind: str
    weights: Mapping[str, tuple[int, ...]]
    parts: tuple[Part, ...] = ()
    is_list: bool = False

    @property
    def name(self) -> str:
        """Its name in the module around it."""
        return self.path.rpartition(".")[2]

    @property
    def shape(self) -> tuple[object, ...]:
        """Everything but the paths: equal for modules that are built alike."""
        own = tuple(sorted(self.weights.items()))
        return (self.kind, own, *((part.name, part.shape) for part in self.parts))


@dataclass(frozen=True)
class Skeleton:
    """What a model is made of.

    Attributes:
        root: The model.
        weights: Its tensors, each once.
    """

    root: Part
    weights: tuple[Weight, ...] = field(default=())

    @property
    def elements(self) -> int:
        """Number of parameters."""
        return sum(weight.elements for weight in self.weights)


def skeleton_of(model: nn.Module) -> Skeleton:
    """The modules and weights of a model, which may be on the meta device."""
    lists = [path for path, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    weights: list[Weight] = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            full = f"{path}.{name}" if path else name
            inside = any(full.startswith(f"{outer}.") for outer in lists)
            kind = _weight_kind(module, parameter.ndim)
            weights.append(Weight(full, tuple(parameter.shape), kind, inside))
    return Skeleton(_part("", model), tuple(weights))


def _weight_kind(module: nn.Module, rank: int) -> WeightKind:
    if isinstance(module, nn.Embedding):
        return "embedding"
    if rank == 1:
        return "vector"
    return "other" if "norm" in type(module).__name__.lower() else "linear"


def _part(path: str, module: nn.Module) -> Part:
    parts = tuple(
        _part(f"{path}.{name}" if path else name, child)
        for name, child in module.named_children()
        if not isinstance(child, nn.Dropout)
    )
    own = {k: tuple(p.shape) for k, p in module._parameters.items() if p is not None}
    return Part(path, type(module).__name__, own, parts, isinstance(module, nn.ModuleList))
