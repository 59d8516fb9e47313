"""``<class>.json``: the module tree with its inputs, repeated layers written once.

Each module is ``{"name", "kind", "inputs", "weights", "children"}``, the last two only where there
are any. ``inputs`` are the modules (or model inputs) whose results it reads, in order of first
use; null where the model could not be traced. A list of layers becomes one entry for each kind of
layer: ``{"name", "kind": "Layers", "repeat_count", "indices", "repeat_block"}``, the block being
the first layer of its kind with the inputs that this one has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from codegen.report.operation import Operation
from codegen.report.skeleton import Part

#: Name, shape and element type of a model input.
Input = tuple[str, tuple[int | str, ...], str]


def tree_text(root: Part, inputs: Sequence[Input], operations: Sequence[Operation] | None) -> str:
    """The file's text.

    Args:
        root: The model.
        inputs: What the model takes.
        operations: Its traced operations; None where there is no trace.
    """
    made = {
        "name": root.kind,
        "inputs": [{"name": n, "shape": list(s), "dtype": d} for n, s, d in inputs],
        **({"weights": _weights(root)} if root.weights else {}),
        "children": children(root, operations),
    }
    return json.dumps(made, indent=2) + "\n"


def children(part: Part, operations: Sequence[Operation] | None) -> list[dict[str, Any]]:
    """The modules in a module, as in the file."""
    reads = None if operations is None else inputs_of_modules(operations)
    layers = {} if operations is None else layer_kinds(operations)
    return _children(part, reads, layers)


def _children(
    part: Part, reads: Mapping[str, tuple[str, ...]] | None, layers: Mapping[str, str]
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for child in part.parts:
        if child.is_list and child.parts:
            made += _layers(child, reads, layers)
        else:
            made.append(_module(child, reads, layers))
    return made


def _module(
    part: Part, reads: Mapping[str, tuple[str, ...]] | None, layers: Mapping[str, str]
) -> dict[str, Any]:
    known = None if reads is None else list(reads.get(part.path, ()))
    made: dict[str, Any] = {"name": part.name, "kind": part.kind, "inputs": known}
    if part.weights:
        made["weights"] = _weights(part)
    if part.parts:
        made["children"] = _children(part, reads, layers)
    return made


def _layers(
    part: Part, reads: Mapping[str, tuple[str, ...]] | None, layers: Mapping[str, str]
) -> list[dict[str, Any]]:
    kinds: dict[object, list[int]] = {}
    for index, member in enumerate(part.parts):
        key = (layers.get(member.path, ""), member.shape)
        kinds.setdefault(key, []).append(index)
    return [
        {
            "name": part.name,
            "kind": "Layers",
            "repeat_count": len(indices),
            "indices": indices,
            "repeat_block": _module(part.parts[indices[0]], reads, layers),
        }
        for indices in kinds.values()
    ]


def _weights(part: Part) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in part.weights.items()}


def layer_kinds(operations: Sequence[Operation]) -> dict[str, str]:
    """The layer that was traced for each layer, by path, where several were traced as one."""
    found: dict[str, str] = {}
    for operation in operations:
        for path, traced in _ancestors(operation):
            found.setdefault(path, traced)
    return found


def _ancestors(operation: Operation) -> list[tuple[str, str]]:
    own, traced = operation.module.split("."), operation.origin.split(".")
    if len(own) != len(traced):
        return []
    return [(".".join(own[:i]), ".".join(traced[:i])) for i in range(1, len(own) + 1)]


def inputs_of_modules(operations: Sequence[Operation]) -> dict[str, tuple[str, ...]]:
    """What each module reads from outside itself: modules, or inputs of the model."""
    owner = {operation.name: operation.module for operation in operations}
    found: dict[str, dict[str, None]] = {}
    for operation in operations:
        for read in operation.reads:
            source = owner.get(read)
            parts = operation.module.split(".")
            for depth in range(1, len(parts) + 1):
                path = ".".join(parts[:depth])
                if source is not None and (source == path or source.startswith(f"{path}.")):
                    continue
                found.setdefault(path, {})[read if source is None else source or read] = None
    return {path: tuple(names) for path, names in found.items()}
