"""How many operations of ATB's public interface each kind of layer takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from codegen.report.lowered import layers_of, op_type, public_nodes
from codegen.targets.atb.module import AtbModule


@dataclass(frozen=True)
class LayerCount:
    """Operations of one kind of layer; views are none.

    Attributes:
        phase: ``prefill`` or ``decode``.
        layer: What the layer is called: ``decoder_layer``, ``embedding``, ``head``.
        repeats: How many layers of this kind there are.
        operations: Operations of one of them.
        types: How many of each type, most frequent first.
    """

    phase: str
    layer: str
    repeats: int
    operations: int
    types: tuple[tuple[str, int], ...]


def operation_counts(atb: AtbModule) -> tuple[LayerCount, ...]:
    """The counts of all kinds of layers, prefill first."""
    made: list[LayerCount] = []
    for phase in atb.entries:
        for layer in layers_of(atb, phase):
            types = Counter(op_type(node) for node in public_nodes(layer.graph))
            ordered = tuple(sorted(types.items(), key=lambda pair: (-pair[1], pair[0])))
            total = sum(types.values())
            made.append(LayerCount(phase, layer.label, layer.count, total, ordered))
    return tuple(made)
