"""Collects what could not be raised (errors) and why patterns did not match (explanations)."""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.errors import Problem
from ir.graph import Node


@dataclass(frozen=True)
class NoMatch:
    """A pattern that was tried and did not fit.

    Attributes:
        pattern: ``rms-norm``, ``rope``, ``eager-attention`` ...
        place: Module path and source line of the anchor.
        reason: Why it did not fit.
    """

    pattern: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pattern} at {self.place}: {self.reason}"


@dataclass
class Reasons:
    """Everything worth telling about one raising."""

    problems: list[Problem] = field(default_factory=list)
    misses: list[NoMatch] = field(default_factory=list)

    def no_match(self, pattern: str, node: Node, reason: str) -> None:
        """Notes a failed match; not an error, some other pattern may fit."""
        self.misses.append(NoMatch(pattern, str(node.loc), reason))

    def matched(self, pattern: str, node: Node) -> None:
        """Notes a match; what the pattern could not use at that place before is no miss."""
        place = str(node.loc)
        self.misses = [m for m in self.misses if (m.pattern, m.place) != (pattern, place)]

    def unsupported(self, node: Node, reason: str) -> None:
        """Notes an error; all of them are shown together."""
        self.problems.append(Problem(node.loc.module, node.loc.source, reason))
