"""Where a divided axis is in another view of the same tensor."""

from __future__ import annotations

from collections import Counter

from codegen.targets.atb.sharding.layout import ConflictError, Layout
from ir.types import Dim

#: Axes of both views that hold the same elements.
_Group = tuple[list[int], list[int]]


def viewed(layout: Layout, old: tuple[Dim, ...], new: tuple[Dim, ...]) -> Layout:
    """The layout of a view.

    Args:
        layout: Layout of a tensor of shape ``old``.
        old: Shape in the whole model.
        new: Shape of the view in the whole model.

    Raises:
        ConflictError: What a rank has is not a view of that kind.
    """
    before, after = next(group for group in _groups(old, new) if layout.axis in group[0])
    outer_old = _outermost(before, old)
    outer_new = _outermost(after, new)
    if outer_old != layout.axis or outer_new is None:
        raise ConflictError(f"axis {layout.axis} is not the outermost of those it is viewed with")
    size, other = old[layout.axis], new[outer_new]
    if not isinstance(size, int) or not isinstance(other, int):
        raise ConflictError("a divided axis is joined with one of unknown size")
    return Layout(outer_new, tuple(part.scaled(other, size) for part in layout.parts))


def _outermost(axes: list[int], shape: tuple[Dim, ...]) -> int | None:
    return next((axis for axis in axes if shape[axis] != 1), None)


def _groups(old: tuple[Dim, ...], new: tuple[Dim, ...]) -> list[_Group]:
    """The smallest runs of axes with the same number of elements in both views."""
    groups: list[_Group] = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = [i] if i < len(old) else [], [j] if j < len(new) else []
        i, j = i + len(before), j + len(after)
        while _elements(before, old) != _elements(after, new):
            grow_old = j >= len(new) or (
                i < len(old) and _elements(before, old)[0] <= _elements(after, new)[0]
            )
            if grow_old and i < len(old):
                before.append(i)
                i += 1
            elif j < len(new):
                after.append(j)
                j += 1
            else:
                raise ConflictError("the views do not have the same elements")
        groups.append((before, after))
    return groups


def _elements(axes: list[int], shape: tuple[Dim, ...]) -> tuple[int, Counter[str]]:
    """Number of elements: the known factor and the unknown ones."""
    factor, names = 1, Counter[str]()
    for axis in axes:
        dim = shape[axis]
        if isinstance(dim, int):
            factor *= dim
        elif len(dim.terms) == 1 and dim.const == 0:
            ((name, times),) = dim.terms
            factor *= times
            names[name] += 1
        else:
            names[str(dim)] += 1
    return factor, names
