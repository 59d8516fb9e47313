"""Lowering of attention: the fused operations, and when they can be used."""

from __future__ import annotations

from codegen.targets.atb import ops
from codegen.targets.atb.host_inputs import CacheMask, CausalMask, SequenceMask
from codegen.targets.atb.lower_attention_steps import decode_steps, prefill_steps
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from ir.func import Call
from ir.graph import Node, Value
from ir.llm.attention import Attention
from ir.llm.cache import KvAppend, PagedAttention


@rule(KvAppend)
def lower_kv_append(ctx: GraphLowering, node: Node) -> None:
    """``ReshapeAndCache``."""
    operands = [ctx.operand(node, i) for i in range(5)]
    made = ctx.emit(ops.ReshapeAndCache, *operands, named=["k_written", "v_written"])
    for value, written in zip(node.results, made.results, strict=True):
        ctx.bind(value, written)


@rule(Attention)
def lower_attention(ctx: GraphLowering, node: Node) -> None:
    """``SelfAttention`` over whole prompts; a window or ALiBi is part of the mask.

    The operation cannot cap scores: then attention is spelled out.
    """
    q, k, v, seq_lens = (ctx.operand(node, i) for i in range(4))
    if not node.attrs["causal"]:
        raise NoLoweringError(
            "a token that sees later tokens cannot be decoded one by one from a cache",
            "only causal language models can be compiled",
        )
    ctx.module.note("num_attention_heads", _heads(q, 1))
    ctx.module.note("num_key_value_heads", _heads(k, 1))
    ctx.module.note("head_dim", _heads(q, 2))
    window, slopes = _window(node), _slopes(ctx, node, 4)
    if node.attrs["softcap"] is not None:
        made = prefill_steps(ctx, node, q, k, v, window, slopes)
    else:
        compressed = window is None and slopes is None
        (mask,) = ctx.feed(CausalMask() if compressed else SequenceMask(window, slopes))
        made = ctx.emit(
            ops.SelfAttention,
            q,
            k,
            v,
            mask,
            seq_lens,
            head_num=_heads(q, 1),
            kv_head_num=_heads(k, 1),
            qk_scale=float(str(node.attrs["scale"])),
            is_triu_mask=int(compressed),
            mask_type="MASK_TYPE_NORM" if slopes is None else "MASK_TYPE_ALIBI",
            named=[node.result.name],
        ).result
    ctx.bind(node.result, made)


@rule(PagedAttention)
def lower_paged_attention(ctx: GraphLowering, node: Node) -> None:
    """``PagedAttention`` over the cache, with a mask only where a window or ALiBi needs one."""
    q, k_cache, v_cache, block_tables, context_lens = (ctx.operand(node, i) for i in range(5))
    window, slopes = _window(node), _slopes(ctx, node, 5)
    if node.attrs["softcap"] is not None:
        made = decode_steps(ctx, node, q, (k_cache, v_cache), block_tables, window, slopes)
    else:
        masked = window is not None or slopes is not None
        mask_type = "UNDEFINED"
        if masked:
            mask_type = "MASK_TYPE_NORM" if slopes is None else "MASK_TYPE_ALIBI"
        made = ctx.emit(
            ops.PagedAttention,
            q,
            k_cache,
            v_cache,
            block_tables,
            context_lens,
            ctx.feed(CacheMask(window, slopes))[0] if masked else None,
            head_num=_heads(q, 1),
            kv_head_num=_heads(k_cache, 2),
            qk_scale=float(str(node.attrs["scale"])),
            mask_type=mask_type,
            named=[node.result.name],
        ).result
    ctx.bind(node.result, made)


@rule(Call)
def lower_call(ctx: GraphLowering, node: Node) -> None:
    """The same call, of the lowered graph, with the host inputs that it asks for."""
    callee = ctx.module.graph(str(node.attrs["callee"]))
    arguments = [ctx.operand(node, i) for i in callee.kept]
    for source in callee.feeds:
        arguments += ctx.feed(source)
    made = Call.build(
        ctx.target,
        *arguments,
        loc=node.loc,
        named=[value.name for value in node.results],
        types=[value.type for value in callee.target.outputs],
        callee=callee.target.name,
        scope=str(node.attrs["scope"]),
    )
    for value, result in zip(node.results, made.results, strict=True):
        ctx.bind(value, result)


def _window(node: Node) -> int | None:
    window = node.attrs["window"]
    return None if window is None else int(str(window))


def _slopes(ctx: GraphLowering, node: Node, position: int) -> tuple[float, ...] | None:
    if node.operands[position] is None:
        return None
    return tuple(float(slope) for slope in ctx.constant(node, position).flatten().tolist())


def _heads(value: Value, axis: int) -> int:
    heads = value.type.shape[axis]
    if not isinstance(heads, int):
        raise NoLoweringError(f"attention with {value.type}: heads and their size must be known")
    return heads
