"""Joins a residual addition and the RMSNorm behind it into one operation."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.ops import Elewise, PreRmsNorm, RmsNorm
from ir.graph import Graph, Module, Node, Value
from ir.passes.base import Pass, PassResult


@dataclass(frozen=True)
class FuseResidualNorm(Pass):
    """``sum = x + residual; y = rms_norm(sum)`` becomes ``y, sum = pre_rms_norm(x, residual)``.

    ``RmsNorm`` with ``RMS_NORM_PRENORM`` reads both summands once and writes the sum and its norm.
    It has no Gemma variant (weight stored minus one), so those norms stay as they are.
    """

    name = "fuse-residual-norm"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts joined pairs."""
        matches = sum(_fuse(graph) for graph in module if graph.name not in module.entries)
        return PassResult(modified=matches > 0, matches=matches)


def _fuse(graph: Graph) -> int:
    count = 0
    for norm in graph.find(RmsNorm.name):
        addition = _addition(graph, norm)
        if addition is None:
            continue
        residual, x = addition.operand(0), addition.operand(1)
        total, normed, gamma = addition.result, norm.result, norm.operand(1)
        fused = PreRmsNorm.build(
            graph,
            x,
            None,
            residual,
            gamma,
            epsilon=norm.attrs["epsilon"],
            loc=norm.loc,
            before=norm,
            named=[normed.name, total.name],
        )
        for old, new in zip((normed, total), fused.results, strict=True):
            graph.replace_uses(old, new)
        graph.erase(norm)
        graph.erase(addition)
        for value, name in zip(fused.results, (normed.name, total.name), strict=True):
            value.name = name
        count += 1
    return count


def _addition(graph: Graph, norm: Node) -> Node | None:
    """The residual addition that a norm can be joined with."""
    if norm.attrs["model_type"] != "LLAMA_MODEL" or norm.attrs["quant_type"] != "QUANT_UNQUANT":
        return None
    addition = norm.operand(0).producer
    if addition is None or addition.op != Elewise.name:
        return None
    if addition.attrs["elewise_type"] != "ELEWISE_ADD" or not _same_shapes(addition):
        return None
    # The sum comes into being where the norm stands: nobody may read it before.
    order = {node: position for position, node in enumerate(graph.nodes)}
    readers = [user for user in addition.result.users if user is not norm]
    return addition if all(order[user] > order[norm] for user in readers) else None


def _same_shapes(addition: Node) -> bool:
    operands: list[Value] = addition.inputs
    return all(value.type == addition.result.type for value in operands)
