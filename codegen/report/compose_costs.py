"""Costs and memory as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.report import roofline, units
from codegen.report.costs import Cost
from codegen.report.devices import DEVICES, Device
from codegen.report.memory import RankMemory
from codegen.report.page_context import ChipTime, MemoryRow, OperationRow, PhaseTable
from codegen.report.roofline import Row
from codegen.report.scenario import Scenario
from codegen.targets.atb.module import AtbModule


def phase_table(atb: AtbModule, phase: str, scenario: Scenario) -> PhaseTable:
    """The operations of a step with their costs."""
    table = roofline.rows(atb, phase, scenario)
    totals = {device.name: roofline.total_seconds(table, device) for device in DEVICES}
    many = "" if scenario.batch == 1 else "s"
    situation = f"{scenario.batch} sequence{many}, "
    situation += (
        f"{scenario.prompt:,} tokens each"
        if phase == "prefill"
        else f"1 new token each, {scenario.context:,} tokens in the cache"
    )
    rows = tuple(_row(row, totals) for row in table)
    return PhaseTable(phase, situation, rows, _total(table, totals))


def _row(row: Row, totals: dict[str, float]) -> OperationRow:
    return OperationRow(
        row.layer,
        row.name,
        row.op_type,
        row.engine,
        str(row.count),
        units.count(row.cost.flops),
        units.data(row.cost.bytes),
        units.ratio(row.intensity),
        tuple(_time(row, device, totals[device.name]) for device in DEVICES),
        " at ".join(part for part in (row.module, row.source) if part),
    )


def _time(row: Row, device: Device, total: float) -> ChipTime:
    once = roofline.seconds(row.cost, row.engine, device)
    share = round(100 * once * row.count / total) if total else 0
    return ChipTime(units.time(once), roofline.bound(row.cost, row.engine, device), share)


def _total(table: list[Row], totals: dict[str, float]) -> OperationRow:
    cost: Cost = roofline.total_cost(table)
    return OperationRow(
        "whole step", "", "", "", str(sum(row.count for row in table)),
        units.count(cost.flops), units.data(cost.bytes),
        units.ratio(cost.flops / cost.bytes if cost.bytes else 0.0),
        tuple(ChipTime(units.time(totals[device.name]), "", 100) for device in DEVICES),
        "",
    )  # fmt: skip


def memory_rows(ranks: Sequence[RankMemory]) -> tuple[MemoryRow, ...]:
    """Memory of each number of ranks, and whether a processor of each kind has so much."""
    return tuple(
        MemoryRow(
            str(rank.world_size),
            units.data(rank.weights),
            units.data(rank.cache_per_token),
            units.data(rank.cache),
            units.data(rank.weights + rank.cache),
            tuple(
                "fits" if rank.weights + rank.cache <= device.memory else "too large"
                for device in DEVICES
            ),
        )
        for rank in ranks
    )
