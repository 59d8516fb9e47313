"""Last rules on a flat graph: arithmetic as llm ops, grouped heads, gates, leftovers as errors."""

from __future__ import annotations

import torch

from codegen.frontend.raising.eager import base_name
from codegen.frontend.raising.flatten import Flat
from codegen.frontend.raising.problems import Reasons
from codegen.frontend.raising.statics import Statics, decode
from ir.graph import Graph, Node, Value
from ir.llm.elementwise import Add, Mul, Offset, Scale, Sub
from ir.llm.linear import Embedding
from ir.llm.rope import Rope
from ir.llm.shape import Reshape
from ir.types import DType, Sym, TensorType

_BINARY = {"add": Add, "sub": Sub, "mul": Mul}


def raise_arithmetic(graph: Graph) -> None:
    """``aten`` sums, products and negations become their llm counterparts."""
    for node in list(graph.nodes):
        name = base_name(node)
        if name not in ("add", "sub", "mul", "div", "neg", "rsub"):
            continue
        if not node.result.type.dtype.is_float:
            continue
        made = _arithmetic(graph, node, name)
        if made is not None:
            graph.replace_uses(node.result, made)
    graph.remove_dead()


def _arithmetic(graph: Graph, node: Node, name: str) -> Value | None:
    if name == "neg":
        return _scaled(graph, node, node.operand(0), -1.0)
    args, kwargs = decode(node)
    if kwargs.get("alpha", 1) != 1 or kwargs.keys() - {"alpha"}:
        return None
    left, right = args[0], args[1]
    if name in ("mul", "div"):
        for x, factor in ((left, _scalar(right)), (right, _scalar(left))):
            if factor is not None and isinstance(x, Value) and not (name == "div" and x is right):
                return _scaled(graph, node, x, factor if name == "mul" else 1.0 / factor)
    op = _BINARY.get(name)
    if op is None or not isinstance(left, Value) or not isinstance(right, Value):
        return None
    if name != "sub" and _is_weight(left) and not _is_weight(right):
        left, right = right, left
    built = op.build(graph, left, right, loc=node.loc, before=node, named=[node.result.name])
    return built.result


def _is_weight(value: Value) -> bool:
    return value.producer is None and (value.recipe is not None or value.data is not None)


def _scalar(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Value) and value.data is not None and value.data.numel() == 1:
        return float(value.data)
    return None


def _scaled(graph: Graph, node: Node, x: Value, factor: float) -> Value:
    if factor == 1.0:
        return x
    return Scale.build(
        graph, x, loc=node.loc, before=node, named=[node.result.name], factor=factor
    ).result


def absorb_grouped_heads(graph: Graph) -> None:
    """Attention reads the key-value heads themselves where the trace repeated them per query."""
    for node in graph.find("llm.attention"):
        k, v = (_ungrouped(graph, node.operand(position)) for position in (1, 2))
        if k is not None and v is not None and k.type.shape[1] == v.type.shape[1]:
            node.set_operand(1, k)
            node.set_operand(2, v)
    graph.remove_dead()


def _ungrouped(graph: Graph, value: Value) -> Value | None:
    """``x`` if the value is ``x`` with each head several times in a row."""
    node = value.producer
    if node is None:
        return None
    if node.op == "llm.rope":  # heads turn alike, so they may be repeated after it
        x = _ungrouped(graph, node.operand(0))
        tables = node.operands[1:]
        return (
            x
            and Rope.build(
                graph, x, *tables, loc=node.loc, before=node, style=node.attrs["style"]
            ).result
        )
    if base_name(node) == "repeat_interleave" and decode(node)[0][2] == 1:
        return node.operand(0)
    if node.op != "llm.reshape":
        return None
    wide = node.operand(0).producer
    if base_name(wide) != "expand" or wide is None or wide.result.type.rank != 4:
        return None
    narrow = wide.operand(0)
    kv_heads, group, head_dim = narrow.type.shape[1:]
    if group != 1 or not isinstance(kv_heads, int) or not isinstance(head_dim, int):
        return None
    return Reshape.build(graph, narrow, loc=node.loc, before=node, tail=(kv_heads, head_dim)).result


def absorb_query_scale(graph: Graph) -> None:
    """A factor on the queries becomes part of the attention's scale."""
    for node in graph.find("llm.attention"):
        scaled = node.operand(0).producer
        if scaled is None or scaled.op == "llm.reshape":
            inner = scaled.operand(0).producer if scaled is not None else None
            if inner is not None and inner.op == "llm.scale" and len(inner.result.uses) == 1:
                assert scaled is not None
                scaled.set_operand(0, inner.operand(0))
                _multiply_scale(node, inner)
        elif scaled.op == "llm.scale" and len(scaled.result.uses) == 1:
            node.set_operand(0, scaled.operand(0))
            _multiply_scale(node, scaled)
    graph.remove_dead()


def _multiply_scale(attention: Node, scale: Node) -> None:
    factors = (attention.attrs["scale"], scale.attrs["factor"])
    attention.attrs["scale"] = float(str(factors[0])) * float(str(factors[1]))


def settle_probes(flat: Flat, max_positions: int) -> None:
    """What is left of the static tensors: positions with an offset, or a table of positions."""
    positions = None
    for probe in list(flat.probes):
        if probe not in flat.graph.inputs:
            continue
        if probe.uses:
            if positions is None:
                kind = TensorType((Sym.of("tokens"),), DType.INT64)
                positions = flat.graph.add_input("positions", kind)
            made = _settled(flat, probe, positions, max_positions)
            if made is None:
                flat.reasons.unsupported(
                    probe.users[0],
                    f"it reads %{probe.name}, which follows from the positions in an unknown way",
                )
                continue
            flat.graph.replace_uses(probe, made)
        flat.graph.inputs.remove(probe)


def _settled(flat: Flat, probe: Value, positions: Value, max_positions: int) -> Value | None:
    statics: Statics = flat.statics
    traced = flat.probes[probe]
    first = probe.users[0]
    before = min(probe.users, key=flat.graph.nodes.index)
    where = torch.arange(12)
    data = statics.evaluate(traced, where).reshape(-1)
    if not probe.type.dtype.is_float and probe.type.rank == 1:
        offset = int(data[0])
        if not torch.equal(data, where + offset):
            return None
        if offset == 0:
            return positions
        return Offset.build(
            flat.graph, positions, loc=first.loc, before=before, value=offset
        ).result
    if probe.type.dtype.is_float and probe.type.rank == 2:
        table = statics.evaluate(traced, torch.arange(max_positions))
        table = table.reshape(max_positions, -1)
        again = statics.evaluate(traced, where).reshape(where.numel(), -1)
        if not torch.equal(table[where], again):
            return None
        kind = TensorType(tuple(table.shape), DType.FLOAT32)
        weight = flat.graph.add_constant(table.float(), kind, "position_table")
        return Embedding.build(flat.graph, positions, weight, loc=first.loc, before=before).result
    return None


def report_leftovers(graph: Graph, reasons: Reasons) -> None:
    """Every node that is not semantic by now is an error."""
    for node in graph.nodes:
        if not node.op.startswith(("llm.", "func.")):
            reasons.unsupported(node, f"{node.op} on {node.operand(0).type} has no meaning here")
