"""The decoders that the tests of passes use: valid, and folded and unfolded the same."""

import pytest
import torch

import ir
from ir.structure import exact_key
from ir.text import parse_module, print_module
from tests.ir.models import SHAPES, Shape, decoder, logits, weights


@pytest.mark.parametrize("name", SHAPES)
def test_decoder_is_valid_and_round_trips(name):
    module = decoder(SHAPES[name])
    ir.verify(module)
    parsed = parse_module(print_module(module))
    ir.verify(parsed)
    assert exact_key(parsed) == exact_key(module)


def test_folded_and_unfolded_agree():
    folded, unfolded = decoder(Shape()), decoder(Shape(folded=False))
    checkpoint = weights(folded)
    assert checkpoint.keys() == weights(unfolded).keys()
    assert torch.equal(logits(folded, checkpoint), logits(unfolded, checkpoint))
