"""Runs emitted ATB Python on the CPU, unchanged.

Stand-ins for the modules ``_libatb_torch`` (MindIE's ATB framework) and ``torch_atb``: thin shells
that record what the emitted code builds, check it against the contract of the ATB dialect and run
the dialect's own semantics::

    with install("float32") as host:
        host.watch(compare)
        model.forward(...)

They are stricter than the real libraries: what those ignore or crash on is a ``HostError`` that
names graph, node, operation and operand.
"""

from __future__ import annotations

from codegen.errors import HostError
from codegen.host.atb_python import libatb, torch_atb
from codegen.host.atb_python.session import PRECISIONS, Host, Watch

__all__ = ["Host", "Watch", "install"]


def install(precision: str = "float32") -> Host:
    """Makes ``_libatb_torch`` and ``torch_atb`` importable.

    Args:
        precision: ``float32`` computes without rounding: tensors that ATB declares as float16 or
            bfloat16 carry float32, and the caller's caches and outputs must be float32.
            ``float16`` and ``bfloat16`` round every result to its declared type.

    Returns:
        The run: a context manager, or call ``undo`` when done.

    Raises:
        HostError: An unknown precision.
    """
    if precision not in PRECISIONS:
        raise HostError(f"precision must be one of {', '.join(PRECISIONS)}, is {precision!r}")
    host = Host(PRECISIONS[precision])
    boost = torch_atb.module()
    host.put({"_libatb_torch": libatb.module(), "torch_atb": boost, "torch_atb._C": boost})
    return host
