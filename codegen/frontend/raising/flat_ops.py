"""How each traced operation looks in flat form; one function per family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import (
    aligned_shape,
    flat_order,
    flat_type,
    has_tokens,
    token_axis,
)
from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.masks import Bias, Mask, declared, describe, mask_nodes
from codegen.frontend.raising.statics import decode
from ir.graph import Attr, Node, Value
from ir.llm.attention import Attention
from ir.llm.linear import Embedding, Linear
from ir.llm.norm import LayerNorm, RmsNorm
from ir.llm.shape import Concat, Permute, Reshape, Slice, Split
from ir.op import lookup
from ir.types import TensorType

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat

Handler = Callable[["Flat", Node], None]


def _tail(type: TensorType) -> tuple[int, ...]:
    tail = tuple(dim for dim in type.shape[1:] if isinstance(dim, int))
    if len(tail) != type.rank - 1:
        raise ValueError(f"{type} has more than one symbolic dimension")
    return tail


def reshaped(flat: Flat, value: Value, wanted: TensorType, node: Node) -> Value:
    """A view of each token's elements, or the value itself where nothing changes."""
    if value.type.shape == wanted.shape:
        return value
    return Reshape.build(flat.graph, value, loc=node.loc, tail=_tail(wanted)).result


def _axis(type: TensorType, axis: int) -> int:
    """Position, in the flat form, of a traced axis that is not the tokens axis."""
    position = flat_order(type.shape).index(axis % type.rank)
    if has_tokens(type) and position == 0:
        raise ValueError("it works across tokens, which only attention may do")
    return position


def _number(value: object, kind: type = int) -> int:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a plain number")
    return int(str(value))


# -- element-wise ---------------------------------------------------------------------------------


def elementwise(flat: Flat, node: Node) -> None:
    """Keeps the ATen operation; operands are lined up as the trace broadcast them."""
    result = node.result.type
    operands: list[Value] = []
    for value in node.inputs:
        converted = flat.value(value)
        if has_tokens(result):
            shape = aligned_shape(value.type.shape, result.shape)
            if has_tokens(value.type):
                converted = reshaped(flat, converted, value.type.with_shape(*shape), node)
            elif shape != value.type.shape and value.data is None and value.type.shape:
                raise ValueError(f"a weight of type {value.type} meets an activation {result}")
            elif value.data is not None and shape != value.type.shape:
                data = value.data.reshape([int(str(dim)) for dim in shape])
                converted = flat.graph.add_constant(data, value.type.with_shape(*shape))
        operands.append(converted)
    name = node.op.split(".")
    name[1] = name[1].removesuffix("_") if not name[1].startswith("__") else name[1]
    made = flat.graph.make(
        ".".join(name), operands, node.attrs, [flat_type(result)], [node.result.name], node.loc
    )
    flat.bind(node.result, made.result)


def passthrough(flat: Flat, node: Node) -> None:
    """Copies, casts between float types (the graph is float32 throughout), dropout in eval mode."""
    value = node.operand(0)
    if value.type.dtype.is_float != node.result.type.dtype.is_float:
        elementwise(flat, node)
        return
    flat.bind(node.result, flat.value(value))


def reduction(flat: Flat, node: Node) -> None:
    """Mean, sum or maximum over dimensions that are not tokens."""
    x = node.operand(0)
    args, kwargs = decode(node)
    dims = args[1] if len(args) > 1 else None
    if not isinstance(dims, list) or not dims or kwargs:
        raise ValueError("a reduction over all dimensions")
    rank = flat_type(x.type).rank
    axes = tuple(_axis(x.type, _number(dim)) - rank for dim in dims)
    rest: list[Attr] = [bool(item) for item in args[2:]]
    made = lookup(node.op).build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        named=[node.result.name],
        types=[flat_type(node.result.type)],
        args=("%", axes, *rest),
    )
    flat.bind(node.result, made.result)


# -- views ----------------------------------------------------------------------------------------


def view(flat: Flat, node: Node) -> None:
    """A view that keeps the tokens dimension apart from all others."""
    x, y = node.operand(0), node.result
    if not has_tokens(x.type):
        elementwise(flat, node)
        return
    before, after = (
        [dim for dim in v.type.shape[: token_axis(v.type.shape)] if dim != 1] for v in (x, y)
    )
    if before != after:
        raise ValueError(f"a view of {x.type} as {y.type} mixes tokens with another dimension")
    flat.bind(y, reshaped(flat, flat.value(x), flat_type(y.type), node))


def permute(flat: Flat, node: Node) -> None:
    """Transposes; those that only move the batch or the tokens disappear."""
    x, y = node.operand(0), node.result
    if not has_tokens(x.type):
        elementwise(flat, node)
        return
    args, _ = decode(node)
    rank = x.type.rank
    order = list(range(rank))
    if len(args) == 3:
        i, j = _number(args[1]) % rank, _number(args[2]) % rank
        order[i], order[j] = order[j], order[i]
    elif len(args) == 2 and isinstance(args[1], list):
        order = [_number(axis) % rank for axis in args[1]]
    else:
        order.reverse()
    old = flat_order(x.type.shape)
    new = [order[axis] for axis in flat_order(y.type.shape)]
    value = flat.value(x)
    if sorted(old) == sorted(new):
        moves = tuple(old.index(axis) for axis in new)
        if moves != tuple(range(len(moves))):
            value = Permute.build(flat.graph, value, loc=node.loc, order=moves[1:]).result
    elif [a for a in old if x.type.shape[a] != 1] != [a for a in new if x.type.shape[a] != 1]:
        raise ValueError(f"a permutation of {x.type} that moves the batch dimension")
    flat.bind(y, reshaped(flat, value, flat_type(y.type), node))


def expand(flat: Flat, node: Node) -> None:
    """Repetition along dimensions of size 1; only adding a dimension of size 1 is free."""
    x, y = node.operand(0), node.result
    shape = aligned_shape(x.type.shape, y.type.shape)
    value = reshaped(flat, flat.value(x), x.type.with_shape(*shape), node)
    wanted = flat_type(y.type)
    if value.type.shape != wanted.shape:
        sizes = tuple(f"${d}" if not isinstance(d, int) else d for d in wanted.shape)
        made = lookup("aten.expand.default").build(
            flat.graph, value, loc=node.loc, types=[wanted], args=("%", sizes)
        )
        value = made.result
    flat.bind(y, value)


def repeat_interleave(flat: Flat, node: Node) -> None:
    """Every element several times in a row, along a dimension that is not tokens."""
    x, y = node.operand(0), node.result
    args, kwargs = decode(node)
    if len(args) != 3 or kwargs:
        raise ValueError("a repetition without a dimension")
    repeats, axis = _number(args[1]), _axis(x.type, _number(args[2]))
    made = lookup(node.op).build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        types=[flat_type(y.type)],
        args=("%", repeats, axis),
    )
    flat.bind(y, made.result)


def slice_(flat: Flat, node: Node) -> None:
    """``x[start:stop:step]`` along a dimension that is not tokens, or all of it."""
    x, y = node.operand(0), node.result
    if x.type.shape == y.type.shape:
        flat.bind(y, flat.value(x))
        return
    args, kwargs = decode(node)
    axis = _number(args[1]) if len(args) > 1 else 0
    size = x.type.shape[axis % x.type.rank]
    if not isinstance(size, int):
        raise ValueError("it takes a part of the tokens")
    start, stop, step = (*args[2:5], *(None, None, 1)[len(args[2:5]) :])
    if kwargs:
        raise ValueError(f"unexpected arguments {sorted(kwargs)}")
    begin, end, stride = slice(
        None if start is None else _number(start),
        None if stop is None else _number(stop),
        1 if step is None else _number(step),
    ).indices(size)
    _bind_slice(flat, node, axis, begin, end, stride)


def _bind_slice(flat: Flat, node: Node, axis: int, start: int, stop: int, step: int = 1) -> None:
    x, y = node.operand(0), node.result
    made = Slice.build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        axis=_axis(x.type, axis),
        start=start,
        stop=stop,
        step=step,
    )
    flat.bind(y, reshaped(flat, made.result, flat_type(y.type), node))


def select(flat: Flat, node: Node) -> None:
    """``x[..., index, ...]``: a slice of one element without its dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    axis = _number(args[1]) % x.type.rank
    size = x.type.shape[axis]
    if not isinstance(size, int):
        raise ValueError("it picks one token")
    if axis == 0 and flat_order(x.type.shape)[0] != 0 and 0 not in flat_order(x.type.shape):
        flat.bind(node.result, flat.value(x))
        return
    index = _number(args[2]) % size
    _bind_slice(flat, node, axis, index, index + 1)


def index(flat: Flat, node: Node) -> None:
    """``x[:, :, [i]]`` with a constant list of consecutive numbers along one dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    picks = args[1]
    if not isinstance(picks, list):
        raise ValueError("an index that is not a list")
    given = [(axis, pick) for axis, pick in enumerate(picks) if pick is not None]
    if len(given) != 1 or not isinstance(given[0][1], Value):
        raise ValueError("it picks along several dimensions at once")
    axis, pick = given[0]
    constant = flat.statics.origin(pick).data if isinstance(pick, Value) else None
    size = x.type.shape[axis]
    if constant is None and isinstance(pick, Value) and flat.statics.is_static(pick):
        constant = flat.value(pick).data
    if constant is None or not isinstance(size, int) or constant.dim() != 1:
        raise ValueError("it picks by numbers that are not constant")
    rows = [int(row) % size for row in constant.tolist()]
    if rows != list(range(rows[0], rows[0] + len(rows))):
        raise ValueError(f"it picks scattered rows {rows}")
    _bind_slice(flat, node, axis, rows[0], rows[0] + len(rows))


def split(flat: Flat, node: Node) -> None:
    """Chunks and splits along a dimension that is not tokens."""
    x = node.operand(0)
    args, kwargs = decode(node)
    last = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    axis = _number(last) % x.type.rank
    sizes = tuple(_number(result.type.shape[axis]) for result in node.results)
    made = Split.build(
        flat.graph, flat.value(x), loc=node.loc, axis=_axis(x.type, axis), sizes=sizes
    )
    for old, new in zip(node.results, made.results, strict=True):
        flat.bind(old, new)


def unbind(flat: Flat, node: Node) -> None:
    """Every element along a dimension, without that dimension."""
    x = node.operand(0)
    args, _ = decode(node)
    axis = _number(args[1]) % x.type.rank if len(args) > 1 else 0
    made = Split.build(
        flat.graph,
        flat.value(x),
        loc=node.loc,
        axis=_axis(x.type, axis),
        sizes=(1,) * len(node.results),
    )
    for old, new in zip(node.results, made.results, strict=True):
        flat.bind(old, reshaped(flat, new, flat_type(old.type), node))


def _join(flat: Flat, node: Node, parts: Sequence[Value], axis: int) -> None:
    made = Concat.build(flat.graph, *parts, loc=node.loc, axis=axis)
    flat.bind(node.result, reshaped(flat, made.result, flat_type(node.result.type), node))


def cat(flat: Flat, node: Node) -> None:
    """Concatenation along a dimension that is not tokens."""
    args, kwargs = decode(node)
    dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if not has_tokens(node.result.type):
        elementwise(flat, node)
        return
    parts = [flat.value(v) for v in node.inputs if v not in flat.empty]
    if len(parts) == 1:
        flat.bind(node.result, parts[0])
        return
    _join(flat, node, parts, _axis(node.result.type, _number(dim)))


def stack(flat: Flat, node: Node) -> None:
    """Concatenation along a new dimension."""
    args, kwargs = decode(node)
    dim = _number(args[1] if len(args) > 1 else kwargs.get("dim", 0))
    result = node.result.type
    axis = _axis(result, dim)
    parts: list[Value] = []
    for value in node.inputs:
        flat_value = flat.value(value)
        shape = [*flat_value.type.shape]
        shape.insert(axis, 1)
        parts.append(reshaped(flat, flat_value, result.with_shape(*shape), node))
    _join(flat, node, parts, axis)


# -- products -------------------------------------------------------------------------------------


def embedding(flat: Flat, node: Node) -> None:
    """Table look-up; padding and scaling options do not matter in inference."""
    made = Embedding.build(
        flat.graph, flat.value(node.operand(1)), flat.value(node.operand(0)), loc=node.loc
    )
    flat.bind(node.result, made.result)


def index_select(flat: Flat, node: Node) -> None:
    """Rows of a table by a flat list of numbers."""
    args, _ = decode(node)
    if _number(args[1]) != 0 or has_tokens(node.operand(0).type):
        raise ValueError("it selects along another dimension than the rows of a table")
    made = Embedding.build(
        flat.graph, flat.value(node.operand(1)), flat.value(node.operand(0)), loc=node.loc
    )
    flat.bind(node.result, made.result)


def _linear(flat: Flat, node: Node, x: Value, weight: Value, bias: Value | None) -> None:
    stored, transpose = weight, True
    producer = weight.producer
    if producer is not None and base_name(producer) in ("t", "numpy_T", "transpose", "permute"):
        stored = producer.operand(0)
    else:
        transpose = False
    operands = [flat.value(x), flat.value(stored), None if bias is None else flat.value(bias)]
    made = Linear.build(
        flat.graph, *operands, loc=node.loc, named=[node.result.name], transpose_weight=transpose
    )
    flat.bind(node.result, made.result)


def linear(flat: Flat, node: Node) -> None:
    """``aten.linear``: the weight is stored ``[out, in]``."""
    operands = [flat.value(value) for value in node.inputs]
    made = Linear.build(flat.graph, *operands, loc=node.loc, named=[node.result.name])
    flat.bind(node.result, made.result)


def matmul(flat: Flat, node: Node) -> None:
    """A product of an activation with a weight matrix."""
    x, weight = node.operand(0), node.operand(1)
    if not has_tokens(x.type) or has_tokens(weight.type) or weight.type.rank != 2:
        raise ValueError("a product of two activations outside attention")
    _linear(flat, node, x, weight, None)


def addmm(flat: Flat, node: Node) -> None:
    """``bias + x · W`` (Conv1D of GPT-2: the weight is stored ``[in, out]``)."""
    _, kwargs = decode(node)
    if kwargs:
        raise ValueError(f"unexpected arguments {sorted(kwargs)}")
    _linear(flat, node, node.operand(1), node.operand(2), node.operand(0))


def layer_norm(flat: Flat, node: Node) -> None:
    """``aten.layer_norm`` over the last dimension or dimensions."""
    args, _ = decode(node)
    shape = args[1]
    if not isinstance(shape, list) or len(shape) != 1:
        raise ValueError("a layer norm over several dimensions at once")
    weight, bias = (args[i] if len(args) > i else None for i in (2, 3))
    eps = args[4] if len(args) > 4 else 1e-5
    operands = [flat.value(v) if isinstance(v, Value) else None for v in (weight, bias)]
    made = LayerNorm.build(
        flat.graph,
        flat.value(node.operand(0)),
        *operands,
        loc=node.loc,
        named=[node.result.name],
        eps=float(str(eps)),
    )
    flat.bind(node.result, made.result)


def rms_norm(flat: Flat, node: Node) -> None:
    """``aten.rms_norm`` over the last dimension."""
    args, _ = decode(node)
    weight = args[2] if len(args) > 2 else None
    if len(args) < 4 or args[3] is None:
        raise ValueError("an RMS norm without epsilon")
    made = RmsNorm.build(
        flat.graph,
        flat.value(node.operand(0)),
        flat.value(weight) if isinstance(weight, Value) else None,
        loc=node.loc,
        named=[node.result.name],
        eps=float(str(args[3])),
    )
    flat.bind(node.result, made.result)


# -- attention and calls --------------------------------------------------------------------------


def _heads_form(flat: Flat, value: Value, node: Node) -> Value:
    """``[tokens, heads, head_dim]``; a single head may have lost its dimension."""
    made = flat.value(value)
    if made.type.rank == 2:
        made = reshaped(
            flat, made, made.type.with_shape(made.type.shape[0], 1, made.type.shape[1]), node
        )
    return made


def _attend(flat: Flat, node: Node, mask: Mask, slopes: Value | None) -> None:
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
        scale=node.attrs["scale"],
        window=mask.window,
        softcap=node.attrs["softcap"],
        causal=mask.causal,
    )
    y = node.result
    flat.bind(y, reshaped(flat, made.result, flat_type(y.type), node))


def found_attention(flat: Flat, node: Node) -> None:
    """Attention found by pattern: its mask is understood already."""
    window = node.attrs["window"]
    mask = Mask(bool(node.attrs["causal"]), None if window is None else int(str(window)))
    slopes = node.operands[3]
    _attend(flat, node, mask, None if slopes is None else flat.value(slopes))


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
    slopes = None
    if mask.slopes is not None:
        slopes = flat.graph.add_constant(mask.slopes, mask.slopes_type, "alibi_slopes")
    _attend(flat, node, mask, slopes)


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
    node.attrs["softcap"] = None
    node.attrs["scale"] = float(str(head_dim)) ** -0.5 if scale is None else float(str(scale))
    slopes = None
    if mask.slopes is not None:
        slopes = flat.graph.add_constant(mask.slopes, mask.slopes_type, "alibi_slopes")
    _attend(flat, node, mask, slopes)


def _operand_mask(flat: Flat, value: Value) -> Mask:
    if not flat.statics.is_static(value):
        raise ValueError("the attention mask depends on the tokens or differs between calls")
    origin = flat.statics.origin(value)
    if origin.producer is not None and origin.producer.op == "trace.mask":
        return declared(origin.producer)
    if not mask_nodes(flat.statics, value):
        raise ValueError("the attention mask is computed by the modelling code itself")
    return describe(flat.statics, [Bias(value)])


def call(flat: Flat, node: Node) -> None:
    """A call of a layer: static arguments are dropped here and added back by the rules."""
    operands = [flat.value(v) for v in node.inputs if not flat.statics.is_static(v)]
    types = [flat_type(v.type) for v in node.results]
    names = [v.name for v in node.results]
    made = flat.graph.make(node.op, operands, node.attrs, types, names, node.loc)
    for old, new in zip(node.results, made.results, strict=True):
        flat.bind(old, new)


_ELEMENTWISE = (
    "abs add clamp clamp_max clamp_min cos div elu erf exp gelu hardswish leaky_relu log maximum "
    "minimum mish mul neg pow reciprocal relu relu6 rsqrt rsub selu sigmoid silu sin softplus sqrt "
    "square sub tanh where"
)
HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_ELEMENTWISE.split(), elementwise),
    **dict.fromkeys(
        "alias clone contiguous detach dropout lift_fresh_copy to type_as _to_copy".split(),
        passthrough,
    ),
    **dict.fromkeys("mean sum amax".split(), reduction),
    **dict.fromkeys("view reshape _unsafe_view flatten unflatten unsqueeze squeeze".split(), view),
    **dict.fromkeys("permute transpose t numpy_T".split(), permute),
    **dict.fromkeys("split split_with_sizes chunk".split(), split),
    "addmm": addmm,
    "cat": cat,
    "embedding": embedding,
    "expand": expand,
    "func.call": call,
    "index": index,
    "index_select": index_select,
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "raise.attention": found_attention,
    "repeat_interleave": repeat_interleave,
    "rms_norm": rms_norm,
    "scaled_dot_product_attention": fused_attention,
    "select": select,
    "slice": slice_,
    "stack": stack,
    "trace.attention": traced_attention,
    "unbind": unbind,
}
