"""Any pipeline on any decoder leaves its numbers as they are."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.passes import (
    FoldLayers,
    InlineCalls,
    PackLinears,
    Pass,
    RemoveDead,
    SimplifyViews,
    parse_pipeline,
    print_pipeline,
    run_passes,
)
from ir.structure import exact_key
from ir.text import parse_module, print_module
from tests.ir.models import Shape, decoder, logits, weights

flags = st.booleans()
shapes = st.builds(
    Shape,
    layers=st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple),
    folded=flags,
    kv_heads=st.sampled_from([1, 2, 4]),
    bias=flags,
    transpose_weight=flags,
    gated=flags,
    up_first=flags,
    parallel=flags,
    rope=flags,
    slopes=flags,
    tied=flags,
    window=st.sampled_from([None, 1, 3]),
    fused_gate_up=flags,
)
pipelines = st.lists(
    st.sampled_from([FoldLayers(), InlineCalls(), PackLinears(), RemoveDead(), SimplifyViews()]),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(shapes, pipelines)
def test_numbers_and_text_survive_any_pipeline(shape: Shape, passes: list[Pass]):
    module = decoder(shape)
    checkpoint = weights(module)
    expected = logits(module, checkpoint)
    assert parse_pipeline(print_pipeline(passes)) == passes
    run_passes(module, passes)
    torch.testing.assert_close(logits(module, checkpoint), expected, rtol=1e-4, atol=1e-4)
    parsed = parse_module(print_module(module))
    assert exact_key(parsed) == exact_key(module)
    assert torch.equal(logits(parsed, checkpoint), logits(module, checkpoint))
