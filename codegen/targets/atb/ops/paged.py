"""The paged KV cache: writing it, attending over it (decode).

Masks of PagedAttention on A2 (ND):

===============  ===========================  ====================================================
``mask_type``    shape of ``mask``            effect on the scaled scores
===============  ===========================  ====================================================
UNDEFINED        none                         none: the query sees ``context_lens`` cached tokens
MASK_TYPE_NORM   ``[batch, 1, S]``            added, in float16 and in bfloat16
MASK_TYPE_ALIBI  ``[batch, heads, 1, S]``     added, in float16 and in bfloat16
                 ``[heads, 1, S]``            the same for every sequence: since softmax ignores a
                                              constant, ``slope * key position`` serves all lengths
===============  ===========================  ====================================================

``S`` is at least the largest ``context_lens``; columns count from the beginning of the sequence.
A causal sliding window in decode is a NORM mask per sequence that hides the columns below
``context_len - window``.

How sure: shapes from the operation's own check (batch and heads must match, the last two
dimensions must cover); that bfloat16 masks are added and not multiplied with -3e38 is read off
the decoder kernel and agrees with the tests of the library.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codegen.targets.atb.ops.attention import attend, check_heads, head_counts
from codegen.targets.atb.ops.base import (
    HALF,
    INT32,
    AtbOp,
    Attrs,
    Param,
    Soc,
    Tensor,
    number,
    shape_of,
    tensor_of,
    text,
    type_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import Dim, DType, TensorType

_INT8_OR_HALF = HALF | {DType.INT8}
_LARGEST_HEAD = 576
#: Above this head dimension a block may hold at most ``_LARGEST_BLOCK`` tokens.
_WIDE_HEAD = 256
_LARGEST_BLOCK = 128
_NZ_ONLY = "on 310p caches have the NZ format, which this dialect does not have"


class ReshapeAndCache(AtbOp):
    """Writes the keys and values of new tokens into their cache slots, in place.

    Slot ``s`` is row ``s % block_size`` of block ``s // block_size``. The outputs are the caches
    themselves: where the graph is built they carry the names of the cache inputs. Two tokens in
    one slot are an error when evaluated.
    """

    name = "atb.reshape_and_cache"
    op_type = "ReshapeAndCache"
    torch_atb = "ReshapeAndCacheParam"
    k = Tensor("``[tokens, kv_heads, D]``.", dtypes=_INT8_OR_HALF)
    v = Tensor("``[tokens, kv_heads, value_dim]``.", dtypes=_INT8_OR_HALF, like="k")
    k_cache = Tensor("``[blocks, block_size, kv_heads, D]``.", dtypes=_INT8_OR_HALF, like="k")
    v_cache = Tensor(
        "``[blocks, block_size, kv_heads, value_dim]``.", dtypes=_INT8_OR_HALF, like="k"
    )
    slots = Tensor("int32 ``[tokens]``.", dtypes=INT32)
    compress_type = Param(
        str,
        "COMPRESS_TYPE_UNDEFINED",
        choices=("COMPRESS_TYPE_UNDEFINED",),
        json="compressType",
        torch_atb="compress_type",
        enum="ReshapeAndCacheParam.CompressType",
    )
    kv_cache_cfg = Param(
        str,
        "K_CACHE_V_CACHE",
        choices=("K_CACHE_V_CACHE",),
        json="kvCacheCfg",
        torch_atb="kv_cache_cfg",
        enum="ReshapeAndCacheParam.KvCacheCfg",
    )
    results = ("k_cache", "v_cache")
    inplace = {0: 2, 1: 3}
    effects = True

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [type_of(node, "k_cache"), type_of(node, "v_cache")]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        ranks = {"k": 3, "v": 3, "k_cache": 4, "v_cache": 4, "slots": 1}
        found = [
            f"{name} {type_of(node, name)} must have rank {rank}"
            for name, rank in ranks.items()
            if type_of(node, name).rank != rank
        ]
        if found:
            return found
        shapes = {name: shape_of(node, name) for name in ranks}
        if not shapes["k"][0] == shapes["v"][0] == shapes["slots"][0]:
            found.append("k, v and slots have different numbers of tokens")
        if shapes["k_cache"][:3] != shapes["v_cache"][:3]:
            found.append("k_cache and v_cache differ in blocks, block size or heads")
        for new, cache in (("k", "k_cache"), ("v", "v_cache")):
            if shapes[new][1:] != shapes[cache][2:]:
                found.append(
                    f"{new} {type_of(node, new)} does not fit {cache} {type_of(node, cache)}"
                )
        return [*found, _NZ_ONLY] if soc is Soc.I310P else found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        slots = tensor_of(node, inputs, "slots").long()
        caches: Tensors = []
        for new, name in (("k", "k_cache"), ("v", "v_cache")):
            cache = tensor_of(node, inputs, name)
            rows = cache.view(-1, *cache.shape[2:])
            _check_slots(slots, rows.shape[0])
            rows[slots] = tensor_of(node, inputs, new).to(cache.dtype)
            caches.append(cache)
        return caches


def _check_slots(slots: torch.Tensor, rows: int) -> None:
    if slots.numel() and (int(slots.min()) < 0 or int(slots.max()) >= rows):
        raise ValueError(f"slots {slots.tolist()} are not in 0..{rows - 1}")
    if slots.unique().numel() != slots.numel():
        raise ValueError(f"two tokens share a cache slot: {slots.tolist()}")


def has_mask(attrs: Attrs) -> bool:
    """Whether the mask operand is present."""
    return attrs["mask_type"] != "UNDEFINED"


class PagedAttention(AtbOp):
    """One new token of each sequence attends over the cached tokens of its sequence.

    ``block_tables`` lists the cache blocks of each sequence in order; ``context_lens`` (host)
    counts its cached tokens, the new one included.
    """

    name = "atb.paged_attention"
    op_type = "PagedAttention"
    torch_atb = "PagedAttentionParam"
    q = Tensor("``[batch, head_num, D]``.", dtypes=HALF)
    k_cache = Tensor("``[blocks, block_size, kv_head_num, D]``.", dtypes=HALF, like="q")
    v_cache = Tensor("``[blocks, block_size, kv_head_num, value_dim]``.", dtypes=HALF, like="q")
    block_tables = Tensor("int32 ``[batch, max_blocks]``.", dtypes=INT32)
    context_lens = Tensor("int32 ``[batch]``, read on the host.", dtypes=INT32, host=True)
    mask = Tensor("See the module.", dtypes=HALF, like="q", when=has_mask)
    head_num = Param(int, 0, json="headNum", torch_atb="head_num")
    qk_scale = Param(float, 1.0, json="qkScale", torch_atb="qk_scale")
    kv_head_num = Param(int, 0, json="kvHeadNum", torch_atb="kv_head_num")
    mask_type = Param(
        str,
        "UNDEFINED",
        choices=("UNDEFINED", "MASK_TYPE_NORM", "MASK_TYPE_ALIBI"),
        json="maskType",
        torch_atb="mask_type",
        enum="PagedAttentionParam.MaskType",
        json_names={"UNDEFINED": "MASK_TYPE_UNDEFINED"},
    )

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        q, v_cache = type_of(node, "q"), type_of(node, "v_cache")
        if q.rank != 3 or v_cache.rank != 4:
            raise ValueError(f"q {q} must have rank 3 and v_cache {v_cache} rank 4")
        return [q.with_shape(*q.shape[:2], v_cache.shape[3])]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        ranks = {"q": 3, "k_cache": 4, "v_cache": 4, "block_tables": 2, "context_lens": 1}
        found = check_heads(node.attrs) + [
            f"{name} {type_of(node, name)} must have rank {rank}"
            for name, rank in ranks.items()
            if type_of(node, name).rank != rank
        ]
        if found:
            return found
        heads, kv_heads = head_counts(node.attrs)
        q, k_cache, v_cache = (shape_of(node, n) for n in ("q", "k_cache", "v_cache"))
        batch = {q[0], shape_of(node, "block_tables")[0], shape_of(node, "context_lens")[0]}
        if len(batch) != 1:
            found.append("q, block_tables and context_lens have different batches")
        if q[1] != heads or k_cache[2] != kv_heads:
            found.append(f"q or k_cache do not have {heads} and {kv_heads} heads")
        if q[2] != k_cache[3]:
            found.append("q and k_cache have different head dimensions")
        if k_cache[:3] != v_cache[:3]:
            found.append("k_cache and v_cache differ in blocks, block size or heads")
        found += _check_sizes(k_cache[1], k_cache[3], v_cache[3])
        if has_mask(node.attrs):
            found += _check_mask(node, heads)
        return [*found, _NZ_ONLY] if soc is Soc.I310P else found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        q, k_cache, v_cache = (tensor_of(node, inputs, n) for n in ("q", "k_cache", "v_cache"))
        tables = tensor_of(node, inputs, "block_tables").long()
        block_size, blocks = k_cache.shape[1], k_cache.shape[0]
        rows: Tensors = []
        for row, length in enumerate(tensor_of(node, inputs, "context_lens").tolist()):
            used = tables[row][: -(-length // block_size)]
            if not 1 <= length <= tables.shape[1] * block_size:
                raise ValueError(
                    f"context_lens[{row}] is {length}, block_tables hold "
                    f"{tables.shape[1]} blocks of {block_size}"
                )
            if int(used.min()) < 0 or int(used.max()) >= blocks:
                raise ValueError(f"block_tables[{row}] {used.tolist()} are not in 0..{blocks - 1}")
            k, v = (wide(cache[used].flatten(0, 1)[:length]) for cache in (k_cache, v_cache))
            bias = _bias(node, inputs[-1], row, length)
            scale = number(node.attrs, "qk_scale")
            rows.append(attend(wide(q[row : row + 1]), k, v, scale, bias))
        return [torch.cat(rows)]


def _bias(node: Node, mask: torch.Tensor | None, row: int, length: int) -> torch.Tensor | None:
    """What is added to the scores of sequence ``row``, ``[1 or heads, 1, length]``."""
    if mask is None:
        return None
    if mask.shape[-1] < length:
        raise ValueError(f"mask {tuple(mask.shape)} does not cover {length} cached tokens")
    shared = node.attrs["mask_type"] == "MASK_TYPE_ALIBI" and mask.dim() == 3
    return wide(mask if shared else mask[row])[..., :1, :length]


def _check_sizes(block_size: Dim, head: Dim, value: Dim) -> list[str]:
    if not isinstance(head, int) or not isinstance(value, int):
        return ["head dimensions must be known"]
    widest = max(head, value)
    if widest > _LARGEST_HEAD:
        return [f"head dimension {widest} exceeds {_LARGEST_HEAD}"]
    if widest > _WIDE_HEAD and isinstance(block_size, int) and block_size > _LARGEST_BLOCK:
        return [f"with head dimension {widest} blocks hold at most {_LARGEST_BLOCK} tokens"]
    return []


def _check_mask(node: Node, heads: int) -> list[str]:
    kind, shape = text(node.attrs, "mask_type"), shape_of(node, "mask")
    batch = shape_of(node, "context_lens")[0]
    if kind == "MASK_TYPE_NORM":
        fits, wanted = len(shape) == 3 and shape[:2] == (batch, 1), "[batch, 1, S]"
    else:
        shared = len(shape) == 3 and shape[:2] == (heads, 1)
        fits = shared or (len(shape) == 4 and shape[:3] == (batch, heads, 1))
        wanted = f"[batch, {heads}, 1, S] or [{heads}, 1, S]"
    return [] if fits else [f"mask {type_of(node, 'mask')} must be {wanted} for {kind}"]
