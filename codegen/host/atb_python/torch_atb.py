"""The module ``torch_atb`` of Ascend Transformer Boost on the CPU.

Tensors are passed as lists. A CPU tensor given to the real library has host values only, so one
that operations read on the host cannot also be read on the device: it needs an input of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import ModuleType

import torch

from codegen.host.atb_python.boundary import enter, type_of
from codegen.host.atb_python.execute import Plan, plan, run
from codegen.host.atb_python.params import ParamStruct, structs
from codegen.host.atb_python.program import Kernel, Program, ReshapeFunction, Step
from codegen.host.atb_python.session import active, fail
from codegen.targets.atb.ops.spelling import SpellingError, from_struct

_counter = itertools.count()


def kernel_of(param: ParamStruct) -> Kernel:
    """The operation that a parameter struct describes.

    Raises:
        HostError: Fields that the operation does not read, or values that it does not know.
    """
    if not isinstance(param, ParamStruct):
        fail("", f"{param!r} is not a parameter struct of torch_atb")
    try:
        return Kernel(*from_struct(param.path, param.flat()))
    except SpellingError as error:
        fail("", str(error), param.path)


class Operation:
    """One operation, or a graph that a builder made."""

    def __init__(self, param: ParamStruct) -> None:
        kernel = kernel_of(param)
        self.name = f"{kernel.kind}Operation_{next(_counter)}"
        inputs = [f"in{i}" for i in range(len(kernel.operands))]
        outputs = [f"out{i}" for i in range(kernel.result_count)]
        self._body: Kernel | Program = kernel
        self._program = Program(self.name, inputs, outputs)
        self._program.steps.append(Step(self.name, kernel, tuple(inputs), tuple(outputs)))
        self._released = False
        self._plans: dict[tuple[object, ...], Plan] = {}

    @classmethod
    def of(cls, program: Program) -> Operation:
        """A finished graph as an operation."""
        made = cls.__new__(cls)
        made.name = program.name
        made._body = made._program = program
        made._released = False
        made._plans = {}
        return made

    @property
    def input_num(self) -> int:
        """Number of inputs."""
        return len(self._program.inputs)

    @property
    def output_num(self) -> int:
        """Number of outputs."""
        return len(self._program.outputs)

    def forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Runs the operation.

        Args:
            tensors: The inputs in order; caches are written in place.

        Returns:
            New tensors, the outputs in order.

        Raises:
            HostError: Anything that the real library would refuse, crash on or silently ignore.
        """
        if self._released:
            fail(self.name, "was given to a builder and cannot run any more")
        if isinstance(self._body, Kernel) and self._body.written:
            fail(self.name, "its results would be new tensors, not the caches: use GraphBuilder")
        host, program = active(), self._program
        if not isinstance(tensors, list) or len(tensors) != self.input_num:
            got = len(tensors) if isinstance(tensors, list) else type(tensors).__name__
            fail(self.name, f"wants a list of {self.input_num} tensors, got {got}")
        given = dict(zip(program.inputs, tensors, strict=True))
        types = [type_of(self.name, name, tensor, host) for name, tensor in given.items()]
        key = (host.reference, *types)
        if key not in self._plans:
            self._plans[key] = plan(program, types, host)
        written = program.written_inputs
        held = [enter(self.name, n, t, n in written, host) for n, t in given.items()]
        return run(self._plans[key], held, host)

    def release(self, graph: str) -> Kernel | Program:
        """What it runs, handed over to a builder; it cannot be used a second time.

        Raises:
            HostError: It was handed over before.
        """
        if self._released:
            fail(graph, "the operation was added before", self.name)
        self._released = True
        return self._body


class GraphBuilder:
    """Builds a graph with tensor names chosen by the caller."""

    def __init__(self, name: str) -> None:
        self._program = Program(name, separate=True)

    def set_input_output(self, inputs: Sequence[str], outputs: Sequence[str]) -> GraphBuilder:
        """Names what goes in and comes out."""
        self._program.declare(inputs, outputs)
        return self

    def add_operation(
        self, operation: Operation, inputs: Sequence[str], outputs: Sequence[str]
    ) -> GraphBuilder:
        """Appends an operation.

        Raises:
            HostError: See ``Program.add_step``.
        """
        if not isinstance(operation, Operation):
            fail(self._program.name, f"cannot add {operation!r}: not an operation")
        body = operation.release(self._program.name)
        self._program.add_step(Step(operation.name, body, tuple(inputs), tuple(outputs)))
        return self

    def reshape(self, source: str, function: ReshapeFunction, name: str) -> GraphBuilder:
        """Declares another shape of a tensor."""
        self._program.add_view(source, name, function)
        return self

    def build(self) -> Operation:
        """The graph as an operation.

        Raises:
            HostError: An output is never written, or a limit of ATB is exceeded.
        """
        self._program.finish()
        return Operation.of(self._program)


class Node:
    """An operation in a graph that ``Builder`` makes."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = list(outputs)
        self._stream = 0

    def get_output(self, index: int) -> str:
        """Name of one of its results."""
        if not 0 <= index < len(self._outputs):
            fail("", f"a node with {len(self._outputs)} outputs has no output {index}")
        return self._outputs[index]

    def set_stream_id(self, stream: int) -> None:
        """Notes the stream; on the CPU there is one."""
        self._stream = stream

    def get_stream_id(self) -> int:
        """The stream that was set."""
        return self._stream


class Builder:
    """Builds a graph whose tensors are named for the caller."""

    def __init__(self, name: str) -> None:
        self._program = Program(name, separate=True)

    def add_input(self, name: str) -> str:
        """Adds an input and gives its name back."""
        if not isinstance(name, str) or not name or name in self._program.inputs:
            fail(self._program.name, f"input {name!r} is declared twice or is no name")
        self._program.inputs.append(name)
        return name

    def add_node(self, inputs: Sequence[str], operation: Operation | ParamStruct) -> Node:
        """Appends an operation whose results get new names.

        Raises:
            HostError: As ``GraphBuilder.add_operation``; an operation that writes caches, because
                its results would be new tensors; a parameter struct without overload.
        """
        program = self._program
        if isinstance(operation, ParamStruct):
            if operation.path == "PagedAttentionParam":
                fail(
                    program.name, "add_node does not take PagedAttentionParam: wrap it in Operation"
                )
            operation = Operation(operation)
        name = f"node{len(program.steps)}"
        body = operation.release(program.name)
        if isinstance(body, Kernel) and body.written:
            fail(
                program.name,
                "its results would be new tensors, not the caches: use GraphBuilder",
                name,
                body.kind,
            )
        count = body.result_count if isinstance(body, Kernel) else len(body.outputs)
        outputs = tuple(f"{name}_outTensor{i}_{operation.name}" for i in range(count))
        program.add_step(Step(name, body, tuple(inputs), outputs))
        return Node(outputs)

    def reshape(self, source: str, function: ReshapeFunction, name: str) -> Builder:
        """Declares another shape of a tensor."""
        self._program.add_view(source, name, function)
        return self

    def mark_output(self, name: str) -> None:
        """Makes a node's result an output of the graph."""
        made = {output for step in self._program.steps for output in step.outputs}
        if name not in made or name in self._program.outputs:
            fail(self._program.name, f"output {name!r} is not a result of a node, or marked twice")
        self._program.outputs.append(name)

    def build(self) -> Operation:
        """The graph as an operation.

        Raises:
            HostError: A limit of ATB is exceeded.
        """
        self._program.finish()
        return Operation.of(self._program)


def module() -> ModuleType:
    """The module to import as ``torch_atb``."""
    made = ModuleType("torch_atb", __doc__)
    for kind in (Operation, Builder, Node, GraphBuilder):
        setattr(made, kind.__name__, kind)
    for name, value in structs().items():
        setattr(made, name, value)
    return made
