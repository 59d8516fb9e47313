"""The pattern matcher: what matches, what is bound, and what a failure says."""

import pytest
import torch

from ir.aten import Aten
from ir.graph import Graph, Location, Value
from ir.match import (
    Bind,
    Literal,
    Made,
    MatchLog,
    MatchResult,
    Number,
    OneOf,
    Pattern,
    Through,
    Weight,
    Where,
    match,
)
from ir.op import lookup
from ir.types import DType, Sym, TensorType

WIDE = TensorType((Sym.of("tokens"), 4), DType.FLOAT32)
X, EPS, W = Bind("x"), Number("eps"), Weight("weight")
MEAN = Made("aten.mean.dim", Made("aten.pow.Tensor_Scalar", X, 2), (-1,), True)
ROOT = Made("aten.rsqrt.default", Made("aten.add.Tensor", MEAN, EPS, commutative=True))
NORM = Made(
    "aten.mul.Tensor", Made("aten.mul.Tensor", X, ROOT, commutative=True), W, commutative=True
)


class Program:
    """A graph of ``aten`` operations, written as calls."""

    def __init__(self) -> None:
        self.graph = Graph("main")
        self.x = self.graph.add_input("x", WIDE)
        self.y = self.graph.add_input("y", WIDE)
        self.w = self.graph.add_parameter(TensorType((4,), DType.FLOAT32), "norm.weight")

    def __call__(self, name: str, *args, **kwargs) -> Value:
        tensors = [a for a in args if isinstance(a, Value)]
        plain = tuple("%" if isinstance(a, Value) else a for a in args)
        pairs = tuple(kwargs.items())
        op = lookup(name)
        assert issubclass(op, Aten)
        loc = Location("model.norm", f"tiny.py:{len(self.graph.nodes) + 1}")
        return op.build(
            self.graph, *tensors, args=plain, kwargs=pairs, types=[WIDE], loc=loc
        ).result

    def norm(self, swap: bool = False, power: int = 2, eps: float | Value = 1e-6) -> Value:
        order = -1 if swap else 1
        mean = self("aten.mean.dim", self("aten.pow.Tensor_Scalar", self.x, power), (-1,), True)
        root = self("aten.rsqrt.default", self("aten.add.Tensor", mean, eps))
        scaled = self("aten.mul.Tensor", *(self.x, root)[::order])
        return self("aten.mul.Tensor", *(self.w, scaled)[::order])


@pytest.mark.parametrize("swap", [False, True])
def test_match_binds_names_in_either_order(swap):
    program = Program()
    found = match(NORM, program.norm(swap))
    assert found
    assert found.value("x") is program.x
    assert found.value("weight") is program.w
    assert found.number("eps") == 1e-6
    assert [node.op for node in found.nodes][:2] == ["aten.mul.Tensor", "aten.mul.Tensor"]
    assert len(found.nodes) == 6
    assert "eps" in found
    assert "bias" not in found


def test_numbers_may_be_constants():
    program = Program()
    eps = program.graph.add_constant(torch.tensor(1e-5), TensorType((), DType.FLOAT32))
    assert match(NORM, program.norm(eps=eps)).number("eps") == pytest.approx(1e-5)


def test_the_reason_is_that_of_the_attempt_that_came_furthest():
    program = Program()
    found = match(NORM, program.norm(eps=program.y))
    assert not found
    assert found.reason == "eps is not a constant: %y (input)"
    assert match(NORM, program.norm(power=3)).reason == "3 is not 2"
    assert match(NORM, program.x).reason == "%x (input) is not made by aten.mul.Tensor"


def test_the_same_name_is_the_same_tensor():
    program = Program()
    product = program("aten.mul.Tensor", program.x, program.y)
    assert match(Made("aten.mul.Tensor", Bind("a"), Bind("b")), product)
    found = match(Made("aten.mul.Tensor", X, X), product)
    assert found.reason == "x is %x (input) here and %y (input) there"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (Made("aten.mean.dim", X, (-1,)), "aten.mean.dim has 3 arguments, not 2"),
        (Made("aten.mean.dim", X, ...), ""),
        (Made("aten.mean.dim", X, (Number("axis"),), True), ""),
        (Made("aten.mean.dim", X, (Number("axis"), 0), True), "(-1,) is not a tuple of 2"),
        (Made("aten.mean.dim", X, (-1,), 1), "True is not 1"),
        (Made("aten.mean.dim", X, (-1,), Bind("keep", plain=True)), ""),
        (Made("aten.mean.dim", Bind("x", plain=True), ...), "%x (input) is a tensor"),
        (Made("aten.mean.dim", X, Bind("axis"), True), "(-1,) is not a tensor"),
        (Made("aten.mean.dim", X, ..., dtype="torch.float32"), ""),
        (Made("aten.mean.dim", X, ..., dtype=None), "'torch.float32' is not None"),
        (Made("aten.mean.dim", X, ..., out=None), "aten.mean.dim has no attribute out"),
        (Made("aten.mean.dim", X, ..., index=1), "%y_1 (aten.mean.dim) is result 0"),
        (Made("aten.mean.dim", Weight("w"), ...), "w is not a weight: %x (input)"),
        (Made(("aten.sum.dim_IntList", "aten.mean.dim"), X, ...), ""),
        (OneOf(Made("aten.neg.default", X), Made("aten.mean.dim", X, ...)), ""),
        (Where(Made("aten.mean.dim", X, ...), lambda v: v.type.rank == 2, "is no matrix"), ""),
        (
            Where(Made("aten.mean.dim", X, ...), lambda v: v.type.rank == 3, "is no cube"),
            "%y_1 (aten.mean.dim) is no cube",
        ),
    ],
)
def test_patterns(pattern: Pattern, reason: str):
    program = Program()
    mean = program("aten.mean.dim", program.x, (-1,), True, dtype="torch.float32")
    assert match(pattern, mean).reason == reason


def test_through_skips_any_number_of_nodes():
    program = Program()
    once = program("aten._to_copy.default", program.x, dtype="torch.float32")
    twice = program("aten._to_copy.default", once, dtype="torch.float16")
    pattern = Through("aten._to_copy.default", X)
    assert match(pattern, program.x).value("x") is program.x
    found = match(pattern, twice)
    assert found.value("x") is program.x
    assert len(found.nodes) == 2


def test_semantic_operations_match_by_operand_and_attribute():
    graph = Graph("main")
    x = graph.add_input("x", WIDE)
    w = graph.add_parameter(TensorType((4, 4), DType.FLOAT32), "w")
    y = lookup("llm.linear").build(graph, x, w).result
    assert match(Made("llm.linear", X, W, None, transpose_weight=True), y)
    assert match(Made("llm.linear", X, W, Literal(None)), y)
    found = match(Made("llm.linear", X, W, Bind("bias")), y)
    assert found.reason == "None is not a tensor"


def test_escaping_values_are_those_read_outside():
    program = Program()
    norm = program.norm()
    program.graph.outputs = [norm]
    found = match(NORM, norm)
    assert found.escaping(program.graph) == []
    root = found.nodes[2].result
    program("aten.neg.default", root)
    assert found.escaping(program.graph) == [root]
    program.graph.outputs.append(found.nodes[1].result)
    assert found.escaping(program.graph) == [found.nodes[1].result, root]


def test_wrong_holes_are_key_errors():
    found = match(NORM, Program().norm())
    for read in (lambda: found.value("eps"), lambda: found.number("x"), lambda: found.value("z")):
        with pytest.raises(KeyError):
            read()


def test_log_keeps_failures_with_their_place():
    program = Program()
    norm = program.norm(power=3)
    log = MatchLog()
    assert norm.producer
    assert not log.record("rms-norm", norm.producer, match(NORM, norm))
    assert log.record("rms-norm", norm.producer, match(NORM, program.norm()))
    (attempt,) = log.attempts
    assert str(attempt) == "rms-norm: 3 is not 2 (aten.mul.Tensor, model.norm at tiny.py:6)"
    log.record("own", norm.producer, MatchResult.fail("no", program.norm().producer))
    assert str(log.attempts[1]).endswith("tiny.py:6; stuck at model.norm at tiny.py:18)")
