"""Runs any graph with torch, through the operations' own reference evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ir.errors import InterpretError
from ir.graph import Graph, Module, Node, Value
from ir.op import Env, Tensors, lookup

#: ``(scope, node, results)``, called after every node; used to compare and to calibrate.
Watch = Callable[[str, Node, Tensors], None]


def interpret(
    module: Module,
    inputs: Mapping[str, torch.Tensor],
    weights: Callable[[str], torch.Tensor] | Mapping[str, torch.Tensor],
    entry: str = "main",
    watch: Watch | None = None,
) -> dict[str, torch.Tensor]:
    """Evaluates an entry graph.

    Args:
        module: The module that holds it.
        inputs: One tensor per input name. Cache inputs are written in place.
        weights: Checkpoint tensors by full name.
        entry: Which graph to run.
        watch: Called after every node with its results.

    Returns:
        The outputs by value name.

    Raises:
        InterpretError: An input or weight is missing, or an operation failed (with its location).
    """
    graph = module.functions[entry]
    missing = [v.name for v in graph.inputs if v.name not in inputs]
    if missing:
        raise InterpretError(f"@{entry}: no value for input {', '.join(missing)}")
    read = weights.__getitem__ if isinstance(weights, Mapping) else weights
    outputs = _run(module, graph, [inputs[v.name] for v in graph.inputs], read, "", watch)
    return {v.name: t for v, t in zip(graph.outputs, outputs, strict=True)}


def _bind_sizes(graph: Graph, inputs: Tensors) -> dict[str, int]:
    """The number of every size name, read off the inputs; a contradiction is an error."""
    sizes: dict[str, int] = {}
    for value, tensor in zip(graph.inputs, inputs, strict=True):
        if tensor.dim() != value.type.rank:
            raise InterpretError(
                f"@{graph.name}: input {value.name} is {value.type}, "
                f"got shape {tuple(tensor.shape)}"
            )
        for dim, size in zip(value.type.shape, tensor.shape, strict=True):
            if isinstance(dim, int):
                wanted = dim
            elif dim.const == 0 and len(dim.terms) == 1 and dim.terms[0][1] == 1:
                wanted = sizes.setdefault(dim.terms[0][0], size)
            else:
                continue
            if wanted != size:
                raise InterpretError(
                    f"@{graph.name}: input {value.name} is {value.type}, "
                    f"got shape {tuple(tensor.shape)} with {sizes}"
                )
    return sizes


def _run(
    module: Module,
    graph: Graph,
    inputs: Tensors,
    read: Callable[[str], torch.Tensor],
    scope: str,
    watch: Watch | None,
) -> Tensors:
    env: dict[Value, torch.Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    for value in graph.parameters:
        assert value.recipe is not None
        try:
            env[value] = value.recipe.scoped(scope).evaluate(read)
        except KeyError as error:
            raise InterpretError(f"@{graph.name}: no weight {error.args[0]}") from None
    for value in graph.constants:
        assert value.data is not None
        env[value] = value.data

    def call(node: Node, arguments: Tensors) -> Tensors:
        inner = ".".join(part for part in (scope, str(node.attrs["scope"])) if part)
        return _run(module, module.callee(node), arguments, read, inner, watch)

    context = Env(call=call, sizes=_bind_sizes(graph, inputs))
    last_use = {v: node for node in graph.nodes for v in node.inputs}
    keep = set(graph.outputs)
    for node in graph.nodes:
        arguments = [None if v is None else env[v] for v in node.operands]
        try:
            results = lookup(node.op).evaluate(node, arguments, context)
        except InterpretError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            raise InterpretError(
                f"@{graph.name}: {node.op} failed: {error} ({node.loc})"
            ) from error
        if watch is not None:
            watch(scope, node, results)
        env.update(zip(node.results, results, strict=True))
        for value in node.inputs:
            if last_use[value] is node and value not in keep:
                env.pop(value, None)
    return [env[v] for v in graph.outputs]
