"""Where an operation runs: ``AICORE``, ``AIVEC`` or ``HOST``.

The words are those of the vendor's analysis tools. What is chosen here, from the operation type:

- ``AICORE``: matrix products, on the cube unit. Attention belongs here: it is two products around
  a softmax, and the kernel is one.
- ``AIVEC``: everything that goes through elements without a matrix product, on the vector unit,
  also what only moves data on the device (split, gather, cache writes).
- ``HOST``: what no kernel does: views, which only change a tensor's description, and tensors that
  the caller computes on the host (rotary tables, masks, positions).
"""

from __future__ import annotations

from typing import Literal

Engine = Literal["AICORE", "AIVEC", "HOST"]

AICORE: Engine = "AICORE"
AIVEC: Engine = "AIVEC"
HOST: Engine = "HOST"

#: Registry names of the operations with a matrix product in them.
MATRIX_PRODUCTS = frozenset({"Linear", "LinearSparse", "SelfAttention", "PagedAttention"})


def engine_of(op_type: str) -> Engine:
    """The engine of an ATB operation.

    Args:
        op_type: Name in the registry (``Linear``), empty for a view.
    """
    if not op_type:
        return HOST
    return AICORE if op_type in MATRIX_PRODUCTS else AIVEC


def slowest(engines: set[Engine]) -> Engine:
    """The engine that stands for several operations: a product before elements before nothing."""
    if AICORE in engines:
        return AICORE
    return AIVEC if AIVEC in engines else HOST
