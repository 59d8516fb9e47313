"""``name-values``: gives values the names that an engineer would, from their role in the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ir.graph import Graph, Module, Node, Value
from ir.passes.base import Pass, PassResult
from ir.recipe import Concat, Source

#: Operand position in an attention -> role.
_ROLES = {0: "query", 1: "key", 2: "value"}
_ATTENTIONS = ("llm.attention", "llm.paged_attention")


@dataclass(frozen=True)
class NameValues(Pass):
    """Renames every result; inputs, weights and constants keep their names.

    - a product, norm or look-up is called after its module: ``q_proj_out``
    - what attention reads is ``query``, ``key``, ``value``; before its rotation ``query_heads``
    - a residual sum is called after the block that it closes: ``after_self_attn``
    """

    name = "name-values"

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts changed names."""
        changed = 0
        for graph in module:
            roles = _roles(graph)
            taken = {v.name for v in (*graph.inputs, *graph.parameters, *graph.constants)}
            for node in graph.nodes:
                names = _names(graph, node, roles, graph.name in module.entries)
                for value, wanted in zip(node.results, names, strict=True):
                    name, count = wanted, 1
                    while name in taken:
                        count += 1
                        name = f"{wanted}_{count}"
                    taken.add(name)
                    changed += name != value.name
                    value.name = name
            graph.reserve(taken)
        return PassResult(changed > 0, changed)


def _roles(graph: Graph) -> dict[Value, str]:
    """Names that follow from how attention reads a value."""
    roles: dict[Value, str] = {}
    for node in graph.nodes:
        if node.op not in (*_ATTENTIONS, "llm.kv_append"):
            continue
        shift = 1 if node.op == "llm.kv_append" else 0
        for position in range(1 if node.op == "llm.paged_attention" else 3 - shift):
            value = node.operand(position)
            if value.producer is None:
                continue
            role = _ROLES[position + shift]
            roles[value] = role
            source = value
            if value.op == "llm.rope":
                source = value.producer.operand(0)
                if source.op in ("llm.reshape", "llm.split", "llm.slice"):
                    roles[source] = f"{role}_heads"
            if source.producer is not None and source.op == "llm.reshape":
                piece = source.producer.operand(0)
                if piece.op == "llm.split" and not _packed_modules(piece.producer):
                    roles[piece] = f"{role}_proj_out"
    return roles


def _names(graph: Graph, node: Node, roles: dict[Value, str], entry: bool) -> list[str]:
    if len(node.results) == 1 and node.result in roles:
        return [roles[node.result]]
    if entry and any(value in graph.outputs for value in node.results):
        return ["logits"] * len(node.results)
    rule = _RULES.get(node.op)
    names = rule(node) if rule else [value.name for value in node.results]
    return [roles.get(value, name) for value, name in zip(node.results, names, strict=True)]


def _module(node: Node) -> list[str]:
    """``model.layers.0.self_attn.q_proj`` -> ``q_proj_out``; what was packed is named together."""
    weight = node.operands[1] if len(node.operands) > 1 else None
    if weight is not None and isinstance(weight.recipe, Concat):
        parts = [module_of(source) for source in weight.recipe.sources()]
        return [f"{joined_name(parts)}_out"]
    return [f"{node.loc.module.rpartition('.')[2] or node.op.partition('.')[2]}_out"]


def module_of(source: Source) -> str:
    """The last module of a tensor's name: ``self_attn.q_proj.weight`` -> ``q_proj``."""
    path = source.name.split(".")
    return path[-2] if len(path) > 1 else path[-1]


def joined_name(parts: list[str]) -> str:
    """One name for tensors packed together: q_proj, k_proj, v_proj -> ``qkv_proj``."""
    tail = parts[0]
    while not all(part.endswith(tail) for part in parts):
        tail = tail[1:]
    tail = tail[tail.index("_") :] if "_" in tail else ""
    heads = [part.removesuffix(tail) for part in parts]
    return ("" if all(len(head) == 1 for head in heads) else "_").join(heads) + tail


def _packed_modules(split: Node | None) -> list[str]:
    """The modules whose packed results a split takes apart; empty if it takes apart one result."""
    packed = split.operand(0).producer if split is not None else None
    weight = packed.operands[1] if packed is not None and packed.op == "llm.linear" else None
    if split is None or weight is None or not isinstance(weight.recipe, Concat):
        return []
    modules = [module_of(source) for source in weight.recipe.sources()]
    return modules if len(modules) == len(split.results) else []


def _split(node: Node) -> list[str]:
    modules = _packed_modules(node)
    if modules:
        return [f"{module}_out" for module in modules]
    whole = node.operand(0).name.removesuffix("_out")
    return [f"{whole}_{index}" for index, _ in enumerate(node.results)]


def _sum(node: Node) -> list[str]:
    """A residual is added in the layer, what it is added to comes from a block of the layer."""
    inside = f"{node.loc.module}." if node.loc.module else ""
    for value in reversed(node.inputs):
        made = value.producer.loc.module if value.producer else ""
        if inside and made.startswith(inside):
            return [f"after_{made.removeprefix(inside).partition('.')[0]}"]
    return ["sum"]


def _product(node: Node) -> list[str]:
    gated = any(value.op == "llm.activation" for value in node.inputs)
    return ["gated" if gated else "product"]


def _suffixed(suffix: str) -> Callable[[Node], list[str]]:
    return lambda node: [f"{node.operand(0).name}_{suffix}"]


def _reshape(node: Node) -> list[str]:
    kind = "heads" if node.result.type.rank == 3 else "flat"
    return [f"{node.operand(0).name.removesuffix('_out')}_{kind}"]


_RULES: dict[str, Callable[[Node], list[str]]] = {
    "func.call": lambda node: ["hidden_states"] * len(node.results),
    "llm.activation": lambda node: [str(node.attrs["kind"])],
    "llm.add": _sum,
    "llm.attention": lambda node: ["attn_out"],
    "llm.clamp": _suffixed("clamped"),
    "llm.concat": lambda node: ["joined"],
    "llm.embedding": _module,
    "llm.gated_activation": lambda node: ["gated"],
    "llm.layer_norm": _module,
    "llm.linear": _module,
    "llm.mul": _product,
    "llm.paged_attention": lambda node: ["attn_out"],
    "llm.permute": _suffixed("permuted"),
    "llm.reshape": _reshape,
    "llm.rms_norm": _module,
    "llm.rope": _suffixed("rotated"),
    "llm.scale": _suffixed("scaled"),
    "llm.slice": _suffixed("part"),
    "llm.softcap": _suffixed("capped"),
    "llm.split": _split,
    "llm.sub": lambda node: ["difference"],
}
