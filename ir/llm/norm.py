"""Normalizations over the last dimension, computed in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ir.graph import Node
from ir.llm.linear import given
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import TensorType


class RmsNorm(Op):
    """``y = x / sqrt(mean(x²) + eps) * weight`` (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    name = "llm.rms_norm"
    x = Operand("``[..., size]``.")
    weight = Operand("``[size]``, or the last dimensions of ``x``.", optional=True)
    eps = Attribute(float)
    unit_offset = Attribute(bool, False, "Multiply by ``1 + weight`` (zero-centred weights).")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        _epsilon(node)
        return [node.operand(0).type]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, weight = given(inputs, 0), inputs[1]
        wide = x.float()
        y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _epsilon(node))
        if weight is not None:
            y = y * (weight.float() + 1.0 if node.attrs["unit_offset"] else weight.float())
        return [y.to(x.dtype)]


class LayerNorm(Op):
    """``y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` (Ba et al. 2016)."""

    name = "llm.layer_norm"
    x = Operand("``[..., size]``.")
    weight = Operand("``[size]``, or the last dimensions of ``x``.", optional=True)
    bias = Operand("As ``weight``.", optional=True)
    eps = Attribute(float)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        _epsilon(node)
        return [node.operand(0).type]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, weight, bias = given(inputs, 0), inputs[1], inputs[2]
        wide = x.float()
        wide = wide - wide.mean(-1, keepdim=True)
        y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _epsilon(node))
        if weight is not None:
            y = y * weight.float()
        if bias is not None:
            y = y + bias.float()
        return [y.to(x.dtype)]


def _epsilon(node: Node) -> float:
    """The epsilon of a norm.

    Raises:
        ValueError: It is negative, infinite or not a number.
    """
    eps = float(str(node.attrs["eps"]))
    if not 0 <= eps < math.inf:
        raise ValueError(f"the epsilon {eps} is not a number from 0 on")
    return eps
