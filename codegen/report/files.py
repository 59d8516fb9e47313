"""The report's files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from codegen.errors import Problem
from codegen.frontend.hf import Source
from codegen.report.compose import compose
from codegen.report.evidence import gather
from codegen.report.mapping import fates
from codegen.report.memory import PerRank
from codegen.report.operators_csv import operators_text
from codegen.report.page import render
from codegen.report.scenario import Scenario
from codegen.report.tree import tree_text
from codegen.report.verdict import Contracts
from codegen.targets.atb.module import AtbModule
from ir.graph import Module


def report_files(
    source: Source,
    aten: Module | None = None,
    llm: Module | None = None,
    atb: AtbModule | None = None,
    problems: Sequence[Problem] = (),
    scenario: Scenario | None = None,
    per_rank: PerRank | None = None,
) -> dict[str, str]:
    """Writes the analysis report of a model, as far as it could be compiled.

    Args:
        source: The model directory.
        aten: Its trace; None if tracing failed. Not changed.
        llm: The raised graph; None if raising failed.
        atb: The lowered graph; None if something failed.
        problems: What `UnsupportedError` said, where something failed.
        scenario: What costs and memory are stated for; None for ``Scenario()``.
        per_rank: Bytes of a weight on one of so many ranks; None for the layouts of the compiled
            code, where it was not compiled ``DefaultPerRank``.

    Returns:
        Text by path: ``<class>/<class>.json``, ``<class>/<class>_operators.csv`` and
        ``<class>/<class>.html``. The same arguments give the same bytes.
    """
    evidence = gather(source, aten, llm, atb, problems)
    became = fates(evidence)
    contracts = Contracts(atb)
    page = compose(
        evidence,
        became,
        contracts,
        scenario or Scenario(),
        per_rank,
    )
    name = file_name(evidence.class_name)
    operations = evidence.operations
    return {
        f"{name}/{name}.html": render(page),
        f"{name}/{name}.json": tree_text(
            evidence.skeleton.root, evidence.inputs, operations if evidence.is_traced else None
        ),
        f"{name}/{name}_operators.csv": operators_text(operations, became, contracts),
    }


def file_name(class_name: str) -> str:
    """The folder's name: the class in lower case, whatever else is in it replaced."""
    return re.sub(r"[^a-z0-9_]", "_", class_name.lower())[:100] or "model"
