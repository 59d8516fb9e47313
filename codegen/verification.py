"""Runs generated code on this machine and compares its numbers with HuggingFace's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from codegen import manifest
from codegen.emitted import Execution, Logits, PythonExecution
from codegen.emitted_cpp import CppExecution
from codegen.errors import BadInputError, VerificationError
from codegen.frontend.hf import load
from codegen.images import Images
from codegen.locate import Key, first_wrong_in_code, first_wrong_in_graph, layer_outputs
from codegen.manifest import Manifest
from codegen.parity import (
    Departure,
    LayerParity,
    Phase,
    Verification,
    compare_layers,
    compare_logits,
)
from codegen.pipeline import CONFIG, Stages, to_atb, to_llm, to_steps
from codegen.reference import ReferenceRun, run_reference
from codegen.replay import Event, Replay
from codegen.request import AVAILABLE
from codegen.shallow import Shallow
from codegen.subject import Subject, count_parameters, open_subject
from codegen.targets.atb.cpp import CPP_PASSES
from codegen.targets.atb.cpp.positions import positions
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import shard
from codegen.vendor import SyntaxCheck, check_syntax
from ir.graph import Module
from ir.passes.base import run_passes

#: Largest model that is run; in float32 it is held twice, 8 bytes a parameter.
MAX_PARAMETERS = 1_000_000_000
#: Decode steps that are compared.
DECODE_STEPS = 8
_ROUNDINGS = ("bfloat16", "float16")
#: Numbers of ranks that generated C++ is run with, besides one.
RANKS = (2, 4)
# One prompt crosses a block of the cache and the tile of the causal mask (both 128 tokens), the
# other one crosses the block while it is decoded.
_PROMPTS = (124, 140)
_SHORT_PROMPTS = (7, 12)

Prompts = Sequence[Sequence[int]]


def verify(
    out: Path | str,
    source: Path | str | None = None,
    weights: Path | str | None = None,
    *,
    prompts: Prompts | None = None,
    decode_steps: int = DECODE_STEPS,
    trust_remote_code: bool = False,
    max_parameters: int = MAX_PARAMETERS,
    vendor_headers: bool = False,
    include: Sequence[Path] = (),
    on_stage: Callable[[str], None] = lambda name: None,
) -> Verification:
    """Executes an output directory of transform and compares every logit with HuggingFace's.

    The prompts run as one batch; HuggingFace runs each alone. Every decode step is given the
    token that HuggingFace found likeliest.

    Args:
        out: The directory. Edited code is what it says: it is executed as it is.
        source: Model directory; default the configuration in `out`, with random weights.
        weights: Directory with safetensors files; default those of `source`, seeded random ones
            where it has none.
        prompts: Token ids of each sequence; default two random prompts of different length.
        decode_steps: Steps to decode after the prompts.
        trust_remote_code: Run modelling code that lies in `source`.
        max_parameters: Of a larger model, a twin with few layers is generated and run instead,
            and `out` must be what is generated for the model, byte for byte.
        vendor_headers: Compile generated C++ against the vendor's headers too, which
            ``ATB_HOME_PATH`` and ``include`` name.
        include: Further folders with headers.
        on_stage: Called with the name of each stage before it runs.

    Raises:
        BadInputError: A directory cannot be used or the model is too large.
        VerificationError: The generated code does not run.
    """
    folder = Path(out)
    record = manifest.read(folder)
    if record.target not in AVAILABLE:
        raise BadInputError(f"verifying target {record.target} is not available yet")
    if "calls" in record.model:
        raise BadInputError(
            f"{folder} calls {record.model['calls']} and has no C++ of its own to execute"
        )
    stages = Stages(on_stage)
    syntax = _check_syntax(folder, record, vendor_headers, include, stages)
    with stages.stage("load"):
        opened = load(folder if source is None else Path(source), trust_remote_code)
    notes = _notes(record, folder, opened.config_hash)
    steps = to_steps(to_llm(opened, stages).module, stages)
    atb = to_atb(steps, stages)
    count = count_parameters(opened)
    if count > max_parameters:
        shallow = Shallow(opened, record, atb, count, max_parameters)
        with shallow.generated(folder) as (twin_out, twin_source):
            result = verify(
                twin_out,
                twin_source,
                prompts=prompts,
                decode_steps=decode_steps,
                max_parameters=max_parameters,
                on_stage=on_stage,
            )
        return replace(result, notes=(*notes, shallow.note, *result.notes), syntax=syntax)
    path = None if weights is None else Path(weights)
    with open_subject(opened, path) as subject:
        if subject.random:
            notes.append(f"{_why_random(opened.path)}: seeded random ones are used")
        with stages.stage("run HuggingFace"):
            wanted = _run_reference(subject, atb, prompts, decode_steps)
        room = max_parameters // max(1, count)
        check = _check(folder, record, subject, wanted, steps, atb, room, notes)
        with stages.stage("run the generated code"):
            phases, parities = check.compare()
            phases += check.on_ranks(phases, notes)
        with stages.stage("round to 16 bits"):
            phases += check.rounded(notes)
        departure = None
        if not all(phase.passed for phase in phases if phase.ranks == 1):
            with stages.stage("find the first difference"):
                departure = check.locate(phases, parities)
    return Verification(record.target, tuple(phases), parities, departure, tuple(notes), syntax)


def _check_syntax(
    folder: Path, record: Manifest, wanted: bool, include: Sequence[Path], stages: Stages
) -> tuple[SyntaxCheck, ...]:
    if not wanted:
        return ()
    sources = [path for path in record.files if path.endswith(".cpp")]
    if not sources:
        raise BadInputError(f"--vendor-headers: target {record.target} has no C++")
    with stages.stage("compile against the vendor's headers"):
        return tuple(check_syntax(folder, sources, include))


def _check(
    folder: Path,
    record: Manifest,
    subject: Subject,
    wanted: list[ReferenceRun],
    steps: Module,
    atb: AtbModule,
    most_ranks: int,
    notes: list[str],
) -> _Check:
    prompts = [run.prompt for run in wanted]
    fed = list(zip(*(run.fed for run in wanted), strict=True))
    features = [run.features for run in wanted if run.features is not None]
    images = torch.cat(features) if features else None
    if record.target == "atb-python":
        module = _fact(record, "module")
        python = PythonExecution(folder, module, subject.weights, prompts, fed, images)
        return _Check(python, subject, wanted, steps, atb, (), images)
    printed = atb.copy()
    run_passes(printed, CPP_PASSES)
    possible = [size for size in RANKS if shard(printed).divides_among(size)]
    # Every rank may hold the whole model while it takes its part.
    ranks = tuple(size for size in possible if size <= most_ranks)
    if len(ranks) < len(possible):
        notes.append("the model is too large to run several ranks here (--max-parameters)")
    planned = [*((kind, 1) for kind in ("float32", *_ROUNDINGS)), *(("float32", n) for n in ranks)]
    cpp = CppExecution(
        folder,
        _fact(record, "cpp"),
        _fact(record, "package"),
        subject.weights,
        prompts,
        fed,
        planned,
        positions(printed),
    )
    return _Check(cpp, subject, wanted, steps, printed, ranks, images)


def _fact(record: Manifest, name: str) -> str:
    if name not in record.model:
        raise BadInputError(f"{manifest.NAME} is damaged: the model has no {name!r}")
    return str(record.model[name])


def _notes(record: Manifest, folder: Path, config_hash: str) -> list[str]:
    notes: list[str] = []
    edited = record.edited(folder)
    if edited:
        notes.append(f"edited since they were generated: {', '.join(edited)}")
    if record.source.get(CONFIG) != config_hash:
        notes.append("the code was generated from another config.json")
    return notes


def _run_reference(
    subject: Subject, atb: AtbModule, prompts: Prompts | None, decode_steps: int
) -> list[ReferenceRun]:
    scopes = {scope for scope, _ in layer_outputs(atb, "prefill").values()}
    layers = {scope: subject.layers.get(scope, scope) for scope in scopes}
    token = atb.meta.get("image_token_id")
    if not isinstance(token, int):
        given = prompts or default_prompts(atb, decode_steps)
        return [run_reference(subject.model, p, decode_steps, layers) for p in given]
    images = Images.of(subject.model, token)
    given = prompts or images.put_into(default_prompts(atb, decode_steps + images.count))
    return [
        run_reference(subject.model, p, decode_steps, layers, images.pixels(p, seed))
        for seed, p in enumerate(given)
    ]


def _why_random(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")):
        return "weights in pytorch_model.bin are not read (save the model as safetensors)"
    return "there are no weights"


def default_prompts(module: Module, decode_steps: int) -> Prompts:
    """Two prompts of different length that fit the model, the same ones every time.

    Args:
        module: The model.
        decode_steps: For how many more tokens there must be room.
    """
    room = int(str(module.meta.get("max_position_embeddings") or 2048)) - decode_steps
    lengths = _PROMPTS if room >= max(_PROMPTS) else _SHORT_PROMPTS
    generator = torch.Generator().manual_seed(0)
    vocabulary = int(str(module.meta["vocab_size"]))
    return [
        torch.randint(vocabulary, (max(1, min(n, room - i)),), generator=generator).tolist()
        for i, n in enumerate(reversed(lengths))
    ]


@dataclass
class _Check:
    """One generated folder against one model.

    Attributes:
        execution: The generated code.
        subject: The model.
        wanted: What HuggingFace computes.
        steps: The semantic graphs.
        atb: The ATB graphs that the code was printed from.
        ranks: Numbers of ranks, besides one, that the work can be divided among.
        image_features: Features of all images in the prompts.
    """

    execution: Execution
    subject: Subject
    wanted: list[ReferenceRun]
    steps: Module
    atb: AtbModule
    ranks: tuple[int, ...]
    image_features: Tensor | None

    @property
    def prompts(self) -> Prompts:
        return [run.prompt for run in self.wanted]

    @property
    def fed(self) -> list[tuple[int, ...]]:
        return list(zip(*(run.fed for run in self.wanted), strict=True))

    def compare(self) -> tuple[list[Phase], tuple[LayerParity, ...]]:
        """Logits of both phases, and the layers' outputs in the prefill."""
        makers = layer_outputs(self.atb, "prefill")
        found: dict[str, Tensor] = {}

        def keep(graph: int, node: str, results: list[Tensor]) -> None:
            if (graph, node) in makers:
                scope, index = makers[graph, node]
                found[scope] = results[index].float().clone()

        logits = self.execution.run(watch=lambda phase, _: keep if phase == "prefill" else None)
        hidden: dict[str, Tensor] = {
            name: torch.cat([run.layers[name] for run in self.wanted]) for name in found
        }
        shaped = {
            name: tensor.reshape(hidden[name].shape)
            for name, tensor in found.items()
            if tensor.numel() == hidden[name].numel()
        }
        return self._phases(logits, "float32", decides=True), compare_layers(
            [scope for scope, _ in makers.values()], shaped, hidden
        )

    def on_ranks(self, alone: Sequence[Phase], notes: list[str]) -> list[Phase]:
        """The logits of several ranks that share the work.

        Args:
            alone: Those of one rank. Where they are wrong, ranks that fail are only noted, so that
                the first difference is still looked for.
            notes: Gets what failed.
        """
        found: list[Phase] = []
        for size in self.ranks:
            try:
                logits = self.execution.run(world_size=size)
                found += self._phases(logits, "float32", decides=True, ranks=size)
            except VerificationError as error:
                if all(phase.passed for phase in alone):
                    raise
                notes.append(str(error))
        return found

    def _phases(self, found: Logits, rounding: str, decides: bool, ranks: int = 1) -> list[Phase]:
        prefill = torch.cat([run.prefill for run in self.wanted])
        decode = torch.stack([run.decode for run in self.wanted], dim=1)
        for phase, a, b in (("prefill", found.prefill, prefill), ("decode", found.decode, decode)):
            if a.shape != b.shape:
                raise VerificationError(
                    f"the generated code makes {phase} logits {list(a.shape)}, not {list(b.shape)}"
                )
        return [
            compare_logits("prefill", rounding, 1, found.prefill, prefill, decides, ranks),
            compare_logits(
                "decode",
                rounding,
                decode.shape[0],
                found.decode.flatten(0, 1),
                decode.flatten(0, 1),
                decides,
                ranks,
            ),
        ]

    def rounded(self, notes: list[str]) -> list[Phase]:
        """The same in 16 bits, for information."""
        phases: list[Phase] = []
        for rounding in _ROUNDINGS:
            try:
                phases += self._phases(self.execution.run(rounding), rounding, decides=False)
            except VerificationError as error:
                notes.append(f"{rounding}: {error}")
        return phases

    def locate(self, phases: Sequence[Phase], parities: Sequence[LayerParity]) -> Departure | None:
        """The first operation whose output departs; at least the layer."""
        phase, step = self._first_wrong_step(phases)
        ran: dict[Key, list[Tensor]] = {}

        def keep(graph: int, node: str, results: list[Tensor]) -> None:
            ran[graph, node] = [tensor.clone() for tensor in results]

        self.execution.run(watch=lambda p, s: keep if (p, s) == (phase, step) else None)
        lowered = self._replay(self.atb, phase, step)
        departure = first_wrong_in_code(phase, self.atb, ran, lowered)
        if departure is not None:
            return departure
        semantic = self._replay(self.steps, phase, step)
        departure = first_wrong_in_graph(phase, self.atb, lowered, semantic)
        if departure is not None:
            return departure
        worst = min(parities, key=lambda layer: layer.sqnr_db, default=None)
        first = next((layer for layer in parities if layer.sqnr_db < 100), worst)
        if first is None:
            return None
        # The lowered and the semantic graph agree, so the model was traced or raised wrongly.
        return Departure(phase, first.name, "the layer's semantic graph", sqnr_db=first.sqnr_db)

    def _first_wrong_step(self, phases: Sequence[Phase]) -> tuple[str, int]:
        phases = [phase for phase in phases if phase.ranks == 1]
        if any(phase.name == "prefill" and not phase.passed for phase in phases):
            return "prefill", 0
        found = self.execution.run().decode
        limit = next(p.limit for p in phases if p.name == "decode" and p.limit is not None)
        for step in range(found.shape[0]):
            rows = torch.stack([run.decode[step] for run in self.wanted])
            if not (found[step] - rows).abs().max().item() <= limit:
                return "decode", step
        return "decode", 0

    def _replay(self, module: Module, phase: str, step: int) -> list[Event]:
        replay = Replay(module, self.subject.read, self.prompts, self.image_features)
        kept: list[Event] = []
        if phase == "prefill":
            replay.prefill(kept)
            return kept
        replay.prefill()
        for tokens in self.fed[:step]:
            replay.decode(tokens)
        replay.decode(self.fed[step], kept)
        return kept
