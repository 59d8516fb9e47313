"""Prefill and decode joined: what is the same is there once, what differs has its own name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.errors import CodegenError
from codegen.targets.atb.cpp import gather
from codegen.targets.atb.cpp.block import LOGITS_OF_RANK, Input, Operation, TensorIds
from codegen.targets.atb.cpp.merge import Internal, Merged, Step, merge


def op(function: str, reads: str = "", writes: str = "", struct: str = "LinearParam") -> Operation:
    inputs = tuple(Input(f"INTERMEDIATE_{name}") for name in reads)
    outputs = tuple(f"INTERMEDIATE_{name}" for name in writes)
    return Operation(function, (), struct, (), (), inputs, outputs)


def merged(
    prefill: list[Operation], decode: list[Operation], vocab_size: int | None = None
) -> Merged:
    ids = TensorIds()
    ids.output("logits")
    return merge(prefill, decode, ids, (), vocab_size)


def path(made: Merged, prefill: bool) -> list[Operation]:
    """The operations of one phase, in order."""
    found: list[Operation] = []
    for step in made.steps:
        holds = {"": True, "param.isPrefill": prefill, "!param.isPrefill": not prefill}
        found += step.operations if holds[step.condition] else step.otherwise
    return found


A, B, C = op("AddA", "X", "A"), op("AddB", "A", "B"), op("AddC", "B", "C")


def test_equal_phases_have_no_conditions() -> None:
    made = merged([A, B, C], [A, B, C])
    assert made.steps == (Step("", (A, B, C)),)
    assert made.operations == (A, B, C)
    assert made.counts == (3, 3)
    names = ("INTERMEDIATE_A", "INTERMEDIATE_B", "INTERMEDIATE_C")
    assert made.internal == Internal(names, (), (), ())


def test_what_differs_is_behind_a_condition() -> None:
    other = op("AddOther", "A", "B")
    assert merged([A, B, C], [A, other, C]).steps == (
        Step("", (A,)),
        Step("param.isPrefill", (B,), (other,)),
        Step("", (C,)),
    )
    assert merged([A, B], [A]).steps == (Step("", (A,)), Step("param.isPrefill", (B,)))
    assert merged([A], [A, B]).steps == (Step("", (A,)), Step("!param.isPrefill", (B,)))
    assert merged([], [A]).steps == (Step("!param.isPrefill", (A,)),)


def test_tensors_of_one_phase_only_are_told_apart() -> None:
    prefill = [A, op("AddP", "A", "PQ"), op("AddD", "Q", "D")]
    decode = [A, op("AddR", "A", "R"), op("AddD", "R", "D")]
    internal = merged(prefill, decode).internal
    assert internal.both == ("INTERMEDIATE_A", "INTERMEDIATE_D")
    assert internal.prefill == ("INTERMEDIATE_P", "INTERMEDIATE_Q")
    assert internal.decode == ("INTERMEDIATE_R",)


def test_tensors_written_in_place_and_results_are_not_internal() -> None:
    written = Operation("AddCache", (), "XParam", (), (), (), ("IN_K_CACHE", "OUT_HIDDEN"))
    assert merged([written], [written]).internal == Internal((), (), (), ())


def test_functions_that_differ_between_the_phases_have_their_names() -> None:
    other = op("AddB", "A", "B", "SplitParam")
    made = merged([A, B], [A, other])
    assert [o.function for o in made.operations] == ["AddA", "AddBInPrefill", "AddBInDecode"]
    assert made.steps[1].otherwise[0] == replace(other, function="AddBInDecode")


def test_what_both_phases_have_keeps_its_name_beside_a_namesake() -> None:
    other = op("AddB", "B", "C")
    made = merged([A, B, other], [A, B])
    assert [o.function for o in made.operations] == ["AddA", "AddB", "AddBInPrefill"]


def test_functions_of_one_phase_that_would_have_the_same_name() -> None:
    """``mlp.fc_1`` and ``mlp.fc.1`` are both ``AddMlpFc1``."""
    other = op("AddB", "B", "C")
    made = merged([A, B, other], [A, B, other])
    assert [o.function for o in made.operations] == ["AddA", "AddB", "AddB_2"]
    assert made.steps == (Step("", (A, B, replace(other, function="AddB_2"))),)
    made = merged([B, other], [])
    assert [o.function for o in made.operations] == ["AddBInPrefill", "AddBInPrefill_2"]


@pytest.mark.parametrize(
    "name", ["AddOperations", "AddGatherLogits", "AddOrderLogits", "AddCutLogits"]
)
def test_names_of_the_template_are_not_given_away(name: str) -> None:
    made = merged([op(name, "X", "A")], [op(name, "X", "A")], 48)
    assert made.operations[0].function == f"{name}_2"
    functions = [operation.function for operation in made.operations]
    assert len(set(functions)) == len(functions)


def test_logits_made_in_parts_are_gathered_with_several_ranks() -> None:
    last = Operation("AddHead", (), "LinearParam", (), (), (), ("param.worldSize == 1 ? A : B",))
    made = merged([A, last], [A, last], 48)
    assert made.steps[-1] == Step("param.worldSize > 1", gather.operations("OUT_LOGITS", 48))
    assert made.internal.both == ("INTERMEDIATE_A",)
    assert made.internal.ranks == gather.INTERNAL
    assert made.views == gather.VIEWS
    assert made.counts == (2, 2)  # on one rank
    assert LOGITS_OF_RANK in made.internal.ranks


def test_tensors_of_the_ranks_cannot_follow_those_of_a_phase() -> None:
    with pytest.raises(CodegenError, match="other tensors in each phase"):
        merged([A, op("AddP", "A", "P")], [A], 48)


OPERATIONS = st.lists(
    st.builds(
        op,
        st.sampled_from(["AddA", "AddB", "AddA_2", "AddAInPrefill", "AddOperations"]),
        st.sampled_from(["A", "B", "AB"]),
        st.sampled_from(["C", "D", "EF"]),
        st.sampled_from(["LinearParam", "SplitParam"]),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(prefill=OPERATIONS, decode=OPERATIONS)
def test_each_phase_keeps_its_operations_in_their_order(
    prefill: list[Operation], decode: list[Operation]
) -> None:
    made = merged(prefill, decode)
    for phase, wanted in ((True, prefill), (False, decode)):
        found = path(made, phase)
        assert [replace(o, function="") for o in found] == [replace(o, function="") for o in wanted]
    assert made.counts == (len(prefill), len(decode))
    functions = [operation.function for operation in made.operations]
    assert len(set(functions)) == len(functions)
    assert "AddOperations" not in functions
    written = [{n for o in phase for n in o.outputs} for phase in (prefill, decode)]
    internal = made.internal
    assert set(internal.both) == written[0] & written[1]
    assert set(internal.prefill) == written[0] - written[1]
    assert set(internal.decode) == written[1] - written[0]
