"""``cache-kv``: from one graph over whole sequences to prefill and decode over a paged KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from ir.graph import Graph, Module, Node, Value
from ir.llm.cache import KvAppend, PagedAttention
from ir.passes.base import Pass, PassResult
from ir.passes.remove_dead import drop_unused_inputs, reachable
from ir.types import Dim, DType, Sym, TensorType

PREFILL, DECODE = PHASES = ("prefill", "decode")
BLOCKS, MAX_BLOCKS = Sym.of("blocks"), Sym.of("max_blocks")


def one_entry(module: Module) -> list[str]:
    """The module has one entry."""
    count = len(module.entries)
    return [] if count == 1 else [f"the module has {count} entries, not one"]


def causal_attention(module: Module) -> list[str]:
    """There is attention, and a token never sees a later one: the cache would not be right."""
    graphs = [module.functions[name] for name in reachable(module, module.entries)]
    attentions = [node for graph in graphs for node in graph.find("llm.attention")]
    problems = [
        f"attention is not causal ({node.loc})" for node in attentions if not node.attrs["causal"]
    ]
    return problems if attentions else ["there is no llm.attention"]


def names_are_free(module: Module) -> list[str]:
    """No graph has a name that one of the new graphs gets."""
    wanted = {_phase_name(module, phase, name) for phase in PHASES for name in module.functions}
    return [f"@{name} exists already" for name in module.functions if name in wanted]


def no_attention_left(module: Module) -> list[str]:
    """Decode reads the cache only."""
    decode = [module.functions[name] for name in reachable(module, (DECODE,))]
    return [f"@{graph.name} has llm.attention" for graph in decode if graph.find("llm.attention")]


def _phase_name(module: Module, phase: str, name: str) -> str:
    return phase if name in module.entries else f"{phase}_{name}"


@dataclass
class _Needs:
    """What a graph that attends needs in addition to its inputs."""

    tokens: Dim
    batch: Dim
    caches: list[tuple[TensorType, TensorType]] = field(
        default_factory=list[tuple[TensorType, TensorType]]
    )


@dataclass
class _Step:
    """The values of one graph that its attention nodes and calls read."""

    slots: Value
    caches: list[tuple[Value, Value]]
    block_tables: Value | None = None
    context_lens: Value | None = None

    def pass_on(self, count: int) -> list[Value]:
        """What a call passes to a callee with ``count`` caches, which are then used up."""
        taken, self.caches = self.caches[:count], self.caches[count:]
        shared = [v for v in (self.block_tables, self.context_lens) if v is not None]
        return [*shared, self.slots, *(value for pair in taken for value in pair)]


@dataclass(frozen=True)
class CacheKv(Pass):
    """Replaces the entry by ``prefill`` and ``decode``, and the functions that attend likewise.

    Both write the keys and values of the new tokens into the cache. Prefill attends over the new
    tokens of each sequence, which are all it has; decode brings one token of each sequence
    (``tokens`` equals ``batch``) and attends over the cache. New inputs, after those there are:
    for decode ``block_tables`` int32 ``[batch, max_blocks]`` and ``context_lens`` int32
    ``[batch]``, then ``slots`` int32 ``[tokens]``, then ``k_cache_0``, ``v_cache_0``, ... of shape
    ``[blocks, block_size, kv_heads, head_dim]``, a pair for every attention in execution order.
    Inputs that a function does not read any more are dropped; entries keep theirs.

    Attributes:
        block_size: Tokens in one block of the cache.
    """

    name = "cache-kv"
    requires = (one_entry, causal_attention, names_are_free)
    ensures = (no_attention_left,)

    block_size: int = 128

    def run(self, module: Module) -> PassResult:
        """See ``Pass``; ``matches`` counts the caches of one phase."""
        (entry,) = module.entries
        graphs = [module.functions[name] for name in reachable(module, (entry,))]
        needs: dict[str, _Needs] = {}
        for graph in graphs:
            found = self._needs(graph, needs)
            if found is not None:
                needs[graph.name] = found
        made = {graph.name: graph for graph in graphs if graph.name not in needs}
        renamed: dict[str, dict[str, str]] = {}
        for phase in PHASES:
            names = {name: _phase_name(module, phase, name) for name in needs}
            for graph in graphs:
                if graph.name in needs:
                    twin, _ = graph.copy(names[graph.name])
                    made[twin.name] = twin
                    _rewrite(twin, phase, needs[graph.name], needs, names, graph.name == entry)
            renamed[phase] = names
        module.functions = made
        module.entries = PHASES
        for names in renamed.values():
            for name in names.values():
                if name not in PHASES:
                    drop_unused_inputs(module, made[name])
        return PassResult(True, len(needs[entry].caches))

    def _needs(self, graph: Graph, known: dict[str, _Needs]) -> _Needs | None:
        needs: _Needs | None = None
        for node in graph.nodes:
            inner: _Needs | None = None
            if node.op == "llm.attention":
                q, k, v, seq_lens = (node.operand(i).type for i in range(4))
                k_cache = k.with_shape(BLOCKS, self.block_size, *k.shape[1:])
                v_cache = v.with_shape(BLOCKS, self.block_size, *v.shape[1:])
                inner = _Needs(q.shape[0], seq_lens.shape[0], [(k_cache, v_cache)])
            elif node.op == "func.call":
                inner = known.get(str(node.attrs["callee"]))
            if inner is not None:
                needs = needs or _Needs(inner.tokens, inner.batch)
                needs.caches += inner.caches
        return needs


def _rewrite(
    graph: Graph,
    phase: str,
    own: _Needs,
    needs: dict[str, _Needs],
    names: dict[str, str],
    is_entry: bool,
) -> None:
    step = _add_inputs(graph, phase, own, numbered=is_entry or len(own.caches) > 1)
    for node in list(graph.nodes):
        callee = str(node.attrs.get("callee"))
        if node.op == "llm.attention":
            _attend(graph, node, step)
        elif node.op == "func.call" and callee in needs:
            node.attrs["callee"] = names[callee]
            node.set_operands([*node.operands, *step.pass_on(len(needs[callee].caches))])


def _add_inputs(graph: Graph, phase: str, needs: _Needs, numbered: bool) -> _Step:
    tables: Value | None = None
    lens: Value | None = None
    if phase == DECODE:
        tables = graph.add_input("block_tables", TensorType((needs.batch, MAX_BLOCKS), DType.INT32))
        lens = graph.add_input("context_lens", TensorType((needs.batch,), DType.INT32))
    slots = graph.add_input("slots", TensorType((needs.tokens,), DType.INT32))
    caches: list[tuple[Value, Value]] = []
    for number, (k, v) in enumerate(needs.caches):
        suffix = f"_{number}" if numbered else ""
        caches.append(
            (graph.add_input(f"k_cache{suffix}", k), graph.add_input(f"v_cache{suffix}", v))
        )
    return _Step(slots, caches, tables, lens)


def _attend(graph: Graph, node: Node, step: _Step) -> None:
    q, k, v, _, slopes = node.operands
    (k_cache, v_cache), *step.caches = step.caches
    written = KvAppend.build(
        graph,
        k,
        v,
        k_cache,
        v_cache,
        step.slots,
        loc=node.loc,
        before=node,
        named=("keys", "values"),
    )
    if step.block_tables is None:
        return
    keys, values = written.results
    paged = PagedAttention.build(
        graph,
        q,
        keys,
        values,
        step.block_tables,
        step.context_lens,
        slopes,
        loc=node.loc,
        before=node,
        scale=node.attrs["scale"],
        window=node.attrs["window"],
        softcap=node.attrs["softcap"],
    )
    name = node.result.name
    graph.replace_uses(node.result, paged.result)
    graph.erase(node)
    paged.result.name = name
