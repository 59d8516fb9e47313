"""Executes a folder of generated ATB Python on the host runtime."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from codegen.errors import CodegenError, VerificationError
from codegen.host.atb_python import install

#: ``(which graph of the step, node name, results)``, after every operation.
Watch = Callable[[int, str, list[Tensor]], None]

_RUNTIME = "atb_runtime"


@dataclass(frozen=True)
class Logits:
    """What a batch computes.

    Attributes:
        prefill: ``[tokens of all prompts, vocab]``, float32.
        decode: ``[steps, batch, vocab]``, float32.
    """

    prefill: Tensor
    decode: Tensor


class Execution(Protocol):
    """A generated folder with prompts and weights, ready to be executed."""

    def run(
        self,
        precision: str = "float32",
        watch: Callable[[str, int], Watch | None] = lambda phase, step: None,
        world_size: int = 1,
    ) -> Logits:
        """Runs prompts as one batch, then one decode step after the other.

        Args:
            precision: Element type, ``float32``, ``float16`` or ``bfloat16``.
            watch: Gives what is called after every operation of a phase (``prefill`` or
                ``decode``) and step, or None.
            world_size: How many ranks share the work.

        Raises:
            VerificationError: The generated code failed; the message says where.
        """
        ...


@dataclass(frozen=True)
class PythonExecution:
    """Generated ATB Python; see `run_emitted` for the attributes."""

    folder: Path
    module: str
    weights: Path
    prompts: Sequence[Sequence[int]]
    fed: Sequence[Sequence[int]]
    image_features: Tensor | None = None

    def run(
        self,
        precision: str = "float32",
        watch: Callable[[str, int], Watch | None] = lambda phase, step: None,
        world_size: int = 1,
    ) -> Logits:
        """See `Execution.run`; there is one rank only."""
        if world_size != 1:
            raise VerificationError("generated ATB Python runs on one rank")
        return run_emitted(
            self.folder,
            self.module,
            self.weights,
            self.prompts,
            self.fed,
            precision,
            watch,
            self.image_features,
        )


def run_emitted(
    folder: Path,
    module: str,
    weights: Path,
    prompts: Sequence[Sequence[int]],
    fed: Sequence[Sequence[int]],
    precision: str = "float32",
    watch: Callable[[str, int], Watch | None] = lambda phase, step: None,
    image_features: Tensor | None = None,
) -> Logits:
    """Runs prompts as one batch, then one decode step after the other.

    Args:
        folder: Output directory of transform.
        module: Name of the model's Python module in it.
        weights: Model directory or weight file that the generated code reads.
        prompts: Token ids of each sequence.
        fed: Tokens that each decode step is given, ``[steps][batch]``.
        precision: Element type, ``float32``, ``float16`` or ``bfloat16``.
        watch: Gives what is called after every operation of a phase (``prefill`` or ``decode``)
            and step, or None.
        image_features: Features of all images in the prompts, ``[image tokens, hidden]``.

    Raises:
        VerificationError: The generated code failed; the message says where.
    """
    with _failures(folder), install(precision) as host, _importable(folder):
        counter = _GraphCounter()
        host.watch(counter.report)
        runtime, model = importlib.import_module(_RUNTIME), importlib.import_module(module)
        dtype: torch.dtype = getattr(torch, precision)
        atb: Any = runtime.ATBModel(model.Model(), dtype=dtype, device="cpu")
        atb.set_weights(runtime.load_weights(weights))
        counter.start(watch("prefill", 0))
        images = {} if image_features is None else {"image_features": image_features}
        prefill: Tensor = atb.prefill([list(prompt) for prompt in prompts], **images)
        decode: list[Tensor] = []
        for step, tokens in enumerate(fed):
            counter.start(watch("decode", step))
            decode.append(atb.decode(list(tokens)).float())
        return Logits(prefill.float(), torch.stack(decode))


class _GraphCounter:
    """Numbers the graphs of a step. Graphs that run one after the other have different names."""

    def __init__(self) -> None:
        self.start(None)

    def start(self, watch: Watch | None) -> None:
        """Begins a step."""
        self._watch, self._graph, self._index = watch, "", -1

    def report(self, graph: str, node: str, kind: str, results: dict[str, Tensor]) -> None:
        """Is told about every operation."""
        if kind == "Graph":
            return
        if graph != self._graph:
            self._graph, self._index = graph, self._index + 1
        if self._watch is not None:
            self._watch(self._index, node, list(results.values()))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets the folder's modules be imported, and forgets them afterwards."""
    names = {path.stem for path in folder.glob("*.py")}
    before: dict[str, ModuleType] = {n: sys.modules.pop(n) for n in names if n in sys.modules}
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder stays as it was generated
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
        sys.dont_write_bytecode = writes
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turns whatever the generated code raises into one line that says where."""
    try:
        yield
    except (KeyboardInterrupt, VerificationError):
        raise
    except BaseException as error:  # the code may be edited: it can raise anything, even SystemExit
        known = isinstance(error, CodegenError)
        what = str(error) if known else f"{type(error).__name__}: {error}"
        line = " ".join(f"the generated code fails{_place(folder, error)}: {what}".split())
        raise VerificationError(line) from error


def _place(folder: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {Path(error.filename).name}:{error.lineno}"
    place, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent == folder.resolve():
            place = f" at {path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
