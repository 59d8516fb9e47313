"""``<class>_operators.csv``: for each operation and chip, what it became and whether that exists.

Rows follow the model's order, two for each operation. ``op_name`` and ``op_type`` list several ATB
operations separated by ``;`` (the attention of the prefill and of the decode step, a product and
the split behind it). Names come from files: a cell that a spreadsheet would take for a formula gets
a ``'`` in front, as OWASP recommends against CSV injection.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from codegen.report.devices import DEVICES
from codegen.report.operation import Operation
from codegen.report.verdict import Contracts, Fate

COLUMNS = (
    "ori_op_name", "ori_op_type", "op_name", "op_type", "soc_type", "engine", "is_supported",
)  # fmt: skip
#: Characters that make a cell a formula at its beginning.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def operators_text(
    operations: Sequence[Operation], fates: Mapping[str, Fate], contracts: Contracts
) -> str:
    """The file's text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for operation in operations:
        fate = fates[operation.name]
        for device in DEVICES:
            row = (
                operation.name,
                operation.type,
                ";".join(fate.names),
                ";".join(dict.fromkeys(f"{kind}Operation" for kind in fate.types)),
                device.name,
                fate.engine,
                str(not contracts.reasons(fate, device)),
            )
            writer.writerow([guarded(cell) for cell in row])
    return out.getvalue()


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, and without characters that hide text."""
    plain = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode("ascii")
                    for c in cell)  # fmt: skip
    return f"'{plain}" if cell.startswith(_FORMULA) or plain.startswith(_FORMULA) else plain
