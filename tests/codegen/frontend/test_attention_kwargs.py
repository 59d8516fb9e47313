"""Arguments of attention that change numbers are kept or refused; masks keep their kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import masking_utils
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    chunked_causal_mask_function,
    create_causal_mask,
    or_masks,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from codegen.errors import UnsupportedError
from codegen.frontend.attention import recognise
from codegen.frontend.ops import Visibility, attend, visible
from ir.graph import Module, Node
from tests.codegen.frontend.toy import HIDDEN, ToyConfig, ToyModel, traced

HEADS = 2


class AttentionLayer(nn.Module):
    """Calls the attention interface with whatever a test wants."""

    def __init__(self, config: ToyConfig, options: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.options = options
        self.is_causal = True
        self.proj = nn.Linear(HIDDEN, HIDDEN)
        self.extra = nn.Parameter(torch.randn(HEADS))

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        x = self.proj(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        options = {k: self.extra if v == "tensor" else v for k, v in self.options.items()}
        made, _ = attention(self, x, x, x, mask, **{"scaling": 0.5, **options})
        return hidden + made.flatten(-2)


def attention_model(with_mask: bool = True, **options: Any) -> ToyModel:
    config = ToyConfig(2)
    config._attn_implementation = "llm_codegen"

    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        mask = create_causal_mask(config, hidden, None, None) if with_mask else None
        for layer in model.layers:
            hidden = layer(hidden, mask)
        return hidden

    return ToyModel(config, lambda index: AttentionLayer(config, options), run)


def attention_of(module: Module) -> Node:
    (node,) = [n for graph in module for n in graph.find("trace.attention")]
    return node


def test_mask_becomes_attributes() -> None:
    module = traced(attention_model())
    node = attention_of(module)
    assert node.operands[3:] == [None, None]
    assert node.attrs == {
        "scale": 0.5, "causal": True, "window": None, "chunk": None, "softcap": None,
    }  # fmt: skip
    assert not any(graph.find("trace.mask") for graph in module)
    assert node.loc.module == "layers.0"


def test_softcap_scale_and_sinks_are_kept() -> None:
    node = attention_of(traced(attention_model(softcap=3, scaling=None, s_aux="tensor")))
    assert node.attrs["softcap"] == 3.0
    assert node.attrs["scale"] == (HIDDEN // HEADS) ** -0.5
    assert node.operand(4).name.startswith("extra")


def test_no_mask_means_what_the_module_says() -> None:
    assert attention_of(traced(attention_model(with_mask=False))).attrs["causal"] is True
    loose = attention_of(traced(attention_model(with_mask=False, is_causal=False)))
    assert loose.attrs["causal"] is False


@pytest.mark.parametrize(
    "name", ["indices", "block_indices", "cu_seq_lens_q", "cache", "block_table", "unheard_of"]
)
def test_unknown_arguments_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        traced(attention_model(**{name: "tensor"}))
    (problem,) = caught.value.problems
    assert name in problem.reason
    assert problem.module == "layers.0"


def test_unknown_arguments_that_are_absent_do_not_matter() -> None:
    attention_of(traced(attention_model(indices=None, cu_seq_lens_k=None, dropout=0.0)))


def test_window_without_a_mask_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="sliding window but no mask"):
        traced(attention_model(with_mask=False, sliding_window=3))


def test_position_bias_is_an_operand_beside_the_mask() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        mask = create_causal_mask(model.config, hidden, None, None)
        bias = hidden.mean(-1)[:, None, None, :]
        for layer in model.layers:
            layer.options["position_bias"] = bias
            hidden = layer(hidden, mask)
            layer.options.clear()
        return hidden

    model = attention_model()
    model.run = run
    module = traced(model, fold=False)
    first = module.functions["main"].find("trace.attention")[0]
    assert first.attrs["causal"] is True
    assert first.operand(3).type.rank == 4


def test_transformers_is_left_as_it_was() -> None:
    before = masking_utils.find_packed_sequence_indices
    traced(attention_model())
    assert masking_utils.find_packed_sequence_indices is before
    assert not ALL_MASK_ATTENTION_FUNCTIONS._local_mapping


FUNCTIONS = {
    "causal": (causal_mask_function, Visibility(causal=True)),
    "bidirectional": (bidirectional_mask_function, Visibility()),
    "window": (sliding_window_causal_mask_function(3), Visibility(causal=True, window=3)),
    "chunk": (
        chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.int64)),
        Visibility(causal=True, chunk=4),
    ),
    "two windows": (
        and_masks(
            sliding_window_causal_mask_function(5),
            and_masks(sliding_window_causal_mask_function(2), causal_mask_function),
        ),
        Visibility(causal=True, window=2),
    ),
    "union": (or_masks(causal_mask_function, bidirectional_mask_function), None),
    "symmetric window": (sliding_window_bidirectional_mask_function(3), None),
    "own": (lambda b, h, q, k: k <= q, None),
    "own part": (and_masks(causal_mask_function, lambda b, h, q, k: k > 2), None),
    "builtin": (max, None),
}


@pytest.mark.parametrize(("function", "wanted"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_recognises_mask_functions(function: Any, wanted: Visibility | None) -> None:
    assert recognise(function) == wanted
    if wanted is not None:
        mask = masking_utils.sdpa_mask(1, 9, 9, mask_function=function, allow_is_causal_skip=False)
        assert mask is not None
        assert torch.equal(mask, visible(None, 9, 9, wanted, additive=False))


@pytest.mark.parametrize("grouped", [1, 2])
def test_reference_semantics_agree_with_torch(grouped: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 7, 8), *torch.randn(2, 1, 4 // grouped, 7, 8)
    seen = Visibility(causal=True, window=3)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(grouped, 1), v.repeat_interleave(grouped, 1),
        attn_mask=seen.table(7, 7), scale=0.3,
    )  # fmt: skip
    made = attend(q, k, v, None, None, 0.3, seen, None)
    torch.testing.assert_close(made.transpose(1, 2), wanted)
    as_mask = visible(None, 7, 7, seen, additive=True)
    torch.testing.assert_close(attend(q, k, v, as_mask, None, 0.3, Visibility(), None), made)
    as_bool = visible(None, 7, 7, seen, additive=False)
    torch.testing.assert_close(attend(q, k, v, as_bool, None, 0.3, Visibility(), None), made)


def test_padding_hides_keys() -> None:
    padding = torch.tensor([[1, 1, 0, 1]])
    mask = visible(padding, 4, 4, Visibility(causal=True), additive=False)
    assert mask[0, 0].tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, False, False],
        [True, True, False, True],
    ]
