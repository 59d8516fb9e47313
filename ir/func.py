"""The one structural operation: calling another graph of the module."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ir.graph import Module, Node
from ir.op import Attribute, Env, Op, Operand, Tensors
from ir.types import TensorType


class Call(Op):
    """Runs the graph ``callee``; its weights are read under the module path ``scope``.

    Layers that are the same are one graph called several times, each time with another scope.
    """

    name = "func.call"
    args = Operand("The callee's inputs, in order.", variadic=True)
    callee = Attribute(str, doc="Name of the called graph.")
    scope = Attribute(str, doc="Module path that prefixes the callee's weight names.")
    results = ()

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        raise TypeError("func.call takes its result types from the callee: pass types=")

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        if env.call is None:
            raise TypeError("func.call needs an interpreter")
        return env.call(node, [t for t in inputs if t is not None])


def check_call(module: Module, node: Node) -> list[str]:
    """Whether a call agrees with its callee in number and type of inputs and outputs."""
    callee = module.functions.get(str(node.attrs["callee"]))
    if callee is None:
        return [f"func.call: no graph @{node.attrs['callee']} ({node.loc})"]
    problems: list[str] = []
    for kind, got, wanted in (
        ("input", node.inputs, callee.inputs),
        ("output", node.results, callee.outputs),
    ):
        if [v.type for v in got] != [v.type for v in wanted]:
            problems.append(
                f"func.call: {kind}s of @{callee.name} are "
                f"({', '.join(str(v.type) for v in wanted)}), the call has "
                f"({', '.join(str(v.type) for v in got)}) ({node.loc})"
            )
    return problems
