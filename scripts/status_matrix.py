"""Writes the README's status matrix from docs/status.json, which the parity tests keep true.

``docs/status.json`` maps each target and the name of each tiny model to what happens::

    {"atb-python": {"llama-gqa": {"architecture": "LlamaForCausalLM", "status": "parity"},
                    "xglm": {"architecture": "XGLMForCausalLM", "status": "unsupported",
                             "reason": "...", "remedy": "..."}},
     "atb-cpp": {"llama-gqa": {..., "status": "parity", "ranks": "1, 2, 4"}}}
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATUS = ROOT / "docs" / "status.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- status:begin -->", "<!-- status:end -->"


#: Column titles by target.
TARGETS = {"atb-python": "ATB Python", "atb-cpp": "ATB C++"}
Outcomes = dict[str, dict[str, str]]


def matrix(status: dict[str, Outcomes]) -> str:
    """The table, one row per architecture, models that behave alike on one row."""
    targets = [target for target in TARGETS if target in status]
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in sorted({name for target in targets for name in status[target]}):
        cases = [status[target][name] for target in targets]
        key = (cases[0]["architecture"], *map(_outcome, cases), _why(cases))
        rows.setdefault(key, []).append(name)
    titles = ["architecture", "variants tested", *(TARGETS[target] for target in targets)]
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for (architecture, *outcomes, why), names in sorted(rows.items()):
        cells = [architecture, ", ".join(names), *outcomes]
        cells[-1] += f": {_cell(why)}" if why else ""
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _outcome(case: dict[str, str]) -> str:
    """``parity``, for C++ with the numbers of ranks and what they do not divide."""
    text = case["status"]
    if "ranks" in case:
        text += f" on {case['ranks']} ranks"
    if "whole" in case:
        text += f", {case['whole']} not divided"
    return text


def _why(cases: list[dict[str, str]]) -> str:
    """Reason and remedy, which all targets share."""
    (first, *_) = cases
    return "; ".join(filter(None, (first.get("reason", ""), first.get("remedy", ""))))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def render(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md has no {BEGIN} ... {END}")
    return f"{head}{begin}\n{table}\n{end}{tail}"


def main() -> int:
    """Rewrites the README, or with ``--check`` only says whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    new = render(old, matrix(json.loads(STATUS.read_text(encoding="utf-8"))))
    if check:
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
