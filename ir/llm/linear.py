"""Table look-up and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ir.graph import Node
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import TensorType


def given(inputs: Sequence[torch.Tensor | None], position: int) -> torch.Tensor:
    """Operand ``position`` of an evaluation; the verifier guarantees that it is there."""
    tensor = inputs[position]
    if tensor is None:
        raise ValueError(f"operand {position} is absent")
    return tensor


class Embedding(Op):
    """``y[t] = weight[ids[t]]``."""

    name = "llm.embedding"
    ids = Operand("Row numbers, int64 ``[tokens]``.")
    weight = Operand("Table ``[rows, hidden_size]``.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        ids, weight = node.operand(0).type, node.operand(1).type
        return [weight.with_shape(*ids.shape, weight.shape[1])]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [F.embedding(given(inputs, 0).long(), given(inputs, 1))]


class Linear(Op):
    """``y = x · Wᵀ + b``, or ``x · W + b`` where the checkpoint stores ``W`` as ``[in, out]``."""

    name = "llm.linear"
    x = Operand("``[..., in_features]``.")
    weight = Operand("``[out_features, in_features]``, or the transpose.")
    bias = Operand("``[out_features]``.", optional=True)
    transpose_weight = Attribute(bool, True, "The weight is stored ``[out, in]``.")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, weight = node.operand(0).type, node.operand(1).type
        rows, columns = weight.shape
        out, inner = (rows, columns) if node.attrs["transpose_weight"] else (columns, rows)
        if x.shape[-1] != inner:
            raise ValueError(f"x is {x}, the weight wants {inner} features")
        return [x.with_shape(*x.shape[:-1], out)]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        weight = given(inputs, 1)
        if not node.attrs["transpose_weight"]:
            weight = weight.t()
        return [F.linear(given(inputs, 0), weight, inputs[2])]
