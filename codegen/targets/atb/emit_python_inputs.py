"""What the emitted model computes on the host in every step, as template contexts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from codegen.errors import CodegenError
from codegen.targets.atb.emit_python_stages import entry_inputs
from codegen.targets.atb.host_inputs import (
    BatchMask,
    CacheMask,
    CausalMask,
    Feed,
    RopeTable,
    SequenceMask,
    ShiftedPositions,
)
from codegen.targets.atb.module import AtbModule
from ir.graph import Graph

#: Inputs that a step of the runtime has as they are.
_OF_STEP = ("input_ids", "positions", "seq_lens", "slots", "block_tables", "context_lens")


@dataclass(frozen=True)
class Rope:
    """A rotary table.

    Attributes:
        function: Name of the function that makes it.
        constant: Name of the constant with the frequencies.
        frequencies: Expression of the frequencies.
        listed: The expression is the numbers themselves.
        long_frequencies: The same for long sequences, empty if there are none.
        width: Columns of the table.
        half: The pairs are the two halves of a head.
        scale: Factor on cosine and sine as source, empty for 1.
        limit: Length above which the frequencies change, None if they never do.
        dynamic_factor: NTK factor, None if not dynamic.
        dynamic_base: Base of the dynamic scaling.
    """

    function: str
    constant: str
    frequencies: str
    listed: bool
    long_frequencies: str
    width: int
    half: bool
    scale: str
    limit: int | None
    dynamic_factor: float | None
    dynamic_base: float | None


@dataclass(frozen=True)
class Mask:
    """An attention mask.

    Attributes:
        function: Name of the function, the same as that of the tensor.
        kind: ``causal``, ``prompt``, ``cache`` or ``batch``.
        window: Tokens that a token sees, None for all.
        slopes: ALiBi slopes as source, empty without.
    """

    function: str
    kind: str
    window: int | None
    slopes: str

    @property
    def multiplied(self) -> bool:
        """In bfloat16 the operation multiplies the mask instead of adding it."""
        return self.kind in ("causal", "prompt") and not self.slopes


@dataclass(frozen=True)
class EntryInputs:
    """The inputs function of one phase.

    Attributes:
        tables: Statements that make several inputs at once: names and call.
        items: Name and expression of each input.
        wants_dtype: The function takes the element type.
    """

    tables: tuple[tuple[str, str], ...]
    items: tuple[tuple[str, str], ...]
    wants_dtype: bool


@dataclass(frozen=True)
class Inputs:
    """Everything about host inputs."""

    ropes: tuple[Rope, ...]
    masks: tuple[Mask, ...]
    prefill: EntryInputs
    decode: EntryInputs
    max_positions: int | None

    @property
    def multiplied_masks(self) -> bool:
        """Some mask is multiplied in bfloat16."""
        return any(mask.multiplied for mask in self.masks)


def inputs_of(module: AtbModule) -> Inputs:
    """Reads the host inputs off a module."""
    ropes: dict[Feed, Rope] = {}
    masks: dict[Feed, Mask] = {}
    for feed in module.feeds:
        match feed.source:
            case RopeTable() as table:
                ropes[feed] = _rope(table, len(ropes))
            case CausalMask():
                masks[feed] = Mask(feed.names[0], "causal", None, "")
            case SequenceMask(window, slopes):
                masks[feed] = Mask(feed.names[0], "prompt", window, _numbers(slopes))
            case CacheMask(window, slopes):
                masks[feed] = Mask(feed.names[0], "cache", window, _numbers(slopes))
            case BatchMask(window, slopes):
                masks[feed] = Mask(feed.names[0], "batch", window, _numbers(slopes))
            case ShiftedPositions():
                pass
            case other:
                raise CodegenError(f"no source for the host input {type(other).__name__}")
    prefill, decode = (
        _entry(module, module.functions[name], ropes, masks) for name in module.entries
    )
    positions = _max_positions(module)
    return Inputs(tuple(ropes.values()), tuple(masks.values()), prefill, decode, positions)


def _entry(
    module: AtbModule, entry: Graph, ropes: dict[Feed, Rope], masks: dict[Feed, Mask]
) -> EntryInputs:
    feeds = {name: feed for feed in module.feeds for name in feed.names}
    names = entry_inputs(entry)
    tables: dict[str, str] = {}
    items: list[tuple[str, str]] = []
    wants_dtype = False
    for name in names:
        feed = feeds.get(name)
        if feed is None:
            if name not in _OF_STEP:
                raise CodegenError(f"@{entry.name}: nobody makes the input {name}")
            items.append((name, f"step.{name}"))
        elif feed in ropes:
            targets = ", ".join(n if n in names else "_" for n in feed.names)
            tables[targets] = f"{ropes[feed].function}(step)"
            items.append((name, name))
        elif isinstance(feed.source, ShiftedPositions):
            items.append((name, f"step.positions + {feed.source.offset}"))
        else:
            mask = masks[feed]
            arguments = [] if mask.kind == "causal" else ["step"]
            if mask.multiplied:
                arguments.append("dtype")
                wants_dtype = True
            items.append((name, f"{mask.function}({', '.join(arguments)})"))
    return EntryInputs(tuple(tables.items()), tuple(items), wants_dtype)


def _rope(table: RopeTable, index: int) -> Rope:
    suffix = "" if index == 0 else f"_{index + 1}"
    long = table.long_inv_freq
    frequencies = frequencies_source(table.inv_freq)
    return Rope(
        function=f"rope_table{suffix}",
        constant=f"INV_FREQ{suffix}",
        frequencies=frequencies,
        listed=frequencies == _numbers(table.inv_freq),
        long_frequencies="" if long is None else frequencies_source(long),
        width=table.rotary_dim,
        half=table.style == "half",
        scale="" if table.scale == 1.0 else repr(table.scale),
        limit=table.original_max_position,
        dynamic_factor=table.dynamic_factor,
        dynamic_base=table.dynamic_base,
    )


def frequencies_source(inv_freq: tuple[float, ...]) -> str:
    """The frequencies as a formula where one gives them bit for bit, otherwise the numbers."""
    dim = 2 * len(inv_freq)
    if len(inv_freq) > 1 and inv_freq[0] == 1.0 and inv_freq[1] > 0.0:
        guess = inv_freq[1] ** (-dim / 2)
        exponents = torch.arange(0, dim, 2).float() / dim
        for base in (float(f"{guess:.{digits}g}") for digits in range(1, 8)):
            if tuple((1.0 / base**exponents).tolist()) == inv_freq:
                return f"1.0 / {base!r} ** (torch.arange(0, {dim}, 2).float() / {dim})"
    return _numbers(inv_freq)


def _numbers(values: tuple[float, ...] | None) -> str:
    return "" if values is None else f"torch.tensor([{', '.join(map(repr, values))}])"


def _max_positions(module: AtbModule) -> int | None:
    """How many positions the tables of learned positions have, None without such tables."""
    shifted = {
        feed.names[0]: feed.source.offset
        for feed in module.feeds
        if isinstance(feed.source, ShiftedPositions)
    }
    limits: list[int] = []
    for graph in module:
        for node in graph.find("atb.gather"):
            table, indices = node.operand(0), node.operand(1)
            rows = table.type.shape[0]
            if indices.name in ("positions", *shifted) and isinstance(rows, int):
                limits.append(rows - shifted.get(indices.name, 0))
    return min(limits, default=None)
