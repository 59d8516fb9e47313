"""What a stage says of itself, from its operations and tensors."""

from __future__ import annotations

import pytest

from codegen.targets.atb.cpp.block import Operation
from codegen.targets.atb.cpp.merge import Internal, Merged, Step
from codegen.targets.atb.cpp.stage import Block
from tests.codegen.targets.atb.cpp.emitted import printed

PLAIN = Operation("AddA", (), "LinearParam", (), (), (), ())
OF_RANK = Operation("AddB", (), "LinearParam", (), (), (), (), uses_rank=True)


def block(
    *steps: Step, internal: Internal | None = None, input_names: tuple[str, ...] = ("x",)
) -> Block:
    return Block(
        name="decoder_layer",
        comment=(),
        weights=(),
        inputs=(),
        input_names=input_names,
        outputs=(),
        merged=Merged(steps, internal or Internal((), (), (), ()), (), (0, 0)),
        recipes=(),
        tokens_input="IN_X",
        dtype_input="IN_X",
        scoped=True,
        space="space",
    )


@pytest.mark.parametrize(
    ("internal", "count"),
    [
        (Internal((), (), (), ()), "0"),
        (Internal(("A", "B"), (), (), ()), "2"),
        (Internal(("A",), ("P",), ("D",), ()), "2"),
        (Internal(("A",), ("P", "Q"), ("D",), ()), "param.isPrefill ? 3 : 2"),
        (Internal((), (), ("D",), ()), "param.isPrefill ? 0 : 1"),
        (Internal(("A",), (), (), ("R", "S", "T")), "param.worldSize == 1 ? 1 : 4"),
    ],
)
def test_tensors_inside_the_graph(internal: Internal, count: str) -> None:
    assert block(internal=internal).internal_count == count


@pytest.mark.parametrize(
    ("steps", "reads"),
    [
        ((), False),
        ((Step("", (PLAIN,)),), False),
        ((Step("", (PLAIN, OF_RANK)),), True),
        ((Step("param.isPrefill", (PLAIN,)),), True),
        ((Step("", (PLAIN,)), Step("!param.isPrefill", (PLAIN,))), True),
    ],
)
def test_parameters_are_taken_where_something_depends_on_them(
    steps: tuple[Step, ...], reads: bool
) -> None:
    assert block(*steps).reads_param is reads


def test_names() -> None:
    made = block(input_names=("hidden_states", "k_cache", "v_cache", "k_cache_2", "v_cache_2"))
    assert made.guard == "SPACE_LAYER_DECODER_LAYER_H"
    assert made.graph_name == "space_decoder_layer"
    assert made.caches == 2


def test_kinds_of_layers_are_printed_once_and_in_order() -> None:
    blocks = printed("mixed-windows").model.blocks
    assert [made.name for made in blocks] == [
        "embedding", "decoder_layer", "decoder_layer_2", "head",
    ]  # fmt: skip
    assert [made.scoped for made in blocks] == [False, True, True, False]
