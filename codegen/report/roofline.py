"""Times that no chip can beat: the longer of computing at the peak and moving at the peak."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.report.costs import Cost, cost_of
from codegen.report.devices import Device
from codegen.report.engines import AICORE, Engine, engine_of
from codegen.report.lowered import Layer, layers_of, op_type, public_nodes
from codegen.report.scenario import Scenario
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.module import AtbModule


@dataclass(frozen=True)
class Row:
    """One operation of one kind of layer.

    Attributes:
        layer: What the layer is called.
        name: Name of the operation in the emitted code.
        op_type: Its registry name.
        engine: Where it runs.
        count: How often a step runs it.
        cost: What one run costs.
        module: Module path, of the first layer.
        source: Line of the modelling code.
    """

    layer: str
    name: str
    op_type: str
    engine: Engine
    count: int
    cost: Cost
    module: str
    source: str

    @property
    def intensity(self) -> float:
        """Floating point operations for each byte moved."""
        return self.cost.flops / self.cost.bytes if self.cost.bytes else 0.0


def rows(atb: AtbModule, phase: str, scenario: Scenario) -> list[Row]:
    """The operations of a step, layer kind by layer kind, without views: they cost nothing."""
    return [row for layer in layers_of(atb, phase) for row in _of_layer(layer, phase, scenario)]


def _of_layer(layer: Layer, phase: str, scenario: Scenario) -> list[Row]:
    names = operation_names(layer.graph)
    sizes = scenario.sizes(phase)
    return [
        Row(
            layer.label,
            names[node],
            op_type(node),
            engine_of(op_type(node)),
            layer.count,
            cost_of(node, sizes, scenario.context),
            node.loc.module,
            node.loc.source,
        )
        for node in public_nodes(layer.graph)
    ]


def seconds(cost: Cost, engine: Engine, device: Device) -> float:
    """Time of one run on a device, at its peaks."""
    return max(compute_seconds(cost, engine, device), cost.bytes / device.bandwidth)


def compute_seconds(cost: Cost, engine: Engine, device: Device) -> float:
    """Time for the arithmetic alone; that of the vector unit is taken as hidden, see `devices`."""
    return cost.flops / device.flops if engine == AICORE else 0.0


def bound(cost: Cost, engine: Engine, device: Device) -> str:
    """What limits an operation: ``compute`` or ``memory``."""
    busy = compute_seconds(cost, engine, device)
    return "compute" if busy > cost.bytes / device.bandwidth else "memory"


def total_seconds(table: list[Row], device: Device) -> float:
    """Time of a whole step."""
    return sum(seconds(row.cost, row.engine, device) * row.count for row in table)


def total_cost(table: list[Row]) -> Cost:
    """Cost of a whole step."""
    return sum((row.cost * row.count for row in table), Cost())
