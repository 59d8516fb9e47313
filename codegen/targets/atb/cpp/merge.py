"""Joins the operations of prefill and decode: what is the same is there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from codegen.errors import CodegenError
from codegen.targets.atb.cpp import gather, text
from codegen.targets.atb.cpp.block import LOGITS_OF_RANK, Operation, TensorIds, View


@dataclass(frozen=True)
class Step:
    """A run of operations.

    Attributes:
        condition: When they are there; empty for always.
        operations: They.
        otherwise: What is there instead when the condition does not hold.
    """

    condition: str
    operations: tuple[Operation, ...]
    otherwise: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class Internal:
    """Enumerators of tensors inside the graph.

    Attributes:
        both: In both phases.
        prefill: In prefill only.
        decode: In decode only; they have the ids of those in prefill only.
        ranks: With several ranks only, behind all others.
    """

    both: tuple[str, ...]
    prefill: tuple[str, ...]
    decode: tuple[str, ...]
    ranks: tuple[str, ...]


@dataclass(frozen=True)
class Merged:
    """A stage in both phases."""

    steps: tuple[Step, ...]
    internal: Internal
    views: tuple[View, ...]
    counts: tuple[int, int]

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every function, once, in order."""
        found = [o for step in self.steps for o in (*step.operations, *step.otherwise)]
        return tuple(dict.fromkeys(found))


def merge(
    prefill: Sequence[Operation],
    decode: Sequence[Operation],
    ids: TensorIds,
    views: Sequence[View],
    vocab_size: int | None,
) -> Merged:
    """Joins two phases.

    Args:
        prefill: Operations for prompts.
        decode: Operations for single tokens.
        ids: Enumerators of both.
        views: Views of both.
        vocab_size: Size of the vocabulary if the ranks make logits in parts, else None.
    """
    prefill, decode = _distinct(prefill, decode)
    steps: list[Step] = []
    matcher = SequenceMatcher(None, prefill, decode, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        mine, other = tuple(prefill[a:b]), tuple(decode[c:d])
        if tag == "equal":
            steps.append(Step("", mine))
        elif mine:
            steps.append(Step("param.isPrefill", mine, other))
        else:
            steps.append(Step("!param.isPrefill", other))
    internal = _internal(prefill, decode)
    if vocab_size is not None:
        if internal.prefill or internal.decode:
            raise CodegenError("the stage that makes logits has other tensors in each phase")
        (output,) = ids.outputs
        steps.append(Step("param.worldSize > 1", gather.operations(output, vocab_size)))
        internal = replace(internal, ranks=gather.INTERNAL)
        views = [*views, *gather.VIEWS]
    return Merged(tuple(steps), internal, tuple(views), (len(prefill), len(decode)))


def _distinct(
    prefill: Sequence[Operation], decode: Sequence[Operation]
) -> tuple[list[Operation], list[Operation]]:
    """Operations that differ have different functions, also within one phase."""
    variants = Counter(operation.function for operation in {*prefill, *decode})
    both = set(prefill) & set(decode)
    names = text.Names(("AddOperations", *(o.function for o in gather.operations("", 0))))

    def named(operation: Operation, phase: str) -> Operation:
        wanted = operation.function
        if variants[wanted] > 1 and operation not in both:
            wanted = f"{wanted}In{phase}"
        return replace(operation, function=names.name(operation, wanted))

    return [named(o, "Prefill") for o in prefill], [named(o, "Decode") for o in decode]


def _internal(prefill: Sequence[Operation], decode: Sequence[Operation]) -> Internal:
    written = [
        dict.fromkeys(
            name
            for operation in phase
            for name in operation.outputs
            if name.startswith("INTERMEDIATE_") and name != LOGITS_OF_RANK
        )
        for phase in (prefill, decode)
    ]
    first, second = written
    return Internal(
        tuple(name for name in first if name in second),
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
        (),
    )
