"""A module of ATB operations together with the tensors that its caller has to build."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.host_inputs import Feed
from ir.graph import Module


@dataclass(eq=False)
class AtbModule(Module):
    """Graphs of ``atb.*`` operations.

    The entries ``prefill`` and ``decode`` consist of ``func.call`` nodes only: every called graph
    becomes one graph operation. Graph limits (256 tensors, 1,023 nodes) hold for each of them.

    Attributes:
        feeds: What the caller of the entries computes on the host in every step: rotary tables,
            masks, shifted positions. They are entry inputs of the names that the feed gives.
    """

    feeds: tuple[Feed, ...] = ()

    def copy(self) -> AtbModule:
        """A deep copy of every graph."""
        plain = super().copy()
        return AtbModule(plain.functions, plain.entries, plain.meta, self.feeds)
