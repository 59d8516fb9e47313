"""What a pass is, and how a list of passes is run.

A pass is a frozen dataclass whose fields are its options::

    @dataclass(frozen=True)
    class CacheKv(Pass):
        '''Reads and writes a paged KV cache.'''
        name = "cache-kv"
        requires = (only_entry_main,)
        block_size: int = 128

        def run(self, module):
            ...
            return PassResult(modified=True, matches=3)

It changes the module in place. ``requires`` and ``ensures`` are conditions on the module before and
after it; ``run_passes`` checks them, and verifies the whole module after every pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar

from ir.errors import PassError, VerifyError
from ir.graph import Attr, Module
from ir.text import attr_text
from ir.verify import verify

#: A condition on a module: one line for every violation. Its docstring says what it demands.
Condition = Callable[[Module], list[str]]

#: Every pass by name, filled in as the classes are declared.
PASSES: dict[str, type[Pass]] = {}


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    Attributes:
        modified: Whether the module is another one now.
        matches: How often the pass applied.
        notes: Lines for the user: what was left alone, and why.
    """

    modified: bool
    matches: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pass:
    """Base of every pass; subclasses are frozen dataclasses too.

    Attributes:
        name: Kebab-case name, as pipelines spell it.
        requires: Conditions that must hold before.
        ensures: Conditions that hold afterwards.
    """

    name: ClassVar[str] = ""
    requires: ClassVar[tuple[Condition, ...]] = ()
    ensures: ClassVar[tuple[Condition, ...]] = ()

    def __init_subclass__(cls) -> None:
        if cls.name:
            if cls.name in PASSES:
                raise ValueError(f"pass {cls.name} is declared twice")
            PASSES[cls.name] = cls

    def run(self, module: Module) -> PassResult:
        """Rewrites a module in place."""
        raise TypeError("Pass is abstract")

    @property
    def spec(self) -> str:
        """The pass as a pipeline spells it, options that have their default left out."""
        options = [
            f"{field.name.replace('_', '-')}={attr_text(value)}"
            for field in fields(self)
            if (value := _option(self, field.name)) != field.default or field.default is MISSING
        ]
        return f"{self.name}{{{','.join(options)}}}" if options else self.name


def _option(pass_: Pass, name: str) -> Attr:
    return getattr(pass_, name)


@dataclass(frozen=True)
class PassRecord:
    """One run of one pass.

    Attributes:
        spec: The pass with its options.
        result: What it did.
        seconds: Wall time of the pass itself, without verification.
    """

    spec: str
    result: PassResult
    seconds: float


def run_passes(
    module: Module,
    passes: Iterable[Pass],
    after: Callable[[Pass, Module, PassRecord], None] | None = None,
) -> list[PassRecord]:
    """Runs passes in order, in place, and checks the module after every one.

    Args:
        module: What to rewrite.
        passes: In order of execution.
        after: Called after every pass, once the module has been verified.

    Returns:
        One record per pass.

    Raises:
        PassError: A ``requires`` or ``ensures`` does not hold, or the result does not verify.
    """
    records: list[PassRecord] = []
    for pass_ in passes:
        _check(module, pass_, pass_.requires, "cannot run")
        start = time.perf_counter()
        result = pass_.run(module)
        record = PassRecord(pass_.spec, result, time.perf_counter() - start)
        try:
            verify(module)
        except VerifyError as error:
            raise PassError(f"{pass_.spec} broke the graph:\n{error}") from error
        _check(module, pass_, pass_.ensures, "did not do its work")
        records.append(record)
        if after is not None:
            after(pass_, module, record)
    return records


def _check(module: Module, pass_: Pass, conditions: Iterable[Condition], failed: str) -> None:
    problems = [problem for condition in conditions for problem in condition(module)]
    if problems:
        raise PassError("\n".join([f"{pass_.spec} {failed}:", *problems]))
