"""Attention of new tokens over their own sequence (prefill): SelfAttention with PA_ENCODER.

Masks, as the operation checks and the A2 kernels apply them:

=======================  ==========================  =============================================
``mask_type``            ND shape of ``mask``        effect on the scaled scores
=======================  ==========================  =============================================
MASK_TYPE_UNDEFINED      none                        none: every token sees its whole sequence
MASK_TYPE_NORM           ``[S, S]``                  float16: added. bfloat16: the mask holds 0 and
                         ``[batch, S, S]``           1 and ``-3e38 * mask`` is added
MASK_TYPE_ALIBI          ``[heads, S, S]``           added, in bfloat16 too
                         ``[batch, heads, S, S]``
MASK_TYPE_NORM_COMPRESS  ``[128, 128]``              as NORM, one strictly upper triangle
=======================  ==========================  =============================================

``S`` is at least the longest sequence of the step. Rows and columns count from the beginning of
each sequence. ``is_triu_mask=1`` lets the kernel skip everything right of the diagonal, so the
mask must hide it (checked when evaluated); with it a NORM mask of exactly ``[128, 128]`` is taken
for the compressed one: it applies to the 128 x 128 blocks on the diagonal, blocks left of it are
fully visible. A sliding window is therefore a NORM mask larger than 128 x 128 or
``is_triu_mask=0``.

How sure: shapes from the operation's own checks, additivity and ``-3e38`` from the kernels
(the factor is applied where all heads share the mask and it is not an ALiBi mask). The registry
of MindIE does not read ``windowSize`` and has no name for the sliding-window mask types, so
neither is offered. ALIBI_COMPRESS types are not declared. The kernels round the probabilities to
the element type before the product with ``v``; ``evaluate`` does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from codegen.targets.atb.ops.base import (
    HALF,
    INT32,
    AtbOp,
    Attrs,
    Param,
    Soc,
    Tensor,
    integer,
    number,
    shape_of,
    tensor_of,
    text,
    type_of,
    value_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import Dim, DType, TensorType

COMPRESSED = 128
_LARGEST_HEAD = 576
#: When keys and values have different head dimensions.
_LARGEST_UNEQUAL_HEAD = 1024
#: What a bfloat16 NORM mask of zeros and ones is multiplied with.
BF16_MASK_FACTOR = -3e38
#: Mask values up to this one hide a key: -10000, the smallest float16, -inf.
_HIDDEN = -9999.0


def has_mask(attrs: Attrs) -> bool:
    """Whether the mask operand is present."""
    return attrs["mask_type"] != "MASK_TYPE_UNDEFINED"


def head_counts(attrs: Attrs) -> tuple[int, int]:
    """Query heads and key-value heads; ``kv_head_num`` 0 means as many."""
    heads, kv_heads = integer(attrs, "head_num"), integer(attrs, "kv_head_num")
    return heads, kv_heads or heads


def check_heads(attrs: Attrs) -> list[str]:
    """Violations of the head counts."""
    heads, kv_heads = head_counts(attrs)
    if heads <= 0 or kv_heads < 0:
        return [f"head_num {heads} must be positive and kv_head_num {kv_heads} not negative"]
    if heads % kv_heads:
        return [f"head_num {heads} is not a multiple of kv_head_num {kv_heads}"]
    return []


class SelfAttention(AtbOp):
    """Scaled dot-product attention over a ragged batch without padding; see the module.

    ``q`` is ``[tokens, head_num, D]`` or ``[tokens, head_num * D]``, the result likewise.
    ``seq_len`` (host) says how many tokens each sequence has; they add up to ``tokens``.
    """

    name = "atb.self_attention"
    op_type = "SelfAttention"
    torch_atb = "SelfAttentionParam"
    q = Tensor("``[tokens, head_num, D]``.", dtypes=HALF)
    k = Tensor("``[tokens, kv_head_num, D]``.", dtypes=HALF, like="q")
    v = Tensor("``[tokens, kv_head_num, value_dim]``.", dtypes=HALF, like="q")
    mask = Tensor("See the module.", dtypes=HALF, like="q", when=has_mask)
    seq_len = Tensor("int32 ``[batch]``, read on the host.", dtypes=INT32, host=True)
    head_num = Param(int, 0, json="headNum", torch_atb="head_num")
    kv_head_num = Param(int, 0, json="kvHeadNum", torch_atb="kv_head_num")
    qk_scale = Param(float, 1.0, json="qkScale", torch_atb="qk_scale")
    is_triu_mask = Param(int, 0, choices=(0, 1), json="isTriuMask", torch_atb="is_triu_mask")
    calc_type = Param(
        str,
        "PA_ENCODER",
        choices=("PA_ENCODER",),
        json="calcType",
        torch_atb="calc_type",
        enum="SelfAttentionParam.CalcType",
        api_default="UNDEFINED",
    )
    kernel_type = Param(
        str,
        "KERNELTYPE_DEFAULT",
        choices=("KERNELTYPE_DEFAULT", "KERNELTYPE_HIGH_PRECISION"),
        json="kernelType",
        torch_atb="kernel_type",
        enum="SelfAttentionParam.KernelType",
    )
    mask_type = Param(
        str,
        "MASK_TYPE_UNDEFINED",
        choices=(
            "MASK_TYPE_UNDEFINED",
            "MASK_TYPE_NORM",
            "MASK_TYPE_ALIBI",
            "MASK_TYPE_NORM_COMPRESS",
        ),
        json="maskType",
        torch_atb="mask_type",
        enum="SelfAttentionParam.MaskType",
    )

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        q, v = type_of(node, "q"), type_of(node, "v")
        if q.rank == 3 and v.rank == 3:
            return [q.with_shape(*q.shape[:2], v.shape[2])]
        if q.rank != 2 or v.rank != 2:
            raise ValueError(f"q {q} and v {v} are not [tokens, heads, D] or [tokens, heads * D]")
        heads, kv_heads = head_counts(node.attrs)
        if not isinstance(v.shape[1], int) or not kv_heads or v.shape[1] % kv_heads:
            raise ValueError(f"v {v} does not have {kv_heads} heads")
        return [q.with_shape(q.shape[0], heads * (v.shape[1] // kv_heads))]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        found = check_heads(node.attrs) or _check_qkv(node)
        if type_of(node, "seq_len").rank != 1:
            found.append(f"seq_len must be [batch], is {type_of(node, 'seq_len')}")
        if node.attrs["is_triu_mask"] and not has_mask(node.attrs):
            found.append("is_triu_mask needs a mask")
        if has_mask(node.attrs):
            found += _check_mask(node, head_counts(node.attrs)[0])
        if soc is Soc.I310P:
            found.append("on 310p the mask has the NZ format, which this dialect does not have")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        q, k, v = (wide(tensor_of(node, inputs, name)) for name in ("q", "k", "v"))
        heads, kv_heads = head_counts(node.attrs)
        lengths = [int(n) for n in tensor_of(node, inputs, "seq_len").tolist()]
        if sum(lengths) != q.shape[0] or min(lengths, default=1) < 1:
            raise ValueError(f"seq_len {lengths} does not add up to {q.shape[0]} tokens")
        mask = inputs[3]
        of_sequence = zip(
            _heads(q, heads).split(lengths),
            _heads(k, kv_heads).split(lengths),
            _heads(v, kv_heads).split(lengths),
            strict=True,
        )
        rows = [
            attend(*qkv, number(node.attrs, "qk_scale"), _bias(node, mask, row, qkv[0].shape[0]))
            for row, qkv in enumerate(of_sequence)
        ]
        y = torch.cat(rows)
        return [y.flatten(1) if q.dim() == 2 else y]


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """One sequence in float32: ``softmax(q · kᵀ * scale + bias) · v``.

    Args:
        q: ``[queries, heads, D]``.
        k: ``[keys, kv_heads, D]``; query head ``h`` reads head ``h // (heads / kv_heads)``.
        v: ``[keys, kv_heads, value_dim]``.
        scale: Factor on the scores.
        bias: Broadcasts with ``[heads, queries, keys]``.
    """
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    if bias is not None:
        scores = scores + bias
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x if x.dim() == 3 else x.unflatten(1, (heads, -1))


def _bias(node: Node, mask: torch.Tensor | None, row: int, length: int) -> torch.Tensor | None:
    """What is added to the scores of sequence ``row``: ``[length, length]`` or with heads."""
    if mask is None:
        return None
    kind = text(node.attrs, "mask_type")
    bias = wide(mask)
    value = value_of(node, "mask")
    if kind != "MASK_TYPE_ALIBI" and value and value.type.dtype is DType.BFLOAT16:
        bias = bias * BF16_MASK_FACTOR
    if bias.dim() == (4 if kind == "MASK_TYPE_ALIBI" else 3):
        bias = bias[row]
    if is_compressed(node.attrs, tuple(mask.shape)):
        bias = _expand(bias, length)
    elif bias.shape[-1] < length or bias.shape[-2] < length:
        raise ValueError(f"mask {tuple(mask.shape)} does not cover a sequence of {length} tokens")
    bias = bias[..., :length, :length]
    if node.attrs["is_triu_mask"]:
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        if bool((bias[..., later] > _HIDDEN).any()):
            raise ValueError("is_triu_mask is set, but the mask shows later tokens")
    return bias


def is_compressed(attrs: Attrs, shape: tuple[Dim, ...]) -> bool:
    """Whether a mask is the 128 x 128 triangle that stands for a causal mask of any length."""
    square = shape[-2:] == (COMPRESSED, COMPRESSED) and len(shape) == 2
    norm = attrs["mask_type"] in ("MASK_TYPE_NORM", "MASK_TYPE_NORM_COMPRESS")
    return square and norm and bool(attrs["is_triu_mask"])


def _expand(triangle: torch.Tensor, length: int) -> torch.Tensor:
    """The full mask: the triangle on the diagonal blocks, nothing left of it, -inf right of it."""
    blocks = math.ceil(length / COMPRESSED)
    full = torch.zeros(blocks, COMPRESSED, blocks, COMPRESSED)
    for block in range(blocks):
        full[block, :, block] = triangle
        full[block, :, block + 1 :] = float("-inf")
    return full.reshape(blocks * COMPRESSED, blocks * COMPRESSED)


def _check_qkv(node: Node) -> list[str]:
    heads, kv_heads = head_counts(node.attrs)
    found: list[str] = []
    ranks = {type_of(node, name).rank for name in ("q", "k", "v")}
    if ranks not in ({2}, {3}):
        return ["q, k and v must all be [tokens, heads, D] or all [tokens, heads * D]"]
    if len({shape_of(node, name)[0] for name in ("q", "k", "v")}) != 1:
        found.append("q, k and v have different numbers of tokens")
    sizes: dict[str, Dim] = {}
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        shape = shape_of(node, name)
        if ranks == {3}:
            sizes[name] = shape[2]
            if shape[1] != count:
                found.append(f"{name} {type_of(node, name)} does not have {count} heads")
        elif not isinstance(shape[1], int) or shape[1] % count:
            found.append(f"{name} {type_of(node, name)} does not have {count} heads")
        else:
            sizes[name] = shape[1] // count
    if sizes.get("q") != sizes.get("k"):
        found.append("q and k have different head dimensions")
    limit = _LARGEST_HEAD if sizes.get("k") == sizes.get("v") else _LARGEST_UNEQUAL_HEAD
    for name, size in sizes.items():
        if isinstance(size, int) and size > limit:
            found.append(f"the head dimension {size} of {name} exceeds {limit}")
    return found


def _check_mask(node: Node, heads: int) -> list[str]:
    kind, shape = text(node.attrs, "mask_type"), shape_of(node, "mask")
    shown = type_of(node, "mask")
    if kind == "MASK_TYPE_NORM_COMPRESS":
        if not is_compressed(node.attrs, shape):
            return [f"mask {shown} must be [128, 128], with is_triu_mask, for {kind}"]
        return []
    batch = shape_of(node, "seq_len")[0]
    fits = (
        len(shape) == 2 or (len(shape) == 3 and shape[0] == batch)
        if kind == "MASK_TYPE_NORM"
        else (len(shape) == 3 and shape[0] == heads)
        or (len(shape) == 4 and shape[:2] == (batch, heads))
    )
    wanted = "[S, S] or [batch, S, S]"
    if kind == "MASK_TYPE_ALIBI":
        wanted = f"[{heads}, S, S] or [batch, {heads}, S, S]"
    return [] if fits else [f"mask {shown} must be {wanted} for {kind}"]
