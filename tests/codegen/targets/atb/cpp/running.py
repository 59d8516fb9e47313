"""Runs what is about to be printed as C++, without C++: operations, views, conditions, ranks.

The expressions are the printed ones, read as arithmetic. Every operation is built again from its
parameters and checked against its contract with the sizes of a rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from codegen.targets.atb.cpp.block import Input, Operation, View
from codegen.targets.atb.cpp.merge import Step
from codegen.targets.atb.cpp.stage import Block
from codegen.targets.atb.ops import from_json
from tests.codegen.targets.atb.nodes import evaluate

Tensors = dict[str, Tensor]


class Ranks:
    """All ranks of one stage, operation by operation.

    Args:
        block: The stage.
        prefill: The phase.
        tensors: Of each rank, its in-tensors by enumerator; caches are written in place.
    """

    def __init__(self, block: Block, prefill: bool, tensors: list[Tensors]) -> None:
        self.block, self.prefill, self.tensors = block, prefill, tensors
        self.size = len(tensors)
        self.ran: list[Operation] = []

    def run(self) -> list[Tensors]:
        """The out-tensors of each rank by enumerator."""
        for step in self.block.merged.steps:
            for operation in self._chosen(step):
                self._apply(operation)
                self.ran.append(operation)
        ids = [output.id for output in self.block.outputs]
        return [{name: tensors[name] for name in ids} for tensors in self.tensors]

    def _chosen(self, step: Step) -> tuple[Operation, ...]:
        holds = {
            "": True,
            "param.isPrefill": self.prefill,
            "!param.isPrefill": not self.prefill,
            "param.worldSize > 1": self.size > 1,
        }[step.condition]
        return step.operations if holds else step.otherwise

    def _apply(self, operation: Operation) -> None:
        made: list[list[Tensor]] = []
        operands = [self._operands(operation, rank) for rank in range(self.size)]
        if operation.struct == "AllGatherParam":
            gathered = torch.stack([of_rank[0] for of_rank in operands])
            made = [[gathered]] * self.size
        elif operation.parallel and self.size > 1:
            made = [[self._summed(operation, operands)]] * self.size
        else:
            made = [self._computed(operation, operands[r], r) for r in range(self.size)]
        for rank, results in enumerate(made):
            names = [self._value(output, operation, rank) for output in operation.outputs]
            for name, result in zip(names, results, strict=True):
                written = self.tensors[rank].get(name)
                assert written is None or name in self.block.inputs, f"{name} is written twice"
                self.tensors[rank][name] = result

    def _operands(self, operation: Operation, rank: int) -> list[Tensor]:
        return [self._operand(operation, operand, rank) for operand in operation.inputs]

    def _operand(self, operation: Operation, operand: Input, rank: int) -> Tensor:
        tensor = self.tensors[rank][str(self._value(operand.id, operation, rank))]
        if operand.view is None:
            return tensor
        # the function is called with variables of the operation's function
        passed = [self._locals(operation, rank)[local.variable] for local in operand.view.locals]
        return shaped(tensor, operand.view, passed)

    def _computed(self, operation: Operation, operands: list[Tensor], rank: int) -> list[Tensor]:
        given: dict[str, Any] = {}
        for field in operation.fields:
            *groups, key = field.path.split(".")
            inner = given
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[key] = self._value(field.value, operation, rank)
        op, attrs = from_json(operation.struct.removesuffix("Param"), given)
        present = op.present(attrs)
        assert len(present) == len(operands), f"{operation.function} has other operands"
        waiting = iter(operands)
        padded = [next(waiting) if tensor in present else None for tensor in op.tensors()]
        for position in op.inplace.values():  # what counts is the name of the result
            written = padded[position]
            assert written is not None
            padded[position] = written.clone()
        return evaluate(op, *padded, **attrs)

    def _summed(self, operation: Operation, operands: list[list[Tensor]]) -> Tensor:
        values = {f.path: self._value(f.value, operation, 0) for f in operation.parallel}
        products = [
            x @ (weight.t() if values["transWeight"] else weight) for x, weight, *_ in operands
        ]
        bias = {len(of_rank) for of_rank in operands}
        assert bias == {3 if values.get("hasResidual") else 2}
        assert values["rankSize"] == self.size
        total = sum(products, torch.zeros(()))
        return total + operands[0][2] if values.get("hasResidual") else total

    def _locals(self, operation: Operation, rank: int) -> dict[str, int]:
        param = self._param(rank)
        return {local.variable: param["PerRank"](local.count) for local in operation.locals}

    def _param(self, rank: int) -> dict[str, Any]:
        return {
            "rank": rank,
            "worldSize": self.size,
            "backend": "lccl",
            "rankTableFile": "",
            "PerRank": lambda count: 1 if count < self.size else count // self.size,
            "FirstOf": lambda count: rank * count // self.size,
        }

    def _value(self, text: str, operation: Operation, rank: int) -> Any:
        scope = dict(self._locals(operation, rank))
        if operation.reads_param:
            scope["param"] = SimpleNamespace(**self._param(rank))
        return value(text, scope)


def value(text: str, scope: Mapping[str, Any]) -> Any:
    """The value of a C++ expression; a name that is no variable is an enumerator."""
    if " ? " in text:
        condition, yes, no = re.fullmatch(r"(.+) \? (.+) : (.+)", text).groups()
        return value(yes if value(condition, scope) else no, scope)
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("{"):
        inner = text[1:-1].split(", ") if text != "{}" else []
        return [value(item, scope) for item in inner]
    if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?F", text):
        return float(text.removesuffix("F"))
    if re.fullmatch(r"[A-Za-z_]\w*(::\w+)*", text) and text not in scope:
        return text.rpartition("::")[2]
    return eval(text, {"__builtins__": {}}, dict(scope))


def shaped(tensor: Tensor, view: View, passed: list[int]) -> Tensor:
    """A tensor through a view."""
    scope: dict[str, Any] = {
        local.variable: number for local, number in zip(view.locals, passed, strict=True)
    }
    scope["oldShape"] = SimpleNamespace(dims=tuple(tensor.shape))
    return tensor.reshape([value(dim.replace(" / ", " // "), scope) for dim in view.dims])
