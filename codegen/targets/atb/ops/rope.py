"""Rotary position embedding of queries and keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codegen.targets.atb.ops.base import (
    FLOAT,
    HALF,
    INT32,
    AtbOp,
    Param,
    Soc,
    Tensor,
    integer,
    shape_of,
    tensor_of,
    type_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import Dim, TensorType, scale_dim

_SMALLEST_HEAD, _LARGEST_HEAD = 16, 4096


class Rope(AtbOp):
    """``y = x * cos + partner(x) * sin`` in each head of ``q`` and ``k``.

    ``rotary_coeff`` says which element is the partner: 2 pairs ``i`` with ``i + D / 2`` (negated
    in the first half), 4 does the same in each half of the head by itself, and ``D`` (the head
    dimension) pairs neighbours. ``D`` is the width of ``cos``, in which the frequencies stand in
    the order that the pairing wants: all elements rotate, so partial rotation must cut the heads.

    ``q`` and ``k`` are ``[tokens, heads * D]``, or 4-D ``[batch, seq, heads, D]``; the cosines of
    a token apply to all its heads. The kernel does not need ``seq_len`` for unpadded tokens.
    """

    name = "atb.rope"
    op_type = "Rope"
    torch_atb = "RopeParam"
    q = Tensor("``[tokens, heads * D]``.", dtypes=HALF)
    k = Tensor("``[tokens, kv_heads * D]``.", dtypes=HALF, like="q")
    cos = Tensor("``[tokens, D]``.", dtypes=FLOAT)
    sin = Tensor("``[tokens, D]``.", dtypes=FLOAT, like="cos")
    seq_len = Tensor("int32 ``[batch]``.", dtypes=INT32)
    rotary_coeff = Param(int, 4, json="rotaryCoeff", torch_atb="rotary_coeff")
    cos_format = Param(int, 0, choices=(0,), json="cosFormat", torch_atb="cos_format")
    results = ("q", "k")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [type_of(node, "q"), type_of(node, "k")]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        found = _ranks(node)
        if found:
            return found
        head = shape_of(node, "cos")[1]
        if shape_of(node, "sin") != shape_of(node, "cos"):
            found.append(f"sin {type_of(node, 'sin')} does not have the shape of cos")
        if (
            _tokens(node, "q") != _tokens(node, "k")
            or _tokens(node, "q") != shape_of(node, "cos")[0]
        ):
            found.append("q, k and cos have different numbers of tokens")
        q, k, coeff = _hidden(node, "q"), _hidden(node, "k"), integer(node.attrs, "rotary_coeff")
        if not isinstance(head, int) or not isinstance(q, int) or not isinstance(k, int):
            return [*found, "head dimension and hidden sizes must be known"]
        if not _SMALLEST_HEAD <= head <= _LARGEST_HEAD:
            found.append(f"head dimension {head} is not in {_SMALLEST_HEAD}..{_LARGEST_HEAD}")
        if k == 0 or q % k:
            found.append(f"the {q} features of q are not a multiple of the {k} of k")
        if k % head:
            found.append(f"the {k} features of k are not a multiple of head dimension {head}")
        if coeff not in (2, 4, head) or head % coeff:
            found.append(f"rotary_coeff {coeff} is not 2, 4 or the head dimension {head}")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        cos, sin = (wide(tensor_of(node, inputs, name)) for name in ("cos", "sin"))
        coeff = integer(node.attrs, "rotary_coeff")
        return [
            _rotate(wide(tensor_of(node, inputs, name)), cos, sin, coeff) for name in ("q", "k")
        ]


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, coeff: int) -> torch.Tensor:
    tokens, head = cos.shape
    heads = x.reshape(tokens, -1, head)
    if coeff in (2, 4):
        parts = heads.unflatten(-1, (coeff // 2, 2, -1))
        partner = torch.stack((-parts[..., 1, :], parts[..., 0, :]), dim=-2).flatten(-3)
    else:
        pairs = heads.unflatten(-1, (-1, 2))
        partner = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return (heads * cos[:, None] + partner * sin[:, None]).reshape(x.shape)


def _ranks(node: Node) -> list[str]:
    found: list[str] = []
    for name, ranks in (
        ("q", (2, 4)),
        ("k", (2, 4)),
        ("cos", (2,)),
        ("sin", (2,)),
        ("seq_len", (1,)),
    ):
        if type_of(node, name).rank not in ranks:
            found.append(
                f"{name} {type_of(node, name)} must have rank {' or '.join(map(str, ranks))}"
            )
    return found


def _tokens(node: Node, name: str) -> Dim:
    shape = shape_of(node, name)
    if len(shape) == 2:
        return shape[0]
    return _product(shape[0], shape[1])


def _hidden(node: Node, name: str) -> Dim:
    shape = shape_of(node, name)
    return shape[1] if len(shape) == 2 else _product(shape[2], shape[3])


def _product(a: Dim, b: Dim) -> Dim:
    if isinstance(b, int):
        return scale_dim(a, b)
    if isinstance(a, int):
        return scale_dim(b, a)
    raise ValueError(f"{a} * {b} is not a linear size")
