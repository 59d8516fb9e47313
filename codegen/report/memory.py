"""Device memory of each rank: weights and key-value cache.

How a weight is divided is a function of the weight and the number of ranks, so that another rule
can take the place of the default one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codegen.report.costs import HALF_BYTES
from codegen.report.evidence import Evidence, Heads
from codegen.report.skeleton import Weight
from codegen.targets.atb.module import AtbModule

#: Bytes of a weight on one rank of so many.
PerRank = Callable[[Weight, int], int]


@dataclass(frozen=True)
class DefaultPerRank:
    """Matrices of linear layers inside the layers are divided, everything else is on every rank.

    Queries, gate and up projections are divided by their outputs, the projections after them by
    their inputs. Keys and values are divided by their heads, which are repeated where there are
    fewer than ranks, also inside a matrix that is packed with the queries. Tables, the output
    projection, norms and biases are on every rank. A matrix that does not divide is rounded up.

    Attributes:
        heads: Sizes of attention.
    """

    heads: Heads

    def __call__(self, weight: Weight, world_size: int) -> int:
        """Bytes on one rank."""
        if weight.kind != "linear" or not weight.in_layer or world_size == 1:
            return weight.elements * HALF_BYTES
        h = self.heads
        query, cached = h.query * h.size, h.key_value * h.size
        if h.key_value < h.query:
            kept = kv_heads(h, world_size) * h.size
            for rows, rest in (weight.shape[-2:], weight.shape[:-3:-1]):
                if rest != h.hidden or weight.elements != rows * rest:
                    continue
                if rows == cached != h.hidden:
                    return rest * kept * HALF_BYTES
                if rows == query + 2 * cached:
                    return rest * (-(-query // world_size) + 2 * kept) * HALF_BYTES
        return -(-weight.elements // world_size) * HALF_BYTES


def kv_heads(heads: Heads, world_size: int) -> int:
    """Key-value heads on each rank: at least one."""
    return max(1, -(-heads.key_value // world_size))


@dataclass(frozen=True)
class CacheShape:
    """The key-value cache of one layer.

    Attributes:
        heads: Key-value heads.
        width: Elements of a key and of a value together.
    """

    heads: int
    width: int

    def per_token(self, world_size: int) -> int:
        """Bytes that a token takes on one rank of so many."""
        return max(1, -(-self.heads // world_size)) * self.width * HALF_BYTES


@dataclass(frozen=True)
class RankMemory:
    """Memory of one rank.

    Attributes:
        world_size: How many ranks there are.
        weights: Bytes of weights.
        cache_per_token: Bytes of the cache for each token of each sequence.
        cache: Bytes of the cache for a full context.
    """

    world_size: int
    weights: int
    cache_per_token: int
    cache: int


def caches(evidence: Evidence) -> list[CacheShape]:
    """The caches of all layers: those of the compiled model, else what the configuration says."""
    if evidence.atb is not None:
        return _compiled_caches(evidence.atb)
    heads = evidence.heads
    return [CacheShape(heads.key_value, 2 * heads.size)] * heads.layers


def _compiled_caches(atb: AtbModule) -> list[CacheShape]:
    shapes = {v.name: v.type.shape for v in atb.functions[atb.entries[1]].inputs}
    pairs = [(s, shapes[f"v{n[1:]}"]) for n, s in shapes.items() if n.startswith("k_cache")]
    return [
        CacheShape(int(str(key[2])), int(str(key[3])) + int(str(value[3]))) for key, value in pairs
    ]


def memory(
    weights: Sequence[Weight],
    layers: Sequence[CacheShape],
    tokens: int,
    world_sizes: Sequence[int],
    per_rank: PerRank,
) -> list[RankMemory]:
    """Memory of each rank.

    Args:
        weights: The model's tensors.
        layers: The cache of each layer.
        tokens: Tokens of a full context, of all sequences together.
        world_sizes: Numbers of ranks.
        per_rank: How weights are divided.
    """
    return [
        RankMemory(
            size,
            sum(per_rank(weight, size) for weight in weights),
            sum(layer.per_token(size) for layer in layers),
            sum(layer.per_token(size) for layer in layers) * tokens,
        )
        for size in world_sizes
    ]
