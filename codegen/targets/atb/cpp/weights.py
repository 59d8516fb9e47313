"""Python expressions of the weights that a rank has."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.cpp.stage import Block
from codegen.targets.atb.emit_python_weights import (
    Quote,
    WeightNames,
    expression,
    packing_comment,
    quoted,
    weight_name,
)
from codegen.targets.atb.sharding import Layout
from ir.recipe import Recipe


@dataclass(frozen=True)
class RankWeight:
    """One weight of a stage.

    Attributes:
        name: Source of its name.
        value: Expression that makes this rank's part, with ``read`` for a checkpoint tensor and
            ``ranks`` for what is divided.
        comment: Why it is not simply a checkpoint tensor; empty if it is.
    """

    name: str
    value: str
    comment: str


@dataclass(frozen=True)
class WeightsFunction:
    """The function that makes the weights of one kind of stage.

    Attributes:
        name: ``decoder_layer_weights``.
        what: ``decoder layer``.
        scoped: It takes the module path of the layer.
        divides: Some weight is divided among the ranks.
        weights: In the order in which the C++ reads them.
    """

    name: str
    what: str
    scoped: bool
    divides: bool
    weights: tuple[RankWeight, ...]


def weights_function(block: Block, names: WeightNames) -> WeightsFunction:
    """The weights of a kind of stage, in the order of its tensors."""
    quote = quoted(block.scoped)
    return WeightsFunction(
        f"{block.name}_weights",
        block.name.replace("_", " "),
        block.scoped,
        any(layout is not None for _, layout in block.recipes),
        tuple(
            RankWeight(
                weight_name(names, recipe, quote),
                _share(recipe, layout, quote),
                packing_comment(recipe),
            )
            for recipe, layout in block.recipes
        ),
    )


def _share(recipe: Recipe, layout: Layout | None, quote: Quote) -> str:
    """This rank's part of a weight."""
    whole = expression(recipe, quote)
    if layout is None:
        return whole
    if len(layout.parts) > 1:
        parts = ", ".join(
            f"({part.size}, {None if part.unit is None else part.unit.count})"
            for part in layout.parts
        )
        return f"ranks.share_parts({whole}, dim={layout.axis}, parts=[{parts}])"
    (unit,) = layout.units
    if unit.pads:
        return f"ranks.share_padded({whole}, dim={layout.axis})"
    return f"ranks.share({whole}, dim={layout.axis}, count={unit.count})"
