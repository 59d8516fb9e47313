"""Results as tables for people, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from codegen.diff import Diff
    from codegen.parity import Verification

_COLOURS = {"-": "red", "+": "green", "@": "cyan"}


def show_diff(result: Diff) -> None:
    """Prints what differs, one block per file; one line when nothing does."""
    console = Console(highlight=False, soft_wrap=True)
    changed = [file for file in result.files if file.status != "same"]
    if not changed:
        console.print(f"same: {len(result.files)} files")
        return
    for file in changed:
        console.print(f"[bold]{escape(file.path)}[/bold]: {_STATUS[file.status]}")
        for line in file.meaning:
            console.print(f"  {escape(line)}")
        for line in file.text.splitlines():
            console.print(Text(f"    {line}", style=_COLOURS.get(line[:1], "")))
    console.print(f"{len(changed)} of {len(result.files)} files differ")


_STATUS = {
    "meaning": "means something else",
    "text": "only text differs, not meaning",
    "missing": "missing, the golden directory has it",
    "extra": "not in the golden directory",
}


def show_verification(result: Verification) -> None:
    """Prints the parity table, what departs first, and the verdict."""
    console = Console(highlight=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"note: {escape(note)}")
    divided = any(phase.ranks > 1 for phase in result.phases)
    ranks = ("ranks",) if divided else ()
    table = Table("phase", "rounding", *ranks, "positions", "max abs diff", "limit", "argmax agree")
    for phase in result.phases:
        table.add_row(
            phase.name,
            phase.rounding,
            *((str(phase.ranks),) if divided else ()),
            str(phase.positions),
            f"{phase.max_abs_diff:.3e}",
            "" if phase.limit is None else f"{phase.limit:.3e}",
            f"{100 * phase.argmax_agree:.1f} %",
        )
    console.print(table)
    if result.layers:
        layers = Table("layer", "SQNR (dB)", "max abs diff")
        for layer in result.layers:
            layers.add_row(escape(layer.name), f"{layer.sqnr_db:.1f}", f"{layer.max_abs_diff:.3e}")
        console.print(layers)
    for check in result.syntax:
        verdict = "accepted" if check.passed else "REFUSED"
        console.print(f"vendor's headers: {escape(check.path)}: {verdict}")
        for line in check.errors:
            console.print(f"  {escape(line)}")
    if result.departure is not None:
        console.print(f"departs first: {escape(str(result.departure))}")
    console.print(_verdict(result))


def _verdict(result: Verification) -> str:
    if result.passed:
        return "passed"
    wrong = sorted({phase.ranks for phase in result.phases if not phase.passed})
    if not wrong:
        return "FAILED: the vendor's headers do not fit"
    where = "" if 1 in wrong else f" with {' and '.join(map(str, wrong))} ranks"
    return f"FAILED: the numbers{where} are not the model's"
