"""Everything that the `_libatb_torch` stand-in refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from codegen.errors import CodegenError, HostError
from codegen.host.atb_python import Host, install
from tests.codegen.host.test_atb_python import (
    HIDDEN,
    KV,
    LENS,
    TOKENS,
    D,
    attention_graph,
    attention_tensors,
    base,
    graph,
    host,
    rand,
)

__all__ = ["host"]


def add(name: str = "add") -> Any:
    return base("Elewise", name, elewiseType="ELEWISE_ADD")


def started() -> Any:
    made = graph()
    made.add_input_output(["x", "lens"], ["y"])
    return made


def complete(built: bool = True) -> Any:
    made = started()
    made.add_operation(add(), ["x", "x"], ["y"])
    if built:
        made.build()
    return made


X, Y = rand(2, 3), torch.empty(2, 3)
ONE = torch.tensor([1], dtype=torch.int32)
ATTEND = {"headNum": 1, "calcType": "PA_ENCODER"}


def attending() -> Any:
    made = graph()
    made.add_input_output(["q", "lens"], ["y"])
    made.add_operation(base("SelfAttention", "attend", **ATTEND), ["q", "q", "q", "lens"], ["y"])
    made.build()
    return made


def attend(lens: torch.Tensor = ONE, bind: dict[str, torch.Tensor] | None = None) -> None:
    q = rand(1, 1, 16)
    attending().forward({"q": q, "lens": lens}, {"y": torch.empty(1, 1, 16)}, bind)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    # construction
    "unknown type": (lambda: base("Linears"), "'Linears' is not known"),
    "unknown key": (lambda: base("Linear", "q", bias=True), r"node 'q' \(Linear\): .*'bias'"),
    "ignored epsilon": (
        lambda: base("RmsNorm", layerType="RMS_NORM_NORM", epsilon=1e-6),
        "does not read the key 'epsilon'",
    ),
    "unknown enum": (lambda: base("Elewise", elewiseType="ADD"), "elewiseType must be one of"),
    "wrong kind": (lambda: base("Gather", axis="0"), "axis must be int"),
    "not json": (
        lambda: sys.modules["_libatb_torch"].BaseOperation("Linear", "{", "q"),
        "op_param is not JSON",
    ),
    "json list": (
        lambda: sys.modules["_libatb_torch"].BaseOperation("Linear", "[]", "q"),
        "must be a JSON object",
    ),
    # building
    "arity": (
        lambda: started().add_operation(add(), ["x"], ["y"]),
        r"graph 'layer', node 'add' \(Elewise\): has 1 inputs \['x'\], wants 2 \(x, y\)",
    ),
    "output arity": (lambda: started().add_operation(add(), ["x", "x"], []), "has 0 outputs"),
    "undefined": (
        lambda: started().add_operation(add(), ["x", "h"], ["y"]),
        "operand y reads 'h', which is not defined before it",
    ),
    "read of unwritten output": (
        lambda: started().add_operation(add(), ["x", "y"], ["y"]),
        "operand y reads 'y', which is not defined",
    ),
    "written twice": (
        lambda: complete(built=False).add_operation(add("more"), ["x", "x"], ["y"]),
        "output 'y' is written already, by node 'add'",
    ),
    "input overwritten": (
        lambda: started().add_operation(add(), ["x", "x"], ["x"]),
        "output 'x' is written already, by the caller",
    ),
    "cache not in place": (
        lambda: write_to(["k_new", "c"]),
        r"output 'k_new' must be 'c': operand k_cache is written in place",
    ),
    "view of undefined": (
        lambda: started().add_reshape("h", "v", lambda s: s),
        "it shows 'h', which is not defined",
    ),
    "view of view": (lambda: view_of_view(), "made of the view 'a'"),
    "view takes a name": (
        lambda: started().add_reshape("x", "y", lambda s: s),
        "view 'y' has the name of another tensor",
    ),
    "view as output": (lambda: write_view(), "output 'a' is a view"),
    "declared twice": (lambda: started().add_input_output(["a"], ["b"]), "set twice"),
    "doubled input": (
        lambda: graph().add_input_output(["a", "a"], ["b"]),
        "input 'a' is declared twice",
    ),
    "input and output": (
        lambda: graph().add_input_output(["a"], ["a"]),
        "as input and as output",
    ),
    "names as text": (lambda: graph().add_input_output("ab", ["c"]), "must be a list of names"),
    "output missing": (lambda: started().build(), "has no operations"),
    "output never written": (lambda: never_written(), "output 'z' is never written"),
    "operation twice": (lambda: add_twice(), "node 'add': is added twice"),
    "host operand computed": (lambda: computed_lens(), "is read on the host"),
    "graph not built": (
        lambda: started().add_operation(complete(built=False), ["x", "lens"], ["y"]),
        "added before it is built",
    ),
    "graph not single": (lambda: nest_unsingle(), "executed node by node"),
    "changed after build": (
        lambda: complete().add_operation(add("b"), ["x", "x"], ["z"]),
        "is built already",
    ),
    "name": (lambda: named("a.b"), "letters, digits and underscores"),
    "not an operation": (lambda: started().add_operation("add", ["x"], ["y"]), "not an operation"),
    # running
    "not built": (
        lambda: complete(built=False).forward({"x": X, "lens": ONE}, {"y": Y}),
        "run before it is built",
    ),
    "missing input": (lambda: complete().forward({"x": X}, {"y": Y}), "input 'lens' is missing"),
    "unknown input": (
        lambda: complete().forward({"x": X, "lens": ONE, "z": X}, {"y": Y}),
        "input 'z' is no input",
    ),
    "missing output": (
        lambda: complete().forward({"x": X, "lens": ONE}),
        "output 'y' is missing",
    ),
    "output shape": (
        lambda: complete().forward({"x": X, "lens": ONE}, {"y": Y.t().contiguous()}),
        r"output 'y' must be float32\[2, 3\]",
    ),
    "output type": (
        lambda: complete().forward({"x": X, "lens": ONE}, {"y": Y.half()}),
        r"the tensor given for it is float16\[2, 3\]",
    ),
    "unknown weight": (lambda: complete().set_weights({"w": X}), "'w' is set as weight, but is no"),
    "weight and input": (lambda: weight_given_again(), "'x' is set as weight already"),
    "cache as weight": (
        lambda: attention_graph().set_weights({"k_cache": X}),
        "'k_cache' is set as weight, but is written in place",
    ),
    "no tensor": (
        lambda: complete().forward({"x": [1.0], "lens": ONE}, {"y": Y}),
        "'x' is not a tensor but list",
    ),
    "no device": (
        lambda: complete().forward({"x": X.to("meta"), "lens": ONE}, {"y": Y}),
        "takes CPU tensors",
    ),
    "element type": (
        lambda: complete().forward({"x": X.to(torch.complex64), "lens": ONE}, {"y": Y}),
        "which ATB does not know",
    ),
    "contract": (
        lambda: complete().forward({"x": X.to(torch.int8), "lens": ONE}, {"y": Y}),
        r"graph 'layer', node 'add' \(Elewise\): operand x is int8, .* \[x = 'x', y = 'x'\]",
    ),
    "view function": (lambda: bad_view([2, 4]), r"view 'v' of 'x' with shape \[2, 3\]: .* no view"),
    "view result": (lambda: bad_view(None), "gave None, not a list of integers"),
    "no bind": (lambda: attend(), "bind 'lens' is missing"),
    "unknown bind": (lambda: attend(bind={"lens": ONE, "z": ONE}), "bind 'z' is no bind"),
    "bind type": (
        lambda: attend(bind={"lens": ONE.long()}),
        "the host values must be int32",
    ),
    "bind values": (lambda: attend(bind={"lens": ONE + 1}), "bound to other values"),
    "operand values": (
        lambda: attend(ONE + 1, {"lens": ONE + 1}),
        r"node 'attend' \(SelfAttention\): seq_len \[2\] does not add up to 1 tokens",
    ),
    "shared slots": (lambda: zero_slots(), "two tokens share a cache slot"),
    "16-bit cache": (lambda: short_cache(), "must be float32 in a float32 run"),
    "strided cache": (lambda: strided_cache(), "must be contiguous"),
    "cache alone": (
        lambda: base("ReshapeAndCache").forward({}),
        "writes operands in place: run it in a graph",
    ),
    "precision": (lambda: install("float64"), "precision must be one of"),
}


def write_to(outputs: list[str]) -> None:
    made = graph()
    made.add_input_output(["k", "c", "d", "slots"], ["y"])
    made.add_operation(base("ReshapeAndCache"), ["k", "k", "c", "d", "slots"], outputs)


def view_of_view() -> None:
    made = started()
    made.add_reshape("x", "a", lambda s: s)
    made.add_reshape("a", "b", lambda s: s)


def write_view() -> None:
    made = started()
    made.add_reshape("x", "a", lambda s: s)
    made.add_operation(add(), ["x", "x"], ["a"])


def never_written() -> None:
    made = graph()
    made.add_input_output(["x"], ["y", "z"])
    made.add_operation(add(), ["x", "x"], ["y"])
    made.build()


def add_twice() -> None:
    made, operation = started(), add()
    made.add_operation(operation, ["x", "x"], ["h"])
    made.add_operation(operation, ["h", "h"], ["y"])


def computed_lens() -> None:
    made = graph()
    made.add_input_output(["q", "lens"], ["y"])
    made.add_operation(add(), ["lens", "lens"], ["twice"])
    made.add_operation(base("SelfAttention", **ATTEND), ["q", "q", "q", "twice"], ["y"])


def nest_unsingle() -> None:
    inner = complete(built=False)
    inner.execute_as_single = False
    inner.build()
    started().add_operation(inner, ["x", "lens"], ["y"])


def named(name: str) -> None:
    made = graph(name)
    made.add_input_output(["x"], ["y"])
    made.add_operation(add(), ["x", "x"], ["y"])
    made.build()


def weight_given_again() -> None:
    made = complete()
    made.set_weights({"x": X})
    made.forward({"x": X, "lens": ONE}, {"y": Y})


def bad_view(shape: list[int] | None) -> None:
    made = started()
    made.add_reshape("x", "v", lambda s: shape)
    made.add_operation(add(), ["v", "v"], ["y"])
    made.build()
    made.forward({"x": X, "lens": ONE}, {"y": Y})


def run_attention(**changed: torch.Tensor) -> None:
    tensors = {**attention_tensors(), "w": rand(128, HIDDEN), **changed}
    y = torch.empty(TOKENS, HIDDEN)
    attention_graph().forward(tensors, {"y": y}, {"seq_lens": LENS})


def zero_slots() -> None:
    run_attention(slots=torch.zeros(TOKENS, dtype=torch.int32))


def short_cache() -> None:
    run_attention(k_cache=torch.zeros(2, 4, KV, D, dtype=torch.bfloat16))


def strided_cache() -> None:
    run_attention(k_cache=torch.zeros(4, 2, KV, D).transpose(0, 1))


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(host: Host, case: str) -> None:
    action, message = REFUSED[case]
    with pytest.raises(HostError, match=message) as error:
        action()
    assert isinstance(error.value, CodegenError)
    assert "\n" not in str(error.value)


def test_limits(host: Host) -> None:
    def chain(length: int, inputs: int = 1, single: bool = True) -> Any:
        made = graph()
        made.add_input_output([f"x{i}" for i in range(inputs)], ["y"])
        made.execute_as_single = single
        names = ["x0", *(f"h{i}" for i in range(1, length)), "y"]
        for source, target in pairwise(names):
            made.add_operation(
                base("Elewise", target, elewiseType="ELEWISE_NEG"), [source], [target]
            )
        made.build()
        return made

    chain(257, inputs=256)
    chain(1100, inputs=300, single=False)
    with pytest.raises(HostError, match="257 internal tensors, limit 256"):
        chain(258)
    with pytest.raises(HostError, match="257 input tensors, limit 256"):
        chain(1, inputs=257)
