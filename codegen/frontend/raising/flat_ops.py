"""Which handler gives the flat form of which traced operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from codegen.frontend.raising.canon import flat_type
from codegen.frontend.raising.flat_attention import (
    found_attention,
    fused_attention,
    traced_attention,
)
from codegen.frontend.raising.flat_elementwise import elementwise, passthrough, reduction
from codegen.frontend.raising.flat_products import (
    addmm,
    embedding,
    index_select,
    layer_norm,
    linear,
    matmul,
    rms_norm,
)
from codegen.frontend.raising.flat_views import (
    cat,
    expand,
    index,
    permute,
    repeat_interleave,
    select,
    slice_,
    split,
    stack,
    unbind,
    view,
)
from ir.graph import Node

if TYPE_CHECKING:
    from codegen.frontend.raising.flatten import Flat

Handler = Callable[["Flat", Node], None]


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
