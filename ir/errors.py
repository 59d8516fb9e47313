"""Typed errors of the intermediate graph. Every one names what is wrong and where."""

from __future__ import annotations


class IrError(Exception):
    """Base of everything the ``ir`` package raises."""


class VerifyError(IrError):
    """A graph breaks a structural rule or an operation's own contract.

    Attributes:
        problems: One line per violation; all of them are collected before raising.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class ParseError(IrError):
    """Text that is not a graph; the message carries line and column."""


class PassError(IrError):
    """A pass was run on a graph that does not meet its ``requires``, or broke its ``ensures``."""


class InterpretError(IrError):
    """A graph could not be evaluated: a missing input, a missing weight or a failing operation."""
