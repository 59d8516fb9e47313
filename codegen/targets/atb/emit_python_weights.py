"""Weights: what each is called in the emitted code, and the expression that packs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.templates import py_string
from ir.passes.name_values import joined_name
from ir.recipe import Affine, Concat, Fill, Permute, Recipe, Reshape, Slice, Source, Transpose

#: Makes the source of a string from a checkpoint name: ``"a.weight"`` or ``f"{prefix}.a.weight"``.
Quote = Callable[[str], str]


@dataclass(frozen=True)
class PackedWeight:
    """One entry of a weights function.

    Attributes:
        name: Source of the in-tensor's name.
        value: Expression that makes it, with ``read`` for a checkpoint tensor.
        comment: Why it is not simply a checkpoint tensor; empty if it is.
    """

    name: str
    value: str
    comment: str


def quoted(scope_is_prefix: bool) -> Quote:
    """How checkpoint names are printed: under the argument ``prefix``, or as they are."""
    if not scope_is_prefix:
        return py_string
    return prefixed


def prefixed(name: str) -> str:
    """An f-string of a name below ``prefix``."""
    literal = py_string(name)
    return f'f"{{prefix}}.{literal[1:-1].replace("{", "{{").replace("}", "}}")}"'


class WeightNames:
    """Names of a layer's weights: checkpoint names, and clear ones for packed tensors.

    Names are unique for each recipe, so that a tied tensor in two forms gets two names.
    """

    def __init__(self) -> None:
        self._names: dict[Recipe, str] = {}

    def name(self, recipe: Recipe) -> str:
        """The in-tensor name of a recipe, relative to the layer like the recipe."""
        if recipe not in self._names:
            wanted, count = describe(recipe), 1
            name = wanted
            while name in self._names.values():
                count += 1
                name = f"{wanted}.{count}"
            self._names[recipe] = name
        return self._names[recipe]


def describe(recipe: Recipe) -> str:
    """What a recipe is called where nothing else has that name."""
    match recipe:
        case Source(name=name):
            return name
        case Fill(shape=shape, value=value):
            kind = {0.0: "zeros", 1.0: "ones"}.get(value, "constant")
            return f"{kind}_{'x'.join(map(str, shape))}"
        case Concat(parts=parts):
            return _joined([describe(part) for part in parts])
        case Transpose(part=part):
            return f"{describe(part)}.transposed"
        case Permute(part=part):
            return f"{describe(part)}.permuted"
        case Reshape(part=part):
            return f"{describe(part)}.reshaped"
        case Slice(part=part, start=start, stop=stop):
            return f"{describe(part)}.{start}_{stop}"
        case Affine(part=part):
            return f"{describe(part)}.scaled"
        case _:
            raise CodegenError(f"no name for a weight made by {type(recipe).__name__}")


def _joined(names: list[str]) -> str:
    """``a.q_proj.weight, a.k_proj.weight, a.v_proj.weight`` -> ``a.qkv_proj.weight``."""
    paths = [name.split(".") for name in dict.fromkeys(names)]
    differing = [i for i in range(min(map(len, paths))) if len({p[i] for p in paths}) > 1]
    if len({len(p) for p in paths}) != 1 or len(differing) != 1:
        return f"{names[0]}.packed"
    position = differing[0]
    joined = joined_name([path[position] for path in paths])
    return ".".join((*paths[0][:position], joined, *paths[0][position + 1 :]))


def pack(names: WeightNames, recipes: Iterable[Recipe], quote: Quote) -> tuple[PackedWeight, ...]:
    """The entries of a weights function, in order of first use."""
    packed: list[PackedWeight] = []
    for recipe in dict.fromkeys(recipes):
        name = weight_name(names, recipe, quote)
        packed.append(PackedWeight(name, expression(recipe, quote), packing_comment(recipe)))
    return tuple(packed)


def weight_name(names: WeightNames, recipe: Recipe, quote: Quote) -> str:
    """Source of the in-tensor name of a recipe.

    What is the same in every layer has a name without prefix.
    """
    name = names.name(recipe)
    shared = all(source.absolute for source in recipe.sources())  # of a constant: there are none
    return py_string(name) if shared else quote(name)


def expression(recipe: Recipe, quote: Quote) -> str:
    """The Python expression that makes a weight."""
    match recipe:
        case Source(name=name, absolute=absolute):
            return f"read({py_string(name) if absolute else quote(name)})"
        case Fill(shape=shape, value=value):
            return f"torch.full({_ints(shape)}, {value!r})"
        case Concat(axis=axis, parts=parts):
            inner = ", ".join(expression(part, quote) for part in parts)
            return f"torch.cat([{inner}], dim={axis})"
        case Transpose(part=part):
            return f"{expression(part, quote)}.t()"
        case Permute(part=part, order=order):
            return f"{expression(part, quote)}.permute({_ints(order)})"
        case Reshape(part=part, shape=shape):
            return f"{expression(part, quote)}.reshape({_ints(shape)})"
        case Slice(part=part, axis=axis, start=start, stop=stop):
            return f"{expression(part, quote)}.narrow({axis}, {start}, {stop - start})"
        case Affine(part=part, scale=scale, shift=shift):
            made = f"{expression(part, quote)}.float()"
            made = made if scale == 1.0 else f"{made} * {scale!r}"
            return f"({made})" if shift == 0.0 else f"({made} + {shift!r})"
        case _:
            raise CodegenError(f"no source for a weight made by {type(recipe).__name__}")


def _ints(values: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, values))}{',' if len(values) == 1 else ''})"


def packing_comment(recipe: Recipe) -> str:
    """Why a weight is not simply a checkpoint tensor; empty if it is."""
    match recipe:
        case Concat(parts=parts) if all(isinstance(part, Source) for part in parts):
            if all(source.name.endswith(".bias") for source in recipe.sources()):
                return "Their biases in the same order."
            return "They read the same input, so one matrix does for all."
        case Concat():
            return "Packed into one tensor: one operation instead of several."
        case Affine(scale=1.0, shift=1.0):
            return "The checkpoint stores the weight minus one."
        case Affine():
            return "The constant factor of the model is part of the weight."
        case Fill():
            return "The operation insists on a tensor that the model does not have."
        case Permute() | Reshape() | Slice() | Transpose():
            return "In the layout that the operation reads."
        case _:
            return ""
