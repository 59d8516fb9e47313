"""Numbers as text, with the same number of digits wherever they stand."""

from __future__ import annotations

_SI = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_BINARY = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def count(number: float) -> str:
    """``1.23 G``: three significant digits and a decimal prefix."""
    for prefix, size in _SI:
        if number >= size:
            return f"{_three(number / size)} {prefix}"
    return f"{number:.0f}" if number == int(number) else _three(number)


def data(number: int) -> str:
    """``1.23 MiB``."""
    for unit, size in _BINARY:
        if number >= size:
            return f"{_three(number / size)} {unit}"
    return f"{number} B"


def time(seconds: float) -> str:
    """``12.3 µs``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds * 1e9)} ns" if seconds else "0"


def ratio(number: float) -> str:
    """Three significant digits."""
    return _three(number)


def _three(number: float) -> str:
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
