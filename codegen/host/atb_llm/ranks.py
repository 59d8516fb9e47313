"""Runs the ranks of a tensor parallel model as threads of this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def run_ranks(world_size: int, work: Callable[[int], Result]) -> list[Result]:
    """Runs ``work(rank)`` for every rank at once.

    The first rank that fails ends the run: its exception is raised without waiting for the
    others, which may wait for it in a collective operation for ever.

    Returns:
        What each rank returned, by rank.
    """
    if world_size == 1:
        return [work(0)]
    done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()

    def run(rank: int) -> None:
        try:
            done.put((rank, work(rank), None))
        except BaseException as error:
            done.put((rank, None, error))

    for rank in range(world_size):
        threading.Thread(target=run, args=(rank,), name=f"rank {rank}", daemon=True).start()
    results: dict[int, Result] = {}
    while len(results) < world_size:
        rank, result, error = done.get()
        if error is not None:
            raise error
        results[rank] = result  # pyright: ignore[reportArgumentType]
    return [results[rank] for rank in range(world_size)]
