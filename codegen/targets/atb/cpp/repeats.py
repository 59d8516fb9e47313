"""Finds what repeats in a sequence, so that a loop can be printed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_LONGEST = 8

Item = TypeVar("Item")


@dataclass(frozen=True)
class Repeat(Generic[Item]):
    """A pattern that occurs several times in a row.

    Attributes:
        pattern: The pattern.
        count: How often it occurs.
        start: Where its first item is in the sequence.
    """

    pattern: tuple[Item, ...]
    count: int
    start: int


def repeats(sequence: Sequence[Item]) -> list[Repeat[Item]]:
    """The sequence as patterns, the longest stretches first taken from the front.

    ``a b a b a c`` is ``(a b) x 2, (a) x 1, (c) x 1``. A pattern has at most 8 items.
    """
    found: list[Repeat[Item]] = []
    start = 0
    while start < len(sequence):
        best = Repeat((sequence[start],), 1, start)
        for length in range(1, min(_LONGEST, len(sequence) - start) + 1):
            pattern = tuple(sequence[start : start + length])
            count = _count(sequence, start, pattern)
            if count > 1 and count * length > best.count * len(best.pattern):
                best = Repeat(pattern, count, start)
        found.append(best)
        start += best.count * len(best.pattern)
    return found


def _count(sequence: Sequence[Item], start: int, pattern: tuple[Item, ...]) -> int:
    length, count = len(pattern), 1
    while tuple(sequence[start + count * length : start + (count + 1) * length]) == pattern:
        count += 1
    return count
