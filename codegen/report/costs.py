"""What an ATB operation computes and moves, from its shapes.

Counted are:

- floating point operations. A product of ``[m, k]`` and ``[k, n]`` is ``2*m*n*k``, a bias ``m*n``
  more. Attention is ``4*heads*head_size`` for each pair of a query and a key it looks at (two
  products; the softmax is below 2 % of it at common head sizes and left out). A causal prefill
  that gets the compressed mask looks at ``S*(S+1)/2`` pairs of ``S`` tokens, with a full mask at
  all ``S*S``: the kernel computes what it will hide. Other operations count a fixed number for
  each element of their result, see ``_PER_ELEMENT``.
- bytes between device memory and the chip: every operand read once, every result written once,
  nothing kept from one operation to the next. Of a table only the rows that are taken, of the
  cache only the tokens that are seen or written.

Floating point tensors are two bytes an element (float16 or bfloat16), whatever the checkpoint is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from codegen.targets.atb.ops import AtbOp, PagedAttention, SelfAttention
from codegen.targets.atb.ops.attention import is_compressed
from ir.graph import Node, Value
from ir.op import lookup

#: Bytes of a floating point element on the device.
HALF_BYTES = 2

#: Floating point operations for each element of the result.
_PER_ELEMENT = {
    "Elewise": 1,
    "RmsNorm": 4,  # square, sum, times the root, times the weight
    "LayerNorm": 8,  # the same after mean and difference, and a bias
    "Rope": 3,  # two products and a sum
    "Activation": 5,  # exponential, sum, quotient, and a product or two
    "Softmax": 5,
}
_VIEWS = ""


@dataclass(frozen=True)
class Cost:
    """What one run of an operation costs.

    Attributes:
        flops: Floating point operations.
        weight_bytes: Bytes of weights read.
        cache_bytes: Bytes of the key-value cache read and written.
        activation_bytes: Bytes of all other tensors read and written.
    """

    flops: int = 0
    weight_bytes: int = 0
    cache_bytes: int = 0
    activation_bytes: int = 0

    @property
    def bytes(self) -> int:
        """All bytes moved."""
        return self.weight_bytes + self.cache_bytes + self.activation_bytes

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.weight_bytes + other.weight_bytes,
            self.cache_bytes + other.cache_bytes,
            self.activation_bytes + other.activation_bytes,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(
            self.flops * times,
            self.weight_bytes * times,
            self.cache_bytes * times,
            self.activation_bytes * times,
        )


Sizes = Mapping[str, int]


def cost_of(node: Node, sizes: Sizes, context: int = 0) -> Cost:
    """The cost of one run.

    Args:
        node: An ATB operation.
        sizes: What the symbolic sizes of its shapes stand for, see ``Scenario.sizes``.
        context: Tokens of the cache that each sequence of a decode step sees.
    """
    op = lookup(node.op)
    kind = op.op_type if issubclass(op, AtbOp) else _VIEWS
    if kind == _VIEWS:
        return Cost()
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(node, sizes, context)
    written = sum(_elements(v, sizes) for v in node.results)
    return Cost(_PER_ELEMENT.get(kind, 0) * written) + _moved(node, sizes)


def _elements(value: Value, sizes: Sizes) -> int:
    bound = (d if isinstance(d, int) else d.bind(dict(sizes)) for d in value.type.shape)
    return math.prod(bound)


def size_of(value: Value, sizes: Sizes) -> int:
    """Bytes of a tensor on the device."""
    dtype = value.type.dtype
    return _elements(value, sizes) * (HALF_BYTES if dtype.is_float else dtype.itemsize)


def _moved(node: Node, sizes: Sizes) -> Cost:
    weights = sum(size_of(v, sizes) for v in node.inputs if v.recipe is not None)
    read = sum(size_of(v, sizes) for v in dict.fromkeys(node.inputs) if v.recipe is None)
    written = sum(size_of(v, sizes) for v in node.results)
    return Cost(weight_bytes=weights, activation_bytes=read + written)


def _linear(node: Node, sizes: Sizes, context: int) -> Cost:
    x = node.operand(0).type.shape[-2 if node.attrs["transpose_a"] else -1]
    inner = x if isinstance(x, int) else x.bind(dict(sizes))
    made = _elements(node.result, sizes)
    bias = made if node.attrs["has_bias"] else 0
    return Cost(2 * made * inner + bias) + _moved(node, sizes)


def _gather(node: Node, sizes: Sizes, context: int) -> Cost:
    rows, indices = size_of(node.result, sizes), size_of(node.operand(1), sizes)
    if node.operand(0).recipe is not None:
        return Cost(weight_bytes=rows, activation_bytes=rows + indices)
    return Cost(activation_bytes=2 * rows + indices)


def _cache_write(node: Node, sizes: Sizes, context: int) -> Cost:
    new = sum(size_of(node.operand(i), sizes) for i in (0, 1))
    return Cost(cache_bytes=new, activation_bytes=new + size_of(node.operand(4), sizes))


def _prefill_attention(node: Node, sizes: Sizes, context: int) -> Cost:
    length = sizes["longest"]
    mask = node.operands[[t.name for t in SelfAttention.tensors()].index("mask")]
    compressed = mask is not None and is_compressed(node.attrs, mask.type.shape)
    pairs = length * (length + 1) // 2 if compressed else length * length
    heads, width = _heads(node, sizes)
    return Cost(2 * heads * width * pairs * sizes["batch"]) + _moved(node, sizes)


def _decode_attention(node: Node, sizes: Sizes, context: int) -> Cost:
    names = [t.name for t in PagedAttention.tensors()]
    caches = [node.operand(names.index(name)) for name in ("k_cache", "v_cache")]
    row = sum(math.prod(int(str(d)) for d in v.type.shape[2:]) for v in caches) * HALF_BYTES
    heads, width = _heads(node, sizes)
    others = [v for v in (*node.inputs, *node.results) if v not in caches]
    return Cost(
        2 * heads * width * context * sizes["batch"],
        cache_bytes=row * context * sizes["batch"],
        activation_bytes=sum(size_of(v, sizes) for v in others),
    )


def _heads(node: Node, sizes: Sizes) -> tuple[int, int]:
    """Query heads, and elements of a key and of a value together."""
    heads = int(str(node.attrs["head_num"]))
    tokens = sizes["tokens"] if node.op == SelfAttention.name else sizes["batch"]
    key = _elements(node.operand(0), sizes) // (tokens * heads)
    value = _elements(node.result, sizes) // (tokens * heads)
    return heads, key + value


_SPECIAL: dict[str, Callable[[Node, Sizes, int], Cost]] = {
    "Linear": _linear,
    "Gather": _gather,
    "ReshapeAndCache": _cache_write,
    "SelfAttention": _prefill_attention,
    "PagedAttention": _decode_attention,
}
