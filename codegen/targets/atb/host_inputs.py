"""Tensors that the caller of the graphs builds on the host, and how.

ATB has no operation that makes rotary tables or attention masks, so a compiled model takes them as
inputs. Each class below says what such an input is; ``build`` is its reference definition, and the
emitted code contains the same computation as source.

Masks are additive: 0 where a query may look, ``-inf`` where it may not. For bfloat16 the attention
kernels want 1 instead of ``-inf`` (they multiply the mask by -3e38), which is the business of
whoever feeds a device; masks that carry ALiBi biases are always added.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ir.types import Dim, DType, TensorType, scale_dim

#: Tokens in a block of the key-value cache.
BLOCK_SIZE = 128
#: Side of the mask that stands for the causal mask of every length.
COMPRESSED_MASK = 128

Built = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class StepDims:
    """The symbolic sizes of an entry's inputs.

    Attributes:
        tokens: New tokens of all sequences.
        batch: Sequences.
        max_blocks: Columns of the block table.
        longest: New tokens of the longest sequence.
    """

    tokens: Dim
    batch: Dim
    max_blocks: Dim
    longest: Dim


@dataclass(frozen=True)
class Step:
    """What the host knows about one step.

    Attributes:
        positions: int64 ``[tokens]``.
        seq_lens: New tokens of each sequence, int32 ``[batch]``.
        context_lens: Cached tokens of each sequence after the step, int32 ``[batch]``.
        max_blocks: Columns of the block table.
    """

    positions: torch.Tensor
    seq_lens: torch.Tensor
    context_lens: torch.Tensor
    max_blocks: int


class HostInput:
    """Base of the inputs below; compared and hashed by value."""

    @property
    def hints(self) -> tuple[str, ...]:
        """Names for the tensors it stands for, where they are free."""
        raise TypeError("HostInput is abstract")

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        """Their types."""
        raise TypeError("HostInput is abstract")

    def build(self, step: Step) -> Built:
        """Their values, float32."""
        raise TypeError("HostInput is abstract")


@dataclass(frozen=True)
class SeqLens(HostInput):
    """New tokens of each sequence, where an operation wants them and the model did not."""

    @property
    def hints(self) -> tuple[str, ...]:
        return ("seq_lens",)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        return (TensorType((dims.batch,), DType.INT32),)

    def build(self, step: Step) -> Built:
        return (step.seq_lens,)


@dataclass(frozen=True)
class ShiftedPositions(HostInput):
    """``positions + offset``, rows of a table of learned positions that does not start at 0."""

    offset: int

    @property
    def hints(self) -> tuple[str, ...]:
        return ("shifted_positions",)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        return (TensorType((dims.tokens,), DType.INT64),)

    def build(self, step: Step) -> Built:
        return (step.positions + self.offset,)


@dataclass(frozen=True)
class RopeTable(HostInput):
    """Cosine and sine of ``position * frequency``, one row for each token.

    The fields are those of ``llm.rope_table``. Style ``half`` repeats the frequencies one after
    the other, ``interleaved`` each one twice in a row.
    """

    style: str
    inv_freq: tuple[float, ...]
    scale: float = 1.0
    long_inv_freq: tuple[float, ...] | None = None
    original_max_position: int | None = None
    dynamic_factor: float | None = None
    dynamic_base: float | None = None

    @property
    def rotary_dim(self) -> int:
        """How many elements of a head are rotated."""
        return 2 * len(self.inv_freq)

    @property
    def hints(self) -> tuple[str, ...]:
        return ("cos", "sin")

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        table = TensorType((dims.tokens, self.rotary_dim), DType.FLOAT32)
        return (table, table)

    def frequencies(self, length: int) -> torch.Tensor:
        """Radians per position for a sequence that has ``length`` tokens by now."""
        limit = self.original_max_position
        if limit is None or length <= limit:
            return torch.tensor(self.inv_freq)
        if self.long_inv_freq is not None:
            return torch.tensor(self.long_inv_freq)
        if self.dynamic_factor is None or self.dynamic_base is None:
            raise ValueError("a rotary table with a limit has long frequencies or a dynamic base")
        dim = self.rotary_dim
        stretch = self.dynamic_factor * length / limit - (self.dynamic_factor - 1)
        base = self.dynamic_base * stretch ** (dim / (dim - 2))
        return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)

    def build(self, step: Step) -> Built:
        rows = [
            of_sequence.float()[:, None] * self.frequencies(int(of_sequence.max()) + 1)[None, :]
            for of_sequence in step.positions.split(step.seq_lens.tolist())
        ]
        angle = torch.cat(rows)
        if self.style == "half":
            angle = torch.cat((angle, angle), dim=-1)
        else:
            angle = angle.repeat_interleave(2, dim=-1)
        return (angle.cos() * self.scale, angle.sin() * self.scale)


def _hidden(query: torch.Tensor, key: torch.Tensor, window: int | None) -> torch.Tensor:
    """Which keys a causal query may not see."""
    hidden = key > query
    return hidden if window is None else hidden | (key <= query - window)


def _additive(hidden: torch.Tensor) -> torch.Tensor:
    return torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))


def _name(kind: str, window: int | None, slopes: tuple[float, ...] | None = None) -> str:
    parts = ["alibi"] * (slopes is not None)
    parts += [kind] if window is None else [kind, "window", str(window)]
    return "_".join((*parts, "mask"))


@dataclass(frozen=True)
class CausalMask(HostInput):
    """One ``[128, 128]`` tile that stands for the causal mask of every length (prefill)."""

    @property
    def hints(self) -> tuple[str, ...]:
        return ("causal_mask",)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        return (TensorType((COMPRESSED_MASK, COMPRESSED_MASK), DType.FLOAT32),)

    def build(self, step: Step) -> Built:
        index = torch.arange(COMPRESSED_MASK)
        return (_additive(_hidden(index[:, None], index[None, :], None)),)


@dataclass(frozen=True)
class SequenceMask(HostInput):
    """Mask of the longest prompt, shared by all prompts (prefill).

    ``[longest, longest]``, with ALiBi ``[heads, longest, longest]``.
    """

    window: int | None = None
    slopes: tuple[float, ...] | None = None

    @property
    def hints(self) -> tuple[str, ...]:
        return (_name("prompt", self.window, self.slopes),)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        heads = () if self.slopes is None else (len(self.slopes),)
        return (TensorType((*heads, dims.longest, dims.longest), DType.FLOAT32),)

    def build(self, step: Step) -> Built:
        index = torch.arange(int(step.seq_lens.max()))
        query, key = index[:, None], index[None, :]
        mask = _additive(_hidden(query, key, self.window))
        if self.slopes is not None:
            mask = mask + torch.tensor(self.slopes)[:, None, None] * (key - query)
        return (mask,)


@dataclass(frozen=True)
class CacheMask(HostInput):
    """What the newest token of each sequence sees of the cache (decode).

    ``[batch, 1, keys]``, with ALiBi ``[batch, heads, 1, keys]``; ``keys`` is the number of tokens
    that the block tables have room for.
    """

    window: int | None = None
    slopes: tuple[float, ...] | None = None

    @property
    def hints(self) -> tuple[str, ...]:
        return (_name("cache", self.window, self.slopes),)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        heads = () if self.slopes is None else (len(self.slopes),)
        keys = scale_dim(dims.max_blocks, BLOCK_SIZE)
        return (TensorType((dims.batch, *heads, 1, keys), DType.FLOAT32),)

    def build(self, step: Step) -> Built:
        key = torch.arange(step.max_blocks * BLOCK_SIZE)[None, None, :]
        query = (step.context_lens.long() - 1)[:, None, None]
        mask = _additive(_hidden(query, key, self.window))
        if self.slopes is not None:
            slopes = torch.tensor(self.slopes)[None, :, None, None]
            mask = mask[:, None] + slopes * (key - query)[:, None]
        return (mask,)


@dataclass(frozen=True)
class BatchMask(HostInput):
    """Mask over the tokens of all prompts at once, ``[tokens, tokens]`` (prefill).

    For attention that is spelled out in matrix products: a token sees only its own sequence.

    Attributes:
        causal: A token sees no later token.
        slopes: With ALiBi, ``[heads, tokens, tokens]``.
    """

    window: int | None = None
    slopes: tuple[float, ...] | None = None
    causal: bool = True

    @property
    def hints(self) -> tuple[str, ...]:
        kind = "batch" if self.causal else "batch_bidirectional"
        return (_name(kind, self.window, self.slopes),)

    def types(self, dims: StepDims) -> tuple[TensorType, ...]:
        heads = () if self.slopes is None else (len(self.slopes),)
        return (TensorType((*heads, dims.tokens, dims.tokens), DType.FLOAT32),)

    def build(self, step: Step) -> Built:
        owner = torch.repeat_interleave(torch.arange(len(step.seq_lens)), step.seq_lens.long())
        query, key = step.positions[:, None], step.positions[None, :]
        hidden = owner[:, None] != owner[None, :]
        if self.causal:
            hidden = hidden | (key > query)
        if self.window is not None:
            hidden = hidden | (key <= query - self.window)
        mask = _additive(hidden)
        if self.slopes is not None:
            mask = mask + torch.tensor(self.slopes)[:, None, None] * (key - query)
        return (mask,)


@dataclass(frozen=True)
class Feed:
    """A host input and the names under which the entries take its tensors."""

    names: tuple[str, ...]
    source: HostInput


def build_feeds(feeds: tuple[Feed, ...], names: set[str], step: Step) -> dict[str, torch.Tensor]:
    """Values of the host inputs of an entry, by name.

    Args:
        feeds: ``AtbModule.feeds``.
        names: The entry's input names; feeds it does not take are left out.
        step: The step.
    """
    built: dict[str, torch.Tensor] = {}
    for feed in feeds:
        if not names.isdisjoint(feed.names):
            built.update(zip(feed.names, feed.source.build(step), strict=True))
    return built
