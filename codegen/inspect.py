"""The intermediate graph of a model as text, at any level and after any pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codegen.errors import BadInputError, Problem, UnsupportedError
from codegen.frontend.hf import load
from codegen.frontend.raising import RaisingFailedError
from codegen.pipeline import ATB_PASSES, StageRecord, Stages, to_atb, to_aten, to_llm, to_steps
from codegen.targets.atb.cpp import CPP_PASSES
from ir.text import print_module

Level = Literal["aten", "llm", "atb"]

#: The stage whose graph each level shows.
_SHOWN: dict[Level, str] = {"aten": "trace", "llm": "raise", "atb": "lower"}


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        text: Graphs, or explanations, ready to print.
        timing: Seconds and number of rewrites of every stage, one line each.
    """

    text: str
    timing: str


def inspect(
    source: Path,
    level: Level = "llm",
    print_after: Sequence[str] = (),
    explain: bool = False,
    trust_remote_code: bool = False,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Inspection:
    """Compiles a model as far as the level and prints its graph.

    Args:
        source: HuggingFace directory.
        level: Which graph is printed; ``llm`` is the one that raising makes, before passes.
        print_after: Names of passes; their graphs are printed instead of the level's.
        explain: Print why patterns did not match instead of a graph.
        trust_remote_code: Run modelling code that lies in the directory.
        on_stage: Called with the name of each stage before it runs.

    Raises:
        BadInputError: The directory cannot be used, or there is no pass of that name.
        UnsupportedError: The model cannot be compiled as far as the level.
    """
    behind = {pass_.name for pass_ in CPP_PASSES} & set(print_after)
    passes = [pass_.name for pass_ in (*ATB_PASSES, *CPP_PASSES)]
    for name in print_after:
        if name not in passes:
            raise BadInputError(f"no pass {name!r} on this way: {', '.join(passes)}")
    shown: list[str] = []

    def finished(record: StageRecord) -> None:
        # Passes work in place, so a graph is printed at once or not at all.
        name = record.name.partition("{")[0]
        wanted = name in print_after if print_after else name == _SHOWN[level]
        if wanted and not explain and record.module is not None:
            title = f"# after {record.name}\n" if print_after else ""
            shown.append(title + print_module(record.module))

    stages = Stages(on_stage, finished)
    with stages.stage("load"):
        opened = load(source, trust_remote_code)
    if level == "aten" and not print_after and not explain:
        to_aten(opened, stages)
        return Inspection("\n".join(shown), _timing(stages.records))
    try:
        raised = to_llm(opened, stages)
    except RaisingFailedError as failed:
        if not explain:
            raise
        tried = (
            Problem("", miss.place, f"{miss.pattern} does not match: {miss.reason}")
            for miss in failed.misses
        )
        raise UnsupportedError([*failed.problems, *tried]) from None
    if level == "atb" or print_after:
        steps = to_steps(raised.module, stages)
        if level == "atb" or behind:
            atb = to_atb(steps, stages)
            stages.passes(atb, CPP_PASSES if behind else ())
    if explain:
        misses = "".join(f"{miss}\n" for miss in dict.fromkeys(raised.misses))
        shown.append(misses or "every pattern that was tried fits\n")
    return Inspection("\n".join(shown), _timing(stages.records))


def _timing(records: Sequence[StageRecord]) -> str:
    lines: list[str] = []
    for record in records:
        matches = f"{record.passed.result.matches} rewrites" if record.passed else ""
        lines.append(f"{record.seconds:8.3f} s  {record.name:<24} {matches}".rstrip() + "\n")
    return "".join(lines)
