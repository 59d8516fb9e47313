"""What an attention mask means: causal or not, sliding window, ALiBi slopes.

The traced mask nodes say what kind they are; the numbers of the whole bias are then evaluated for
a few tokens and must agree with that, so that nothing the modelling code adds is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from codegen.frontend.raising.statics import Statics
from ir.graph import Node, Value
from ir.types import DType, TensorType

#: Tokens of the numeric check; enough to tell slopes from offsets, cheap for any number of heads.
_PROBE = 12
#: Additive values below this hide a key. Real biases are far smaller, float16 masks are -65504.
_HIDDEN = -1e4


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
    if len(kinds) != 1:
        raise ValueError(f"{len(kinds)} kinds of mask are added, expected one")
    (mask,) = kinds
    positions = torch.arange(_PROBE)
    total = sum((bias.numbers(statics, positions) for bias in biases), torch.zeros(()).double())
    total = total.reshape(-1, _PROBE, _PROBE) if total.dim() > 2 else total[None]
    seen = mask.visible(_PROBE)
    if (total[:, ~seen] > _HIDDEN).any() or (total[:, seen] < _HIDDEN).any():
        raise ValueError("the numbers of the mask are not those of its declared kind")
    relative = total - total.diagonal(dim1=1, dim2=2)[:, :, None]
    if relative[:, seen].abs().max() == 0:
        return mask
    query, key = torch.arange(_PROBE)[:, None], torch.arange(_PROBE)[None, :]
    slopes = relative[:, -1, -2] * -1.0 if mask.window != 1 else torch.zeros(total.shape[0])
    linear = slopes[:, None, None] * (key - query)
    if (relative - linear)[:, seen].abs().max() > 1e-5:
        raise ValueError("a bias that is not linear in the distance is added to the scores")
    return replace(mask, slopes=slopes.float())
