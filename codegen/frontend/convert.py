"""Small translations from torch.fx to the intermediate graph: sizes, types, arguments, places."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import sympy
import torch
from torch import fx

from codegen.errors import Problem, UnsupportedError
from codegen.frontend.lengths import PROBES, at
from ir.aten import SIZE, TENSOR
from ir.graph import Attr, Location
from ir.types import Dim, DType, Sym, TensorType, add_dims, scale_dim

#: What the dynamic number of tokens is called in the graph.
TOKENS = "tokens"
#: Keyword arguments of tensor factories and conversions that do not change numbers.
PLACEMENT = frozenset({"device", "layout", "pin_memory", "non_blocking", "copy", "memory_format"})
#: Prefix of every module path in the exported program.
PREFIX = "model"

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def location(node: fx.Node) -> Location:
    """Module path and modelling line of a traced node."""
    modules = node.meta.get("nn_module_stack") or {}
    path = next((str(name) for name, _ in reversed(modules.values()) if name), "")
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    named = [(PurePath(file).name, line) for file, line in frames]
    # The innermost line of the model's own file says more than one of a shared helper.
    own = [frame for frame in named if frame[0].startswith("modeling")]
    source = ":".join((own or named)[-1]) if named else ""
    return Location(path.removeprefix(PREFIX).removeprefix("."), source)


class Converter:
    """Translates sizes and arguments of one trace.

    Attributes:
        max_tokens: Longest sequence that the trace covers, None without limit.
    """

    def __init__(self, max_tokens: int | None) -> None:
        self.max_tokens = max_tokens
        self._dims: dict[Any, Dim | None] = {}

    def dim(self, size: Any, node: fx.Node) -> Dim:
        """A size of a traced tensor.

        Raises:
            UnsupportedError: It is not a linear expression of the number of tokens, or depends on
                data.
        """
        if isinstance(size, int):
            return size
        expression = sympy.sympify(size.node.expr)
        if any(_depends_on_data(symbol) for symbol in expression.free_symbols):
            raise _unsupported(node, "the size of this tensor depends on the values of another")
        if expression not in self._dims:
            self._dims[expression] = self._linear(expression)
        made = self._dims[expression]
        if made is None:
            raise _unsupported(node, f"the size {size} is not linear in the number of tokens")
        return made

    def _linear(self, expression: Any) -> Dim | None:
        """The linear expression with the same values at all lengths that the trace covers."""
        if expression.is_Symbol:
            return Sym.of(TOKENS)
        lengths = [n for n in PROBES if self.max_tokens is None or n <= self.max_tokens]
        values = [int(at(expression, n)) for n in lengths]
        slope = values[1] - values[0]
        const = values[0] - slope * lengths[0]
        if any(value != slope * n + const for n, value in zip(lengths, values, strict=True)):
            return None
        return add_dims(scale_dim(Sym.of(TOKENS), slope), const)

    def type(self, value: torch.Tensor, node: fx.Node) -> TensorType:
        """The type of a traced tensor.

        Raises:
            UnsupportedError: The graph has no such element type or size.
        """
        try:
            dtype = DType.of(value.dtype)
        except ValueError:
            raise _unsupported(node, f"tensors of {value.dtype} cannot be compiled") from None
        return TensorType(tuple(self.dim(size, node) for size in value.shape), dtype)

    def argument(self, value: Any, operands: list[fx.Node], node: fx.Node) -> Attr:
        """One argument in the form of ``ir.aten``; tensors are appended to ``operands``.

        Raises:
            UnsupportedError: It has no such form.
        """
        if isinstance(value, fx.Node):
            made = value.meta.get("val")
            if isinstance(made, torch.Tensor):
                operands.append(value)
                return TENSOR
            value = made
        if isinstance(value, torch.SymInt):
            dim = self.dim(value, node)
            return dim if isinstance(dim, int) else f"{SIZE}{dim}"
        if isinstance(value, (list, tuple)):
            return tuple(self.argument(item, operands, node) for item in value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str) and not value.startswith((TENSOR, SIZE, "torch.")):
            return value
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            return str(value)
        if isinstance(value, torch.device):
            return value.type
        raise _unsupported(node, f"{node.target} has an argument {value!r} that cannot be kept")


def _depends_on_data(symbol: sympy.Symbol) -> bool:
    return not symbol.name.startswith("s")  # sizes of inputs; torch calls the others u0, u1, ...


def _unsupported(node: fx.Node, reason: str) -> UnsupportedError:
    where = location(node)
    return UnsupportedError([Problem(where.module, where.source, reason)])
