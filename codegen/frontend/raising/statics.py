"""Values that do not depend on weights or token ids: positions, rotary tables, masks, ALiBi.

They are not raised by pattern. Whatever the modelling code does to compute them, their numbers say
what they are: the slice of the traced graph is evaluated for a few tokens and compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ir.aten import TENSOR
from ir.graph import Module, Node, Value
from ir.op import Env, Tensors, lookup

#: Replaces the evaluation of a node; None keeps its own.
Override = Callable[[Node, list[torch.Tensor | None]], Tensors | None]


class Statics:
    """Classifies and evaluates the values of a traced module.

    Function inputs are followed to the caller: ``origin`` gives the value of the entry graph that
    every call passes, so that a mask made once at the top is known inside the layers.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.entry = module.functions[module.entries[0]]
        self._passed: dict[Value, set[Value]] = {}
        self._static: dict[Value, bool] = {}
        for graph in module:
            for call in graph.find("func.call"):
                callee = module.callee(call)
                for formal, actual in zip(callee.inputs, call.inputs, strict=True):
                    self._passed.setdefault(formal, set()).add(actual)

    def origin(self, value: Value) -> Value:
        """The value that a function input always stands for; ``value`` itself if it varies."""
        passed = self._passed.get(value, set())
        return self.origin(next(iter(passed))) if len(passed) == 1 else value

    def is_static(self, value: Value) -> bool:
        """Whether the value follows from positions, sizes and constants alone."""
        known = self._static.get(value)
        if known is None:
            known = self._static[value] = self._classify(value)
        return known

    def _classify(self, value: Value) -> bool:
        node = value.producer
        if node is None:
            if value.data is not None:
                return True
            source = self.origin(value)
            if source is not value:
                return self.is_static(source)
            return value in self.entry.inputs and value.name == "position_ids"
        if node.op == "func.call":
            return False
        return all(self.is_static(operand) for operand in node.inputs)

    def slice(self, value: Value) -> list[Node]:
        """The nodes that compute a static value, across calls, operands before users."""
        order: dict[Node, None] = {}

        def visit(value: Value) -> None:
            node = self.origin(value).producer
            if node is not None and node not in order:
                for operand in node.inputs:
                    visit(operand)
                order[node] = None

        visit(value)
        return list(order)

    def constants(self, value: Value) -> list[torch.Tensor]:
        """The distinct constants that a static value is computed from."""
        found: dict[Value, None] = {}
        for node in self.slice(value):
            for operand in node.inputs:
                source = self.origin(operand)
                if source.data is not None:
                    found[source] = None
        source = self.origin(value)
        if source.data is not None:
            found[source] = None
        return [v.data for v in found if v.data is not None]

    def evaluate(
        self, value: Value, positions: torch.Tensor, override: Override | None = None
    ) -> torch.Tensor:
        """The numbers of a static value for the given positions.

        Args:
            value: A static value of any graph of the module.
            positions: int64 ``[tokens]``.
            override: Replaces the evaluation of single nodes.
        """
        env: dict[Value, torch.Tensor] = {}
        context = Env(sizes={"tokens": positions.numel()})

        def read(value: Value) -> torch.Tensor:
            source = self.origin(value)
            if source.data is not None:
                return source.data
            if source in env:
                return env[source]
            return positions.reshape([1] * (source.type.rank - 1) + [-1])

        for node in self.slice(value):
            inputs = [None if v is None else read(v) for v in node.operands]
            results = override(node, inputs) if override else None
            if results is None:
                results = lookup(node.op).evaluate(node, inputs, context)
            env.update(zip(node.results, results, strict=True))
        return read(value)


def decode(node: Node) -> tuple[list[object], dict[str, object]]:
    """The call of an ``aten`` node, with its operands in place of the ``"%"`` marks."""
    rest = iter(node.inputs)

    def fill(value: object) -> object:
        if value == TENSOR:
            return next(rest)
        if isinstance(value, tuple):
            return [fill(item) for item in value]
        return value

    args = fill(node.attrs["args"])
    pairs = node.attrs["kwargs"]
    assert isinstance(args, list) and isinstance(pairs, tuple)
    return args, {str(pair[0]): fill(pair[1]) for pair in pairs if isinstance(pair, tuple)}
