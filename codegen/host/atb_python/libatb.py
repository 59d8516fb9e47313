"""The module ``_libatb_torch`` of MindIE's ATB framework on the CPU.

Class and method names are those of the original; older wheels spell the two graph classes with a
leading underscore, so both names exist.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from types import ModuleType

import torch

from codegen.host.atb_python.boundary import check_bound, enter, leave, type_of
from codegen.host.atb_python.execute import Plan, plan, run
from codegen.host.atb_python.program import Kernel, Program, ReshapeFunction, Step
from codegen.host.atb_python.session import Host, active, fail
from codegen.targets.atb.ops.spelling import SpellingError, from_json
from ir.types import TensorType

TensorMap = Mapping[str, torch.Tensor]
_counter = itertools.count()


class Operation:
    """Base of both kinds of operations."""

    def __init__(self, op_name: str, program: Program) -> None:
        if not isinstance(op_name, str):
            fail("", f"op_name must be a string, is {op_name!r}")
        self.op_name = op_name or f"Operation_{next(_counter)}"
        self._program = program
        self._weights: dict[str, torch.Tensor] = {}
        self._before: dict[str, TensorMap] = {"input": {}, "output": {}, "bind": {}}
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._used = False

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in order."""
        return list(self._program.inputs)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        return list(self._program.outputs)

    def pre_input(self, tensors: TensorMap) -> None:
        """Sets inputs for all later calls of ``forward``."""
        self._before["input"] = dict(tensors)

    def pre_output(self, tensors: TensorMap) -> None:
        """Sets outputs for all later calls of ``forward``."""
        self._before["output"] = dict(tensors)

    def pre_bind(self, tensors: TensorMap) -> None:
        """Sets host values for all later calls of ``forward``."""
        self._before["bind"] = dict(tensors)

    def set_weights(self, weights: TensorMap | None = None) -> None:
        """Sets inputs that stay the same.

        Raises:
            HostError: A name is not an input of the operation, or a value is not a tensor.
        """
        known, written = set(self._program.inputs), self._program.written_inputs
        for name, tensor in (weights or {}).items():
            if name not in known:
                fail(self.op_name, f"{name!r} is set as weight, but is no input of the graph")
            if name in written:
                fail(self.op_name, f"{name!r} is set as weight, but is written in place")
            type_of(self.op_name, name, tensor, active())
            self._weights[name] = tensor

    def forward(
        self,
        input: TensorMap,
        output: TensorMap | None = None,
        bind: TensorMap | None = None,
    ) -> dict[str, torch.Tensor]:
        """Runs the operation.

        Args:
            input: Tensors by input name; weights that were set are left out.
            output: A tensor for every output; the result is written into it. The original does
                not allocate outputs either.
            bind: Host values (int32) of the inputs that operations read on the host.

        Returns:
            The tensors of ``output`` by name.

        Raises:
            HostError: Anything that the real library would refuse, crash on or silently ignore.
        """
        self._check_ready()
        host, program = active(), self._program
        given = {**input, **self._before["input"]}
        outputs = {**(output or {}), **self._before["output"]}
        bound = {**(bind or {}), **self._before["bind"]}
        self._check_names(given, outputs, bound)
        tensors = {**self._weights, **given}
        types = [type_of(self.op_name, n, tensors[n], host) for n in program.inputs]
        prepared = self._plan(types, host)
        written = program.written_inputs
        held = [enter(self.op_name, n, tensors[n], n in written, host) for n in program.inputs]
        for name in program.host_inputs:
            check_bound(self.op_name, name, bound[name], tensors[name], host)
        results = run(prepared, held, host)
        return {
            name: leave(self.op_name, name, result, outputs[name], declared, host)
            for name, result, declared in zip(
                program.outputs, results, prepared.output_types, strict=True
            )
        }

    def _check_ready(self) -> None:
        """Raises ``HostError`` if the operation cannot run yet, or not on its own."""

    def _check_names(self, given: TensorMap, outputs: TensorMap, bound: TensorMap) -> None:
        program = self._program
        for kind, names, known in (
            ("input", given, program.inputs),
            ("output", outputs, program.outputs),
            ("bind", bound, program.inputs),
        ):
            for name in names:
                if name not in known:
                    fail(self.op_name, f"{kind} {name!r} is no {kind} of the graph")
        for name in given:
            if name in self._weights:
                fail(self.op_name, f"input {name!r} is set as weight already")
        for kind, names, wanted in (
            ("input", {**self._weights, **given}, program.inputs),
            ("output", outputs, program.outputs),
            ("bind", bound, sorted(program.host_inputs)),
        ):
            missing = [name for name in wanted if name not in names]
            if missing:
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                fail(self.op_name, f"{kind} {missing[0]!r} is missing{more}")

    def _plan(self, types: Sequence[TensorType], host: Host) -> Plan:
        key = (host.reference, *types)
        if key not in self._plans:
            self._plans[key] = plan(self._program, types, host)
        return self._plans[key]

    def as_step(self, graph: str, inputs: Sequence[str], outputs: Sequence[str]) -> Step:
        """This operation as a node of another graph.

        Raises:
            HostError: It is a node of a graph already.
        """
        if self._used:
            fail(graph, "is added twice; every node needs an operation of its own", self.op_name)
        self._used = True
        return Step(self.op_name, self._body(), tuple(inputs), tuple(outputs))

    def _body(self) -> Kernel | Program:
        return self._program


class BaseOperation(Operation):
    """One operation of the registry.

    Args:
        op_type: Name in the registry.
        op_param: JSON object with its parameters.
        op_name: Name for messages.

    Raises:
        HostError: Unknown operation, or JSON that is malformed, has keys that the registry does
            not read or values that it does not know.
    """

    def __init__(self, op_type: str, op_param: str, op_name: str) -> None:
        if not isinstance(op_param, str):
            fail(
                "", f"op_param must be a JSON text, is {type(op_param).__name__}", op_name, op_type
            )
        try:
            given = json.loads(op_param)
        except json.JSONDecodeError as error:
            fail("", f"op_param is not JSON: {error}", op_name, op_type)
        if not isinstance(given, dict):
            fail("", f"op_param must be a JSON object, is {op_param}", op_name, op_type)
        try:
            op, attrs = from_json(op_type, given)
        except SpellingError as error:
            fail("", str(error), op_name, op_type)
        self._kernel = kernel = Kernel(op, attrs)
        inputs = [f"in{i}" for i in range(len(kernel.operands))]
        outputs = [f"out{i}" for i in range(kernel.result_count)]
        super().__init__(op_name, Program(op_name or op_type, inputs, outputs))
        self._program.steps.append(Step(self.op_name, kernel, tuple(inputs), tuple(outputs)))
        self.op_type = op_type
        self.op_param = op_param

    def _check_ready(self) -> None:
        if self._kernel.written:
            fail("", "writes operands in place: run it in a graph", self.op_name, self.op_type)

    def _body(self) -> Kernel:
        return self._kernel


class GraphOperation(Operation):
    """A graph, built operation by operation; usable once ``build`` was called."""

    def __init__(self, op_name: str = "") -> None:
        super().__init__(op_name, Program(""))
        self._program.name = self.op_name
        self._built = False

    @property
    def execute_as_single(self) -> bool:
        """Whether it becomes one ATB operation; otherwise its nodes are run one by one."""
        return self._program.single

    @execute_as_single.setter
    def execute_as_single(self, value: bool) -> None:
        self._check_open()
        self._program.single = value

    def add_input_output(self, input: Sequence[str], output: Sequence[str]) -> int:
        """Names what goes in, weights and caches included, and what comes out."""
        self._check_open()
        self._program.declare(input, output)
        return 0

    def add_operation(
        self, operation: Operation, input: Sequence[str], output: Sequence[str]
    ) -> int:
        """Appends an operation that reads and writes tensors by name.

        Raises:
            HostError: See ``Program.add_step``.
        """
        self._check_open()
        if not isinstance(operation, Operation):
            fail(self.op_name, f"cannot add {operation!r}: not an operation")
        self._program.add_step(operation.as_step(self.op_name, input, output))
        return 0

    def add_reshape(self, input: str, ouput: str, func: ReshapeFunction) -> int:
        """Declares ``ouput`` as another shape of ``input`` (the parameter is spelled so)."""
        self._check_open()
        self._program.add_view(input, ouput, func)
        return 0

    def build(self) -> None:
        """Completes the graph.

        Raises:
            HostError: An output is never written, or a limit of ATB is exceeded.
        """
        self._check_open()
        self._program.name = self.op_name
        self._program.finish()
        self._built = True

    def as_step(self, graph: str, inputs: Sequence[str], outputs: Sequence[str]) -> Step:
        """This graph as a node of another graph; it must be built as one operation."""
        if not self._built:
            fail(graph, "is added before it is built", self.op_name, "Graph")
        if not self._program.single:
            fail(graph, "is executed node by node, so it cannot be a node", self.op_name, "Graph")
        return super().as_step(graph, inputs, outputs)

    def _check_open(self) -> None:
        if self._built:
            fail(self.op_name, "is built already")

    def _check_ready(self) -> None:
        if not self._built:
            fail(self.op_name, "is run before it is built")


def module() -> ModuleType:
    """The module to import as ``_libatb_torch``."""
    made = ModuleType("_libatb_torch", __doc__)
    for kind in (Operation, BaseOperation, GraphOperation):
        setattr(made, kind.__name__, kind)
        setattr(made, f"_{kind.__name__}", kind)
    return made
