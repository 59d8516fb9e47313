"""Evidence to the context of the page."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.report import units
from codegen.report.compiled_memory import compiled_memory
from codegen.report.compose_costs import memory_rows, phase_table
from codegen.report.devices import DEVICES, Device
from codegen.report.evidence import Evidence
from codegen.report.kinds import LayerCount, operation_counts
from codegen.report.memory import DefaultPerRank, PerRank, RankMemory, caches, memory
from codegen.report.page import as_data, script_json
from codegen.report.page_context import (
    BlockedRow,
    ChipSupport,
    Fact,
    KindRow,
    Page,
    ProblemRow,
)
from codegen.report.pictures import drawings
from codegen.report.scenario import Scenario
from codegen.report.verdict import Contracts, Fate

#: How weights are divided, in a sentence.
_COMPILED_RULE = (
    "Weights as the generated C++ has them: heads, features of the feed-forward network and the "
    "vocabulary are divided; tables, norms and what cannot be divided are on every rank."
)
_GUESSED_RULE = (
    "Nothing was compiled, so this is a rule: matrices inside the layers are divided; tables, the "
    "output projection, norms and biases are on every rank."
)


def compose(
    evidence: Evidence,
    fates: Mapping[str, Fate],
    contracts: Contracts,
    scenario: Scenario,
    per_rank: PerRank | None,
) -> Page:
    """Everything that the page shows."""
    atb = evidence.atb
    counts = operation_counts(atb) if atb is not None else ()
    tokens = scenario.batch * scenario.context
    if atb is not None and per_rank is None:
        ranks = compiled_memory(atb, tokens, scenario.world_sizes)
    else:
        rule = per_rank or DefaultPerRank(evidence.heads)
        sizes = scenario.world_sizes
        ranks = memory(evidence.skeleton.weights, caches(evidence), tokens, sizes, rule)
    blocked = _blocked(evidence, fates, contracts)
    return Page(
        title=evidence.class_name,
        facts=_facts(evidence),
        chips=tuple(_chip(evidence, fates, contracts, device) for device in DEVICES),
        kinds=_kinds(counts),
        drawings=drawings(evidence, fates),
        phases=tuple(phase_table(atb, phase, scenario) for phase in atb.entries) if atb else (),
        chip_names=tuple(device.name for device in DEVICES),
        memory=memory_rows(ranks),
        memory_rule=_COMPILED_RULE if atb is not None and per_rank is None else _GUESSED_RULE,
        cache_tokens=f"{tokens:,}",
        problems=tuple(
            ProblemRow(p.module or "the model", p.source, p.reason, p.remedy)
            for p in evidence.problems
        ),
        blocked=blocked,
        data=script_json(_data(evidence, counts, ranks)),
    )


def _facts(evidence: Evidence) -> tuple[Fact, ...]:
    heads, atb = evidence.heads, evidence.atb
    shared = "" if heads.query == heads.key_value else f", {heads.key_value} key-value heads"
    elements = evidence.skeleton.elements
    facts = [
        Fact("Model type", evidence.model_type),
        Fact("Parameters", f"{elements:,} ({units.count(elements)})"),
        Fact("Layers", f"{heads.layers}"),
        Fact("Attention", f"{heads.query} heads of {heads.size}{shared}"),
        Fact("Operations in the trace", f"{len(evidence.operations):,}"),
    ]
    stage = "compiled" if atb is not None else "unsupported, see below"
    if atb is not None:
        facts.append(Fact("Checkpoint", str(atb.meta.get("dtype", "unknown"))))
    return (*facts, Fact("ATB", stage))


def _chip(
    evidence: Evidence, fates: Mapping[str, Fate], contracts: Contracts, device: Device
) -> ChipSupport:
    found = {o.name: contracts.reasons(fates[o.name], device) for o in evidence.operations}
    bad = [name for name, reasons in found.items() if reasons]
    good = evidence.atb is not None and not bad
    verdict = "every operation is supported"
    if bad:
        verdict = f"{len(bad):,} of {len(found):,} operations unsupported"
    elif evidence.atb is None:
        verdict = "the model could not be compiled"
    reasons = tuple(dict.fromkeys(reason for rs in found.values() for reason in rs))
    peaks = (
        f"{units.count(device.flops)}FLOP/s float16, {units.count(device.bandwidth)}B/s, "
        f"{units.data(device.memory)}"
    )
    return ChipSupport(device.name, verdict, good, reasons, device.note, peaks)


def _kinds(counts: tuple[LayerCount, ...]) -> tuple[KindRow, ...]:
    by_layer: dict[str, dict[str, LayerCount]] = {}
    for count in counts:
        by_layer.setdefault(count.layer, {})[count.phase] = count
    return tuple(
        KindRow(
            layer,
            str(max(count.repeats for count in phases.values())),
            str(phases["prefill"].operations) if "prefill" in phases else "–",
            str(phases["decode"].operations) if "decode" in phases else "–",
            ", ".join(f"{n} {kind}" for kind, n in next(iter(phases.values())).types),
        )
        for layer, phases in by_layer.items()
    )


def _blocked(
    evidence: Evidence, fates: Mapping[str, Fate], contracts: Contracts
) -> tuple[BlockedRow, ...]:
    """Operations that are missing somewhere, the same in all layers once."""
    chips: dict[tuple[str, str, str], dict[str, None]] = {}
    where: dict[tuple[str, str, str], list[str]] = {}
    for operation in evidence.operations:
        for device in DEVICES:
            for reason in contracts.reasons(fates[operation.name], device):
                key = (operation.type, operation.source, reason)
                chips.setdefault(key, {})[device.name] = None
                names = where.setdefault(key, [])
                if operation.module not in names:
                    names.append(operation.module)
    return tuple(
        BlockedRow(key[0], _places(where[key], key[1]), ", ".join(chips[key]), key[2])
        for key in chips
    )


def _places(modules: list[str], source: str) -> str:
    more = f" and {len(modules) - 1} more" if len(modules) > 1 else ""
    return f"{modules[0] or 'the model'}{more}" + (f" at {source}" if source else "")


def _data(
    evidence: Evidence, counts: tuple[LayerCount, ...], ranks: list[RankMemory]
) -> dict[str, object]:
    return {
        "class": evidence.class_name,
        "operation_counts": as_data(counts),
        "memory": as_data(ranks),
        "problems": as_data(evidence.problems),
    }
