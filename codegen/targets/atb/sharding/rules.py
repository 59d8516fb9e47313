"""How each operation relates the layouts of its operands and results.

A rule looks at what is known about one node and records what follows; it raises ``ConflictError``
where a rank cannot compute its part. An operation without a rule works on whole tensors only.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen.targets.atb import ops
from codegen.targets.atb.ops.attention import head_counts
from codegen.targets.atb.sharding.layout import (
    ConflictError,
    Layout,
    Part,
    Parts,
    Unit,
    cut,
    divided,
)
from codegen.targets.atb.sharding.state import State
from codegen.targets.atb.sharding.views import viewed
from ir.graph import Node, Value

Rule = Callable[[State, Node], None]


def relate(state: State, node: Node) -> None:
    """Applies the rule of a node.

    Raises:
        ConflictError: A rank cannot compute its part.
    """
    _RULES.get(node.op, _whole)(state, node)


def _whole(state: State, node: Node) -> None:
    for value in (*node.inputs, *node.results):
        _require_whole(state, value)


def _require_whole(state: State, value: Value) -> None:
    if state.read(value) is not None:
        raise ConflictError(f"%{value.name} is needed whole")


def _same(state: State, pairs: list[tuple[Value, int]]) -> None:
    """All tensors are divided alike; each comes with the number of axes it lacks in front."""
    layout = next(
        (found.moved(found.axis + shift) for value, shift in pairs if (found := state.read(value))),
        None,
    )
    if layout is None:
        return
    for value, shift in pairs:
        axis = layout.axis - shift
        spread = axis < 0 or value.type.shape[axis] == 1
        state.assign(value, None if spread else layout.moved(axis))


def _elementwise(state: State, node: Node) -> None:
    rank = node.result.type.rank
    _same(state, [(value, rank - value.type.rank) for value in (*node.inputs, node.result)])


def _activation(state: State, node: Node) -> None:
    """SwiGLU halves the last axis: both halves are divided like the result."""
    x, y = node.operand(0), node.result
    if node.attrs["activation_type"] != "ACTIVATION_SWIGLU_FORWARD":
        _same(state, [(x, 0), (y, 0)])
        return
    last = y.type.rank - 1
    layout, made = state.read(x), state.read(y)
    if made is not None:
        doubled = made.parts * 2 if made.axis == last else made.parts
        state.assign(x, Layout(made.axis, doubled))
    elif layout is not None:
        halves = cut(layout.parts, (_size(y, last),) * 2) if layout.axis == last else [layout.parts]
        if halves[0] != halves[-1]:
            raise ConflictError("gate and up projection are divided differently")
        state.assign(y, Layout(layout.axis, halves[0]))


def _split(state: State, node: Node) -> None:
    _joined(state, node.operand(0), node.results, int(str(node.attrs["split_dim"])))
    if not node.attrs["split_sizes"]:  # equal pieces are equal on every rank too
        layouts = {state.read(v) for v in node.results if state.known(v)}
        if len(layouts) > 1:
            raise ConflictError("pieces of one size are divided differently")


def _concat(state: State, node: Node) -> None:
    _joined(state, node.result, node.inputs, int(str(node.attrs["concat_dim"])))


def _joined(state: State, whole: Value, pieces: list[Value], axis: int) -> None:
    """A tensor and the pieces that it consists of along ``axis``."""
    axis %= whole.type.rank
    layout = state.read(whole)
    if layout is not None and layout.axis == axis:
        runs = cut(layout.parts, tuple(_size(piece, axis) for piece in pieces))
        for piece, parts in zip(pieces, runs, strict=True):
            state.assign(piece, divided(axis, parts))
        return
    along = [found for piece in pieces if (found := state.read(piece)) and found.axis == axis]
    if not along:
        _same(state, [(value, 0) for value in (whole, *pieces)])
    elif all(state.known(piece) for piece in pieces):
        parts = [part for piece in pieces for part in _parts(state, piece, axis)]
        state.assign(whole, Layout(axis, tuple(parts)))


def _parts(state: State, piece: Value, axis: int) -> Parts:
    layout = state.read(piece)
    return (Part(_size(piece, axis)),) if layout is None else layout.parts


def unsettled(state: State, node: Node) -> list[Value]:
    """Pieces of a split or join whose layouts nothing will tell, though those of others are known.

    They are whole then.
    """
    if node.op == ops.Split.name:
        pieces = node.results
    elif node.op == ops.Concat.name:
        pieces = node.inputs
    else:
        return []
    some = any(state.read(piece) is not None for piece in pieces)
    return [piece for piece in pieces if some and not state.known(piece)]


def _reshape(state: State, node: Node) -> None:
    x, y = node.operand(0), node.result
    if (layout := state.read(x)) is not None:
        state.assign(y, viewed(layout, x.type.shape, y.type.shape))
    elif (made := state.read(y)) is not None:
        state.assign(x, viewed(made, y.type.shape, x.type.shape))


def _transpose(state: State, node: Node) -> None:
    x, y = node.operand(0), node.result
    perm = tuple(int(str(axis)) for axis in _tuple(node, "perm"))
    if (layout := state.read(x)) is not None:
        state.assign(y, layout.moved(perm.index(layout.axis)))
    elif (made := state.read(y)) is not None:
        state.assign(x, made.moved(perm[made.axis]))


def _softmax(state: State, node: Node) -> None:
    x, y = node.operand(0), node.result
    axes = {int(str(axis)) % x.type.rank for axis in _tuple(node, "axes")}
    _same(state, [(x, 0), (y, 0)])
    layout = state.read(x)
    if layout is not None and layout.axis in axes:
        raise ConflictError("a softmax over a divided axis")


def _slice(state: State, node: Node) -> None:
    x, y = node.operand(0), node.result
    _same(state, [(x, 0), (y, 0)])
    layout = state.read(x)
    if layout is None:
        return
    given = _tuple(node, "size")[layout.axis] != -1  # a number would be that of the whole model
    if given or x.type.shape[layout.axis] != y.type.shape[layout.axis]:
        raise ConflictError("a slice of a divided axis")


def _norm(state: State, node: Node) -> None:
    """Heads can be normed by the rank that has them; a norm over all features needs all."""
    x, y = node.operand(0), node.result
    last = x.type.rank - 1
    for weight in node.inputs[1:]:
        _require_whole(state, weight)
    made = state.read(y)
    if made is not None and made.axis == last and y not in state.cuts:
        state.cut(y)
    if y in state.cuts:
        _require_whole(state, x)
        return
    _same(state, [(x, 0), (y, 0)])
    layout = state.read(x)
    if layout is not None and layout.axis == last:
        raise ConflictError("a norm over a divided axis")


def _rope(state: State, node: Node) -> None:
    head = _size(node.operand(2), 1)
    for value in (node.operand(2), node.operand(3), node.operand(4)):
        _require_whole(state, value)
    for position in (0, 1):
        x, y = node.operand(position), node.results[position]
        _same(state, [(x, 0), (y, 0)])
        layout = state.read(x)
        if layout is not None and any(part.width % head for part in layout.parts):
            raise ConflictError("a head would be cut")


def _linear(state: State, node: Node) -> None:
    """The output features are divided (column parallel), or the input features (row parallel)."""
    x, weight, y = node.operand(0), node.operand(1), node.result
    bias, *others = node.operands[2:]
    plain = not any(others) and not node.attrs["transpose_a"]
    if weight.recipe is None or x.type.rank != 2 or not plain:
        _whole(state, node)
        return
    out, inner = (0, 1) if node.attrs["transpose_b"] else (1, 0)
    layout, made = state.read(x), state.read(y)
    if layout is not None:
        if layout.axis != 1 or not all(p.unit and not p.unit.repeats for p in layout.parts):
            raise ConflictError("summing over the ranks would count elements twice")
        state.assign(weight, layout.moved(inner))
        state.assign(y, None)
        if bias is not None:
            state.assign(bias, None)
        state.reduced.add(node)
    elif made is not None:
        if made.axis != 1:
            raise ConflictError("the rows of a product cannot be divided")
        state.assign(x, None)
        state.assign(weight, made.moved(out))
        if bias is not None:
            state.assign(bias, made.moved(0))


def _attention(state: State, node: Node) -> None:
    """Each rank attends with its query heads over the key-value heads that belong to them."""
    heads, kv_heads = attention_units(node)
    q, k, v, *_ = node.inputs
    cached = node.op == ops.PagedAttention.name
    divides = any(state.read(value) is not None for value in (q, k, v, node.result))
    if not divides:
        return
    if q.type.rank != 3:
        raise ConflictError("attention over heads that are joined")
    state.assign(q, Layout(1, (Part(heads.count, heads),)))
    # A single key-value head is on every rank.
    parts = (Part(kv_heads.count, None if kv_heads.count == 1 else kv_heads),)
    for value in (k, v):
        state.assign(value, divided(2 if cached else 1, parts))
    state.assign(node.result, Layout(1, (Part(heads.count, heads),)))
    _divide_mask(state, node, heads)


def attention_units(node: Node) -> tuple[Unit, Unit]:
    """Query heads and key-value heads; the same unit where there are as many."""
    heads, kv_heads = head_counts(node.attrs)
    query = Unit("heads", heads)
    return query, query if heads == kv_heads else Unit("kv_heads", kv_heads)


def _divide_mask(state: State, node: Node, heads: Unit) -> None:
    if node.attrs["mask_type"] != "MASK_TYPE_ALIBI":
        return
    mask = node.operand(5 if node.op == ops.PagedAttention.name else 3)
    axis = 1 if mask.type.rank == 4 else 0
    state.assign(mask, Layout(axis, (Part(heads.count, heads),)))


def _cache(state: State, node: Node) -> None:
    for new, cache, result in ((0, 2, 0), (1, 3, 1)):
        k, stored, written = node.operand(new), node.operand(cache), node.results[result]
        _same(state, [(stored, 0), (written, 0), (k, 1)])
    _require_whole(state, node.operand(4))


def _size(value: Value, axis: int) -> int:
    size = value.type.shape[axis]
    if not isinstance(size, int):
        raise ConflictError(f"axis {axis} of %{value.name} has no known size")
    return size


def _tuple(node: Node, name: str) -> tuple[object, ...]:
    value = node.attrs[name]
    return value if isinstance(value, tuple) else (value,)


_RULES: dict[str, Rule] = {
    ops.Activation.name: _activation,
    ops.Concat.name: _concat,
    ops.Elewise.name: _elementwise,
    ops.LayerNorm.name: _norm,
    ops.Linear.name: _linear,
    ops.PagedAttention.name: _attention,
    ops.ReshapeAndCache.name: _cache,
    ops.Reshape.name: _reshape,
    ops.RmsNorm.name: _norm,
    ops.Rope.name: _rope,
    ops.SelfAttention.name: _attention,
    ops.Slice.name: _slice,
    ops.Softmax.name: _softmax,
    ops.Split.name: _split,
    ops.Transpose.name: _transpose,
}
