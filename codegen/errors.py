"""Typed errors of the product. Every message says what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class CodegenError(Exception):
    """Base of everything the ``codegen`` package raises on purpose."""


class BadInputError(CodegenError):
    """A file, directory or option that the user gave cannot be used; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class HostError(CodegenError):
    """Emitted code could not be executed on a host runtime."""


class VerificationError(CodegenError):
    """Emitted code could not be compared: the comparison itself failed, not the numbers."""


@dataclass(frozen=True)
class Problem:
    """One thing in the model that cannot be compiled.

    Attributes:
        module: Path of the module in the model: ``model.layers.0.self_attn``.
        source: ``file.py:line`` of the modelling code, empty if unknown.
        reason: What cannot be expressed, and why.
        remedy: What the user can do about it.
    """

    module: str
    source: str
    reason: str
    remedy: str = (
        "rewrite this part of the modelling code with supported operations, or report the model"
    )

    def __str__(self) -> str:
        place = " at ".join(part for part in (self.module, self.source) if part)
        head = f"{place}: {self.reason}" if place else self.reason
        return f"{head} (remedy: {self.remedy})"


class UnsupportedError(CodegenError):
    """The model needs something that the compiler or the target does not have.

    Attributes:
        problems: Everything that was found, each once, in order; all are shown together.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__(self._render())

    def _render(self) -> str:
        if len(self.problems) == 1:
            return f"unsupported: {self.problems[0]}"
        rows = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"unsupported, {len(self.problems)} problems:{rows}"
