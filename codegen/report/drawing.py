"""Draws the graph of a layer: boxes from top to bottom, lines between them.

A box stands one row below the lowest box that it reads. A line to the next row is a curve; a line
that passes rows (a residual connection) runs in a lane of its own on the right, so that no line
crosses a box. Everything follows from the order of the boxes, so the same graph gives the same
drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 208, 44
_GAP_X, _GAP_Y, _MARGIN, _LANE = 18, 26, 12, 16


@dataclass(frozen=True)
class Item:
    """What is drawn as a box.

    Attributes:
        key: Unique.
        title: First line.
        detail: Second line.
        style: CSS class.
        reads: Keys of the boxes it reads.
    """

    key: str
    title: str
    detail: str
    style: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """A placed box; x and y are of its upper left corner, in pixels."""

    x: int
    y: int
    title: str
    detail: str
    full: str
    style: str


@dataclass(frozen=True)
class Line:
    """A line as the data of an SVG path."""

    path: str


@dataclass(frozen=True)
class Drawing:
    """A graph that is ready to be printed as SVG.

    Attributes:
        title: What it shows.
        width: Pixels.
        height: Pixels.
        boxes: The boxes.
        lines: The lines.
    """

    title: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def draw(title: str, items: Sequence[Item]) -> Drawing:
    """Places boxes and lines.

    Args:
        title: What the drawing shows.
        items: In an order in which nothing reads what comes later.
    """
    row = _rows(items)
    columns: dict[int, list[Item]] = {}
    for item in items:
        columns.setdefault(row[item.key], []).append(item)
    widest = max((len(line) for line in columns.values()), default=1)
    inner = widest * WIDTH + (widest - 1) * _GAP_X
    place: dict[str, tuple[int, int]] = {}
    for number, line in columns.items():
        width = len(line) * WIDTH + (len(line) - 1) * _GAP_X
        for index, item in enumerate(line):
            x = _MARGIN + (inner - width) // 2 + index * (WIDTH + _GAP_X)
            place[item.key] = (x, _MARGIN + number * (HEIGHT + _GAP_Y))
    lanes = _Lanes()
    lines = [
        _line(place[read], place[item.key], row[read], row[item.key], inner + _MARGIN, lanes)
        for item in items
        for read in item.reads
        if read in place
    ]
    boxes = [
        Box(*place[i.key], _short(i.title), _short(i.detail), f"{i.title}: {i.detail}", i.style)
        for i in items
    ]
    width = inner + 2 * _MARGIN + _LANE * lanes.used
    height = 2 * _MARGIN + len(columns) * (HEIGHT + _GAP_Y) - _GAP_Y
    return Drawing(title, width, height, tuple(boxes), tuple(lines))


def _rows(items: Sequence[Item]) -> dict[str, int]:
    row: dict[str, int] = {}
    for item in items:
        row[item.key] = max((row[read] + 1 for read in item.reads if read in row), default=0)
    return row


class _Lanes:
    """Hands out lanes on the right; lines that do not overlap share one."""

    def __init__(self) -> None:
        self._free_from: list[int] = []

    @property
    def used(self) -> int:
        """How many lanes there are."""
        return len(self._free_from)

    def take(self, start: int, stop: int) -> int:
        """The first lane that is free between two rows."""
        for lane, free in enumerate(self._free_from):
            if free <= start:
                self._free_from[lane] = stop
                return lane
        self._free_from.append(stop)
        return len(self._free_from) - 1


def _line(
    start: tuple[int, int], stop: tuple[int, int], first: int, last: int, right: int, lanes: _Lanes
) -> Line:
    x1, y1 = start[0] + WIDTH // 2, start[1] + HEIGHT
    x2, y2 = stop[0] + WIDTH // 2, stop[1]
    if last - first == 1:
        middle = (y1 + y2) // 2
        return Line(f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}")
    # Down into the gap below the box, right to the lane, down, and back through the gap above.
    lane = lanes.take(first, last)
    x, shift = right + _LANE * lane + _LANE // 2, WIDTH // 4
    x1, x2, turn = x1 + shift, x2 + shift, _GAP_Y // 2
    top, bottom = y1 + turn, y2 - turn
    return Line(
        f"M{x1} {y1}V{top - 4}Q{x1} {top} {x1 + 4} {top}H{x - 4}Q{x} {top} {x} {top + 4}"
        f"V{bottom - 4}Q{x} {bottom} {x - 4} {bottom}H{x2 + 4}Q{x2} {bottom} {x2} {bottom + 4}V{y2}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 32 else text[:31] + "…"
