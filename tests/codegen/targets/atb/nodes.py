"""Builds single nodes of the ATB dialect from tensors, for tests."""

from __future__ import annotations

from typing import Any

import torch

from codegen.targets.atb.ops import AtbOp
from ir.graph import Graph, Node
from ir.op import Env, check_node
from ir.types import DType, TensorType


def node_of(op: type[AtbOp], *tensors: torch.Tensor | TensorType | None, **attrs: Any) -> Node:
    """A node whose operands have the types of the tensors."""
    graph = Graph("g")
    operands = []
    for index, tensor in enumerate(tensors):
        if isinstance(tensor, torch.Tensor):
            tensor = TensorType(tuple(tensor.shape), DType.of(tensor.dtype))
        operands.append(None if tensor is None else graph.add_input(f"x{index}", tensor))
    return op.build(graph, *operands, **attrs)


def evaluate(op: type[AtbOp], *tensors: torch.Tensor | None, **attrs: Any) -> list[torch.Tensor]:
    """Results of a node that satisfies its contract; shapes are those that were inferred."""
    node = node_of(op, *tensors, **attrs)
    assert check_node(node) == []
    padded = [*tensors, *[None] * (len(node.operands) - len(tensors))]
    results = op.evaluate(node, padded, Env())
    for value, result in zip(node.results, results, strict=True):
        assert tuple(result.shape) == value.type.shape
        if not value.type.dtype.is_float:
            assert result.dtype is value.type.dtype.torch
    return results


def problems(op: type[AtbOp], *tensors: torch.Tensor | TensorType | None, **attrs: Any) -> str:
    """Everything that is wrong with a node, in one string."""
    return "\n".join(check_node(node_of(op, *tensors, **attrs)))
