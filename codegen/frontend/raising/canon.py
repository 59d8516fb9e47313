"""The flat form of a traced tensor: batch dimension dropped, tokens first.

A trace runs one sequence, so every activation has a leading 1 and the tokens somewhere behind it.
The flat form depends on the traced *shape* alone: ``[1, tokens, hidden]`` and ``[tokens, hidden]``
both become ``[tokens, hidden]``, and ``[1, heads, tokens, head_dim]`` and its transpose both become
``[tokens, heads, head_dim]``. Transposes between the two layouts therefore vanish.
"""

from __future__ import annotations

from ir.types import Dim, TensorType


def token_axis(shape: tuple[Dim, ...]) -> int | None:
    """Where the tokens are, None without a symbolic dimension.

    Raises:
        ValueError: Several dimensions are symbolic (attention scores and masks).
    """
    axes = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int)]
    if len(axes) > 1:
        raise ValueError(f"[{', '.join(map(str, shape))}] has several token dimensions")
    return axes[0] if axes else None


def has_tokens(type: TensorType) -> bool:
    """Whether some dimension is symbolic."""
    return any(not isinstance(dim, int) for dim in type.shape)


def flat_order(shape: tuple[Dim, ...]) -> list[int]:
    """Traced axes in the order of the flat form; a dropped batch axis is left out."""
    tokens = token_axis(shape)
    if tokens is None:
        return list(range(len(shape)))
    rest = [axis for axis in range(len(shape)) if axis != tokens]
    if rest and rest[0] == 0 and shape[0] == 1:
        rest = rest[1:]
    return [tokens, *rest]


def flat_type(type: TensorType) -> TensorType:
    """The type in flat form."""
    return type.with_shape(*(type.shape[axis] for axis in flat_order(type.shape)))


def aligned_shape(shape: tuple[Dim, ...], result: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Shape that an operand's flat form needs to broadcast like it did in the trace.

    Args:
        shape: Traced shape of the operand.
        result: Traced shape of the element-wise result.
    """
    padded = (1,) * (len(result) - len(shape)) + shape
    order = flat_order(result)
    aligned = tuple(padded[axis] for axis in order)
    if token_axis(shape) is None:
        while len(aligned) > 1 and aligned[0] == 1:
            aligned = aligned[1:]
    return aligned
