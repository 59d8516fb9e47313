"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): the table and the rotation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ir.graph import Node
from ir.llm.linear import given
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import DType, TensorType, scale_dim

STYLES = ("half", "interleaved")


class RopeTable(Op):
    """Cosine and sine of ``position * frequency`` for every token.

    With style ``half`` element ``i`` is paired with ``i + rotary_dim / 2`` (GPT-NeoX, Llama in
    HuggingFace), so the frequencies stand twice one after the other; with ``interleaved`` it is
    paired with its neighbour (GPT-J), so each stands twice in a row.

    Two scalings depend on how long the sequence is by now (its last position + 1), and are decided
    for each sequence by itself:

    - ``longrope`` (arXiv:2402.13753): above ``original_max_position`` the frequencies
      ``long_inv_freq`` apply;
    - ``dynamic`` NTK: above ``original_max_position`` the base grows to
      ``base * (factor * length / original_max_position - (factor - 1)) ** (dim / (dim - 2))``.
    """

    name = "llm.rope_table"
    positions = Operand("int64 ``[tokens]``.")
    seq_lens = Operand("Tokens of each sequence in this step, int32 ``[batch]``.")
    inv_freq = Operand("Radians per position, float32 ``[rotary_dim / 2]``.")
    long_inv_freq = Operand("As ``inv_freq``, for long sequences.", optional=True)
    style = Attribute(str, choices=STYLES)
    scale = Attribute(
        float, 1.0, "Factor on cosine and sine (attention scaling of yarn, longrope)."
    )
    original_max_position = Attribute(int, None, "Length above which the scaling changes.")
    dynamic_factor = Attribute(float, None, "NTK factor; none if not dynamic.")
    dynamic_base = Attribute(float, None, "Base theta of the dynamic scaling.")
    results = ("cos", "sin")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        positions, inv_freq = node.operand(0).type, node.operand(2).type
        table = TensorType((*positions.shape, scale_dim(inv_freq.shape[0], 2)), DType.FLOAT32)
        return [table, table]

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        problems: list[str] = []
        changing = node.operands[3] is not None or node.attrs["dynamic_factor"] is not None
        if changing and node.attrs["original_max_position"] is None:
            problems.append("a length-dependent table needs original_max_position")
        if (node.attrs["dynamic_factor"] is None) != (node.attrs["dynamic_base"] is None):
            problems.append("dynamic_factor and dynamic_base go together")
        return problems

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        positions, seq_lens, inv_freq = (given(inputs, i) for i in range(3))
        rows: list[torch.Tensor] = []
        for of_sequence in positions.split(seq_lens.tolist()):
            length = int(of_sequence.max()) + 1
            freq = _frequencies(node, length, inv_freq, inputs[3])
            rows.append(of_sequence.float()[:, None] * freq.float()[None, :])
        angle = torch.cat(rows)
        if node.attrs["style"] == "half":
            angle = torch.cat((angle, angle), dim=-1)
        else:
            angle = angle.repeat_interleave(2, dim=-1)
        scale = float(str(node.attrs["scale"]))
        return [angle.cos() * scale, angle.sin() * scale]


def _frequencies(
    node: Node, length: int, inv_freq: torch.Tensor, long_inv_freq: torch.Tensor | None
) -> torch.Tensor:
    limit = node.attrs["original_max_position"]
    if limit is None or length <= int(str(limit)):
        return inv_freq
    if long_inv_freq is not None:
        return long_inv_freq
    factor = float(str(node.attrs["dynamic_factor"]))
    dim = 2 * inv_freq.numel()
    stretch = factor * length / int(str(limit)) - (factor - 1)
    base = float(str(node.attrs["dynamic_base"])) * stretch ** (dim / (dim - 2))
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


class Rope(Op):
    """Rotates pairs of the first ``rotary_dim`` elements of each head; the rest passes through."""

    name = "llm.rope"
    x = Operand("``[tokens, heads, head_dim]``.")
    cos = Operand("float32 ``[tokens, rotary_dim]``.")
    sin = Operand("float32 ``[tokens, rotary_dim]``.")
    style = Attribute(str, choices=STYLES)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [node.operand(0).type]

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        x, cos = node.operand(0).type, node.operand(1).type
        if x.rank != 3:
            return [f"x must be [tokens, heads, head_dim], is {x}"]
        head_dim, rotary_dim = x.shape[-1], cos.shape[-1]
        if isinstance(head_dim, int) and isinstance(rotary_dim, int) and rotary_dim > head_dim:
            return [f"rotary_dim {rotary_dim} exceeds head_dim {head_dim}"]
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, cos, sin = (given(inputs, i) for i in range(3))
        rotary_dim = cos.shape[-1]
        turned, rest = x[..., :rotary_dim].float(), x[..., rotary_dim:]
        if node.attrs["style"] == "half":
            first, second = turned.chunk(2, dim=-1)
            partner = torch.cat((-second, first), dim=-1)
        else:
            partner = torch.stack((-turned[..., 1::2], turned[..., ::2]), dim=-1).flatten(-2)
        y = turned * cos[:, None, :] + partner * sin[:, None, :]
        return [torch.cat((y.to(x.dtype), rest), dim=-1)]
