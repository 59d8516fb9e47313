"""The contract of the lowered module, as problems that name the model's own code."""

from __future__ import annotations

from codegen.errors import Problem
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import AtbOp, check_graph_limits
from ir.op import lookup
from ir.types import DType

_REMEDY = "the model's shape is outside what the operation accepts"


def contract_problems(module: AtbModule, element_type: DType | None = None) -> list[Problem]:
    """Everything in a lowered module that ATB would refuse.

    Args:
        module: The module.
        element_type: What float32 values are when the code runs; None if that is not decided.

    Returns:
        Problems with the place in the model that each operation comes from.
    """
    problems: list[Problem] = []
    for graph in module:
        if graph.name in module.entries:
            continue
        for node in graph.nodes:
            op = lookup(node.op)
            if not issubclass(op, AtbOp):
                reason = f"{node.op} inside @{graph.name}: a layer cannot call another"
                problems.append(Problem(node.loc.module, node.loc.source, reason))
                continue
            problems += [
                Problem(node.loc.module, node.loc.source, f"{node.op}: {problem}", _REMEDY)
                for problem in op.problems(node, float32_is=element_type)
            ]
        problems += [Problem("", "", line) for line in check_graph_limits(graph)]
    return problems
