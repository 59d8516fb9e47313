"""Writes the reference pages of all operations, docs/ops-*.md, from their declarations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import codegen.frontend.ops
import codegen.targets.atb.ops
import ir.llm
from ir.reference import reference

DOCS = Path(__file__).resolve().parent.parent / "docs"
#: Dialects and the packages whose import declares them.
DIALECTS = {"trace": codegen.frontend.ops, "llm": ir.llm, "atb": codegen.targets.atb.ops}


def pages() -> dict[Path, str]:
    """Text of every page by path."""
    return {DOCS / f"ops-{dialect}.md": reference(dialect) for dialect in DIALECTS}


def main() -> int:
    """Rewrites the pages, or with ``--check`` only says whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if stale")
    made = pages()
    if parser.parse_args().check:
        return int(any(not p.exists() or p.read_text() != text for p, text in made.items()))
    for path, text in made.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
