"""Activations, gates and arithmetic, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ir.graph import Node
from ir.llm.linear import given
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import Dim, TensorType

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def broadcast(a: TensorType, b: TensorType) -> TensorType:
    """The type of an element-wise result; trailing dimensions are matched, 1 stretches."""
    shape: list[Dim] = []
    left = (1,) * (b.rank - a.rank) + a.shape
    right = (1,) * (a.rank - b.rank) + b.shape
    for m, n in zip(left, right, strict=True):
        if m != n and 1 not in (m, n):
            raise ValueError(f"{a} and {b} do not broadcast")
        shape.append(n if m == 1 else m)
    return TensorType(tuple(shape), a.dtype)


class Same(Op):
    """Base of operations whose result has the type of ``x``."""

    x = Operand("Any shape.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [node.operand(0).type]


class Binary(Op):
    """Base of operations on two tensors that broadcast."""

    a = Operand("Any shape.")
    b = Operand("A shape that broadcasts with ``a``.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [broadcast(node.operand(0).type, node.operand(1).type)]


class Activation(Same):
    """``y = f(x)`` with a named non-linearity."""

    name = "llm.activation"
    kind = Attribute(str, choices=tuple(ACTIVATIONS))

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [ACTIVATIONS[str(node.attrs["kind"])](given(inputs, 0))]


class GatedActivation(Op):
    """``y = f(gate) * up`` of a packed ``[gate | up]`` (Shazeer 2020, arXiv:2002.05202)."""

    name = "llm.gated_activation"
    x = Operand("``[..., 2 * intermediate_size]``, gate first.")
    kind = Attribute(str, choices=tuple(ACTIVATIONS))

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = node.operand(0).type
        last = x.shape[-1]
        if not isinstance(last, int) or last % 2:
            raise ValueError(f"{x} cannot be halved")
        return [x.with_shape(*x.shape[:-1], last // 2)]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        gate, up = given(inputs, 0).chunk(2, dim=-1)
        return [ACTIVATIONS[str(node.attrs["kind"])](gate) * up]


class Add(Binary):
    """``y = a + b``."""

    name = "llm.add"

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0) + given(inputs, 1)]


class Sub(Binary):
    """``y = a - b``."""

    name = "llm.sub"

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0) - given(inputs, 1)]


class Mul(Binary):
    """``y = a * b``."""

    name = "llm.mul"

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0) * given(inputs, 1)]


class Scale(Same):
    """``y = factor * x`` (embedding, residual and logit multipliers)."""

    name = "llm.scale"
    factor = Attribute(float)

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0) * float(str(node.attrs["factor"]))]


class Offset(Same):
    """``y = x + value`` for integers (learned positions that start at 2)."""

    name = "llm.offset"
    value = Attribute(int)

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [given(inputs, 0) + int(str(node.attrs["value"]))]


class Clamp(Same):
    """``y = min(max(x, low), high)``."""

    name = "llm.clamp"
    low = Attribute(float)
    high = Attribute(float)

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [
            given(inputs, 0).clamp(float(str(node.attrs["low"])), float(str(node.attrs["high"])))
        ]


class Softcap(Same):
    """``y = cap * tanh(x / cap)`` (final logits of Gemma 2, arXiv:2408.00118)."""

    name = "llm.softcap"
    cap = Attribute(float)

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        cap = float(str(node.attrs["cap"]))
        return [torch.tanh(given(inputs, 0) / cap) * cap]
