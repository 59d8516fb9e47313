"""Which stages run for which request: the one place where their order is written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from codegen import manifest
from codegen.emission import (
    CONFIG,
    Emission,
    emit_atb_cpp,
    emit_atb_python,
    emit_calling,
    emit_calling_ours,
    is_ours,
)
from codegen.errors import BadInputError, Problem, UnsupportedError
from codegen.frontend.hf import Source, load
from codegen.frontend.raising import Raised, raise_module
from codegen.frontend.trace import trace
from codegen.manifest import Manifest, Option
from codegen.request import PythonApi, Request, Target
from codegen.targets.atb.cpp import CPP_PASSES
from codegen.targets.atb.cpp_model import CppModel, read_model
from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from codegen.writer import write_tree
from ir.graph import Module
from ir.passes.base import Pass, PassRecord, run_passes
from ir.passes.cache_kv import CacheKv
from ir.passes.fold_layers import FoldLayers
from ir.passes.name_values import NameValues
from ir.passes.pack_linears import PackLinears
from ir.passes.remove_dead import RemoveDead
from ir.passes.simplify_views import SimplifyViews

_log = logging.getLogger(__name__)

_CPP_NAMES = tuple(pass_.name for pass_ in reversed(CPP_PASSES))

#: What happens to the llm graph on its way to ATB.
ATB_PASSES: tuple[Pass, ...] = (
    FoldLayers(),
    SimplifyViews(),
    PackLinears(),
    CacheKv(),
    RemoveDead(),
    NameValues(),
)


@dataclass(frozen=True)
class StageRecord:
    """One stage that ran.

    Attributes:
        name: Name of the stage or of the pass.
        seconds: Wall time.
        module: The graph after it, None where the stage makes none. Later stages may change it.
        passed: For a pass, what it did.
    """

    name: str
    seconds: float
    module: Module | None = None
    passed: PassRecord | None = None


@dataclass
class Stages:
    """Watches the stages of a run.

    Attributes:
        starting: Called with the name of each stage before it runs.
        finished: Called after each stage.
        records: All stages that ran, in order.
    """

    starting: Callable[[str], None] = lambda name: None
    finished: Callable[[StageRecord], None] = lambda record: None
    records: list[StageRecord] = field(default_factory=list[StageRecord])

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[Module], None]]:
        """Runs one stage; the block calls what it is given with the graph it made."""
        made: list[Module] = []
        self.starting(name)
        start = time.perf_counter()
        yield made.append
        seconds = time.perf_counter() - start
        self._done(StageRecord(name, seconds, made[-1] if made else None))

    def passes(self, module: Module, passes: Sequence[Pass]) -> None:
        """Runs passes on a module, in place."""
        for pass_ in passes:
            self.starting(pass_.name)
            run_passes(
                module,
                [pass_],
                lambda _, after, record: self._done(
                    StageRecord(record.spec, record.seconds, after, record)
                ),
            )

    def _done(self, record: StageRecord) -> None:
        self.records.append(record)
        _log.debug("%s: %.3f s", record.name, record.seconds)
        for note in record.passed.result.notes if record.passed else ():
            _log.info("%s: %s", record.name, note)
        self.finished(record)


@dataclass(frozen=True)
class TransformResult:
    """What a transformation wrote.

    Attributes:
        out: The output directory.
        manifest: What was made from what.
        closing: What the command prints at the end: what was saved and how to run it.
    """

    out: Path
    manifest: Manifest
    closing: str


def transform(
    source: Path | str,
    out: Path | str | None = None,
    *,
    target: Target = "atb-cpp",
    python_api: PythonApi = "_libatb_torch",
    trust_remote_code: bool = False,
    force: bool = False,
) -> TransformResult:
    """Generates code from a HuggingFace directory.

    Args:
        source: The directory; weights are not needed.
        out: Output directory; default ``<model_type>_<target>`` in the current directory.
        target: What is generated.
        python_api: Python binding of ATB that the code is written against.
        trust_remote_code: Run modelling code that lies in the directory.
        force: Replace files that exist.

    Raises:
        BadInputError: The directory or an option cannot be used.
        UnsupportedError: The model cannot be expressed; nothing is written.
    """
    request = Request(
        Path(source), target, python_api=python_api, trust_remote_code=trust_remote_code
    )
    return run(request, None if out is None else Path(out), force=force)


def run(
    request: Request, out: Path | None, force: bool = False, stages: Stages | None = None
) -> TransformResult:
    """Runs a request; see `transform`."""
    target = request.resolve()
    stages = stages or Stages()
    given = None if request.atb_model_path is None else read_model(request.atb_model_path)
    with stages.stage("load"):
        source = load(request.source, request.trust_remote_code)
    out = _output(out, source, target)
    try:
        llm = to_llm(source, stages).module
        if given is not None and not is_ours(llm, given):
            with stages.stage("emit"):
                emission = emit_calling(source, llm, given)
        else:
            atb = to_atb(to_steps(llm, stages), stages)
            emission = emit(source, atb, request, stages, given)
    except UnsupportedError as refused:
        if request.analyze:  # what is missing is what the report is for
            write_tree(out, _report(source, stages, refused.problems), force)
            _log.info("the report is in %s", out)
        raise
    if request.analyze:
        emission = replace(emission, files={**emission.files, **_report(source, stages)})
    record = _manifest(source, request, target, emission)
    with stages.stage("write"):
        write_tree(out, {**emission.files, manifest.NAME: record.to_json()}, force)
    return TransformResult(out, record, emission.closing(out))


def _output(out: Path | None, source: Source, target: Target) -> Path:
    """Where the output goes.

    Raises:
        BadInputError: That is the model directory itself.
    """
    out = out or Path(f"{source.config.get('model_type')}_{target.replace('-', '_')}")
    if out.exists() and out.samefile(source.path):
        raise BadInputError(f"{out} is the model itself: give another -o")
    return out


def _report(source: Source, stages: Stages, problems: Sequence[Problem] = ()) -> dict[str, str]:
    """The analysis report of what the stages made, as far as they came."""
    from codegen.report import report_files  # costs time that few runs need

    with stages.stage("report"):
        made = {record.name: record.module for record in stages.records}
        printed = next((made[name] for name in (*_CPP_NAMES, "lower") if name in made), None)
        atb = printed if isinstance(printed, AtbModule) else None
        return report_files(source, made.get("trace"), made.get("raise"), atb, problems)


def to_aten(source: Source, stages: Stages) -> Module:
    """Directory to the graph as it was traced."""
    with stages.stage("trace") as made:
        traced = trace(source)
        made(traced)
    return traced


def to_llm(source: Source, stages: Stages) -> Raised:
    """Directory to semantic graph with the entry ``main``."""
    traced = to_aten(source, stages)
    with stages.stage("raise") as made:
        raised = raise_module(traced)
        made(raised.module)
    return raised


def to_steps(llm: Module, stages: Stages) -> Module:
    """Semantic graph to the entries ``prefill`` and ``decode`` over a paged cache."""
    module = llm.copy()
    stages.passes(module, ATB_PASSES)
    return module


def to_atb(steps: Module, stages: Stages) -> AtbModule:
    """Prefill and decode as ATB operations."""
    with stages.stage("lower") as made:
        atb = lower(steps)
        made(atb)
    return atb


def emit(
    source: Source,
    atb: AtbModule,
    request: Request,
    stages: Stages,
    given: CppModel | None = None,
) -> Emission:
    """ATB operations to the files of the target that a request means.

    Args:
        source: The model directory.
        atb: The lowered model. Not changed.
        request: What is wanted.
        stages: Watches the stages.
        given: C++ that was generated for the model before: only Python is wanted.
    """
    if request.resolve() == "atb-python":
        with stages.stage("emit"):
            return emit_atb_python(source, atb, request)
    twin = atb.copy()
    stages.passes(twin, CPP_PASSES)
    with stages.stage("emit"):
        if given is not None:
            return emit_calling_ours(source, twin, given)
        return emit_atb_cpp(source, twin)


def _manifest(source: Source, request: Request, target: Target, emission: Emission) -> Manifest:
    options: dict[str, Option] = {"trust_remote_code": request.trust_remote_code}
    passes = ATB_PASSES
    if target == "atb-python":
        options["python_api"] = request.python_api
    elif "calls" in emission.model:
        passes = ()
    else:
        passes += CPP_PASSES
    return Manifest(
        target=target,
        options=options,
        source={CONFIG: source.config_hash},
        pipeline=tuple(pass_.spec for pass_ in passes),
        model=emission.model,
        files=manifest.digests(emission.files),
    )
