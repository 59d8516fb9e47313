"""Writes the README's status matrix from docs/status.json, which the parity tests keep true.

``docs/status.json`` maps the name of each tiny model to what happens with it::

    {"llama-gqa": {"architecture": "LlamaForCausalLM", "status": "parity"},
     "opt": {"architecture": "OPTForCausalLM", "status": "unsupported",
             "reason": "...", "remedy": "..."}}
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


def matrix(status: dict[str, dict[str, str]]) -> str:
    """The table, one row per architecture, models that behave alike on one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, case in sorted(status.items()):
        why = "; ".join(filter(None, (case.get("reason", ""), case.get("remedy", ""))))
        rows.setdefault((case["architecture"], case["status"], why), []).append(name)
    lines = ["| architecture | variants tested | ATB Python |", "| --- | --- | --- |"]
    for (architecture, result, why), names in sorted(rows.items()):
        outcome = f"{result}: {_cell(why)}" if why else result
        lines.append(f"| {architecture} | {', '.join(names)} | {outcome} |")
    return "\n".join(lines)


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
