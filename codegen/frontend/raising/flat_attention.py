"""Flat forms of attention, in the three ways it reaches us."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import flat_type
from codegen.frontend.raising.flat_base import reshaped
from codegen.frontend.raising.masks import Bias, Mask, declared, describe
from codegen.frontend.raising.statics import decode
from ir.graph import Attr, Node, Value
from ir.llm.attention import Attention

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat


def _heads_form(flat: Flat, value: Value, node: Node) -> Value:
    """``[tokens, heads, head_dim]``; a single head may have lost its dimension."""
    made = flat.value(value)
    if made.type.rank == 2:
        made = reshaped(
            flat, made, made.type.with_shape(made.type.shape[0], 1, made.type.shape[1]), node
        )
    return made


def _attend(
    flat: Flat, node: Node, mask: Mask, scale: Attr, softcap: Attr, slopes: Value | None = None
) -> None:
    """Binds ``llm.attention``; ``slopes`` default to those of the mask."""
    if slopes is None and mask.slopes is not None:
        slopes = flat.graph.add_constant(mask.slopes, mask.slopes_type, "alibi_slopes")
    q, k, v = (_heads_form(flat, node.operand(i), node) for i in range(3))
    made = Attention.build(
        flat.graph,
        q,
        k,
        v,
        flat.need_seq_lens(),
        slopes,
        loc=node.loc,
        named=["attn_out"],
        scale=scale,
        window=mask.window,
        softcap=softcap,
        causal=mask.causal,
    )
    y = node.result
    flat.bind(y, reshaped(flat, made.result, flat_type(y.type), node))


def found_attention(flat: Flat, node: Node) -> None:
    """Attention found by pattern: its mask is understood already."""
    slopes = node.operands[3]
    _attend(
        flat,
        node,
        declared(node),
        node.attrs["scale"],
        node.attrs["softcap"],
        None if slopes is None else flat.value(slopes),
    )


def traced_attention(flat: Flat, node: Node) -> None:
    """Attention through the interface: the mask operand, if any, says which keys are seen."""
    mask_value = node.operands[3]
    if len(node.operands) > 4 and node.operands[4] is not None:
        raise ValueError("attention sinks")
    own = declared(node)
    mask = own if mask_value is None else _operand_mask(flat, mask_value)
    if own.window is not None and mask.window != own.window:
        raise ValueError(f"the mask has window {mask.window}, the attention call {own.window}")
    mask = replace(mask, causal=mask.causal or own.causal)
    _attend(flat, node, mask, node.attrs["scale"], node.attrs["softcap"])


def fused_attention(flat: Flat, node: Node) -> None:
    """``aten.scaled_dot_product_attention``, heads before tokens in and out."""
    args, kwargs = decode(node)
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given = dict(zip(names, args, strict=False)) | kwargs
    mask_value = given.get("attn_mask")
    if isinstance(mask_value, Value):
        if not flat.statics.is_static(mask_value):
            raise ValueError("the attention mask depends on the tokens")
        mask = describe(flat.statics, [Bias(mask_value)])
    else:
        mask = Mask(bool(given.get("is_causal", False)))
    head_dim = node.operand(0).type.shape[-1]
    scale = given.get("scale")
    scale = float(str(head_dim)) ** -0.5 if scale is None else float(str(scale))
    _attend(flat, node, mask, scale, softcap=None)


def _operand_mask(flat: Flat, value: Value) -> Mask:
    if not flat.statics.is_static(value):
        raise ValueError("the attention mask depends on the tokens or differs between calls")
    origin = flat.statics.origin(value)
    if origin.producer is not None and origin.producer.op == "trace.mask":
        return declared(origin.producer)
    return describe(flat.statics, [Bias(value)])
