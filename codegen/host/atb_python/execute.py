"""Runs a program: an ``ir`` graph for the types at hand, then the operations' own semantics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch

from codegen.errors import HostError
from codegen.host.atb_python.program import Kernel, Program, Step
from codegen.host.atb_python.session import Host, fail
from codegen.targets.atb.ops import Reshape
from ir.errors import IrError
from ir.func import Call
from ir.graph import Graph, Node, Value
from ir.op import Env, lookup
from ir.types import DType, TensorType


@dataclass(eq=False)
class Plan:
    """A program for inputs of known types.

    Attributes:
        program: What it runs.
        graph: The same as a graph of ``atb.*`` nodes; nested graphs are calls.
        steps: The step behind each node that is not a view.
        nested: The plans of the calls.
        values: Graph values by tensor name.
    """

    program: Program
    graph: Graph
    steps: dict[Node, Step] = field(default_factory=dict[Node, Step])
    nested: dict[Node, Plan] = field(default_factory=lambda: dict[Node, Plan]())
    values: dict[str, Value] = field(default_factory=dict[str, Value])

    @property
    def output_types(self) -> list[TensorType]:
        """Types of the outputs, in order."""
        return [value.type for value in self.graph.outputs]


def plan(program: Program, types: Sequence[TensorType], host: Host) -> Plan:
    """Infers the types of all tensors and checks every operation's contract.

    Raises:
        HostError: An operation does not accept its operands.
    """
    made = Plan(program, Graph(program.name or "graph"))
    for name, type in zip(program.inputs, types, strict=True):
        made.values[name] = made.graph.add_input(name, type)
    for step in program.steps:
        operands = [_read(made, name, step) for name in step.inputs]
        if isinstance(step.body, Program):
            inner = plan(step.body, [v.type for v in operands], host)
            node = Call.build(
                made.graph,
                *operands,
                callee=step.body.name,
                scope="",
                types=inner.output_types,
                named=step.outputs,
            )
            made.nested[node] = inner
        else:
            node = _kernel(made, step, step.body, operands, host)
        made.steps[node] = step
        for name, value in zip(step.outputs, node.results, strict=True):
            made.values[name] = value
    made.graph.outputs = [made.values[name] for name in program.outputs]
    return made


def _kernel(made: Plan, step: Step, kernel: Kernel, operands: Sequence[Value], host: Host) -> Node:
    present = iter(operands)
    named = set(kernel.operands)
    full = [next(present) if t.name in named else None for t in kernel.op.tensors()]
    attrs: dict[str, Any] = dict(kernel.attrs)
    try:
        node = kernel.op.build(made.graph, *full, named=step.outputs, **attrs)
    except (IrError, ValueError, TypeError, IndexError) as error:
        _refuse(made, step, str(error))
    undecided = None if host.reference else DType.FLOAT32
    try:
        problems = kernel.op.problems(node, float32_is=undecided)
    except (ValueError, IndexError) as error:
        problems = [str(error)]
    if problems:
        _refuse(made, step, "; ".join(problems))
    return node


def _read(made: Plan, name: str, step: Step) -> Value:
    if name not in made.program.views or name in made.values:
        return made.values[name]
    source, function = made.program.views[name]
    shown = made.values[source]
    old = [int(str(dim)) for dim in shown.type.shape]
    new = function(list(old))
    if not isinstance(new, (list, tuple)) or not all(type(size) is int for size in new):
        _refuse(made, step, f"the function of view {name!r} gave {new!r}, not a list of integers")
    try:
        node = Reshape.build(made.graph, shown, shape=tuple(new), named=[name])
    except (IrError, ValueError) as error:
        _refuse(made, step, f"view {name!r} of {source!r} with shape {old}: {error}")
    made.values[name] = node.result
    return node.result


def _refuse(made: Plan, step: Step, problem: str) -> NoReturn:
    reads = ", ".join(f"{o} = {n!r}" for o, n in zip(step.operands, step.inputs, strict=True))
    fail(made.program.name, f"{problem} [{reads}]", step.name, step.kind)


def run(made: Plan, inputs: Sequence[torch.Tensor], host: Host) -> list[torch.Tensor]:
    """Executes a plan.

    Args:
        made: The plan.
        inputs: One tensor per input; written in place where the program does so.
        host: Precision and watchers.

    Returns:
        The outputs in order.

    Raises:
        HostError: The values of an operand break the operation's contract.
    """
    program = made.program
    held: dict[Value, torch.Tensor] = dict(zip(made.graph.inputs, inputs, strict=True))
    last = {value: node for node in made.graph.nodes for value in node.inputs}
    for node in made.graph.nodes:
        arguments = [None if v is None else held[v] for v in node.operands]
        step = made.steps.get(node)
        if step is None:
            held[node.result] = Reshape.evaluate(node, arguments, Env())[0]
        else:
            results = _results(made, node, step, arguments, host)
            held.update(zip(node.results, results, strict=True))
            host.report(
                program.name, step.name, step.kind, dict(zip(step.outputs, results, strict=True))
            )
        for value in node.inputs:
            if last[value] is node and value not in made.graph.outputs:
                held.pop(value, None)
    return [held[value] for value in made.graph.outputs]


def _results(
    made: Plan,
    node: Node,
    step: Step,
    arguments: list[torch.Tensor | None],
    host: Host,
) -> list[torch.Tensor]:
    if node in made.nested:
        return run(made.nested[node], [t for t in arguments if t is not None], host)
    try:
        results = lookup(node.op).evaluate(node, arguments, Env())
    except HostError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        _refuse(made, step, str(error))
    carried: list[torch.Tensor] = []
    for position, (value, tensor) in enumerate(zip(node.results, results, strict=True)):
        if tuple(tensor.shape) != value.type.shape:
            _refuse(made, step, f"made {tuple(tensor.shape)} where {value.type} was inferred")
        inplace = position in step.inplace
        carried.append(tensor if inplace else host.carried(tensor, value.type.dtype))
    return carried
