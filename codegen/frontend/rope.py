"""Rotary embeddings whose frequencies depend on the length: one node instead of control flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from codegen.frontend import library
from codegen.frontend.attention import Tracing
from codegen.frontend.ops import rope_frequencies

_WRAPPER = getattr(dynamic_rope_update(lambda self, x, position_ids: None), "__code__", None)


@dataclass(frozen=True)
class _Scaling:
    """Arguments of the frequencies node; see `codegen.frontend.ops.RopeFrequencies`."""

    original_max_position: int
    dynamic_factor: float | None = None
    dynamic_base: float | None = None


@contextmanager
def rope_as_node(model: nn.Module, state: Tracing) -> Iterator[None]:
    """Replaces transformers' length-dependent updates by one operation while the context lasts.

    Raises:
        UnsupportedError: The update is one that the operation cannot express.
    """
    undo: list[Callable[[], None]] = []
    try:
        for path, module in model.named_modules():
            forward = _undecorated(module)
            if forward is None:
                continue
            kinds: Any = getattr(module, "rope_type", "default")
            for layer_type, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
                if "dynamic" in kind or kind == "longrope":
                    undo += _replace(module, path, forward, layer_type, kind, state)
        yield
    finally:
        for action in reversed(undo):
            action()


def _undecorated(module: nn.Module) -> Callable[..., Any] | None:
    """The forward inside ``dynamic_rope_update``; None if the module is not decorated with it."""
    function: Any = type(module).forward
    while function is not None:
        inner = getattr(function, "__wrapped__", None)
        if getattr(function, "__code__", None) is _WRAPPER:
            return inner
        function = inner
    return None


def _replace(
    module: nn.Module,
    path: str,
    forward: Callable[..., Any],
    layer_type: str | None,
    kind: str,
    state: Tracing,
) -> list[Callable[[], None]]:
    prefix = "" if layer_type is None else f"{layer_type}_"
    short = getattr(module, f"{prefix}original_inv_freq")
    scaling, long = _describe(module, path, layer_type, kind, short, state)
    name = f"{prefix}inv_freq"
    if long is not None:
        module.register_buffer(f"{name}_of_long_sequences", long, persistent=False)
    previous = module.__dict__.get("forward", module.forward)

    def replaced(x: Tensor, position_ids: Tensor, layer_type_: str | None = None) -> Any:
        if layer_type_ != layer_type:
            return previous(x, position_ids, layer_type_)
        module.__dict__[name] = library.frequencies(
            position_ids,
            getattr(module, f"{prefix}original_inv_freq"),
            getattr(module, f"{name}_of_long_sequences", None),
            scaling.original_max_position,
            scaling.dynamic_factor,
            scaling.dynamic_base,
        )
        try:
            options = {} if layer_type is None else {"layer_type": layer_type}
            return forward(module, x, position_ids, **options)
        finally:
            del module.__dict__[name]

    def call(x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        return replaced(x, position_ids, layer_type)

    own = module.__dict__.get("forward")
    module.__dict__["forward"] = call

    def restore() -> None:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own
        module._buffers.pop(f"{name}_of_long_sequences", None)
        module._non_persistent_buffers_set.discard(f"{name}_of_long_sequences")

    return [restore]


def _describe(
    module: nn.Module,
    path: str,
    layer_type: str | None,
    kind: str,
    short: Tensor,
    state: Tracing,
) -> tuple[_Scaling, Tensor | None]:
    config: Any = module.config
    rope = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    compute = ROPE_INIT_FUNCTIONS[kind]
    options = {} if layer_type is None else {"layer_type": layer_type}

    def frequencies(length: int) -> tuple[Tensor, float]:
        return compute(config, torch.device("cpu"), seq_len=length, **options)

    if kind == "longrope":
        # transformers computes the attention factor once, for both sets.
        limit = int(rope["original_max_position_embeddings"])
        long, _ = frequencies(limit + 1)
        return _Scaling(limit), long
    limit = int(getattr(module, "original_max_seq_len", 0))
    scaling = _Scaling(limit, float(rope["factor"]), float(rope["rope_theta"]))
    for length in (limit + 1, 2 * limit + 3, 7 * limit + 1):
        wanted, factor = frequencies(length)
        made = rope_frequencies(
            torch.tensor([[length - 1]]), short, None,
            limit, scaling.dynamic_factor, scaling.dynamic_base,
        )  # fmt: skip
        if factor != getattr(module, "attention_scaling", 1.0) or not torch.allclose(
            made, wanted, rtol=1e-5
        ):
            raise state.refuse(
                path, f"the rotary frequencies change with the length in an unknown way ({kind})"
            )
    return scaling, None
