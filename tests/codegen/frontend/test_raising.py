"""The semantic graph of every zoo model computes what HuggingFace computes."""

from __future__ import annotations

import pytest
import torch
from ir.interpret import interpret

from codegen.frontend.raising import raise_module
from tests.frontend_util import load_module, weights_of
from tests.zoo import CASES, PROMPTS

REQUIRED = [name for name, case in CASES.items() if case.tier == "required"]


def prefill_inputs() -> dict[str, torch.Tensor]:
    """Both prompts as one ragged batch."""
    return {
        "input_ids": torch.tensor([token for prompt in PROMPTS for token in prompt]),
        "positions": torch.cat([torch.arange(len(prompt)) for prompt in PROMPTS]),
        "seq_lens": torch.tensor([len(prompt) for prompt in PROMPTS], dtype=torch.int32),
    }


@pytest.mark.parametrize("name", REQUIRED)
def test_llm_graph_agrees_with_huggingface(name, zoo, zoo_reference):
    path = zoo(name)
    module = raise_module(load_module(path)).module
    logits = interpret(module, prefill_inputs(), weights_of(path))
    (out,) = logits.values()
    want = torch.cat([reference.prefill for reference in zoo_reference(name)])
    # float32 in another order of operations; logits are of magnitude 1 to 10
    assert (out - want).abs().max() <= 1e-4 * max(1.0, float(want.abs().max()))
    assert torch.equal(out.argmax(-1), want.argmax(-1))
    assert not [n.op for g in module for n in g.nodes if not n.op.startswith(("llm.", "func."))]
