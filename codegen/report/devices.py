"""Peak figures of the chips that a report compares, and which contract holds on each.

Sources, as of 2025:

- Atlas 300I Duo: two Ascend 310P processors on a card. Published for the card: 280 TOPS int8,
  140 TFLOPS float16, LPDDR4X at 408 GB/s, 48 or 96 GB (product page of the card). A rank runs on
  one processor, which is half of that.
- Atlas 800I A2: eight Ascend 910B4-class processors. 280 TFLOPS float16, 32 GB of HBM at 800 GB/s
  each is what third-party comparisons of the 910B series state. A vendor's data sheet with these
  numbers was not found, and servers with 64 GB modules are sold under the same name: take times
  for this chip as estimates.

The vector unit has no published peak. Its operations are taken as bound by memory, which they are
at one to eight operations an element.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.ops import Soc


@dataclass(frozen=True)
class Device:
    """One processor, which is what one rank runs on.

    Attributes:
        name: Product, as in the column ``soc_type``.
        soc: The contract that holds.
        flops: Peak of the matrix unit in float16, operations a second.
        bandwidth: Peak of the device memory, bytes a second.
        memory: Device memory, bytes.
        note: Where the figures come from, one line.
    """

    name: str
    soc: Soc
    flops: float
    bandwidth: float
    memory: int
    note: str


DEVICES: tuple[Device, ...] = (
    Device(
        "Atlas 800I A2", Soc.A2, 280e12, 800e9, 32 * 2**30,
        "one Ascend 910B4-class processor of eight; third-party figures, no data sheet",
    ),
    Device(
        "Atlas 300I Duo", Soc.I310P, 70e12, 204e9, 24 * 2**30,
        "one Ascend 310P of two; half of the card's published 140 TFLOPS, 408 GB/s, 48 GB",
    ),
)  # fmt: skip
