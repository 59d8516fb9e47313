"""The context of ``modeling_<type>.py`` and ``flash_causal_<type>.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.targets.atb.cpp.model import ModelContext
from codegen.targets.atb.cpp.repeats import repeats
from codegen.targets.atb.cpp.stage import Block
from codegen.targets.atb.cpp.weights import WeightsFunction, weights_function
from codegen.targets.atb.emit_python_inputs import Inputs, inputs_of
from codegen.targets.atb.emit_python_stages import cache_inputs
from codegen.targets.atb.emit_python_weights import WeightNames
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import ShardPlan


@dataclass(frozen=True)
class StageRun:
    """Stages that follow one another.

    Attributes:
        functions: The functions that make their weights, called in turn.
        scopes: Module paths of all of them; empty for a stage that is no layer.
        numbered: Path before the number where the paths are numbered on, else empty.
        first: First number.
    """

    functions: tuple[WeightsFunction, ...]
    scopes: tuple[str, ...]
    numbered: str
    first: int

    @property
    def stop(self) -> int:
        """The number behind the last one."""
        return self.first + len(self.scopes)


@dataclass(frozen=True)
class CacheRow:
    """What one token takes in the caches of consecutive layers.

    Attributes:
        layers: How many layers.
        heads: Key-value heads, all of them.
        divided: The heads are divided among the ranks.
        key: Size of a key head.
        value: Size of a value head.
    """

    layers: int
    heads: int
    divided: bool
    key: int
    value: int


@dataclass(frozen=True)
class DividedInput:
    """An input of which a rank has a part."""

    name: str
    dim: int
    count: int


@dataclass(frozen=True)
class PackageContext:
    """What the Python side is printed from, besides the model itself.

    Attributes:
        functions: Weights of each kind of stage.
        runs: All stages in order.
        caches: Rows of the key-value caches.
        shared_inputs: Inputs that are divided among the ranks.
        inputs: What is computed on the host in every step.
        notes: What is not divided, and why.
    """

    functions: tuple[WeightsFunction, ...]
    runs: tuple[StageRun, ...]
    caches: tuple[CacheRow, ...]
    shared_inputs: tuple[DividedInput, ...]
    inputs: Inputs
    notes: tuple[str, ...]

    @property
    def divides(self) -> bool:
        """Something is divided among the ranks."""
        weights = any(function.divides for function in self.functions)
        return weights or bool(self.shared_inputs) or any(row.divided for row in self.caches)


def package_context(
    module: AtbModule,
    plan: ShardPlan,
    stages: Sequence[tuple[Block, str]],
    model: ModelContext,
    names: WeightNames,
) -> PackageContext:
    """Reads the Python side off the stages."""
    made = {block: weights_function(block, names) for block, _ in stages}
    runs = tuple(_runs([(made[block], scope) for block, scope in stages]))
    return PackageContext(
        functions=tuple(made.values()),
        runs=runs,
        caches=tuple(_caches(module, plan)),
        shared_inputs=tuple(
            DividedInput(name, layout.axis, layout.units[0].count)
            for name, layout in sorted(plan.inputs.items())
            if name in model.input_names
        ),
        inputs=inputs_of(module),
        notes=plan.notes,
    )


def _runs(stages: Sequence[tuple[WeightsFunction, str]]) -> list[StageRun]:
    scopes = [scope for _, scope in stages]
    return [
        _run(found.pattern, tuple(scopes[found.start :][: found.count * len(found.pattern)]))
        for found in repeats([function for function, _ in stages])
    ]


def _run(functions: tuple[WeightsFunction, ...], scopes: tuple[str, ...]) -> StageRun:
    parent, _, number = scopes[0].rpartition(".")
    if number.isdecimal() and len(scopes) > 1:
        first = int(number)
        if scopes == tuple(f"{parent}.{first + i}" for i in range(len(scopes))):
            return StageRun(functions, scopes, parent, first)
    return StageRun(functions, scopes, "", 0)


def _caches(module: AtbModule, plan: ShardPlan) -> list[CacheRow]:
    values = cache_inputs(module.functions[module.entries[0]])
    rows: list[CacheRow] = []
    for key, value in zip(values[::2], values[1::2], strict=True):
        heads, size, other = (int(str(dim)) for dim in (*key.type.shape[2:], value.type.shape[3]))
        row = CacheRow(1, heads, key.name in plan.inputs, size, other)
        if rows and (rows[-1].heads, rows[-1].divided, rows[-1].key, rows[-1].value) == (
            row.heads,
            row.divided,
            row.key,
            row.value,
        ):
            row = CacheRow(rows.pop().layers + 1, heads, row.divided, size, other)
        rows.append(row)
    return rows
