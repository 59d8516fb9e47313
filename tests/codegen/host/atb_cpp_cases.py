"""Operations of the ATB dialect with inputs, run by the dialect and by the C++ runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.operation import Operation
from codegen.targets.atb.ops import AtbOp, json_params
from ir.errors import IrError
from ir.graph import Graph, Node
from ir.op import Env
from ir.types import DType, TensorType

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Fixed:
    """A float tensor whose element type does not follow the precision of the run."""

    tensor: torch.Tensor


@dataclass(frozen=True)
class Case:
    """An operation with its operands by name.

    Attributes:
        exact: Data only move, or are integers: results must be the same bits.
    """

    op: type[AtbOp]
    operands: dict[str, torch.Tensor | Fixed]
    attrs: dict[str, Any] = field(default_factory=dict)
    exact: bool = False

    @property
    def label(self) -> str:
        chosen = [str(v) for v in self.attrs.values() if isinstance(v, (str, bool, tuple))]
        return "-".join([self.op.name.removeprefix("atb."), *chosen])


def case(op: type[AtbOp], exact: bool = False, attrs: Any = None, **operands: Any) -> Case:
    return Case(op, operands, dict(attrs or {}), exact)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def ints(low: int, high: int, *shape: int, dtype: torch.dtype = torch.int8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(high + sum(shape))
    return torch.randint(low, high, shape, generator=generator).to(dtype)


def int32(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def tensors(made: Case, precision: str) -> dict[str, torch.Tensor]:
    """The operands in the element types of a run."""
    given: dict[str, torch.Tensor] = {}
    for name, operand in made.operands.items():
        if isinstance(operand, Fixed):
            given[name] = operand.tensor.clone()
        elif operand.is_floating_point():
            given[name] = operand.to(DTYPES[precision]).clone()
        else:
            given[name] = operand.clone()
    return given


def node_of(made: Case, given: dict[str, torch.Tensor]) -> Node:
    graph = Graph("g")
    values = [
        graph.add_input(name, TensorType(tuple(t.shape), DType.of(t.dtype)))
        for name, t in given.items()
    ]
    by_name = dict(zip(given, values, strict=True))
    operands = [by_name.get(operand.name) for operand in made.op.tensors()]
    return made.op.build(graph, *operands, **made.attrs)


def dialect(made: Case, precision: str) -> list[torch.Tensor] | str:
    """Results of the dialect, rounded as the host runtime rounds; or what it finds wrong."""
    given = tensors(made, precision)
    try:
        node = node_of(made, given)
        stands = None if precision == "float32" else DType.FLOAT32
        problems = made.op.problems(node, float32_is=stands)
        if problems:
            return "; ".join(problems)
        results = made.op.evaluate(node, [given.get(t.name) for t in made.op.tensors()], Env())
    except (IrError, ValueError, IndexError) as error:
        return str(error)
    rounded: list[torch.Tensor] = []
    for value, result in zip(node.results, results, strict=True):
        wide = precision == "float32" and value.type.dtype.is_float
        rounded.append(result.to(torch.float32 if wide else value.type.dtype.torch))
    return rounded


def host_positions(made: Case, given: dict[str, torch.Tensor]) -> dict[int, torch.Tensor]:
    names = [t.name for t in made.op.tensors() if t.name in given]
    return {
        names.index(t.name): given[t.name].clone()
        for t in made.op.tensors()
        if t.host and t.name in given
    }


def runtime(made: Case, precision: str) -> list[torch.Tensor] | str:
    """Results of the C++ runtime, or what it finds wrong."""
    given = tensors(made, precision)
    names = [t.name for t in made.op.tensors() if t.name in given]
    order = [t.name for t in made.op.tensors()]
    inplace = {r: names.index(order[o]) for r, o in made.op.inplace.items()}
    try:
        params = json_params(node_of(made, tensors(made, precision)))
    except (IrError, ValueError):
        # The dialect cannot even build it, so take the attributes by their names in JSON.
        params = {made.op.params[k].json: v for k, v in made.attrs.items()}
    try:
        operation = Operation(made.op.op_type, params, precision)
        host = host_positions(made, given)
        return operation([given[name] for name in names], host=host, inplace=inplace)
    except HostError as error:
        return str(error)
