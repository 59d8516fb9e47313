"""What is known about the layouts in one graph while they are being found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from codegen.targets.atb.sharding.layout import ConflictError, Layout
from ir.graph import Graph, Node, Value


class State:
    """Layouts found so far.

    A value is in ``layouts`` once its layout is known; None there means that every rank has all of
    it. A value in ``cuts`` is whole where it is made and divided where it is read.

    Attributes:
        layouts: By value.
        cuts: Layout that the readers see, by value.
        reduced: Products whose results are sums over the ranks.
        may_cut: Whether whole tensors may be cut for their readers.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layouts: dict[Value, Layout | None] = {}
        self.cuts: dict[Value, Layout] = {}
        self.reduced: set[Node] = set()
        self.may_cut = False
        self._waiting: dict[Node, None] = {}

    # -- what rules ask and say -----------------------------------------------------------------

    def known(self, value: Value) -> bool:
        """Whether the layout that readers of a value see is known."""
        return value in self.layouts

    def read(self, value: Value) -> Layout | None:
        """The layout that readers see; None for whole and for unknown values."""
        return self.cuts.get(value) or self.layouts.get(value)

    def assign(self, value: Value, layout: Layout | None) -> None:
        """Records what readers of a value see.

        Raises:
            ConflictError: Something else is known already.
        """
        if value in self.layouts:
            if self.read(value) != layout:
                raise ConflictError(f"%{value.name} is needed in different parts")
            return
        self.layouts[value] = layout
        self._wake(value)

    def cut(self, value: Value) -> None:
        """Makes a value whole that its readers want divided: they read a slice.

        Raises:
            ConflictError: That is not allowed here, or a slice cannot express it.
        """
        layout = self.layouts[value]
        if layout is None:
            return
        if not self.may_cut or len(layout.parts) != 1:
            raise ConflictError(f"%{value.name} cannot be made in parts")
        self.cuts[value], self.layouts[value] = layout, None
        self._wake(value)

    def _wake(self, value: Value) -> None:
        if value.producer is not None:
            self._waiting[value.producer] = None
        self._waiting.update(dict.fromkeys(value.users))

    # -- what the solver does -------------------------------------------------------------------

    def waiting(self) -> Iterator[Node]:
        """Nodes to look at again, until there are none."""
        while self._waiting:
            node = next(iter(self._waiting))
            del self._waiting[node]
            yield node

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undoes what the block recorded if it raises ``ConflictError``, which goes on."""
        saved = dict(self.layouts), dict(self.cuts), set(self.reduced)
        try:
            yield
        except ConflictError:
            self.layouts, self.cuts, self.reduced = saved
            self._waiting.clear()
            raise
