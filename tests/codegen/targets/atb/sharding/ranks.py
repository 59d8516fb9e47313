"""Computes with layouts: what each rank makes of its parts, beside what one rank makes of it all.

Nothing here asks the code under test how a layout is to be read: how many elements a rank has, and
which, is written down again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codegen.targets.atb import ops
from codegen.targets.atb.host_inputs import BLOCK_SIZE, Step, build_feeds
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import GraphShards, Layout, ShardPlan, Unit
from ir.graph import Attr, Graph, Node, Value
from ir.op import Env, lookup
from ir.recipe import Fill

LENGTHS = (7, 9)
CACHE = re.compile(r"[kv]_cache(_\d+)?")
#: Cache blocks of the two sequences, and one that nobody has; scattered on purpose.
TABLES = ((3, 0), (4, 1))
BLOCKS = 5


@dataclass(frozen=True)
class Ran:
    """One stage as a single rank ran it.

    Attributes:
        call: The node of the entry.
        graph: What it calls.
        tensors: Every tensor of the graph; caches as they were before the stage.
    """

    call: Node
    graph: Graph
    tensors: dict[Value, Tensor]


# -- one rank that does everything ---------------------------------------------------------------


def step_inputs(module: AtbModule, phase: str) -> dict[str, Tensor]:
    """Inputs of one step: two prompts, or a token more of each over a cache full of numbers."""
    entry = module.functions[phase]
    before = (0, 0) if phase == "prefill" else LENGTHS
    new = LENGTHS if phase == "prefill" else (1, 1)
    positions = [p for start, n in zip(before, new, strict=True) for p in range(start, start + n)]
    slots = [
        TABLES[row][p // BLOCK_SIZE] * BLOCK_SIZE + p % BLOCK_SIZE
        for row, (start, n) in enumerate(zip(before, new, strict=True))
        for p in range(start, start + n)
    ]
    lengths = [start + n for start, n in zip(before, new, strict=True)]
    inputs = {
        "input_ids": torch.tensor([(7 * i + 3) % 40 for i in range(len(positions))]),
        "positions": torch.tensor(positions),
        "seq_lens": torch.tensor(new, dtype=torch.int32),
        "slots": torch.tensor(slots, dtype=torch.int32),
        "block_tables": torch.tensor(TABLES, dtype=torch.int32),
        "context_lens": torch.tensor(lengths, dtype=torch.int32),
    }
    for value in entry.inputs:
        if CACHE.fullmatch(value.name):
            shape = (BLOCKS, *(int(str(dim)) for dim in value.type.shape[1:]))
            inputs[value.name] = random(f"{phase} {value.name}", shape)
    step = Step(inputs["positions"], inputs["seq_lens"], inputs["context_lens"], len(TABLES[0]))
    inputs.update(build_feeds(module.feeds, {value.name for value in entry.inputs}, step))
    return {value.name: inputs[value.name] for value in entry.inputs}


def random(name: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator) * (0.5 if len(shape) > 1 else 1.0)


def parameter(value: Value, scope: str) -> Tensor:
    """A weight; what it would be made from does not matter here."""
    if isinstance(value.recipe, Fill):
        return torch.full(value.recipe.shape, value.recipe.value)
    shape = tuple(int(str(dim)) for dim in value.type.shape)
    assert value.recipe is not None
    return random(str(value.recipe.scoped(scope)), shape)


def run_whole(module: AtbModule, phase: str, inputs: Mapping[str, Tensor]) -> list[Ran]:
    """Runs an entry, stage by stage."""
    entry = module.functions[phase]
    known = {value: inputs[value.name] for value in entry.inputs}
    stages: list[Ran] = []
    for call in entry.nodes:
        graph = module.callee(call)
        tensors = dict(zip(graph.inputs, (known[v] for v in call.inputs), strict=True))
        scope = str(call.attrs["scope"])
        tensors |= {value: parameter(value, scope) for value in graph.parameters}
        for node in graph.nodes:
            made = evaluate(node, [v and tensors[v] for v in node.operands], node.attrs)
            tensors |= dict(zip(node.results, made, strict=True))
        known |= {r: tensors[v] for v, r in zip(graph.outputs, call.results, strict=True)}
        stages.append(Ran(call, graph, tensors))
    return stages


def evaluate(node: Node, operands: list[Tensor | None], attrs: Mapping[str, Attr]) -> list[Tensor]:
    """Results of a node with other operands and attributes; what is written in place is copied."""
    op = lookup(node.op)
    assert issubclass(op, ops.AtbOp)
    for position in op.inplace.values():
        written = operands[position]
        assert written is not None
        operands[position] = written.clone()
    twin = Node(node.op, (), attrs, node.loc)
    twin.operands = node.operands
    return op.evaluate(twin, operands, Env())


# -- several ranks -------------------------------------------------------------------------------


def part_of(tensor: Tensor, layout: Layout | None, rank: int, world_size: int) -> Tensor:
    """What a rank has of a tensor."""
    if layout is None:
        return tensor
    pieces = tensor.split([part.size for part in layout.parts], dim=layout.axis)
    parts = zip(pieces, layout.parts, strict=True)
    shares = [_share(t, part.unit, layout.axis, rank, world_size) for t, part in parts]
    return torch.cat(shares, dim=layout.axis)


def _share(piece: Tensor, unit: Unit | None, axis: int, rank: int, world_size: int) -> Tensor:
    if unit is None:
        return piece
    units = piece.unflatten(axis, (unit.count, -1))
    if unit.name == "vocab":
        each = -(-unit.count // world_size)
        shape = [*units.shape]
        shape[axis] = each * world_size - unit.count
        units = torch.cat([units, units.new_zeros(shape)], dim=axis)
        own = range(rank * each, (rank + 1) * each)
    elif unit.count % world_size == 0:
        each = unit.count // world_size
        own = range(rank * each, (rank + 1) * each)
    else:
        assert unit.name == "kv_heads"
        assert world_size % unit.count == 0
        own = range(rank // (world_size // unit.count), rank // (world_size // unit.count) + 1)
    return units.index_select(axis, torch.tensor(own)).flatten(axis, axis + 1)


def check_module(module: AtbModule, plan: ShardPlan, world_sizes: Sequence[int]) -> None:
    """Every rank can compute its part of every tensor from its parts of the operands."""
    seen: set[Graph] = set()
    for phase in module.entries:
        for ran in run_whole(module, phase, step_inputs(module, phase)):
            shards = plan.graphs[ran.graph.name]
            _check_interface(module, plan, ran, shards)
            for world_size in () if ran.graph in seen else world_sizes:
                check_stage(ran, shards, world_size)
            seen.add(ran.graph)


def _check_interface(module: AtbModule, plan: ShardPlan, ran: Ran, shards: GraphShards) -> None:
    """What one stage gives is what the next one takes."""
    entries = [module.functions[name] for name in module.entries]
    for value, passed in zip(ran.graph.inputs, ran.call.inputs, strict=True):
        assert shards.read(value) == plan.inputs.get(passed.name)
        assert passed.producer is None or passed.name not in plan.inputs
    for value in ran.graph.outputs:
        if value is shards.gathered:
            assert any(entry.nodes[-1] is ran.call for entry in entries)
        else:
            assert shards.read(value) is None


def check_stage(ran: Ran, shards: GraphShards, world_size: int) -> None:
    """The same for one stage."""
    for node in ran.graph.nodes:
        made = [_of_rank(node, ran, shards, rank, world_size) for rank in range(world_size)]
        for index, value in enumerate(node.results):
            whole, layout = ran.tensors[value], shards.layouts.get(value)
            parts = [results[index] for results in made]
            where = f"@{ran.graph.name} %{value.name} = {node.op} on {world_size} ranks, {layout}"
            if node in shards.reduced:
                assert layout is None, where
                _same(sum(parts, torch.zeros(())), whole, where)
                continue
            for rank, part in enumerate(parts):
                _same(part, part_of(whole, layout, rank, world_size), f"{where}, rank {rank}")
            if value is shards.gathered:
                assert layout is not None
                assert layout.axis == whole.dim() - 1
                joined = torch.cat(parts, dim=-1)[..., : whole.shape[-1]]
                _same(joined, whole, where)


def _of_rank(node: Node, ran: Ran, shards: GraphShards, rank: int, world_size: int) -> list[Tensor]:
    operands = [
        None if v is None else part_of(ran.tensors[v], shards.read(v), rank, world_size)
        for v in node.operands
    ]
    wanted = [
        part_of(ran.tensors[v], shards.layouts.get(v), rank, world_size) for v in node.results
    ]
    if node in shards.reduced and rank > 0:
        operands[2] = None  # a bias is added once
    return evaluate(node, operands, _attrs_of_rank(node, operands, wanted))


def _attrs_of_rank(
    node: Node, operands: list[Tensor | None], wanted: list[Tensor]
) -> dict[str, Attr]:
    """The attributes, with the sizes of the rank where they name sizes."""
    attrs = dict(node.attrs)
    if node.op in (ops.SelfAttention.name, ops.PagedAttention.name):
        q, k = operands[:2]
        assert q is not None
        assert k is not None
        attrs |= {"head_num": q.shape[1], "kv_head_num": k.shape[-2]}
    if node.op == ops.Split.name and attrs["split_sizes"]:
        axis = int(str(attrs["split_dim"]))
        attrs["split_sizes"] = tuple(tensor.shape[axis] for tensor in wanted)
    if node.op == ops.Reshape.name:
        entries = attrs["shape"]
        assert isinstance(entries, tuple)
        attrs["shape"] = tuple(
            size if isinstance(entry, int) and entry > 0 else entry
            for entry, size in zip(entries, wanted[0].shape, strict=True)
        )
    return attrs


def _same(made: Tensor, wanted: Tensor, where: str) -> None:
    assert made.shape == wanted.shape, where
    if wanted.numel():
        finite = wanted.isfinite()
        assert torch.equal(made[~finite], wanted[~finite]), where
        scale = max(1.0, float(wanted[finite].abs().max())) if finite.any() else 1.0
        worst = float((made[finite] - wanted[finite]).abs().max()) if finite.any() else 0.0
        assert worst <= 2e-5 * scale, f"{where}: {worst}"
