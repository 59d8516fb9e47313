"""Runs an emitted ATB C++ model in a process of its own: ``python -m codegen.host.cpp_worker``.

C++ that is wrong may crash; that must end this process and no other. The request comes as JSON on
standard input. Every run leaves a safetensors file as soon as it is done, with its failure in the
metadata, so that one that ends the process takes none of those before it along.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from codegen.errors import CodegenError
from codegen.host import atb_cpp, atb_llm

BLOCK_SIZE = 128
#: Metadata of a run's file: what went wrong, as JSON; null if nothing did.
FAILED = "failed"


@dataclass(frozen=True)
class Run:
    """One execution of the model.

    Attributes:
        precision: Element type.
        world_size: How many ranks share the work.
        watch: Phases and steps whose operations are recorded.
    """

    precision: str
    world_size: int
    watch: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        library: The compiled model.
        package: Folder of the emitted Python package.
        checkpoint: Directory with config.json and weights.
        prompts: Token ids of each sequence.
        fed: The tokens of each decode step, one for each sequence.
        runs: How often and how.
        results: An empty folder for the files of the runs.
    """

    library: Path
    package: Path
    checkpoint: Path
    prompts: tuple[tuple[int, ...], ...]
    fed: tuple[tuple[int, ...], ...]
    runs: tuple[Run, ...]
    results: Path

    @staticmethod
    def of(body: Mapping[str, Any]) -> Request:
        """The request that ``to_json`` of the parent wrote."""
        return Request(
            Path(body["library"]),
            Path(body["package"]),
            Path(body["checkpoint"]),
            tuple(tuple(prompt) for prompt in body["prompts"]),
            tuple(tuple(step) for step in body["fed"]),
            tuple(
                Run(run["precision"], run["world_size"], tuple(map(tuple, run["watch"])))
                for run in body["runs"]
            ),
            Path(body["results"]),
        )


class _Sequences:
    """A batch of sequences and where their tokens lie in the paged cache."""

    def __init__(self, prompts: Sequence[Sequence[int]], steps: int) -> None:
        self.lengths = [0] * len(prompts)
        longest = max(map(len, prompts)) + steps
        self.width = -(-longest // BLOCK_SIZE)
        # Blocks of different sequences alternate, so that a table that is ignored shows.
        self.tables = [
            [block * len(prompts) + row for block in range(self.width)]
            for row in range(len(prompts))
        ]

    @property
    def blocks(self) -> int:
        """Blocks that the cache needs."""
        return self.width * len(self.tables)

    def step(self, tokens: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The arguments of ``forward`` for new tokens of every sequence."""
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        for row, new in enumerate(tokens):
            for token in new:
                position = self.lengths[row]
                ids.append(token)
                positions.append(position)
                block = self.tables[row][position // BLOCK_SIZE]
                slots.append(block * BLOCK_SIZE + position % BLOCK_SIZE)
                self.lengths[row] += 1
        return {
            "input_ids": torch.tensor(ids),
            "position_ids": torch.tensor(positions),
            "block_tables": torch.tensor(self.tables, dtype=torch.int32),
            "slots": torch.tensor(slots, dtype=torch.int32),
            "input_lengths": torch.tensor(self.lengths, dtype=torch.int32),
            "max_seq_len": max(self.lengths),
        }


def result_file(results: Path, number: int) -> Path:
    """The file that a run leaves."""
    return results / f"{number}.safetensors"


def execute(request: Request) -> None:
    """Runs everything that is asked for.

    A run's file holds ``prefill`` ``[tokens, vocab]``, ``decode`` ``[steps, batch, vocab]`` and
    ``<phase>/<step>/<stage>/<operation>/<result>`` of watched steps.
    """
    for number, run in enumerate(request.runs):
        made: dict[str, Tensor] = {}
        failed: dict[str, str] | None = None
        try:
            made = _execute(request, run)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # emitted code can raise anything, even SystemExit
            failed = _failure(error, request.package)
        tensors = {name: tensor.contiguous() for name, tensor in made.items()}
        file = result_file(request.results, number)
        unfinished = file.with_suffix(".tmp")
        save_file(tensors, unfinished, metadata={FAILED: json.dumps(failed)})
        unfinished.rename(file)


@torch.no_grad()
def _execute(request: Request, run: Run) -> dict[str, Tensor]:
    recorder = _Recorder()
    with (
        atb_cpp.install(request.library, run.precision) as host,
        atb_llm.install(request.package, run.precision),
    ):
        if run.watch:
            host.watch(recorder.record)
        from atb_llm.runner.model_runner import ModelRunner  # pyright: ignore

        def work(rank: int) -> dict[str, Tensor]:
            runner: Any = ModelRunner(
                str(request.checkpoint),
                rank=rank,
                world_size=run.world_size,
                load_tokenizer=False,
            )
            runner.load_weights()
            return _steps(runner, request, run, recorder if rank == 0 else None)

        ranks = atb_cpp.run_ranks(run.world_size, work)
    for name in ("prefill", "decode"):
        if any(not _same(other[name], ranks[0][name]) for other in ranks):
            raise CodegenError(f"the ranks do not have the same {name} logits")
    return ranks[0]


def _same(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors hold the same numbers; NaN is the same as NaN."""
    alike = found.shape == wanted.shape
    return alike and torch.allclose(found, wanted, rtol=0, atol=0, equal_nan=True)


class _Recorder:
    """Keeps the results of every operation of one model in one step."""

    def __init__(self) -> None:
        self.made: dict[str, Tensor] = {}
        self._model: Any = None
        self._prefix = ""

    def start(self, model: Any, prefix: str) -> None:
        """Begins a step; None as model ends it."""
        self._model, self._prefix = model, prefix

    def record(self, event: atb_cpp.Executed) -> None:
        """Is told about every operation of every rank."""
        if event.model is not self._model:
            return
        path = "/".join(map(str, event.path))
        for index, tensor in enumerate(event.outputs):
            self.made[f"{self._prefix}/{path}/{index}"] = tensor.float()


def _steps(
    runner: Any, request: Request, run: Run, recorder: _Recorder | None
) -> dict[str, Tensor]:
    sequences = _Sequences(request.prompts, len(request.fed))
    shapes = runner.model.kv_cache_shapes(sequences.blocks, BLOCK_SIZE)
    cache = [tuple(torch.zeros(shape, dtype=runner.dtype) for shape in pair) for pair in shapes]

    def forward(phase: str, number: int, tokens: Sequence[Sequence[int]]) -> Tensor:
        is_prefill, model = phase == "prefill", runner.model
        if recorder is not None:
            operation = model.acl_encoder_operation if is_prefill else model.acl_decoder_operation
            watched = (phase, number) in run.watch
            recorder.start(operation if watched else None, f"{phase}/{number}")
        logits: Tensor = runner.forward(
            is_prefill=is_prefill, kv_cache=cache, **sequences.step(tokens)
        )
        return logits.float()

    prefill = forward("prefill", 0, request.prompts)
    rows = [
        forward("decode", number, [[token] for token in tokens])
        for number, tokens in enumerate(request.fed)
    ]
    watched = {} if recorder is None else recorder.made
    return {**watched, "prefill": prefill, "decode": torch.stack(rows)}


def main() -> None:
    """Reads the request and runs it."""
    execute(Request.of(json.loads(sys.stdin.read())))


def _failure(error: BaseException, package: Path) -> dict[str, str]:
    known = isinstance(error, CodegenError)
    what = str(error) if known else f"{type(error).__name__}: {error}"
    place, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent == package.resolve():
            place = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return {"what": " ".join(what.split()), "place": place}


if __name__ == "__main__":
    main()
