"""Parts of a flat graph that lie between a value and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ir.graph import Graph, Node, Value
from ir.op import Env, lookup


def chain(end: Node, keeps: Callable[[Node], bool], stop: Value | None = None) -> set[Node]:
    """The nodes that lead to ``end`` (itself included) through nodes that ``keeps`` accepts.

    Args:
        end: Last node of the chain.
        keeps: Whether a node may be part of it.
        stop: A value that is not looked behind.
    """
    found: set[Node] = set()
    stack = [end]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            before = [v.producer for v in node.inputs if v is not stop and v.producer is not None]
            stack += [producer for producer in before if keeps(producer)]
    return found


def leaves(nodes: set[Node], stop: Value | None = None) -> list[Value]:
    """What a chain reads from outside, each value once; ``stop`` counts as outside."""
    read = (value for node in nodes for value in node.inputs)
    return list(dict.fromkeys(v for v in read if v is stop or v.producer not in nodes))


def run_chain(
    graph: Graph, nodes: set[Node], given: Mapping[Value, torch.Tensor], end: Value, tokens: int
) -> torch.Tensor:
    """Evaluates a chain.

    Args:
        graph: The graph that the nodes are part of.
        nodes: The chain.
        given: Numbers of its leaves; constants need none.
        end: The value wanted.
        tokens: What the size ``tokens`` stands for.
    """
    env, context = dict(given), Env(sizes={"tokens": tokens})
    for node in graph.nodes:
        if node in nodes:
            inputs = [env.get(v, v.data) for v in node.inputs]
            results = lookup(node.op).evaluate(node, inputs, context)
            env.update(zip(node.results, results, strict=True))
    return env[end]
