"""What the page's template gets: text that is ready to be printed, and which cells are numbers."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.report.drawing import Drawing


@dataclass(frozen=True)
class Fact:
    """A line of the summary."""

    name: str
    value: str


@dataclass(frozen=True)
class ChipSupport:
    """Whether a chip has all operations.

    Attributes:
        name: The chip.
        verdict: One line.
        good: The verdict is good.
        reasons: What stands in the way, each once.
        note: Where its figures come from.
        peaks: Its peak figures.
    """

    name: str
    verdict: str
    good: bool
    reasons: tuple[str, ...]
    note: str
    peaks: str


@dataclass(frozen=True)
class KindRow:
    """Operations of one kind of layer."""

    layer: str
    repeats: str
    prefill: str
    decode: str
    types: str


@dataclass(frozen=True)
class ChipTime:
    """Roofline time of an operation on one chip, and its share of the step in percent."""

    time: str
    bound: str
    share: int


@dataclass(frozen=True)
class OperationRow:
    """An operation and its cost."""

    layer: str
    name: str
    op_type: str
    engine: str
    repeats: str
    flops: str
    data: str
    intensity: str
    chips: tuple[ChipTime, ...]
    place: str


@dataclass(frozen=True)
class PhaseTable:
    """All operations of a step.

    Attributes:
        title: Which step.
        situation: Batch and lengths.
        rows: The operations.
        total: The last line.
    """

    title: str
    situation: str
    rows: tuple[OperationRow, ...]
    total: OperationRow


@dataclass(frozen=True)
class MemoryRow:
    """Memory of one rank."""

    ranks: str
    weights: str
    per_token: str
    cache: str
    total: str
    fits: tuple[str, ...]


@dataclass(frozen=True)
class ProblemRow:
    """Something that cannot be compiled."""

    module: str
    source: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class BlockedRow:
    """Operations that no chip, or not every chip, has."""

    type: str
    where: str
    chips: str
    reason: str


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        title: The model's class.
        facts: Summary.
        chips: Support of each chip.
        kinds: Operations of each kind of layer; empty if nothing was compiled.
        drawings: Graphs.
        phases: Costs; empty if nothing was compiled.
        chip_names: Heads of the columns of times.
        memory: Memory of each number of ranks.
        memory_rule: How weights are divided, in a sentence.
        cache_tokens: Tokens that the cache column is for.
        problems: What cannot be compiled.
        blocked: Operations that are missing somewhere.
        data: The same facts as JSON, safe inside a script element.
    """

    title: str
    facts: tuple[Fact, ...]
    chips: tuple[ChipSupport, ...]
    kinds: tuple[KindRow, ...]
    drawings: tuple[Drawing, ...]
    phases: tuple[PhaseTable, ...]
    chip_names: tuple[str, ...]
    memory: tuple[MemoryRow, ...]
    memory_rule: str
    cache_tokens: str
    problems: tuple[ProblemRow, ...]
    blocked: tuple[BlockedRow, ...]
    data: str
