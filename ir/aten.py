"""The ``aten.*`` family: every ATen operator, declared on demand from its own torch schema.

``aten.add.Tensor`` is the overload of that name. Tensor arguments are operands, all other arguments
stay in place in the attributes ``args`` and ``kwargs``. Result types come from the traced program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ir.graph import Attr, Node
from ir.op import FAMILIES, Attribute, Env, Op, Operand, Tensors
from ir.types import parse_dim

#: Marks, in the attributes, the arguments that are taken from operands.
TENSOR = "%"
#: Starts an argument that is a symbolic size: ``"$2*tokens + 1"``.
SIZE = "$"


def overload(name: str) -> Any:
    """The torch operator of an ``aten.*`` (or other torch library) operation name.

    Raises:
        KeyError: torch has no such operator.
    """
    library, base, variant = (*name.split("."), "default")[:3]
    try:
        return getattr(getattr(getattr(torch.ops, library), base), variant)
    except AttributeError:
        raise KeyError(name) from None


class Aten(Op):
    """One ATen operator; ``args`` holds the call with ``"%"`` where a tensor goes."""

    operands_ = Operand("Tensor arguments in schema order.", variadic=True)
    args = Attribute(tuple, doc="Positional arguments; '%' stands for the next operand.")
    kwargs = Attribute(tuple, (), doc="Keyword arguments as (name, value) pairs.")

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        rest = iter(inputs)

        def fill(value: Attr) -> Any:
            if value == TENSOR:
                return next(rest)
            if isinstance(value, tuple):
                return [fill(item) for item in value]
            if isinstance(value, str) and value.startswith(SIZE):
                dim = parse_dim(value.removeprefix(SIZE))
                return dim if isinstance(dim, int) else dim.bind(env.sizes)
            if isinstance(value, str) and value.startswith("torch."):
                return getattr(torch, value.removeprefix("torch."))
            return value

        args = fill(node.attrs["args"])
        pairs = node.attrs["kwargs"]
        assert isinstance(pairs, tuple)
        kwargs = {str(pair[0]): fill(pair[1]) for pair in pairs if isinstance(pair, tuple)}
        made = overload(node.op)(*args, **kwargs)
        return list(made) if isinstance(made, (tuple, list)) else [made]


def _declare(name: str) -> type[Op]:
    overload(name)
    return type(name.replace(".", "_"), (Aten,), {"name": name, "results": ()})


FAMILIES["aten"] = _declare
