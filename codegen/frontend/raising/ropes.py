"""Raises rotary embeddings by their numbers.

Two questions are answered by evaluation instead of by pattern, because every model family spells
them differently:

- *What is the table?* The static tensors that reach the layer (cos, sin, in any arrangement) are
  evaluated at a few positions and compared with ``scale * cos(position * inv_freq)``.
- *What is the rotation?* The code between a query or key and its rotated form is evaluated on
  random numbers and compared with ``llm.rope`` in each style.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from codegen.frontend.raising.canon import flat_order
from codegen.frontend.raising.chains import chain, leaves, run_chain
from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.flatten import Flat
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import Override, Statics, decode
from ir.graph import Graph, Location, Node, Value
from ir.llm.elementwise import Scale
from ir.llm.rope import STYLES, Rope, RopeTable
from ir.op import Env, Tensors
from ir.types import DType, Sym, TensorType

#: Positions of the numeric check, enough to tell frequencies apart. They have no gaps: a model
#: that takes no positions counts its tokens instead.
_POSITIONS = torch.arange(31)
#: float32 cosine of angles up to 30 rad, computed in another order.
_TOLERANCE = 2e-5
_INSIDE = {
    "add", "cat", "expand", "mul", "neg", "repeat_interleave", "stack", "sub",
    "llm.concat", "llm.permute", "llm.reshape", "llm.slice", "llm.split",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A rotary table, by value: equal tables are one node in the entry graph.

    Attributes:
        inv_freq: Radians per position.
        scale: Factor on cosine and sine.
        style: ``half`` or ``interleaved``.
        long_inv_freq: Frequencies for long sequences, None without.
        original_max_position: Length above which the frequencies change, None if they do not.
        dynamic_factor: NTK factor, None if not dynamic.
        dynamic_base: Base theta, None if not dynamic.
    """

    inv_freq: tuple[float, ...]
    scale: float
    style: str
    long_inv_freq: tuple[float, ...] | None = None
    original_max_position: int | None = None
    dynamic_factor: float | None = None
    dynamic_base: float | None = None


def raise_ropes(flat: Flat, tables: dict[Table, tuple[Value, Value]]) -> int:
    """Replaces every rotation of a flat graph by ``llm.rope``.

    Args:
        flat: The function.
        tables: Filled with the function's ``(cos, sin)`` inputs for every table it uses.

    Returns:
        How many rotations were found.
    """
    finder = _Finder(flat, tables)
    found = 0
    for node in reversed(list(flat.graph.nodes)):
        if node in flat.graph.nodes and finder.is_candidate(node):
            found += finder.try_node(node)
            flat.graph.remove_dead()
    return found


@dataclass(frozen=True)
class _Frequencies:
    """Frequencies of one static table, before the style is known."""

    inv_freq: torch.Tensor
    scale: float
    switch: Node | None = None
    long_inv_freq: torch.Tensor | None = None


class _Finder:
    def __init__(self, flat: Flat, tables: dict[Table, tuple[Value, Value]]) -> None:
        self.flat = flat
        self.tables = tables
        self.reasons: Reasons = flat.reasons
        self.statics: Statics = flat.statics

    def is_candidate(self, node: Node) -> bool:
        """Ends a chain that may be a rotation."""
        if not _inside(node) or len(node.results) != 1 or node.result.type.rank != 3:
            return False
        return any(v in self.flat.probes for v in leaves(chain(node, _inside)))

    def try_node(self, node: Node) -> int:
        """Matches the chain that ends in ``node``; the nearest fitting source of it wins."""
        nodes = chain(node, _inside)
        probes = [v for v in leaves(nodes) if v in self.flat.probes]
        frequencies = self._frequencies([self.flat.probes[v] for v in probes])
        if frequencies is None:
            self.reasons.no_match("rope", node, "its tables are not cosines and sines")
            return 0
        for x in self._sources(node, nodes):
            if self._rotates(node, x, probes, frequencies):
                self.reasons.matched("rope", node)
                return 1
        self.reasons.no_match("rope", node, "no rotary style gives its numbers")
        return 0

    def _sources(self, node: Node, nodes: set[Node]) -> list[Value]:
        """Values that the whole chain is computed from, nearest first."""
        order = {n: i for i, n in enumerate(self.flat.graph.nodes)}
        read = dict.fromkeys(value for n in nodes for value in n.inputs)
        data = [v for v in read if v.data is None and v not in self.flat.probes]
        data.sort(key=lambda v: order[v.producer] if v.producer else -1, reverse=True)
        return [v for v in data if v.type.rank == 3 and self._only_source(node, v)]

    def _only_source(self, node: Node, x: Value) -> bool:
        found = leaves(chain(node, _inside, x), x)
        return all(v is x or v in self.flat.probes or v.data is not None for v in found)

    def _rotates(self, node: Node, x: Value, probes: list[Value], found: _Frequencies) -> bool:
        rotary_dim = 2 * found.inv_freq.numel()
        head_dim = x.type.shape[-1]
        if node.result.type != x.type or not isinstance(head_dim, int) or rotary_dim > head_dim:
            return False
        generator = torch.Generator().manual_seed(0)
        tail = [int(str(dim)) for dim in x.type.shape[1:]]
        sample = torch.randn(_POSITIONS.numel(), *tail, generator=generator)
        given = {x: sample} | {probe: self._probe_numbers(probe, found) for probe in probes}
        nodes = chain(node, _inside, x)
        actual = run_chain(self.flat.graph, nodes, given, node.result, _POSITIONS.numel())
        for style in STYLES:
            cos, sin = _table(found, style)
            draft = Node("llm.rope", (), {"style": style}, node.loc)
            (expected,) = Rope.evaluate(draft, [sample, cos, sin], Env())
            factor = float((actual * expected).sum() / (expected * expected).sum())
            if not torch.allclose(actual, factor * expected, rtol=0, atol=_TOLERANCE * 30):
                continue
            self._replace(node, x, style, found, factor)
            return True
        return False

    def _probe_numbers(self, probe: Value, found: _Frequencies) -> torch.Tensor:
        override = _choose(found.switch, long=False) if found.switch else None
        data = self.statics.evaluate(self.flat.probes[probe], _POSITIONS, override)
        return _flattened(self.flat.probes[probe], data)

    def _frequencies(self, traced: list[Value]) -> _Frequencies | None:
        """The frequencies behind all tables of a chain, if they are cosines and sines of them."""
        switches = {
            node
            for value in traced
            for node in self.statics.slice(value)
            if node.op == "trace.rope_frequencies"
        }
        if len(switches) > 1:
            return None
        switch = next(iter(switches), None)
        rows = [_rows(self.statics, value, switch, long=False) for value in traced]
        for inv_freq in _candidates(self.statics, traced, rows, switch):
            scale = _common_scale(rows, inv_freq)
            if scale is None:
                continue
            long = self._long_inv_freq(switch)
            if long is not None and not self._long_fits(traced, switch, long, scale):
                return None
            return _Frequencies(inv_freq, self._exact(traced, scale), switch, long)
        return None

    def _exact(self, traced: list[Value], scale: float) -> float:
        """The number in the traced code that a measured scale stands for."""
        written = {
            float(argument)
            for value in traced
            for node in self.statics.slice(value)
            if base_name(node) == "mul"
            for argument in decode(node)[0]
            if isinstance(argument, int | float)
        }
        near = [number for number in sorted(written) if abs(number - scale) < 1e-6 * scale]
        return near[0] if near else scale

    def _long_inv_freq(self, switch: Node | None) -> torch.Tensor | None:
        """The constant that takes over for long sequences, None without."""
        value = switch.operands[2] if switch is not None and len(switch.operands) > 2 else None
        return None if value is None else self.statics.origin(value).data

    def _long_fits(
        self, traced: list[Value], switch: Node | None, long: torch.Tensor, scale: float
    ) -> bool:
        rows = [_rows(self.statics, value, switch, long=True) for value in traced]
        other = _common_scale(rows, long.float().flatten())
        return other is not None and abs(other - scale) < 1e-6 * scale

    def _replace(
        self, node: Node, x: Value, style: str, found: _Frequencies, factor: float
    ) -> None:
        table = _describe(found, style)
        if table not in self.tables:
            self.tables[table] = table_inputs(self.flat.graph, table, len(self.tables))
        cos, sin = self.tables[table]
        made = Rope.build(
            self.flat.graph, x, cos, sin, loc=node.loc, before=node, named=["rope"], style=style
        )
        result = made.result
        if abs(factor - 1.0) > 1e-5:
            scaled = Scale.build(
                self.flat.graph, result, loc=node.loc, before=node, factor=round(factor, 9)
            )
            result = scaled.result
        self.flat.graph.replace_uses(node.result, result)


def _inside(node: Node) -> bool:
    return (base_name(node) or node.op) in _INSIDE


def table_inputs(graph: Graph, table: Table, known: int) -> tuple[Value, Value]:
    """Adds the ``(cos, sin)`` inputs of one table to a function that has ``known`` others."""
    suffix = f"_{known + 1}" if known else ""
    kind = TensorType((Sym.of("tokens"), 2 * len(table.inv_freq)), DType.FLOAT32)
    return graph.add_input(f"cos{suffix}", kind), graph.add_input(f"sin{suffix}", kind)


def _flattened(traced: Value, data: torch.Tensor) -> torch.Tensor:
    order = flat_order(traced.type.shape)
    dropped = [axis for axis in range(data.dim()) if axis not in order]
    moved = data.permute(*dropped, *order)
    return moved.reshape(moved.shape[len(dropped) :])


def _choose(switch: Node, long: bool) -> Override:
    """Evaluates the length-dependent frequencies as for short or for long sequences."""

    def override(node: Node, inputs: list[torch.Tensor | None]) -> Tensors | None:
        if node is not switch:
            return None
        chosen = inputs[2 if long else 1]
        return None if chosen is None else [chosen]

    return override


def _rows(statics: Statics, value: Value, switch: Node | None, long: bool) -> torch.Tensor:
    """A static tensor at the probe positions, float32 ``[positions, width]``."""
    override = _choose(switch, long) if switch is not None else None
    data = _flattened(value, statics.evaluate(value, _POSITIONS, override))
    return data.reshape(data.shape[0], -1).float()


def _candidates(
    statics: Statics, traced: list[Value], rows: list[torch.Tensor], switch: Node | None
) -> list[torch.Tensor]:
    """Frequencies that may be behind tables: constants they are made of, then their numbers."""
    if switch is not None:
        short = statics.origin(switch.operand(1)).data
        return [] if short is None else [short.float().flatten()]
    widths = {width for row in rows for width in (row.shape[1], row.shape[1] // 2)}
    found = [
        constant.float().flatten()
        for value in traced
        for constant in statics.constants(value)
        if constant.is_floating_point() and constant.numel() in widths
    ]
    for value in traced:
        found += _from_numbers(statics, value)
    return found


def _from_numbers(statics: Statics, value: Value) -> list[torch.Tensor]:
    """Frequencies recovered from sines that are themselves a stored table (GPT-J).

    A sine at position 1 gives the frequency roughly, the same at 2, 4, 8, ... ever more exactly.
    Frequencies of the usual form ``base ** (-i / n)`` are rounded to it.
    """
    positions = torch.tensor([0, *(2**k for k in range(5))])
    every = _flattened(value, statics.evaluate(value, torch.arange(17))).reshape(17, -1)
    rows = every[positions].double()
    if rows[0].abs().max() > 0 or rows.abs().max() > 1 + 1e-6:
        return []
    estimate = torch.asin(rows[1].clamp(-1, 1))
    for position, sine in zip(positions[2:].tolist(), rows[2:], strict=True):
        angle = torch.asin(sine.clamp(-1, 1))
        options = torch.stack(
            [a + 2 * torch.pi * turn for turn in range(-1, 8) for a in (angle, torch.pi - angle)]
        )
        nearest = (options - position * estimate).abs().argmin(0)
        estimate = options.gather(0, nearest[None])[0] / position
    width = estimate.numel()
    found: list[torch.Tensor] = []
    for part in (estimate[::2], estimate[: width // 2], estimate):
        if part.numel() > 1 and part[-1] > 0:
            steps = torch.arange(part.numel(), dtype=torch.float64) / part.numel()
            base = round(float(part[-1]) ** (-1.0 / float(steps[-1])))
            found += [(1.0 / base**steps).float(), part.float()]
    return found


def _common_scale(rows: list[torch.Tensor], inv_freq: torch.Tensor) -> float | None:
    """The one scale with which every table fits the frequencies."""
    scales = [scale for scale in (_fit(row, inv_freq) for row in rows) if scale is not None]
    if len(scales) < len(rows) or max(scales) - min(scales) > 1e-6 * max(scales):
        return None
    return scales[0]


def _fit(data: torch.Tensor, inv_freq: torch.Tensor) -> float | None:
    """The scale, if every column is ``scale * cos`` or ``scale * sin`` of some frequency."""
    width, size = data.shape[1], inv_freq.numel()
    if width not in (size, 2 * size):
        return None
    angle = _POSITIONS.float()[:, None] * inv_freq.float()[None, :]
    wide = (
        [angle]
        if width == size
        else [torch.cat((angle, angle), -1), angle.repeat_interleave(2, -1)]
    )
    for candidate in wide:
        for wave in (candidate.cos(), candidate.sin()):
            scale = float((data * wave).double().sum() / (wave * wave).double().sum())
            scale = 1.0 if abs(scale - 1.0) < 1e-6 else scale
            if scale > 0 and torch.allclose(data, scale * wave, rtol=0, atol=_TOLERANCE):
                return scale
    return None


def _table(found: _Frequencies, style: str) -> Tensors:
    draft = Node(
        "llm.rope_table",
        (),
        {"style": style, "scale": found.scale, "original_max_position": None},
        Location(),
    )
    lens = torch.tensor([_POSITIONS.numel()])
    return RopeTable.evaluate(draft, [_POSITIONS, lens, found.inv_freq, None], Env())


def _describe(found: _Frequencies, style: str) -> Table:
    inv_freq, switch = tuple(found.inv_freq.tolist()), found.switch
    if switch is None:
        return Table(inv_freq, found.scale, style)
    limit, factor, base = (
        switch.attrs[key] for key in ("original_max_position", "dynamic_factor", "dynamic_base")
    )
    long = found.long_inv_freq
    return Table(
        inv_freq,
        found.scale,
        style,
        None if long is None else tuple(long.tolist()),
        int(str(limit)),
        None if factor is None else float(str(factor)),
        None if base is None else float(str(base)),
    )
