"""Lowering of rotary position embedding."""

from __future__ import annotations

from codegen.targets.atb import ops
from codegen.targets.atb.host_inputs import RopeTable as RopeTableInput
from codegen.targets.atb.lower_graph import GraphLowering, NoLoweringError, rule
from codegen.targets.atb.lower_shape import joined, split
from ir.graph import Graph, Node, Value
from ir.llm.rope import Rope, RopeTable


@rule(RopeTable)
def lower_rope_table(ctx: GraphLowering, node: Node) -> None:
    """The caller builds the rows of the new tokens: frequencies may depend on the length."""
    positions = node.operand(0)
    if positions.name != "positions" or positions not in ctx.source.inputs:
        raise NoLoweringError("a rotary table of something else than the positions of the tokens")
    long = node.operands[3]
    attrs = node.attrs
    limit, factor, base = (
        attrs[key] for key in ("original_max_position", "dynamic_factor", "dynamic_base")
    )
    table = RopeTableInput(
        style=str(attrs["style"]),
        inv_freq=tuple(ctx.constant(node, 2).tolist()),
        scale=float(str(attrs["scale"])),
        long_inv_freq=None if long is None else tuple(ctx.constant(node, 3).tolist()),
        original_max_position=None if limit is None else int(str(limit)),
        dynamic_factor=None if factor is None else float(str(factor)),
        dynamic_base=None if base is None else float(str(base)),
    )
    for value, fed in zip(node.results, ctx.feed(table), strict=True):
        ctx.bind(value, fed)


@rule(Rope)
def lower_rope(ctx: GraphLowering, node: Node) -> None:
    """``Rope`` turns queries and keys together, so two rotations by one table are paired.

    A rotation without partner goes through the operation with itself. Where only the first part
    of each head is turned, it is cut off and joined again.
    """
    partner = _partner(ctx.source, node)
    if partner is None:
        turned, _ = _rotate(ctx, node, node)
        ctx.bind(node.result, turned)
        return
    first, second = (
        (partner, node) if _position(ctx, partner) < _position(ctx, node) else (node, partner)
    )
    if node is first:
        return  # both are done where the second stands
    wide, narrow = sorted((first, second), key=_features, reverse=True)
    for source, value in zip((wide, narrow), _rotate(ctx, wide, narrow), strict=True):
        ctx.bind(source.result, value)


def _rotate(ctx: GraphLowering, q: Node, k: Node) -> tuple[Value, Value]:
    """Both rotations in one operation."""
    cos, sin = ctx.operand(q, 1), ctx.operand(q, 2)
    rotary_dim = cos.type.shape[-1]
    sides = [_cut(ctx, node, rotary_dim) for node in ((q,) if q is k else (q, k))]
    flat = [
        ctx.view(
            part, part.type.shape[0], _flat(part), name=f"{part.name.removesuffix('_out')}_flat"
        )
        for part, _ in sides
    ]
    if not isinstance(rotary_dim, int):
        raise NoLoweringError(f"a rotary table of unknown width {rotary_dim}")
    turned = ctx.emit(
        ops.Rope,
        flat[0],
        flat[-1],
        cos,
        sin,
        ctx.seq_lens,
        rotary_coeff=2 if q.attrs["style"] == "half" else rotary_dim,
        named=[f"{node.result.name}_flat" for node in (q, k)],
    ).results
    made: list[Value] = []
    for node, (part, rest), value in zip((q, k), (sides[0], sides[-1]), turned, strict=True):
        if node is k and q is k and made:
            made.append(value)  # the unused twin of a rotation without partner
            continue
        name = node.result.name
        heads = ctx.view(value, *part.type.shape, name=name if rest is None else f"{name}_turned")
        made.append(heads if rest is None else joined(ctx, (heads, rest), 2, name))
    return made[0], made[1]


def _cut(ctx: GraphLowering, node: Node, rotary_dim: object) -> tuple[Value, Value | None]:
    """The part of each head that is turned, and the rest if there is one."""
    x = ctx.operand(node, 0)
    head_dim = x.type.shape[2]
    if head_dim == rotary_dim:
        return x, None
    if not isinstance(head_dim, int) or not isinstance(rotary_dim, int):
        raise NoLoweringError(f"partial rotation of heads of unknown size {head_dim}")
    name = node.result.name
    sizes = (rotary_dim, head_dim - rotary_dim)
    turned, rest = split(ctx, x, 2, sizes, (f"{name}_part", f"{name}_rest"))
    return turned, rest


def _partner(graph: Graph, node: Node) -> Node | None:
    """The rotation that goes with this one: the nearest by the same table that can be joined."""
    candidates = [n for n in graph.find(Rope.name) if _same_table(n, node)]
    pairs = list(zip(candidates[::2], candidates[1::2], strict=False))
    for first, second in pairs:
        if node in (first, second) and _joinable(graph, first, second):
            return second if node is first else first
    return None


def _same_table(a: Node, b: Node) -> bool:
    return a.operands[1:] == b.operands[1:] and a.attrs == b.attrs


def _joinable(graph: Graph, first: Node, second: Node) -> bool:
    """The first result is not read before the second rotation, and the sizes go together."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    early = any(order[user] < order[second] for user in first.result.users)
    wide, narrow = sorted((_features(first), _features(second)), reverse=True)
    return not early and first.result not in graph.outputs and wide % narrow == 0


def _features(node: Node) -> int:
    shape = node.operand(0).type.shape[1:]
    features = 1
    for dim in shape:
        if not isinstance(dim, int):
            raise NoLoweringError(f"rotation of {node.operand(0).type}")
        features *= dim
    return features


def _flat(value: Value) -> int:
    features = 1
    for dim in value.type.shape[1:]:
        if not isinstance(dim, int):
            raise NoLoweringError(f"rotation of {value.type}")
        features *= dim
    return features


def _position(ctx: GraphLowering, node: Node) -> int:
    return ctx.source.nodes.index(node)
