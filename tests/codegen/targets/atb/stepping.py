"""Runs a compiled module step by step on the interpreter, with a real paged cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from codegen.targets.atb.host_inputs import BLOCK_SIZE, Step, build_feeds
from codegen.targets.atb.module import AtbModule
from ir import Graph, Module, interpret

PROMPTS: tuple[tuple[int, ...], ...] = ((3, 17, 9, 40, 22, 8, 31), (5, 11, 2, 30, 45, 1, 19, 7, 33))
STEPS = 8


class Stepper:
    """One batch on one module (llm or ATB)."""

    def __init__(self, module: Module, weights: Mapping[str, torch.Tensor], batch: int) -> None:
        self.module, self.weights = module, weights
        blocks_each = 2
        # scattered on purpose: a mistake in block numbers must show
        order = torch.randperm(batch * blocks_each + 1, generator=torch.Generator().manual_seed(1))
        self.tables = order[: batch * blocks_each].reshape(batch, blocks_each).int()
        self.lengths = [0] * batch
        self.caches = {
            value.name: torch.zeros(len(order), *(int(str(d)) for d in value.type.shape[1:]))
            for value in module.functions["prefill"].inputs
            if value.name.startswith(("k_cache", "v_cache"))
        }

    def step(self, entry: str, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits of the new tokens."""
        positions: list[int] = []
        slots: list[int] = []
        for row, new in enumerate(tokens):
            for position in range(self.lengths[row], self.lengths[row] + len(new)):
                positions.append(position)
                block = int(self.tables[row, position // BLOCK_SIZE])
                slots.append(block * BLOCK_SIZE + position % BLOCK_SIZE)
            self.lengths[row] += len(new)
        inputs = {
            "input_ids": torch.tensor([t for new in tokens for t in new]),
            "positions": torch.tensor(positions),
            "seq_lens": torch.tensor([len(new) for new in tokens], dtype=torch.int32),
            "slots": torch.tensor(slots, dtype=torch.int32),
            "block_tables": self.tables,
            "context_lens": torch.tensor(self.lengths, dtype=torch.int32),
            **self.caches,
        }
        graph = self.module.functions[entry]
        inputs.update(self._fed(graph, inputs))
        return next(iter(interpret(self.module, inputs, self.weights, entry).values()))

    def _fed(self, graph: Graph, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if not isinstance(self.module, AtbModule):
            return {}
        step = Step(
            inputs["positions"], inputs["seq_lens"], inputs["context_lens"], self.tables.shape[1]
        )
        return build_feeds(self.module.feeds, {v.name for v in graph.inputs}, step)


def trajectory(module: Module, weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Logits of a prefill of two prompts and of 8 decode steps with fixed tokens."""
    stepper = Stepper(module, weights, len(PROMPTS))
    logits = [stepper.step("prefill", PROMPTS)]
    for number in range(STEPS):
        tokens = [[(7 * number + 3) % 48], [(11 * number + 5) % 48]]
        logits.append(stepper.step("decode", tokens))
    return logits


def worst(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """Largest difference, relative to the largest value where that exceeds 1."""
    pairs = list(zip(left, right, strict=True))
    return max(float((a - b).abs().max()) / max(1.0, float(a.abs().max())) for a, b in pairs)
