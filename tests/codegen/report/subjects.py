"""Compiles tiny models, as far as they go, once for all tests of the report."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from codegen.errors import Problem, UnsupportedError
from codegen.frontend.hf import Source, load
from codegen.frontend.raising import raise_module
from codegen.pipeline import Stages, to_atb, to_aten, to_steps
from codegen.report import report_files
from codegen.report.evidence import Evidence, gather
from codegen.targets.atb.module import AtbModule
from ir.graph import Module
from tests.zoo import CASES

PUBLISHED = Path(__file__).parents[2] / "published"


@dataclass(frozen=True, eq=False)
class Subject:
    source: Source
    aten: Module | None
    llm: Module | None
    atb: AtbModule | None
    problems: tuple[Problem, ...]

    @cache  # noqa: B019 (subjects live as long as the tests)
    def evidence(self) -> Evidence:
        return gather(self.source, self.aten, self.llm, self.atb, self.problems)

    @cache  # noqa: B019
    def files(self) -> dict[str, str]:
        return self.fresh_files()

    def fresh_files(self) -> dict[str, str]:
        return report_files(self.source, self.aten, self.llm, self.atb, self.problems)

    def file(self, ending: str) -> str:
        (text,) = (text for path, text in self.files().items() if path.endswith(ending))
        return text

    @property
    def compiled(self) -> AtbModule:
        assert self.atb is not None
        return self.atb


@cache
def zoo(name: str) -> Subject:
    folder = Path(tempfile.mkdtemp()) / name
    CASES[name].config().save_pretrained(folder)
    return of(folder)


@cache
def published(name: str) -> Subject:
    return of(PUBLISHED / name)


def of(folder: Path) -> Subject:
    source, stages = load(folder), Stages()
    aten = llm = atb = None
    problems: tuple[Problem, ...] = ()
    try:
        aten = to_aten(source, stages)
        llm = raise_module(aten).module
        atb = to_atb(to_steps(llm, stages), stages)
    except UnsupportedError as error:
        problems = tuple(error.problems)
    return Subject(source, aten, llm, atb, problems)
