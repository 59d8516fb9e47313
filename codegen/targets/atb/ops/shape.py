"""Looking up, cutting, joining and rearranging tensors, and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from codegen.targets.atb.ops.base import (
    FLOAT,
    HALF,
    INT8,
    INT32,
    AtbOp,
    Attrs,
    DTypes,
    Param,
    Soc,
    Tensor,
    axis_of,
    integer,
    integers,
    tensor_of,
    type_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import Dim, DType, TensorType, add_dims, parse_dim, scale_dim

MAX_RANK = 8
_INT64 = frozenset({DType.INT64})


class Gather(AtbOp):
    """``y = x[indices]`` along ``axis``: the embedding look-up with ``axis`` 0."""

    name = "atb.gather"
    op_type = "Gather"
    torch_atb = "GatherParam"
    x = Tensor("The table.", dtypes=FLOAT | INT32 | _INT64)
    indices = Tensor("Positions along ``axis``.", dtypes=INT32 | _INT64)
    axis = Param(int, 0, json="axis", torch_atb="axis")
    batch_dims = Param(int, 0, choices=(0,), json="batchDims", torch_atb="batch_dims")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, indices, axis = type_of(node, "x"), type_of(node, "indices"), _axis(node, "axis")
        return [x.with_shape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        if integer(node.attrs, "axis") < 0:
            return ["axis must not be negative"]
        rank = type_of(node, "x").rank + type_of(node, "indices").rank - 1
        return [f"the result has {rank} dimensions, limit {MAX_RANK}"] if rank > MAX_RANK else []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, indices = tensor_of(node, inputs, "x"), tensor_of(node, inputs, "indices").long()
        axis = _axis(node, "axis")
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < x.shape[axis]:
            raise ValueError(f"indices are not in 0..{x.shape[axis] - 1}")
        y = x.index_select(axis, indices.flatten()).unflatten(axis, tuple(indices.shape))
        return [_keep(y)]


class Split(AtbOp):
    """Two or three pieces along ``split_dim``: equal ones, or of ``split_sizes``.

    With ``split_sizes`` the axis must not be negative and their number is ``split_num``.
    """

    name = "atb.split"
    op_type = "Split"
    torch_atb = "SplitParam"
    x = Tensor("Any shape.")
    split_dim = Param(int, 0, json="splitDim", torch_atb="split_dim")
    split_num = Param(int, 2, choices=(2, 3), json="splitNum", torch_atb="split_num")
    split_sizes = Param(tuple, (), json="splitSizes", torch_atb="split_sizes")

    @classmethod
    def result_count(cls, attrs: Attrs) -> int:
        return integer(attrs, "split_num")

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        allowed = HALF | (_INT64 if attrs["split_num"] == 2 else frozenset())
        return allowed - {DType.BFLOAT16} if soc is Soc.I310P else allowed

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, axis, pieces = type_of(node, "x"), _axis(node, "split_dim"), _pieces(node)
        return [x.with_shape(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in pieces]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        sizes = integers(node.attrs, "split_sizes")
        found: list[str] = []
        if sizes and integer(node.attrs, "split_dim") < 0:
            found.append("with split_sizes split_dim must not be negative")
        if sizes and len(sizes) != integer(node.attrs, "split_num"):
            found.append(f"{len(sizes)} split_sizes, but split_num is {node.attrs['split_num']}")
        return found

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, axis = tensor_of(node, inputs, "x"), _axis(node, "split_dim")
        sizes = integers(node.attrs, "split_sizes")
        count = integer(node.attrs, "split_num")
        pieces = x.split(list(sizes) or x.shape[axis] // count, dim=axis)
        return [_keep(piece.contiguous()) for piece in pieces]


def _pieces(node: Node) -> tuple[int, ...]:
    x, axis = type_of(node, "x"), _axis(node, "split_dim")
    size, count = x.shape[axis], integer(node.attrs, "split_num")
    sizes = integers(node.attrs, "split_sizes")
    if not isinstance(size, int):
        raise ValueError(f"the size of dimension {axis} of {x} must be known")
    if sizes:
        if min(sizes) < 1 or sum(sizes) != size:
            raise ValueError(f"split_sizes {sizes} do not add up to dimension {axis} of {x}")
        return sizes
    if size % count:
        raise ValueError(f"dimension {axis} of {x} is not a multiple of {count}")
    return (size // count,) * count


class Concat(AtbOp):
    """Exactly two tensors joined along ``concat_dim``."""

    name = "atb.concat"
    op_type = "Concat"
    torch_atb = "ConcatParam"
    x = Tensor("Any shape.", dtypes=HALF)
    y = Tensor("As ``x``, but for ``concat_dim``.", dtypes=HALF, like="x")
    concat_dim = Param(int, 0, json="concatDim", torch_atb="concat_dim")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, y, axis = type_of(node, "x"), type_of(node, "y"), _axis(node, "concat_dim")
        rest = [t.shape[:axis] + t.shape[axis + 1 :] for t in (x, y)]
        if x.rank != y.rank or rest[0] != rest[1]:
            raise ValueError(f"{x} and {y} differ outside dimension {axis}")
        total = add_dims(x.shape[axis], y.shape[axis])
        return [x.with_shape(*x.shape[:axis], total, *x.shape[axis + 1 :])]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        parts = [wide(tensor_of(node, inputs, name)) for name in ("x", "y")]
        return [torch.cat(parts, dim=_axis(node, "concat_dim"))]


class Slice(AtbOp):
    """``size`` elements from ``offsets`` on, in every dimension; size -1 takes all that is left.

    Negative offsets count from the end.
    """

    name = "atb.slice"
    op_type = "Slice"
    torch_atb = "SliceParam"
    x = Tensor("Any shape.", dtypes=FLOAT | INT8 | INT32)
    offsets = Param(tuple, (), json="offsets", torch_atb="offsets")
    size = Param(tuple, (), json="size", torch_atb="size")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        offsets, sizes = integers(node.attrs, "offsets"), integers(node.attrs, "size")
        if not len(offsets) == len(sizes) == x.rank:
            raise ValueError(f"offsets {offsets} and size {sizes} do not have the rank of {x}")
        return [x.with_shape(*map(_sliced, x.shape, offsets, sizes))]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        y = tensor_of(node, inputs, "x")
        pairs = zip(integers(node.attrs, "offsets"), integers(node.attrs, "size"), strict=True)
        for axis, (offset, size) in enumerate(pairs):
            start = offset if offset >= 0 else y.shape[axis] + offset
            y = y.narrow(axis, start, y.shape[axis] - start if size == -1 else size)
        return [_keep(y.contiguous())]


def _sliced(dim: Dim, offset: int, size: int) -> Dim:
    if size < -1:
        raise ValueError(f"size {size} is below -1")
    if isinstance(dim, int):
        start = offset if offset >= 0 else dim + offset
        length = dim - start if size == -1 else size
        if start < 0 or length < 0 or start + length > dim:
            raise ValueError(f"{size} elements from {offset} exceed a dimension of {dim}")
        return length
    if size >= 0:
        return size
    return add_dims(dim, -offset) if offset >= 0 else -offset


class Transpose(AtbOp):
    """The dimensions in the order ``perm``."""

    name = "atb.transpose"
    op_type = "Transpose"
    torch_atb = "TransposeParam"
    x = Tensor("Any shape.", dtypes=HALF | INT8 | INT32 | _INT64)
    perm = Param(tuple, (), json="perm", torch_atb="perm")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, perm = type_of(node, "x"), integers(node.attrs, "perm")
        if sorted(perm) != list(range(x.rank)):
            raise ValueError(f"perm {perm} does not order the {x.rank} dimensions of {x}")
        return [x.with_shape(*(x.shape[i] for i in perm))]

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x = tensor_of(node, inputs, "x")
        return [_keep(x.permute(integers(node.attrs, "perm")).contiguous())]


class Softmax(AtbOp):
    """Softmax over ``axes``, one or more in a row; -1 alone is the last dimension."""

    name = "atb.softmax"
    op_type = "Softmax"
    torch_atb = "SoftmaxParam"
    x = Tensor("Any shape.", dtypes=FLOAT)
    axes = Param(tuple, (), json="axes", torch_atb="axes")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        return [type_of(node, "x")]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        axes, rank = integers(node.attrs, "axes"), type_of(node, "x").rank
        if not axes or any(not -1 <= axis < rank for axis in axes):
            return [f"axes {axes} are empty or not in -1..{rank - 1}"]
        if any(b != a + 1 or b == 0 for a, b in pairwise(axes)):
            return [f"axes {axes} do not follow one another"]
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, axes = wide(tensor_of(node, inputs, "x")), integers(node.attrs, "axes")
        e = (x - x.amax(axes, keepdim=True)).exp()
        return [e / e.sum(axes, keepdim=True)]


class Repeat(AtbOp):
    """The tensor repeated ``multiples[i]`` times along dimension ``i``; not in ``torch_atb``."""

    name = "atb.repeat"
    op_type = "Repeat"
    x = Tensor("At most as many dimensions as ``multiples``.", dtypes=HALF)
    multiples = Param(tuple, (), json="multiples")

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x, multiples = type_of(node, "x"), integers(node.attrs, "multiples")
        if x.rank > len(multiples) or any(m < 1 for m in multiples):
            raise ValueError(f"multiples {multiples} do not fit {x}")
        shape = (1,) * (len(multiples) - x.rank) + x.shape
        return [x.with_shape(*map(scale_dim, shape, multiples))]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        x, multiples = type_of(node, "x"), integers(node.attrs, "multiples")
        repeated = sum(m > 1 and d != 1 for m, d in zip(multiples, x.shape, strict=False))
        if repeated + len(multiples) > MAX_RANK:
            return [f"repeated and all dimensions together exceed {MAX_RANK}"]
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        return [wide(tensor_of(node, inputs, "x")).repeat(integers(node.attrs, "multiples"))]


class Reshape(AtbOp):
    """Another view of a tensor: ``add_reshape`` / ``reshape`` of the graph builders, no kernel.

    ``shape`` has one entry for each new dimension: a number is that size, a tuple of dimension
    numbers of ``x`` is the product of those sizes, and one entry may be -1, which takes what is
    left. ``((0,), 32, 128)`` cuts heads out of ``[tokens, 4096]``, ``((0,), (1, 2))`` joins them
    again, ``(-1, 128)`` makes heads rows.

    A view is only read by operations: it cannot be an output. The builders shape a view of a view
    from the tensor behind both, which printers have to take into account.
    """

    name = "atb.reshape"
    x = Tensor("Any shape.", dtypes=frozenset(DType))
    shape = Param(tuple)

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        shape = _resolve(entries(node), x)
        if _volume(shape) != _volume(x.shape):
            raise ValueError(f"{x} has no view [{', '.join(map(str, shape))}]")
        return [x.with_shape(*shape)]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        return [f"more than {MAX_RANK} dimensions"] if len(entries(node)) > MAX_RANK else []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x = tensor_of(node, inputs, "x")
        sizes = tuple(x.shape)
        shape = [
            item if isinstance(item, int) else math.prod(sizes[i] for i in item)
            for item in entries(node)
        ]
        return [x.reshape(shape)]


def entries(node: Node) -> tuple[int | tuple[int, ...], ...]:
    """The ``shape`` attribute of a reshape, checked: ``ValueError`` if an entry is malformed."""
    value, rank = node.attrs["shape"], type_of(node, "x").rank
    made: list[int | tuple[int, ...]] = []
    for item in value if isinstance(value, tuple) else (value,):
        if type(item) is int and (item > 0 or item == -1):
            made.append(item)
        elif (
            isinstance(item, tuple) and item and all(type(i) is int and 0 <= i < rank for i in item)
        ):
            made.append(tuple(int(str(i)) for i in item))
        else:
            raise ValueError(
                f"{item!r} is neither a size nor dimensions of a tensor of rank {rank}"
            )
    if made.count(-1) > 1:
        raise ValueError("only one dimension can take what is left")
    return tuple(made)


def _resolve(items: tuple[int | tuple[int, ...], ...], x: TensorType) -> tuple[Dim, ...]:
    shape = [1 if item == -1 else _entry(item, x) for item in items]
    if -1 in items:
        (total, names), (known, used) = _volume(x.shape), _volume(tuple(shape))
        left = list(names)
        for name in used:
            if name in left:  # otherwise the volumes differ, which the caller reports
                left.remove(name)
        if total % known or len(left) > 1:
            raise ValueError(f"{x} cannot be cut into [{', '.join(map(str, shape))}] and a rest")
        rest = total // known
        shape[items.index(-1)] = scale_dim(parse_dim(left[0]), rest) if left else rest
    return tuple(shape)


def _entry(item: int | tuple[int, ...], x: TensorType) -> Dim:
    if isinstance(item, int):
        return item
    fixed = math.prod(d for i in item if isinstance(d := x.shape[i], int))
    unknown = [d for i in item if not isinstance(d := x.shape[i], int)]
    if len(unknown) > 1:
        raise ValueError(f"the product of {unknown[0]} and {unknown[1]} is not a linear size")
    return scale_dim(unknown[0], fixed) if unknown else fixed


def _volume(shape: tuple[Dim, ...]) -> tuple[int, tuple[str, ...]]:
    """Number of elements: the known factor, and the unknown ones."""
    factor, names = 1, list[str]()
    for dim in shape:
        if isinstance(dim, int):
            factor *= dim
            continue
        common = math.gcd(dim.const, *(coef for _, coef in dim.terms))
        factor *= common
        terms = tuple((name, coef // common) for name, coef in dim.terms)
        names.append(str(type(dim)(terms, dim.const // common)))
    return factor, tuple(sorted(names))


def _axis(node: Node, name: str) -> int:
    return axis_of(integer(node.attrs, name), type_of(node, "x").rank)


def _keep(tensor: torch.Tensor) -> torch.Tensor:
    """Moved data: floats in float32 like every result, integers as they are."""
    return wide(tensor) if tensor.is_floating_point() else tensor
