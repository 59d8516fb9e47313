"""Attention spelled out in matrix products, for scores that the fused operations cannot make.

Query heads that share a key-value head are put below one another, so that one batched product per
key-value head serves them all: with ``G = heads / kv_heads``

    scores = [kv_heads, G * queries, D] x [kv_heads, keys, D]^T
"""

from __future__ import annotations

from codegen.targets.atb import ops
from codegen.targets.atb.host_inputs import BLOCK_SIZE, BatchMask, CacheMask
from codegen.targets.atb.lower_arithmetic import scaled, softcapped, total
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError
from ir.graph import Node, Value
from ir.types import Dim, scale_dim

Slopes = tuple[float, ...] | None


def prefill_steps(
    ctx: GraphLowering,
    node: Node,
    q: Value,
    k: Value,
    v: Value,
    window: int | None,
    slopes: Slopes,
) -> Value:
    """All tokens over all tokens of the batch; the mask keeps the sequences apart.

    Args:
        ctx: The graph.
        node: The ``llm.attention``.
        q: ``[tokens, heads, D]``.
        k: ``[tokens, kv_heads, D]``.
        v: ``[tokens, kv_heads, value_dim]``.
        window: Tokens that a token sees, itself included.
        slopes: ALiBi slope of each head.

    Returns:
        ``[tokens, heads, value_dim]``.
    """
    tokens, heads, kv_heads, dim, value_dim = _sizes(q, k, v)
    groups = heads // kv_heads
    grouped = ctx.view(q, tokens, kv_heads, groups, dim, name="query_groups")
    queries = _transposed(ctx, grouped, (1, 2, 0, 3), "queries")
    rows = ctx.view(queries, kv_heads, scale_dim(tokens, groups), dim, name="query_rows")
    keys = _transposed(ctx, k, (1, 0, 2), "keys")
    values = _transposed(ctx, v, (1, 0, 2), "values")
    scores = _product(ctx, rows, keys, "scores", transposed=True)
    scores = ctx.view(scores, heads, tokens, tokens, name="head_scores")
    (mask,) = ctx.feed(BatchMask(window, slopes))
    weights = _weights(ctx, node, scores, mask)
    weights = ctx.view(
        weights, kv_heads, scale_dim(tokens, groups), tokens, name="probability_rows"
    )
    mixed = _product(ctx, weights, values, "mixed", transposed=False)
    mixed = ctx.view(mixed, kv_heads, groups, tokens, value_dim, name="head_mixed")
    back = _transposed(ctx, mixed, (2, 0, 1, 3), "attended")
    return ctx.view(back, tokens, heads, value_dim, name=node.result.name)


def decode_steps(
    ctx: GraphLowering,
    node: Node,
    q: Value,
    caches: tuple[Value, Value],
    block_tables: Value,
    window: int | None,
    slopes: Slopes,
) -> Value:
    """One token of each sequence over all cache rows of its blocks; the mask hides unused rows.

    Args:
        ctx: The graph.
        node: The ``llm.paged_attention``.
        q: ``[batch, heads, D]``.
        caches: Keys and values, ``[blocks, block_size, kv_heads, D]``.
        block_tables: int32 ``[batch, max_blocks]``.
        window: Tokens that a token sees, itself included.
        slopes: ALiBi slope of each head.

    Returns:
        ``[batch, heads, value_dim]``.
    """
    k_cache, v_cache = caches
    batch, heads, kv_heads, dim, value_dim = _sizes(q, k_cache, v_cache)
    groups, pairs = heads // kv_heads, scale_dim(batch, kv_heads)
    keys_per_row = scale_dim(block_tables.type.shape[1], BLOCK_SIZE)
    rows = ctx.view(q, pairs, groups, dim, name="query_rows")
    sides: list[Value] = []
    for cache, size, name in ((k_cache, dim, "keys"), (v_cache, value_dim, "values")):
        blocks = ctx.emit(ops.Gather, cache, block_tables, named=[f"{name}_blocks"]).result
        cached = ctx.view(blocks, batch, keys_per_row, kv_heads, size, name=f"cached_{name}")
        by_head = _transposed(ctx, cached, (0, 2, 1, 3), name)
        sides.append(ctx.view(by_head, pairs, keys_per_row, size, name=f"head_{name}"))
    scores = _product(ctx, rows, sides[0], "scores", transposed=True)
    (mask,) = ctx.feed(CacheMask(window, slopes))
    if slopes is None:
        scores = ctx.view(scores, batch, heads, keys_per_row, name="head_scores")
    else:
        scores = ctx.view(scores, batch, heads, 1, keys_per_row, name="head_scores")
    weights = _weights(ctx, node, scores, mask)
    weights = ctx.view(weights, pairs, groups, keys_per_row, name="probability_rows")
    mixed = _product(ctx, weights, sides[1], "mixed", transposed=False)
    return ctx.view(mixed, batch, heads, value_dim, name=node.result.name)


def _weights(ctx: GraphLowering, node: Node, scores: Value, mask: Value) -> Value:
    """Attention probabilities: scaled, capped, masked, softmax over the keys."""
    scale, cap = float(str(node.attrs["scale"])), node.attrs["softcap"]
    if cap is None:
        scores = scaled(ctx, scores, scale, "scaled_scores")
    else:
        scores = softcapped(ctx, scores, float(str(cap)), "capped_scores", factor=scale)
    masked = total(ctx, scores, mask, "masked_scores")
    return ctx.emit(ops.Softmax, masked, axes=(-1,), named=["probabilities"]).result


def _transposed(ctx: GraphLowering, x: Value, perm: tuple[int, ...], name: str) -> Value:
    return ctx.emit(ops.Transpose, x, perm=perm, named=[name]).result


def _product(ctx: GraphLowering, x: Value, y: Value, name: str, transposed: bool) -> Value:
    return ctx.emit(ops.Linear, x, y, has_bias=False, transpose_b=transposed, named=[name]).result


def _sizes(q: Value, k: Value, v: Value) -> tuple[Dim, int, int, int, int]:
    """Tokens (or batch), heads, key-value heads, head dimension, value dimension."""
    tokens = q.type.shape[0]
    known = (*q.type.shape[1:], k.type.shape[-2], v.type.shape[-1])
    sizes = [size for size in known if isinstance(size, int)]
    if len(sizes) != len(known):
        raise NoLoweringError(f"attention with {q.type} and {k.type}: sizes must be known")
    heads, dim, kv_heads, value_dim = sizes
    return tokens, heads, kv_heads, dim, value_dim
