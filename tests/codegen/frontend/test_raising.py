"""The semantic graph of every zoo model computes what HuggingFace computes.

Rung 2 of the verification ladder: the raised graph, and the prefill and decode graphs that
`cache-kv` derives from it, run through the interpreter on a ragged batch of two prompts.
"""

from __future__ import annotations

import pytest
import torch

from codegen.frontend.raising import raise_module
from ir.interpret import interpret
from ir.passes.base import run_passes
from ir.passes.cache_kv import CacheKv
from ir.passes.pack_linears import PackLinears
from ir.passes.simplify_views import SimplifyViews
from tests.frontend_util import load_module, weights_of
from tests.zoo import CASES, DECODE_STEPS, PROMPTS

REQUIRED = [name for name, case in CASES.items() if case.tier == "required"]
LENGTHS = [len(prompt) for prompt in PROMPTS]
BLOCK_SIZE = 4
#: Scattered on purpose: blocks of a sequence neither adjoin nor ascend.
BLOCK_TABLES = torch.tensor([[3, 5, 1, 7, 9, 11, 0], [2, 4, 6, 8, 10, 12, 13]], dtype=torch.int32)


def slot(sequence: int, position: int) -> int:
    """Cache slot of a token."""
    block = int(BLOCK_TABLES[sequence, position // BLOCK_SIZE])
    return block * BLOCK_SIZE + position % BLOCK_SIZE


def prefill_inputs() -> dict[str, torch.Tensor]:
    """Both prompts as one ragged batch."""
    return {
        "input_ids": torch.tensor([token for prompt in PROMPTS for token in prompt]),
        "positions": torch.cat([torch.arange(length) for length in LENGTHS]),
        "seq_lens": torch.tensor(LENGTHS, dtype=torch.int32),
    }


def assert_agree(out: torch.Tensor, want: torch.Tensor) -> None:
    """float32 in another order of operations; logits are of magnitude 1 to 10."""
    assert (out - want).abs().max() <= 1e-4 * max(1.0, float(want.abs().max()))
    assert torch.equal(out.argmax(-1), want.argmax(-1))


@pytest.mark.parametrize("name", REQUIRED)
def test_llm_graph_agrees_with_huggingface(name, zoo, zoo_reference):
    path = zoo(name)
    module = raise_module(load_module(path)).module
    assert not [n.op for g in module for n in g.nodes if not n.op.startswith(("llm.", "func."))]
    (out,) = interpret(module, prefill_inputs(), weights_of(path)).values()
    assert_agree(out, torch.cat([reference.prefill for reference in zoo_reference(name)]))


@pytest.mark.parametrize("name", REQUIRED)
def test_prefill_and_decode_graphs_agree_with_huggingface(name, zoo, zoo_reference):
    path, references = zoo(name), zoo_reference(name)
    module = raise_module(load_module(path)).module
    run_passes(module, [SimplifyViews(), PackLinears(), CacheKv(block_size=BLOCK_SIZE)])
    read = weights_of(path)
    caches = {
        # never-written slots are NaN: reading one shows in every logit
        v.name: torch.full([14, *(int(str(dim)) for dim in v.type.shape[1:])], float("nan"))
        for v in module.functions["prefill"].inputs
        if v.name.startswith(("k_cache", "v_cache"))
    }
    slots = [slot(row, i) for row, length in enumerate(LENGTHS) for i in range(length)]
    inputs = prefill_inputs() | {"slots": torch.tensor(slots, dtype=torch.int32)} | caches
    (out,) = interpret(module, inputs, read, entry="prefill").values()
    assert_agree(out, torch.cat([reference.prefill for reference in references]))
    for step in range(DECODE_STEPS):
        positions = [length + step for length in LENGTHS]
        slots = [slot(row, position) for row, position in enumerate(positions)]
        inputs = caches | {
            "input_ids": torch.tensor([reference.tokens[step] for reference in references]),
            "positions": torch.tensor(positions),
            "seq_lens": torch.ones(2, dtype=torch.int32),
            "slots": torch.tensor(slots, dtype=torch.int32),
            "block_tables": BLOCK_TABLES,
            "context_lens": torch.tensor(positions, dtype=torch.int32) + 1,
        }
        (out,) = interpret(module, inputs, read, entry="decode").values()
        assert_agree(out, torch.stack([reference.decode[step] for reference in references]))
