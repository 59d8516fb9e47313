"""When two graphs are the same: keys that are equal exactly for equal graphs.

``graph_key`` ignores what the parts are called and where they come from; ``exact_key`` ignores
nothing. Both compare numbers by type and bits (``1``, ``1.0`` and ``True`` differ, ``0.0`` and
``-0.0`` differ, a NaN equals itself) and constants by their bytes. ``repr`` plays no part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from ir.graph import Graph, Module, Node, Value
from ir.recipe import Recipe
from ir.types import TensorType

#: Nested tuples of strings and integers: hashable, equal exactly for equal structure.
Key = tuple["str | int | Key", ...]


def plain_key(value: Any) -> Key:
    """Key of an attribute value, of a recipe or of a field of a recipe."""
    if isinstance(value, tuple):
        return ("tuple", *(plain_key(item) for item in value))
    if isinstance(value, Recipe):
        declared = fields(value)  # pyright: ignore[reportArgumentType]: every recipe is one
        parts = (plain_key(getattr(value, field.name)) for field in declared)
        return (type(value).__name__, *parts)
    if isinstance(value, float):
        return ("float", value.hex())
    if value is None or isinstance(value, (bool, int, str)):
        return (type(value).__name__, str(value))
    raise TypeError(f"{type(value).__name__} has no structural key")


def type_key(type: TensorType) -> Key:
    """Key of a tensor type."""
    return (type.dtype.value, *map(str, type.shape))


def data_key(data: torch.Tensor) -> Key:
    """Key of a tensor: element type, shape and a digest of its bytes."""
    raw = data.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return (str(data.dtype), *data.shape, hashlib.sha256(raw).hexdigest())


def graph_key(graph: Graph, callees: Mapping[str, Key] | None = None) -> Key:
    """Key of a graph's structure: types, operations in order, attributes, dataflow, weights.

    Args:
        graph: What to describe. The order of its parameters and constants does not count.
        callees: Keys that stand for the names of called graphs; others count by their name.
    """
    known: dict[Value, Key] = {v: ("input", i) for i, v in enumerate(graph.inputs)}
    for value in graph.parameters:
        known[value] = ("param", type_key(value.type), plain_key(value.recipe))
    for value in graph.constants:
        data = () if value.data is None else data_key(value.data)
        known[value] = ("const", type_key(value.type), data)
    steps: list[Key] = []
    for number, node in enumerate(graph.nodes):
        operands = tuple(("none",) if v is None else known[v] for v in node.operands)
        types = tuple(type_key(v.type) for v in node.results)
        steps.append((node.op, operands, _attrs_key(node, callees or {}), types))
        known |= {v: ("node", number, i) for i, v in enumerate(node.results)}
    inputs = tuple(type_key(v.type) for v in graph.inputs)
    return (inputs, tuple(steps), tuple(known[v] for v in graph.outputs))


def _attrs_key(node: Node, callees: Mapping[str, Key]) -> Key:
    pairs: list[Key] = []
    for key, value in sorted(node.attrs.items()):
        called = node.op == "func.call" and key == "callee"
        stands = callees.get(str(value)) if called else None
        pairs.append((key, stands if stands is not None else plain_key(value)))
    return tuple(pairs)


def same_structure(a: Module, b: Module) -> bool:
    """Whether two modules have the same entries, by name, and the same functions behind them.

    What functions are called does not count, nor how often one is repeated.
    """
    left, right = (_entry_keys(module) for module in (a, b))
    return left == right


def _entry_keys(module: Module) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for graph in module:
        # A digest instead of the key itself: keys of nested calls must not grow exponentially.
        digest = hashlib.sha256(json.dumps(graph_key(graph, keys)).encode()).hexdigest()
        keys[graph.name] = ("graph", digest)
    return {name: keys[name] for name in module.entries}


def exact_key(module: Module) -> Key:
    """Key of everything in a module: also names, locations, orders and facts about the model."""
    meta = tuple((key, plain_key(value)) for key, value in module.meta.items())
    graphs: list[Key] = []
    for graph in module:
        names = tuple(v.name for v in graph.values())
        listed = (
            tuple(plain_key(v.recipe) for v in graph.parameters),
            tuple(() if v.data is None else data_key(v.data) for v in graph.constants),
            tuple((n.loc.module, n.loc.source) for n in graph.nodes),
        )
        graphs.append((graph.name, names, listed, graph_key(graph)))
    return (module.entries, meta, tuple(graphs))
