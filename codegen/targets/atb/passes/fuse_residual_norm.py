"""Joins a residual addition and the RMSNorm behind it into one operation."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.ops import Elewise, PreRmsNorm, RmsNorm
from ir.graph import Attr, Graph, Location, Module, Node, Value
from ir.passes.base import Pass, PassResult

#: Key in a module's facts.
RESIDUAL_SUMS = "residual_sums"


@dataclass(frozen=True)
class FuseResidualNorm(Pass):
    """``sum = x + residual; y = rms_norm(sum)`` becomes ``y, sum = pre_rms_norm(x, residual)``.

    ``RmsNorm`` with ``RMS_NORM_PRENORM`` reads both summands once and writes the sum and its norm.
    It has no Gemma variant (weight stored minus one), so those norms stay as they are.

    A node comes from one place of the model; ``meta["residual_sums"]`` keeps where the additions
    came from: graph, name of the sum, module path, source line.
    """

    name = "fuse-residual-norm"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts joined pairs."""
        places = [
            (graph.name, *place)
            for graph in module
            if graph.name not in module.entries
            for place in _fuse(graph)
        ]
        if places:
            module.meta[RESIDUAL_SUMS] = (*_sums(module), *places)
        return PassResult(modified=bool(places), matches=len(places))


def residual_sums(module: Module) -> dict[tuple[str, str], Location]:
    """Where the additions came from that are part of a norm now, by graph and name of the sum."""
    return {
        (str(graph), str(name)): Location(str(path), str(source))
        for graph, name, path, source in _sums(module)
    }


def _sums(module: Module) -> tuple[tuple[Attr, ...], ...]:
    kept = module.meta.get(RESIDUAL_SUMS, ())
    return (
        tuple(item for item in kept if isinstance(item, tuple)) if isinstance(kept, tuple) else ()
    )


def _fuse(graph: Graph) -> list[tuple[str, str, str]]:
    """Joins all pairs of a graph; returns name of the sum, module path and source of each."""
    places: list[tuple[str, str, str]] = []
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
        places.append((total.name, addition.loc.module, addition.loc.source))
    return places


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
