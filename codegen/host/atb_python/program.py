"""A graph as both Python APIs build it: named tensors, operations, views; checked while built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from codegen.host.atb_python.session import fail
from codegen.targets.atb.ops.base import AtbOp
from codegen.targets.atb.ops.limits import MAX_NODES, MAX_TENSORS
from ir.graph import Attr

ReshapeFunction = Callable[[list[int]], list[int]]
_NAME = re.compile(r"[A-Za-z0-9_]{1,128}")


@dataclass(frozen=True)
class Kernel:
    """One ATB operation with its attributes."""

    op: type[AtbOp]
    attrs: Mapping[str, Attr]

    @property
    def kind(self) -> str:
        """Operation type."""
        return self.op.op_type

    @property
    def operands(self) -> list[str]:
        """Names of the operands that are present, in order."""
        return [t.name for t in self.op.present(self.attrs)]

    @property
    def result_count(self) -> int:
        """Number of results."""
        return self.op.result_count(self.attrs)

    @property
    def host_positions(self) -> set[int]:
        """Positions, among the present operands, of those read on the host."""
        return {i for i, t in enumerate(self.op.present(self.attrs)) if t.host}

    @property
    def written(self) -> dict[int, int]:
        """Results that are operands written in place, both as positions."""
        order = [t.name for t in self.op.tensors()]
        names = self.operands
        return {r: names.index(order[o]) for r, o in self.op.inplace.items()}


@dataclass(eq=False)
class Program:
    """A graph operation.

    Attributes:
        name: Graph name.
        inputs: Names of the tensors that go in, weights among them.
        outputs: Names of the tensors that come out.
        steps: Operations in execution order.
        views: Other shapes of tensors, by name: the tensor shown and the shape function.
        single: It becomes one ATB operation, so the limits of such a graph hold.
        separate: A tensor lives either on the host or on the device (``torch_atb``): it cannot be
            read in both places.
    """

    name: str
    inputs: list[str] = field(default_factory=list[str])
    outputs: list[str] = field(default_factory=list[str])
    steps: list[Step] = field(default_factory=lambda: list[Step]())
    views: dict[str, tuple[str, ReshapeFunction]] = field(
        default_factory=dict[str, tuple[str, ReshapeFunction]]
    )
    single: bool = True
    separate: bool = False
    _made: dict[str, str] = field(default_factory=dict[str, str])

    # -- what it reads and writes ---------------------------------------------------------------

    @property
    def host_inputs(self) -> set[str]:
        """Inputs whose values some operation reads on the host."""
        return {step.inputs[i] for step in self.steps for i in step.host_positions}

    @property
    def written_inputs(self) -> set[str]:
        """Inputs that are written in place."""
        return {self.shown(step.inputs[i]) for step in self.steps for i in step.written_positions}

    def shown(self, name: str) -> str:
        """The tensor behind a name, which may be that of a view."""
        return self.views[name][0] if name in self.views else name

    # -- building -------------------------------------------------------------------------------

    def declare(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Sets the names of what goes in and comes out."""
        if self.inputs or self.outputs:
            fail(self.name, "inputs and outputs are set twice")
        for kind, names in (("input", inputs), ("output", outputs)):
            if isinstance(names, str) or not all(isinstance(n, str) and n for n in names):
                fail(self.name, f"{kind}s must be a list of names, are {names!r}")
            doubled = sorted({n for n in names if list(names).count(n) > 1})
            if doubled:
                fail(self.name, f"{kind} {doubled[0]!r} is declared twice")
        both = sorted(set(inputs) & set(outputs))
        if both:
            fail(self.name, f"{both[0]!r} is declared as input and as output")
        self.inputs, self.outputs = list(inputs), list(outputs)

    def add_view(self, source: str, name: str, function: ReshapeFunction) -> None:
        """Declares another shape of a tensor that exists by now."""
        if source in self.views:
            fail(self.name, f"view {name!r} is made of the view {source!r}, not of a tensor")
        self._check_defined(source, name, "view")
        if self._is_defined(name) or name in self.outputs:
            fail(self.name, f"view {name!r} has the name of another tensor")
        if not callable(function):
            fail(self.name, f"view {name!r} needs a function from shape to shape")
        self.views[name] = (source, function)

    def add_step(self, step: Step) -> None:
        """Appends an operation.

        Raises:
            HostError: Wrong arity, a tensor that is not defined yet or written before, caches
                that are not written in place, host operands that are not graph inputs.
        """
        for kind, got, wanted in (
            ("input", step.inputs, step.input_count),
            ("output", step.outputs, step.output_count),
        ):
            if len(got) != wanted:
                detail = f" ({', '.join(step.operands)})" if kind == "input" else ""
                fail(
                    self.name,
                    f"has {len(got)} {kind}s {list(got)}, wants {wanted}{detail}",
                    step.name,
                    step.kind,
                )
        for name, operand in zip(step.inputs, step.operands, strict=True):
            self._check_defined(name, step.name, step.kind, operand)
        for position in step.host_positions:
            if step.inputs[position] not in self.inputs:
                fail(
                    self.name,
                    f"operand {step.operands[position]} is read on the host, so "
                    f"{step.inputs[position]!r} must be an input of the graph",
                    step.name,
                    step.kind,
                )
        self._check_outputs(step)
        self.steps.append(step)

    def _check_outputs(self, step: Step) -> None:
        for position, name in enumerate(step.outputs):
            if not isinstance(name, str) or not name:
                fail(self.name, f"{name!r} is no tensor name", step.name, step.kind)
            if position in step.inplace:
                cache = step.inputs[step.inplace[position]]
                if name != cache:
                    operand = step.operands[step.inplace[position]]
                    fail(
                        self.name,
                        f"output {name!r} must be {cache!r}: operand {operand} is written in place",
                        step.name,
                        step.kind,
                    )
                continue
            if name in self.views:
                fail(self.name, f"output {name!r} is a view", step.name, step.kind)
            if self._is_defined(name):
                by = f"node {self._made[name]!r}" if name in self._made else "the caller"
                fail(
                    self.name, f"output {name!r} is written already, by {by}", step.name, step.kind
                )
            self._made[name] = step.name

    def finish(self) -> None:
        """Checks the graph as a whole.

        Raises:
            HostError: An output is never written, or a limit of ATB is exceeded.
        """
        if not self.steps:
            fail(self.name, "has no operations")
        missing = [name for name in self.outputs if name not in self._made]
        if missing:
            fail(self.name, f"output {missing[0]!r} is never written")
        if self.separate:
            self._check_separate()
        if not self.single:
            return
        if not _NAME.fullmatch(self.name):
            fail(self.name, "the name must be 1 to 128 letters, digits and underscores")
        counts = {
            "input": len(self.inputs),
            "output": len(self.outputs),
            "internal": len(self._made) - len(self.outputs),
        }
        for kind, count in counts.items():
            if count > MAX_TENSORS:
                fail(self.name, f"has {count} {kind} tensors, limit {MAX_TENSORS}")
        if len(self.steps) >= MAX_NODES:
            fail(self.name, f"has {len(self.steps)} nodes, there must be fewer than {MAX_NODES}")

    def _check_separate(self) -> None:
        host = self.host_inputs
        for step in self.steps:
            for position, name in enumerate(step.inputs):
                if self.shown(name) in host and position not in step.host_positions:
                    fail(
                        self.name,
                        f"operand {step.operands[position]} reads {name!r} on the device, other "
                        "operations read it on the host: it needs an input of its own",
                        step.name,
                        step.kind,
                    )

    def _is_defined(self, name: str) -> bool:
        return name in self.inputs or name in self._made or name in self.views

    def _check_defined(self, name: str, node: str, kind: str, operand: str = "") -> None:
        if not self._is_defined(name):
            reads = f"operand {operand} reads {name!r}" if operand else f"it shows {name!r}"
            fail(self.name, f"{reads}, which is not defined before it", node, kind)


@dataclass(frozen=True)
class Step:
    """One operation of a graph: an ATB operation or another graph.

    Attributes:
        name: Node name.
        body: What it runs.
        inputs: Tensor names, in order.
        outputs: Tensor names, in order.
    """

    name: str
    body: Kernel | Program
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Operation type, ``Graph`` for a graph."""
        return self.body.kind if isinstance(self.body, Kernel) else "Graph"

    @property
    def operands(self) -> list[str]:
        """Names of the operands."""
        return self.body.operands if isinstance(self.body, Kernel) else self.body.inputs

    @property
    def input_count(self) -> int:
        """How many tensors it reads."""
        return len(self.operands)

    @property
    def output_count(self) -> int:
        """How many tensors it makes."""
        if isinstance(self.body, Kernel):
            return self.body.result_count
        return len(self.body.outputs)

    @property
    def inplace(self) -> dict[int, int]:
        """Results that are operands written in place, both as positions."""
        return self.body.written if isinstance(self.body, Kernel) else {}

    @property
    def host_positions(self) -> set[int]:
        """Positions of the operands read on the host."""
        if isinstance(self.body, Kernel):
            return self.body.host_positions
        host = self.body.host_inputs
        return {i for i, name in enumerate(self.body.inputs) if name in host}

    @property
    def written_positions(self) -> set[int]:
        """Positions of the operands written in place."""
        if isinstance(self.body, Kernel):
            return set(self.body.written.values())
        written = self.body.written_inputs
        return {i for i, name in enumerate(self.body.inputs) if name in written}
