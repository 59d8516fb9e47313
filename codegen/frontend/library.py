"""The torch custom operators that stand for one node each while a model is traced.

Importing this module registers them under ``torch.ops.llm_codegen``. Their real implementations
are the reference semantics of `codegen.frontend.ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codegen.frontend.ops import Visibility, attend, rope_frequencies, visible

NAMESPACE = "llm_codegen"


@torch.library.custom_op(f"{NAMESPACE}::attention", mutates_args=())
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    scale: float,
    causal: bool,
    softcap: float | None,
) -> Tensor:
    """See `codegen.frontend.ops.Attention`."""
    return attend(q, k, v, mask, sinks, scale, Visibility(causal), softcap)


@attention.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    scale: float,
    causal: bool,
    softcap: float | None,
) -> Tensor:
    return q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3])


@torch.library.custom_op(f"{NAMESPACE}::mask", mutates_args=())
def mask(
    padding: Tensor | None,
    queries: int,
    keys: int,
    causal: bool,
    window: int | None,
    chunk: int | None,
    additive: bool,
) -> Tensor:
    """See `codegen.frontend.ops.Mask`."""
    return visible(padding, queries, keys, Visibility(causal, window, chunk), additive).clone()


@mask.register_fake
def _(
    padding: Tensor | None,
    queries: int,
    keys: int,
    causal: bool,
    window: int | None,
    chunk: int | None,
    additive: bool,
) -> Tensor:
    return torch.empty(1, 1, queries, keys, dtype=torch.float32 if additive else torch.bool)


@torch.library.custom_op(f"{NAMESPACE}::rope_frequencies", mutates_args=())
def frequencies(
    positions: Tensor,
    inv_freq: Tensor,
    long_inv_freq: Tensor | None,
    original_max_position: int,
    dynamic_factor: float | None,
    dynamic_base: float | None,
) -> Tensor:
    """See `codegen.frontend.ops.RopeFrequencies`."""
    return rope_frequencies(
        positions, inv_freq, long_inv_freq, original_max_position, dynamic_factor, dynamic_base
    )


@frequencies.register_fake
def _(
    positions: Tensor,
    inv_freq: Tensor,
    long_inv_freq: Tensor | None,
    original_max_position: int,
    dynamic_factor: float | None,
    dynamic_base: float | None,
) -> Tensor:
    return torch.empty_like(inv_freq)


@torch.library.custom_op(f"{NAMESPACE}::experts", mutates_args=())
def experts(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Marks a mixture of experts, which the graph cannot express; it is never executed.

    Traced as it is, it would cost seconds a layer.
    """
    return torch.empty_like(hidden)


@experts.register_fake
def _(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(hidden)


@torch.library.custom_op(f"{NAMESPACE}::layer_enter", mutates_args=())
def layer_enter(tensors: list[Tensor], path: str) -> list[Tensor]:
    """Marks where the layer ``path`` begins; its tensor arguments pass through."""
    return [t.clone() for t in tensors]


@layer_enter.register_fake
def _(tensors: list[Tensor], path: str) -> list[Tensor]:
    return [torch.empty_like(t) for t in tensors]


@torch.library.custom_op(f"{NAMESPACE}::layer_exit", mutates_args=())
def layer_exit(tensors: list[Tensor], path: str) -> list[Tensor]:
    """Marks where the layer ``path`` ends; its results pass through, made contiguous."""
    return [t.clone(memory_format=torch.contiguous_format) for t in tensors]


@layer_exit.register_fake
def _(tensors: list[Tensor], path: str) -> list[Tensor]:
    return [torch.empty(t.shape, dtype=t.dtype) for t in tensors]


@torch.library.custom_op(f"{NAMESPACE}::layer_repeat", mutates_args=())
def layer_repeat(
    tensors: list[Tensor],
    replaced: list[int],
    like: list[int],
    sizes: list[int],
    dtypes: str,
    path: str,
    representative: str,
) -> list[Tensor]:
    """Stands for the layer ``path``, which computes what ``representative`` does.

    It is never executed: the importer turns it into a call. The arguments are short because they
    are what a repeated layer costs.

    Args:
        tensors: Arguments of the layer that differ from those of the representative.
        replaced: Which of the representative's arguments they take the place of.
        like: For every result, which of ``tensors`` has its type; ``-rank - 1`` if none has.
        sizes: The shapes of those results, one after the other.
        dtypes: The element types of those results, separated by blanks.
        path: Path of this layer.
        representative: Path of the layer that was traced.
    """
    return _empty(tensors, like, sizes, dtypes)


@layer_repeat.register_fake
def _(
    tensors: list[Tensor],
    replaced: list[int],
    like: list[int],
    sizes: list[int],
    dtypes: str,
    path: str,
    representative: str,
) -> list[Tensor]:
    return _empty(tensors, like, sizes, dtypes)


def _empty(tensors: list[Tensor], like: list[int], sizes: list[int], dtypes: str) -> list[Tensor]:
    rest, kinds = iter(sizes), iter(dtypes.split())
    return [
        torch.empty_like(tensors[i], memory_format=torch.contiguous_format)
        if i >= 0
        else torch.empty([next(rest) for _ in range(-i - 1)], dtype=getattr(torch, next(kinds)))
        for i in like
    ]
