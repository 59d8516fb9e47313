"""Traced nodes that compute nothing: checks, conversions to the same type, full slices."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from codegen.frontend.convert import PLACEMENT

#: Higher-order operators that only run a region under another mode.
TRANSPARENT_REGIONS = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast"})

_CHECKS = frozenset({
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
    "sym_constrain_range_for_size",
})  # fmt: skip
_SAME_VALUES = frozenset({
    "alias", "clone", "contiguous", "detach", "lift_fresh", "lift_fresh_copy",
})  # fmt: skip
_CONVERSIONS = frozenset({"to", "_to_copy", "type_as"})
_RESHAPES = frozenset({"_unsafe_view", "expand", "expand_as", "reshape", "view", "view_as"})


def has_tensors(node: fx.Node) -> bool:
    """Whether a node's result holds tensors, not only sizes."""
    made = node.meta.get("val")
    parts = made if isinstance(made, (list, tuple)) else [made]
    return any(isinstance(part, torch.Tensor) for part in parts)


def is_check(node: fx.Node) -> bool:
    """Whether a node only asserts something."""
    return _name(node) in _CHECKS


def passed_through(node: fx.Node) -> fx.Node | None:
    """The operand whose values, shape and element type the result has; None if it computes."""
    name, args = _name(node), full_args(node)
    source = args[0] if args and isinstance(args[0], fx.Node) else None
    if source is None or not isinstance(source.meta.get("val"), torch.Tensor):
        return None
    before, after = source.meta["val"], node.meta["val"]
    if not isinstance(after, torch.Tensor):
        return None
    if name in _SAME_VALUES or (name == "dropout" and (args[2] is False or args[1] == 0)):
        return source
    if name in _CONVERSIONS and before.dtype == after.dtype:
        return source
    same_shape = _sizes(before) == _sizes(after)
    if same_shape and (name in _RESHAPES or (name == "slice" and args[4] == 1)):
        return source
    return None


def plain_call(node: fx.Node) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Name and arguments of an ATen call, without what only says where tensors are stored.

    Every conversion becomes ``aten.to.dtype`` and every view ``aten.reshape.default``: strides are
    nothing the graph knows.
    """
    target: Any = node.target
    if _name(node) in ("view", "_unsafe_view") and target._overloadname == "default":
        return "aten.reshape.default", node.args, {}
    if _name(node) in _CONVERSIONS:
        return "aten.to.dtype", (node.args[0], node.meta["val"].dtype), {}
    kwargs = {key: value for key, value in node.kwargs.items() if key not in PLACEMENT}
    return str(target), node.args, kwargs


def full_args(node: fx.Node) -> tuple[Any, ...]:
    """All arguments in schema order, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False))
    given.update(node.kwargs)
    return tuple(given.get(argument.name, argument.default_value) for argument in schema)


def _sizes(tensor: torch.Tensor) -> tuple[str, ...]:
    return tuple(map(str, tensor.shape))


def _name(node: fx.Node) -> str:
    target = node.target
    return target._opname if isinstance(target, torch._ops.OpOverload) else ""
