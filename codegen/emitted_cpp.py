"""Executes a folder of generated ATB C++ on the host runtime, in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import safe_open
from torch import Tensor

from codegen.emission import CONFIG
from codegen.emitted import Logits, Watch
from codegen.errors import BadInputError, CodegenError, HostError, VerificationError
from codegen.host import atb_cpp
from codegen.host.atb_cpp.toolchain import compiler
from codegen.host.cpp_worker import FAILED, Run, result_file

#: What a recorded operation is called: stage of the model and position in its graph, and the key
#: under which a watch is told about it.
Keys = Mapping[tuple[str, int, int], tuple[int, str]]
WatchSteps = Callable[[str, int], "Watch | None"]

_EXITS = "ends the process with exit code 0"


@dataclass(frozen=True)
class _Done:
    """One execution.

    Attributes:
        logits: What came out.
        recorded: Results of watched operations by phase, step, stage and operation.
    """

    logits: Logits
    recorded: dict[tuple[str, int, int, int], list[Tensor]]


class CppExecution:
    """One generated folder with prompts and weights.

    Runs that are known in advance share one process; starting it takes longer than they do.

    Args:
        folder: Output directory of transform.
        space: Folder of the C++ in it.
        package: Folder of the Python package in it.
        weights: Directory with safetensors files.
        prompts: Token ids of each sequence.
        fed: Tokens that each decode step is given, ``[steps][batch]``.
        planned: Precisions and numbers of ranks that will be asked for.
        keys: Names of the operations for those who watch.
    """

    def __init__(
        self,
        folder: Path,
        space: str,
        package: str,
        weights: Path,
        prompts: Sequence[Sequence[int]],
        fed: Sequence[Sequence[int]],
        planned: Sequence[tuple[str, int]],
        keys: Keys,
    ) -> None:
        self._folder, self._space, self._package = folder, space, package
        self._weights, self._prompts, self._fed = weights, prompts, fed
        self._planned, self._keys = planned, keys
        self._done: dict[tuple[str, int], _Done | VerificationError] = {}

    def run(
        self,
        precision: str = "float32",
        watch: WatchSteps = lambda phase, step: None,
        world_size: int = 1,
    ) -> Logits:
        """Runs prompts as one batch, then one decode step after the other.

        Args:
            precision: Element type, ``float32``, ``float16`` or ``bfloat16``.
            watch: Gives what is called with every operation of a phase and step, or None.
            world_size: How many ranks share the work.

        Raises:
            BadInputError: There is no compiler, or the folder lacks its configuration.
            VerificationError: The generated code does not compile or failed.
        """
        watched = self._watched(watch)
        wanted = Run(precision, world_size, tuple(watched))
        if watched or (precision, world_size) not in self._done:
            others = [
                Run(kind, size, ())
                for kind, size in self._planned
                if (kind, size) not in self._done and (kind, size) != (precision, world_size)
            ]
            self._start([wanted, *others])
        done = self._done[precision, world_size]
        if isinstance(done, VerificationError):
            raise done
        for (phase, step, stage, operation), results in sorted(done.recorded.items()):
            key = self._keys.get((phase, stage, operation))
            listener = watched.get((phase, step))
            if key is not None and listener is not None:
                listener(*key, results)
        return done.logits

    def _watched(self, watch: WatchSteps) -> dict[tuple[str, int], Watch]:
        steps = [("prefill", 0), *(("decode", step) for step in range(len(self._fed)))]
        found = {step: watch(*step) for step in steps}
        return {step: listener for step, listener in found.items() if listener is not None}

    @cached_property
    def _library(self) -> Path:
        folder = self._folder / self._space
        try:
            compiler()
        except HostError as missing:
            raise BadInputError(str(missing)) from missing
        try:
            return atb_cpp.compile_model(sorted(folder.rglob("*.cpp")), [folder])
        except CodegenError as error:
            raise VerificationError(f"the generated C++ does not compile: {error}") from error

    def _start(self, runs: Sequence[Run]) -> None:
        with TemporaryDirectory(prefix="llm-codegen-") as made:
            scratch = Path(made)
            results = scratch / "results"
            results.mkdir()
            request = {
                "library": str(self._library),
                "package": str((self._folder / self._package).resolve()),
                "checkpoint": str(self._checkpoint(scratch / "checkpoint")),
                "prompts": [list(prompt) for prompt in self._prompts],
                "fed": [list(step) for step in self._fed],
                "runs": [asdict(run) for run in runs],
                "results": str(results),
            }
            ended = _spawn(request)
            files = [result_file(results, number) for number in range(len(runs))]
            done = [file for file in files if file.is_file()]
            if ended or len(done) < len(runs):
                guilty = runs[min(len(done), len(runs) - 1)]
                how = "" if guilty.precision == "float32" else f" in {guilty.precision}"
                raise VerificationError(f"the generated C++{how}{_ranks(guilty)} {ended or _EXITS}")
            for run, file in zip(runs, files, strict=True):
                self._done[run.precision, run.world_size] = _read(file, run)

    def _checkpoint(self, folder: Path) -> Path:
        """The weights beside the configuration that the code was generated for."""
        folder.mkdir()
        try:
            shutil.copyfile(self._folder / CONFIG, folder / CONFIG)
        except OSError as error:
            raise BadInputError(f"{self._folder / CONFIG}: {error.strerror}") from error
        for path in self._weights.resolve().iterdir():
            if ".safetensors" in path.name:
                # The file itself: in HuggingFace's cache it is a relative link.
                _link(path.resolve(), folder / path.name)
        return folder


def _spawn(request: Mapping[str, Any]) -> str:
    """Runs the worker; says how it ended, nothing if it came to its end."""
    # Without -P a module in the current directory would stand in for one of the worker's.
    command = [sys.executable, "-P", "-m", "codegen.host.cpp_worker"]
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        return f"crashes the process ({_signal(-done.returncode)})"
    if done.returncode > 0:
        last = done.stderr.strip().splitlines()[-1:]
        return f"ends the process with exit code {done.returncode}{''.join(f': {s}' for s in last)}"
    return ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


def _read(file: Path, run: Run) -> _Done | VerificationError:
    with safe_open(file, framework="pt") as opened:  # pyright: ignore[reportUnknownVariableType]
        tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        failed: dict[str, str] | None = json.loads(opened.metadata()[FAILED])
    if failed is not None:
        return _failure(failed, run)
    logits = Logits(tensors.pop("prefill"), tensors.pop("decode"))
    return _Done(logits, _recorded(tensors))


def _link(path: Path, place: Path) -> None:
    """Makes a file available under another name; a symbolic link would not be followed."""
    try:
        place.hardlink_to(path)
    except OSError:  # another file system
        shutil.copyfile(path, place)


def _recorded(tensors: Mapping[str, Tensor]) -> dict[tuple[str, int, int, int], list[Tensor]]:
    found: dict[tuple[str, int, int, int], dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        phase, step, *path, result = name.split("/")
        stage, operation = int(path[0]), int(path[1]) if len(path) > 1 else 0
        found.setdefault((phase, int(step), stage, operation), {})[int(result)] = tensor
    return {key: [made[i] for i in sorted(made)] for key, made in found.items()}


def _failure(failure: Mapping[str, str], run: Run) -> VerificationError:
    place = f" at {failure['place']}" if failure["place"] else ""
    return VerificationError(f"the generated code fails{_ranks(run)}{place}: {failure['what']}")


def _ranks(run: Run) -> str:
    return f" with {run.world_size} ranks" if run.world_size > 1 else ""
