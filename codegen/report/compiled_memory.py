"""Device memory of each rank of a compiled model, from the layouts that its code has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codegen.report.costs import HALF_BYTES
from codegen.report.memory import RankMemory
from codegen.targets.atb.emit_python_stages import cache_inputs
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import Layout, ShardPlan, shard
from ir.graph import Value
from ir.recipe import Recipe


def compiled_memory(atb: AtbModule, tokens: int, world_sizes: Sequence[int]) -> list[RankMemory]:
    """Memory of each rank, for the numbers of ranks that the work can be divided among.

    Args:
        atb: The lowered model.
        tokens: Tokens of a full context, of all sequences together.
        world_sizes: Numbers of ranks.

    Returns:
        Packed weights as each rank has them, a tensor that several stages read once; and the
        caches.
    """
    plan = shard(atb)
    made: list[RankMemory] = []
    for size in world_sizes:
        if plan.divides_among(size):
            per_token = _cache_bytes(atb, plan, size)
            made.append(
                RankMemory(size, _weight_bytes(atb, plan, size), per_token, per_token * tokens)
            )
    return made


def _weight_bytes(atb: AtbModule, plan: ShardPlan, world_size: int) -> int:
    held: dict[tuple[Recipe, int], int] = {}
    for entry in atb.entries:
        for call in atb.functions[entry].nodes:
            graph = atb.callee(call)
            for value in graph.parameters:
                if value.recipe is not None:
                    layout = plan.graphs[graph.name].read(value)
                    elements = _elements(value, layout, world_size)
                    recipe = value.recipe.scoped(str(call.attrs["scope"]))
                    held[recipe, elements] = elements * HALF_BYTES
    return sum(held.values())


def _elements(value: Value, layout: Layout | None, world_size: int) -> int:
    sizes = [int(str(dim)) for dim in value.type.shape]
    if layout is not None:
        sizes[layout.axis] = layout.per_rank(world_size)
    return math.prod(sizes)


def _cache_bytes(atb: AtbModule, plan: ShardPlan, world_size: int) -> int:
    """Bytes that a token takes in all caches of a rank."""
    rows = 0
    for value in cache_inputs(atb.functions[atb.entries[0]]):
        *_, heads, width = value.type.shape
        layout = plan.inputs.get(value.name)
        kept = int(str(heads)) if layout is None else layout.per_rank(world_size)
        rows += kept * int(str(width))
    return rows * HALF_BYTES
