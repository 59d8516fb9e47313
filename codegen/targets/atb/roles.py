"""Which weight plays which part in a decoder, found by following tensors.

For C++ models that want the weights of MindIE's own kind of decoder: norm, attention, norm, gated
feed-forward. Names decide nothing: the query projection is the product that the first operand of
attention is made of, whatever it is called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from codegen.errors import Problem, UnsupportedError
from ir.graph import Graph, Module, Node, Value
from ir.recipe import Source

_NORMS = {"llm.rms_norm": False, "llm.layer_norm": True}
#: Operations between a projection and attention that keep the values or turn them.
_PASSED = ("llm.reshape", "llm.rope", *_NORMS)
_REMEDY = "generate the C++ as well (without -atb), or write this package by hand"
_SCOPE = re.compile(r"(\w+(?:\.\w+)*)\.(\d+)", re.ASCII)


@dataclass(frozen=True)
class Projection:
    """A matrix product.

    Attributes:
        name: Its module, ``self_attn.q_proj``.
        bias: It has a bias.
    """

    name: str
    bias: bool


@dataclass(frozen=True)
class Norm:
    """A normalization.

    Attributes:
        name: Its module.
        layer_norm: It is a LayerNorm, else an RMSNorm.
        eps: Added under the root.
    """

    name: str
    layer_norm: bool
    eps: float


@dataclass(frozen=True)
class Layer:
    """The parts of a layer; names are relative to it.

    Attributes:
        attention_norm: In front of attention.
        qkv: Query, key and value projection, or one that makes all three in this order.
        qk_norm: Normalizations of query and key, or none.
        out: Behind attention.
        mlp_norm: In front of the feed-forward part.
        gate_up: Gate and up projection, or one that makes both in this order.
        down: The last product.
        head_dim: Elements of a head.
    """

    attention_norm: Norm
    qkv: tuple[Projection, ...]
    qk_norm: tuple[Norm, ...]
    out: Projection
    mlp_norm: Norm
    gate_up: tuple[Projection, ...]
    down: Projection
    head_dim: int


@dataclass(frozen=True)
class RotaryTable:
    """Cosines and sines by position; see ``llm.rope_table``."""

    inv_freq: tuple[float, ...]
    style: str
    scale: float


@dataclass(frozen=True)
class Roles:
    """The parts of a model.

    Attributes:
        embedding: Module of the token embedding.
        layers: Where the layers are, ``model.layers``.
        count: How many there are.
        layer: Their parts, the same in all.
        norm: Behind the last layer.
        head: Module whose weight makes the logits; the embedding where they are tied.
        rope: The rotary table; None for a model without.
    """

    embedding: str
    layers: str
    count: int
    layer: Layer
    norm: Norm
    head: str
    rope: RotaryTable | None


def find_roles(llm: Module) -> Roles:
    """Finds the parts of a traced model.

    Args:
        llm: The semantic graph, before passes.

    Raises:
        UnsupportedError: The model is not built of these parts.
    """
    main = llm.functions[llm.entries[0]]
    calls = main.find("func.call")
    if not calls:
        raise _bad(None, "no repeated layers")
    scopes = [_SCOPE.fullmatch(str(call.attrs["scope"])) for call in calls]
    prefixes = [match[1] for match in scopes if match]
    numbers = [int(match[2]) for match in scopes if match]
    if len(set(prefixes)) != 1 or numbers != list(range(len(calls))):
        raise _bad(calls[0], "the layers are not numbered 0, 1, 2 and so on under one name")
    kinds = [str(call.attrs["callee"]) for call in calls]
    layers = {kind: _layer(llm.functions[kind]) for kind in dict.fromkeys(kinds)}
    if len(set(layers.values())) != 1:
        raise _bad(calls[0], "the layers are not all built in the same way")
    embedding = next(iter(main.find("llm.embedding")), None)
    head = next((node for node in reversed(main.nodes) if node.op == "llm.linear"), None)
    if embedding is None or head is None:
        raise _bad(None, "no token embedding or no output projection")
    return Roles(
        embedding=_module(embedding, 1),
        layers=prefixes[0],
        count=len(calls),
        layer=layers[kinds[0]],
        norm=_norm(head.operand(0), head),
        head=_module(head, 1),
        rope=_rope(main),
    )


def _layer(graph: Graph) -> Layer:
    attention = _only(graph, "llm.attention")
    query, key, value = (_origin(attention.operand(index)) for index in range(3))
    out = _following(attention.result, "llm.linear")
    active = _only(graph, "llm.activation")
    gate = _origin(active.operand(0))
    product = _following(active.result, "llm.mul")
    other = next(v for v in product.inputs if v is not active.result)
    up = _origin(other)
    down = _following(product.result, "llm.linear")
    norms = tuple(_as_norm(node) for node in (*query.norms, *key.norms))
    if len(norms) not in (0, 2) or value.norms:
        raise _bad(attention, "only query and key may be normalized, each once")
    return Layer(
        attention_norm=_norm(query.linear.operand(0), query.linear),
        qkv=_together((query, key, value), attention),
        qk_norm=norms,
        out=_projection(out),
        mlp_norm=_norm(gate.linear.operand(0), gate.linear),
        gate_up=_together((gate, up), active),
        down=_projection(down),
        head_dim=int(str(attention.operand(0).type.shape[-1])),
    )


@dataclass(frozen=True)
class _Origin:
    """Columns of a product.

    Attributes:
        linear: The product.
        start: First column, None for all.
        size: How many.
        norms: Normalizations on the way, the last first.
    """

    linear: Node
    start: int | None
    size: int
    norms: tuple[Node, ...]


def _origin(value: Value) -> _Origin:
    """The product that a value is made of."""
    norms: list[Node] = []
    start, size = None, 0
    while True:
        node = value.producer
        if node is None:
            raise _bad(None, f"%{value.name} is not made by a matrix product")
        if node.op == "llm.linear":
            width = node.result.type.shape[-1]
            return _Origin(node, start, size or int(str(width)), tuple(norms))
        if node.op in ("llm.slice", "llm.split") and start is None:
            start, size = _columns(node, value)
        elif node.op not in _PASSED:
            raise _bad(node, f"{node.op} between a projection and its use")
        if node.op in _NORMS:
            norms.append(node)
        value = node.operand(0)


def _columns(node: Node, value: Value) -> tuple[int, int]:
    if len(node.operand(0).type.shape) != 2 or node.attrs["axis"] != 1:
        raise _bad(node, "the parts of a packed projection are interleaved by heads")
    if node.op == "llm.slice":
        start, stop, step = (int(str(node.attrs[key])) for key in ("start", "stop", "step"))
        if step != 1:
            raise _bad(node, "the parts of a packed projection are interleaved")
        return start, stop - start
    sizes = node.attrs["sizes"]
    widths = [int(str(size)) for size in sizes] if isinstance(sizes, tuple) else []
    return sum(widths[: value.index]), widths[value.index]


def _together(parts: tuple[_Origin, ...], place: Node) -> tuple[Projection, ...]:
    """Separate projections, or one that makes all parts in their order."""
    linears = [part.linear for part in parts]
    if len(set(linears)) == len(parts) and all(part.start is None for part in parts):
        made = tuple(_projection(linear) for linear in linears)
        if len({projection.bias for projection in made}) != 1:
            raise _bad(place, "some of the projections have a bias and others have none")
        return made
    following = 0
    for part in parts:
        if part.linear is not linears[0] or part.start != following:
            raise _bad(place, "the projections are packed in an unusual order")
        following += part.size
    return (_projection(linears[0]),)


def _projection(node: Node) -> Projection:
    if not node.attrs["transpose_weight"]:
        raise _bad(node, "the weight is stored transposed")
    return Projection(_module(node, 1), len(node.operands) > 2 and node.operands[2] is not None)


def _norm(value: Value, place: Node) -> Norm:
    if value.producer is None or value.producer.op not in _NORMS:
        raise _bad(place, "no normalization in front of it")
    return _as_norm(value.producer)


def _as_norm(node: Node) -> Norm:
    return Norm(_module(node, 1), _NORMS[node.op], float(str(node.attrs["eps"])))


def _module(node: Node, operand: int) -> str:
    """The module whose ``weight`` an operand is, unchanged."""
    weight = node.operands[operand] if operand < len(node.operands) else None
    recipe = None if weight is None or node.attrs.get("unit_offset") else weight.recipe
    if not isinstance(recipe, Source) or not recipe.name.endswith(".weight"):
        raise _bad(node, "the weight is not a tensor of the checkpoint as it is")
    return recipe.name.removesuffix(".weight")


def _only(graph: Graph, op: str) -> Node:
    found = graph.find(op)
    if len(found) != 1:
        raise _bad(found[0] if found else None, f"@{graph.name} has {len(found)} {op}, not one")
    return found[0]


def _following(value: Value, op: str) -> Node:
    """The operation that reads a value, across reshapes."""
    while True:
        if len(value.users) != 1:
            raise _bad(value.producer, f"its result is not read by one {op}")
        (node,) = value.users
        if node.op == op:
            return node
        if node.op != "llm.reshape":
            raise _bad(node, f"{node.op} in front of {op}")
        value = node.result


def _rope(main: Graph) -> RotaryTable | None:
    tables = main.find("llm.rope_table")
    if not tables:
        return None
    table = tables[0]
    if len(tables) > 1:
        raise _bad(tables[1], "a second rotary table")
    data = table.operand(2).data
    if data is None or table.attrs["original_max_position"] is not None:
        raise _bad(table, "the rotary table depends on the length of the sequence")
    return RotaryTable(
        tuple(data.tolist()), str(table.attrs["style"]), float(str(table.attrs["scale"]))
    )


def _bad(node: Node | None, reason: str) -> UnsupportedError:
    place = ("", "") if node is None else (node.loc.module, node.loc.source)
    return UnsupportedError([Problem(*place, f"not MindIE's kind of decoder: {reason}", _REMEDY)])
