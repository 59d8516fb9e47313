"""What an attention mask means: causal or not, sliding window, ALiBi slopes.

The traced mask nodes say what kind they are; the numbers of the whole bias are then evaluated for
a few tokens and must agree with that, so that nothing the modelling code adds is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from codegen.frontend.raising.statics import Statics
from ir.graph import Attr, Node, Value
from ir.types import DType, TensorType

#: Tokens of the numeric check; enough to tell slopes from offsets, cheap for any number of heads.
_PROBE = 12
#: Most tokens that a check may need; a window of the modelling code's own beyond that is refused.
_LARGEST_PROBE = 4200
#: Operations of a mask after which the numbers of a few tokens do not tell those of many.
_STEPS = frozenset({"floor", "floor_divide", "fmod", "remainder", "__rshift__"})
#: Operations whose numbers compare or scale distances.
_SCALING = frozenset("eq ge gt le lt ne clamp clamp_max clamp_min div mul".split())
#: Additive values below this hide a key. Real biases are far smaller, float16 masks are -65504.
HIDDEN = -1e4


@dataclass(frozen=True)
class Bias:
    """One term that is added to the scores.

    Attributes:
        value: A static tensor that broadcasts to ``[1, heads, tokens, tokens]``; a boolean one
            without ``fill`` is True where a key is seen.
        factor: It is multiplied by this first.
        fill: If given, ``value`` is boolean and True places get this number.
    """

    value: Value
    factor: float = 1.0
    fill: float | None = None

    def times(self, factor: float) -> Bias:
        """The term multiplied by a positive number."""
        return replace(self, factor=self.factor * factor)

    def numbers(self, statics: Statics, positions: torch.Tensor) -> torch.Tensor:
        """float64 of the traced shape."""
        data = statics.evaluate(self.value, positions)
        if self.fill is not None:
            data = torch.where(data, self.fill, 0.0)
        elif data.dtype == torch.bool:
            data = torch.where(data, 0.0, torch.finfo(torch.float32).min)
        return data.double() * self.factor


@dataclass(frozen=True)
class Mask:
    """A mask in words.

    Attributes:
        causal: No token sees a later one.
        window: A token sees this many keys, itself included; None for all.
        slopes: ALiBi slope of each head, float32 ``[heads]``; None without ALiBi.
    """

    causal: bool
    window: int | None = None
    slopes: torch.Tensor | None = None

    @property
    def slopes_type(self) -> TensorType:
        """The graph type of ``slopes``."""
        assert self.slopes is not None
        return TensorType(tuple(self.slopes.shape), DType.FLOAT32)

    def visible(self, tokens: int) -> torch.Tensor:
        """bool ``[tokens, tokens]``: which keys (columns) each query (row) sees."""
        query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :]
        seen = torch.ones(tokens, tokens, dtype=torch.bool)
        if self.causal:
            seen &= key <= query
        if self.window is not None:
            seen &= key > query - self.window
        return seen


def declared(node: Node) -> Mask:
    """The mask that the attributes of a ``trace.mask`` or ``trace.attention`` node stand for.

    Raises:
        ValueError: A kind that the semantic level does not have.
    """
    causal, window = bool(node.attrs["causal"]), node.attrs["window"]
    if node.attrs.get("chunk") is not None:
        raise ValueError(f"chunked attention (chunks of {node.attrs['chunk']} tokens)")
    return Mask(causal, None if window is None else int(str(window)))


def mask_nodes(statics: Statics, value: Value) -> list[Node]:
    """The ``trace.mask`` nodes that a static value is computed from."""
    return [node for node in statics.slice(value) if node.op == "trace.mask"]


def describe(statics: Statics, biases: Sequence[Bias]) -> Mask:
    """The meaning of everything that is added to the scores.

    Raises:
        ValueError: It is not a mask plus, at most, a bias linear in the key position.
    """
    if not biases:
        return Mask(causal=False)
    nodes = list(dict.fromkeys(n for bias in biases for n in mask_nodes(statics, bias.value)))
    kinds = list(dict.fromkeys(declared(node) for node in nodes))
    if len(kinds) > 1:
        raise ValueError(f"{len(kinds)} kinds of mask are added, expected one")
    total = _total(statics, biases)
    tokens = total.shape[-1]
    mask = kinds[0] if kinds else _undeclared(statics, biases, total > HIDDEN)
    mask = _with_own_window(mask, total > HIDDEN)
    seen = mask.visible(tokens)
    relative = total - total.diagonal(dim1=1, dim2=2)[:, :, None]
    if relative[:, seen].abs().max() == 0:
        return mask
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :]
    slopes = relative[:, -1, -2] * -1.0 if mask.window != 1 else torch.zeros(total.shape[0])
    linear = slopes[:, None, None] * (key - query)
    if (relative - linear)[:, seen].abs().max() > 1e-5 * tokens:
        raise ValueError("a bias that is not linear in the distance is added to the scores")
    return replace(mask, slopes=slopes.float())


def _undeclared(statics: Statics, biases: Sequence[Bias], visible: torch.Tensor) -> Mask:
    """Causal or not, of a mask that the modelling code builds without any help."""
    for bias in biases:
        for node in statics.slice(bias.value):
            if _name(node) in _STEPS:
                raise ValueError(f"the modelling code builds it with {node.op}, in steps of tokens")
    return Mask(causal=not visible.triu(1).any())


def _total(statics: Statics, biases: Sequence[Bias]) -> torch.Tensor:
    """Everything that is added to the scores, float64 ``[heads or 1, tokens, tokens]``."""
    largest = _probe_size(statics, biases)
    for tokens in (largest, largest - 2):
        positions = torch.arange(tokens)
        try:
            parts = [bias.numbers(statics, positions) for bias in biases]
            whole = torch.zeros(tokens, tokens, dtype=torch.float64)
            total = torch.stack(torch.broadcast_tensors(whole, *parts)).sum(0)
        except RuntimeError:  # it comes from a stored table with fewer positions
            continue
        return total.reshape(-1, tokens, tokens)
    raise ValueError(f"it cannot be evaluated for {largest} tokens")


def _with_own_window(mask: Mask, visible: torch.Tensor) -> Mask:
    """The mask with the window that the modelling code cuts out by itself, if it does."""
    tokens = visible.shape[-1]
    if torch.equal(visible, mask.visible(tokens).expand_as(visible)):
        return mask
    narrowed = replace(mask, window=int(visible.sum(-1).max()))
    if not torch.equal(visible, narrowed.visible(tokens).expand_as(visible)):
        raise ValueError("it hides other keys than a causal mask or a sliding window does")
    return narrowed


def _probe_size(statics: Statics, biases: Sequence[Bias]) -> int:
    """Tokens to evaluate so that a window which the modelling code itself cuts out shows.

    Such a window is a number or a stored table in the code that computes the bias, so there must
    be more tokens than every number, or as many as the smallest table has. Where nothing else says
    what the mask is, also more than the numbers' sum and the product of those that scale distances.
    """
    numbers, factors = [0.0], [1.0]
    declared_mask = False
    for bias in biases:
        for node in statics.slice(bias.value):
            if node.op == "trace.mask":
                declared_mask = True
                continue
            found = _numbers(node.attrs["args"])
            numbers += [number for number in found if isinstance(number, int)]
            if _name(node) in _SCALING:
                factors += [max(abs(f), 1 / abs(f)) for f in found if f and abs(f) < -HIDDEN]
        for constant in statics.constants(bias.value):
            square = constant.shape[-2:] if constant.dim() > 1 else ()
            if square and min(square) > _PROBE:
                return min(square)
            if constant.numel() == 1 and not constant.is_floating_point():
                numbers.append(float(constant))
    largest = max(numbers)
    if not declared_mask:
        largest = max(sum(map(abs, numbers)), math.prod(factors))
    if largest + 2 > _LARGEST_PROBE:
        raise ValueError(f"the modelling code builds it with the number {largest:.0f} of its own")
    return max(_PROBE, math.ceil(largest) + 2)


def _name(node: Node) -> str:
    return node.op.split(".")[1].removesuffix("_") if node.op.startswith("aten.") else ""


def _numbers(argument: Attr) -> list[int | float]:
    """Plain numbers of a traced call; the end of an open slice is none."""
    if isinstance(argument, tuple):
        return [number for item in argument for number in _numbers(item)]
    if isinstance(argument, bool) or not isinstance(argument, int | float):
        return []
    return [argument] if abs(argument) < 2**62 else []
