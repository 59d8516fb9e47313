"""How close two sets of numbers are, and what is close enough."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from codegen.vendor import SyntaxCheck

#: Largest logit difference that counts as equal, relative to the largest logit (at least 1).
TOLERANCE = 1e-4
#: Highest signal-to-noise ratio that is told apart from exact equality, in dB.
EXACT_DB = 200.0


@dataclass(frozen=True)
class Phase:
    """The logits of one phase against HuggingFace's.

    Attributes:
        name: ``prefill`` or ``decode``.
        rounding: Element type that the emitted code computed in.
        positions: Rows of logits compared: tokens of all prompts, or steps times sequences.
        steps: Forward passes: 1, or the number of decode steps.
        max_abs_diff: Largest difference of a logit.
        argmax_agree: Share of rows with the same likeliest token, 0 to 1.
        limit: What ``max_abs_diff`` may be; None where it is only information.
        ranks: How many ranks shared the work.
    """

    name: str
    rounding: str
    positions: int
    steps: int
    max_abs_diff: float
    argmax_agree: float
    limit: float | None = None
    ranks: int = 1

    @property
    def passed(self) -> bool:
        """Whether it is close enough; always for information."""
        close = self.limit is None or self.max_abs_diff <= self.limit
        return close and (self.limit is None or self.argmax_agree == 1.0)


@dataclass(frozen=True)
class LayerParity:
    """The output of one layer against HuggingFace's.

    Attributes:
        name: Module path.
        sqnr_db: Signal to noise in dB, cut at 200 for exact equality.
        max_abs_diff: Largest difference of an element.
    """

    name: str
    sqnr_db: float
    max_abs_diff: float


@dataclass(frozen=True)
class Departure:
    """Where the emitted code first computes something else.

    Attributes:
        phase: ``prefill`` or ``decode``.
        layer: Module path of the layer, empty outside of layers.
        operation: The operation, ``atb.linear`` or the node's name in the emitted code.
        module: Module path of the operation in the model.
        source: Line of the modelling code, empty if unknown.
        sqnr_db: Signal to noise of its output.
    """

    phase: str
    layer: str
    operation: str
    module: str = ""
    source: str = ""
    sqnr_db: float = 0.0

    def __str__(self) -> str:
        place = " at ".join(part for part in (self.module, self.source) if part)
        where = f"{self.phase}, {self.layer or 'outside of layers'}, {self.operation}"
        return f"{where}{f' ({place})' if place else ''}, SQNR {self.sqnr_db:.1f} dB"


@dataclass(frozen=True)
class Verification:
    """The answer of `verify`.

    Attributes:
        target: What kind of code was executed.
        phases: Logits; those with a limit decide.
        layers: Layer outputs in the prefill, in execution order.
        departure: What departs first, None if everything agrees or it could not be told.
        notes: What the reader should know: edited files, random weights, a shrunk model.
        syntax: What the compiler says of each source with the vendor's headers, if asked.
    """

    target: str
    phases: tuple[Phase, ...]
    layers: tuple[LayerParity, ...]
    departure: Departure | None
    notes: tuple[str, ...]
    syntax: tuple[SyntaxCheck, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all logits are HuggingFace's, and the vendor's headers fit."""
        return all(phase.passed for phase in self.phases) and all(
            check.passed for check in self.syntax
        )

    def to_json(self) -> str:
        """One object for machines: target, passed, prefill, decode, layers and the rest."""
        deciding = [phase for phase in self.phases if phase.limit is not None]
        prefill, decode = (
            next(p for p in deciding if p.name == name and p.ranks == 1)
            for name in ("prefill", "decode")
        )
        body: dict[str, Any] = {
            "target": self.target,
            "passed": self.passed,
            "prefill": {"tokens": prefill.positions, **_figures(prefill)},
            "decode": {"steps": decode.steps, **_figures(decode)},
            "layers": [
                {**asdict(layer), "max_abs_diff": _finite(layer.max_abs_diff)}
                for layer in self.layers
            ],
            "departure": None if self.departure is None else asdict(self.departure),
            "rounding": {
                f"{phase.rounding}.{phase.name}": _figures(phase)
                for phase in self.phases
                if phase.limit is None
            },
            "ranks": {
                f"{phase.ranks}.{phase.name}": {"passed": phase.passed, **_figures(phase)}
                for phase in deciding
                if phase.ranks > 1
            },
            "vendor_headers": {check.path: list(check.errors) for check in self.syntax},
            "notes": list(self.notes),
        }
        return json.dumps(body, indent=2)


def _figures(phase: Phase) -> dict[str, float | None]:
    return {"max_abs_diff": _finite(phase.max_abs_diff), "argmax_agree": phase.argmax_agree}


def _finite(number: float) -> float | None:
    """The number; None where JSON has none."""
    return number if math.isfinite(number) else None


def compare_logits(
    name: str,
    rounding: str,
    steps: int,
    found: Tensor,
    wanted: Tensor,
    decides: bool,
    ranks: int = 1,
) -> Phase:
    """Compares logits ``[positions, vocab]`` of one phase; what is not finite never agrees."""
    difference = (found.float() - wanted).abs().max().item()
    return Phase(
        name=name,
        rounding=rounding,
        positions=wanted.shape[0],
        steps=steps,
        max_abs_diff=difference if math.isfinite(difference) else math.inf,
        argmax_agree=(found.argmax(-1) == wanted.argmax(-1)).float().mean().item(),
        limit=TOLERANCE * max(1.0, wanted.abs().max().item()) if decides else None,
        ranks=ranks,
    )


def sqnr_db(found: Tensor, wanted: Tensor) -> float:
    """Signal to noise ratio ``10 log10(sum(wanted^2) / sum((found - wanted)^2))``, at most 200."""
    signal = wanted.double().square().sum().item()
    noise = (found.double() - wanted.double()).square().sum().item()
    if not math.isfinite(noise):
        return -EXACT_DB
    if noise == 0.0 or signal == 0.0:
        return EXACT_DB if noise == 0.0 else -EXACT_DB
    return min(EXACT_DB, 10 * math.log10(signal / noise))


def compare_layers(
    names: Sequence[str], found: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[LayerParity, ...]:
    """Compares the outputs of layers that both sides have, in the order of `names`."""
    return tuple(
        LayerParity(
            name,
            sqnr_db(found[name], wanted[name]),
            (found[name].float() - wanted[name]).abs().max().item(),
        )
        for name in names
        if name in found and name in wanted
    )
