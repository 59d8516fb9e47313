"""The situation that costs are stated for."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.host_inputs import BLOCK_SIZE


@dataclass(frozen=True)
class Scenario:
    """One prefill and one decode step after it.

    Attributes:
        batch: Sequences, all of the same length.
        prompt: Tokens of each prompt in the prefill.
        context: Cached tokens that the decoded token of each sequence sees, itself included.
        world_sizes: Numbers of ranks that memory is stated for.
    """

    batch: int = 1
    prompt: int = 1024
    context: int = 1025
    world_sizes: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        if min(self.batch, self.prompt, self.context, *self.world_sizes) < 1:
            raise ValueError(f"every size of a scenario is positive: {self}")

    def sizes(self, phase: str) -> dict[str, int]:
        """What the symbolic sizes of an entry's graphs stand for.

        Args:
            phase: ``prefill`` or ``decode``; a decode step has one new token for each sequence.
        """
        new, seen = (self.prompt, self.prompt) if phase == "prefill" else (1, self.context)
        blocks = -(-seen // BLOCK_SIZE)
        return {
            "tokens": self.batch * new,
            "batch": self.batch,
            "longest": new,
            "max_blocks": blocks,
            "blocks": self.batch * blocks,
        }
