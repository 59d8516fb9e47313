"""Structural comparison of layers: two layers with equal signatures compute the same function."""

from __future__ import annotations

import functools
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

Signature = tuple[Any, ...]

#: Bookkeeping of ``nn.Module`` that says nothing about what it computes, or is compared apart.
_MODULE_STATE = frozenset(vars(nn.Module())) | {"_parameters", "_buffers", "_modules"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def index_attributes(stack: nn.ModuleList) -> frozenset[tuple[str, str]]:
    """Attributes that hold, in every layer of a stack, the layer's position in it.

    Returns:
        ``(path of the submodule in the layer, attribute)``. Empty for a single layer.
    """
    if len(stack) < 2:
        return frozenset()
    found = [
        {
            (path, name)
            for path, module in layer.named_modules()
            for name, value in vars(module).items()
            if type(value) is int and value == index
        }
        for index, layer in enumerate(stack)
    ]
    return frozenset(set.intersection(*found))


def signature(layer: nn.Module, ignored: frozenset[tuple[str, str]] = frozenset()) -> Signature:
    """What decides a layer's computation, weights' values apart.

    That is, for the layer and everything in it: class and code, shapes and types of parameters,
    which of them are one tensor, contents of buffers, and every other attribute. An attribute that
    cannot be compared by value is compared by identity, so that doubt means "different".

    Args:
        layer: The layer.
        ignored: ``(path, attribute)`` pairs to leave out.
    """
    first: dict[int, int] = {}
    modules = {id(module): path for path, module in layer.named_modules()}
    rows: list[Any] = []
    for path, module in layer.named_modules(remove_duplicate=False):
        weights = tuple(
            (name, *_tensor_kind(p), first.setdefault(id(p), len(first))) if p is not None else name
            for name, p in module._parameters.items()
        )
        buffers = tuple(
            (name, name in module._non_persistent_buffers_set, _content(b))
            for name, b in module._buffers.items()
        )
        attributes = tuple(
            (name, _value(value, modules))
            for name, value in sorted(vars(module).items())
            if name not in _MODULE_STATE and (path, name) not in ignored
        )
        hooks = tuple(
            tuple(map(id, vars(module)[name].values()))
            for name in ("_forward_hooks", "_forward_pre_hooks")
        )
        rows.append((path, type(module), weights, buffers, attributes, hooks, module.training))
    return tuple(rows)


def _tensor_kind(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype


def _content(tensor: Tensor | None) -> Any:
    if tensor is None or tensor.device.type == "meta":
        return None if tensor is None else _tensor_kind(tensor)
    flat = tensor.detach().contiguous().flatten()
    raw = flat.view(torch.uint8) if flat.numel() else flat
    return (*_tensor_kind(tensor), bytes(raw.numpy()))


def _value(value: Any, modules: dict[int, str]) -> Any:
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, FakeTensor):
        return id(value)  # an activation that an earlier attempt to trace left behind
    if isinstance(value, Tensor):
        return _content(value)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_value(item, modules) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_value(item, modules) for item in value)
    if type(value) is dict:
        return dict, tuple((_value(k, modules), _value(v, modules)) for k, v in value.items())
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return functools.partial, tuple(_value(part, modules) for part in parts)
    return _callable(value, modules)


def _callable(value: Any, modules: dict[int, str]) -> Any:
    code = getattr(value, "__code__", None)
    if not isinstance(code, CodeType):
        return id(value)
    owner = getattr(value, "__self__", None)
    if owner is not None and id(owner) not in modules:
        return id(value)
    cells = getattr(value, "__closure__", None) or ()
    return (
        code,
        modules.get(id(owner)),
        tuple(id(cell.cell_contents) for cell in cells),
        _value(getattr(value, "__defaults__", None), modules),
        _value(getattr(value, "__kwdefaults__", None), modules),
    )
