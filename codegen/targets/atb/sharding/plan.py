"""Divides all graphs of a module, so that prefill and decode agree."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.emit_python_stages import CACHE
from codegen.targets.atb.host_inputs import CacheMask, SequenceMask
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding.layout import Layout, Unit
from codegen.targets.atb.sharding.solve import GraphShards, solve
from ir.graph import Graph, Node, Value
from ir.recipe import Recipe


@dataclass(frozen=True)
class ShardPlan:
    """Layouts of a module.

    Attributes:
        graphs: Layouts in every callee, by graph name.
        inputs: Layouts of the entries' inputs, by name; those that are divided.
        notes: What is left whole, and why.
    """

    graphs: dict[str, GraphShards]
    inputs: dict[str, Layout]
    notes: tuple[str, ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """Everything that the ranks divide among themselves."""
        layouts = [
            layout
            for shards in self.graphs.values()
            for layout in (*shards.layouts.values(), *shards.cuts.values())
        ]
        return tuple(dict.fromkeys(unit for layout in layouts for unit in layout.units))

    def divides_among(self, world_size: int) -> bool:
        """Whether so many ranks can share the work."""
        try:
            for unit in self.units:
                unit.per_rank(world_size)
        except ValueError:
            return False
        return True


def shard(module: AtbModule) -> ShardPlan:
    """Divides a module among ranks.

    Args:
        module: Graphs of ATB operations with the entries ``prefill`` and ``decode``.

    Raises:
        CodegenError: Prefill and decode would want different parts of a weight or cache.
    """
    masks = {
        name
        for feed in module.feeds
        for name in feed.names
        if isinstance(feed.source, (SequenceMask, CacheMask)) and feed.source.slopes is not None
    }
    graphs: dict[str, GraphShards] = {}
    inputs: dict[str, Layout | None] = {}
    for name in module.entries:
        entry = module.functions[name]
        for call in entry.nodes:
            callee = module.callee(call)
            if callee.name not in graphs:
                divisible = [
                    value
                    for value, passed in zip(callee.inputs, call.inputs, strict=True)
                    if passed.name in masks or CACHE.fullmatch(passed.name)
                ]
                graphs[callee.name] = solve(callee, divisible, call is entry.nodes[-1])
            _record(inputs, graphs[callee.name], callee, call)
    _check_weights(module, graphs)
    notes = [note for shards in graphs.values() for note in shards.notes]
    divided = {name: layout for name, layout in inputs.items() if layout is not None}
    return ShardPlan(graphs, divided, tuple(dict.fromkeys(notes)))


def _record(
    inputs: dict[str, Layout | None], shards: GraphShards, callee: Graph, call: Node
) -> None:
    for value, passed in zip(callee.inputs, call.inputs, strict=True):
        layout = shards.read(value)
        if inputs.setdefault(passed.name, layout) != layout:
            raise CodegenError(f"ranks would need different parts of {passed.name}")


def _check_weights(module: AtbModule, graphs: dict[str, GraphShards]) -> None:
    """The same weight of a layer has the same layout in both phases."""
    prefill, decode = (module.functions[name] for name in module.entries)
    for first, second in zip(prefill.nodes, decode.nodes, strict=True):
        both = [_weights(module, graphs, call) for call in (first, second)]
        for recipe in both[0].keys() & both[1].keys():
            if both[0][recipe] != both[1][recipe]:
                raise CodegenError(f"prefill and decode divide {recipe.hint} differently")


def _weights(
    module: AtbModule, graphs: dict[str, GraphShards], call: Node
) -> dict[Recipe, Layout | None]:
    callee = module.callee(call)
    values: list[Value] = callee.parameters
    shards = graphs[callee.name]
    return {value.recipe: shards.read(value) for value in values if value.recipe is not None}
