"""Runs a lowered module through the interpreter as a server would: one batch, a paged cache.

The inputs (slots, block tables, masks) are made here from their definitions, not taken from the
generated code, so that a mistake there shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codegen.targets.atb.host_inputs import BLOCK_SIZE, Step, build_feeds
from codegen.targets.atb.module import AtbModule
from ir.graph import Graph, Module, Node
from ir.interpret import interpret


@dataclass(frozen=True)
class Event:
    """One operation that ran.

    Attributes:
        scope: Module path of the call that it belongs to, empty outside of layers.
        node: The operation.
        results: What it made.
    """

    scope: str
    node: Node
    results: tuple[Tensor, ...]


class Replay:
    """A batch of sequences running through a module with the entries ``prefill`` and ``decode``."""

    def __init__(
        self,
        module: Module,
        read: Callable[[str], Tensor],
        prompts: Sequence[Sequence[int]],
        image_features: Tensor | None = None,
    ) -> None:
        """Starts with nothing cached.

        Args:
            module: An llm module after ``cache-kv``, or an ATB module.
            read: Gives the checkpoint tensor of a name, float32.
            prompts: Token ids of each sequence.
            image_features: Features of all images in the prompts, ``[image tokens, hidden]``.
        """
        self._image_features = image_features
        self._module = module
        self._read = read
        self._prompts = prompts
        self._lengths = [0] * len(prompts)
        # One block is enough for what is decoded in a verification.
        self._blocks = max(map(len, prompts)) // BLOCK_SIZE + 2
        # The first block belongs to nobody: a slot that is wrongly 0 hits no sequence.
        count = 1 + self._blocks * len(prompts)
        self._caches = {
            v.name: torch.zeros(count, *(int(str(d)) for d in v.type.shape[1:]))
            for v in module.functions["prefill"].inputs
            if v.name.startswith(("k_cache", "v_cache"))
        }

    def prefill(self, keep: list[Event] | None = None) -> Tensor:
        """Runs the prompts; appends every operation to ``keep``. Logits ``[tokens, vocab]``."""
        return self._run("prefill", self._prompts, keep, self._image_features)

    def decode(self, tokens: Sequence[int], keep: list[Event] | None = None) -> Tensor:
        """Runs one token of each sequence. Logits ``[batch, vocab]``."""
        return self._run("decode", [[token] for token in tokens], keep)

    def _run(
        self,
        name: str,
        new: Sequence[Sequence[int]],
        keep: list[Event] | None,
        features: Tensor | None = None,
    ) -> Tensor:
        entry = self._module.functions[name]
        inputs = {**self._step(entry, new), **self._caches}
        # What the first layer takes is where images enter.
        first = next(call for call in entry.find("func.call") if call.attrs["scope"]).operand(0)
        places = inputs["input_ids"] == self._module.meta.get("image_token_id")

        def watch(scope: str, node: Node, results: list[Tensor]) -> None:
            if keep is not None and node.op != "func.call":
                keep.append(Event(scope, node, tuple(results)))
            if features is not None and node is first.producer:
                results[first.index] = results[first.index].clone()
                results[first.index][places] = features

        made = interpret(self._module, inputs, self._read, name, watch)
        return made[entry.outputs[0].name].float()

    def _step(self, entry: Graph, new: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        positions: list[int] = []
        slots: list[int] = []
        tables: list[list[int]] = []
        for row, tokens in enumerate(new):
            first = 1 + row * self._blocks
            start = self._lengths[row]
            here = range(start, start + len(tokens))
            positions += here
            slots += [first * BLOCK_SIZE + position for position in here]
            tables.append(list(range(first, first + self._blocks)))
            self._lengths[row] += len(tokens)
        step = Step(
            positions=torch.tensor(positions),
            seq_lens=torch.tensor([len(tokens) for tokens in new], dtype=torch.int32),
            context_lens=torch.tensor(self._lengths, dtype=torch.int32),
            max_blocks=self._blocks,
        )
        inputs = {
            "input_ids": torch.tensor([token for tokens in new for token in tokens]),
            "positions": step.positions,
            "seq_lens": step.seq_lens,
            "context_lens": step.context_lens,
            "slots": torch.tensor(slots, dtype=torch.int32),
            "block_tables": torch.tensor(tables, dtype=torch.int32),
        }
        if isinstance(self._module, AtbModule):
            names = {value.name for value in entry.inputs}
            inputs |= build_feeds(self._module.feeds, names, step)
        return inputs
