"""Runs the ranks of a tensor-parallel model as threads of this process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from codegen.errors import HostError
from codegen.host.atb_cpp.library import runtime

T = TypeVar("T")


def run_ranks(size: int, body: Callable[[int], T]) -> list[T]:
    """Runs ``body(rank)`` for every rank at the same time.

    Returns:
        What each rank returned, in rank order.

    Raises:
        Exception: The failure of the rank that failed on its own; the others only report it.
    """
    library = runtime()

    def act(rank: int) -> T:
        try:
            return body(rank)
        except BaseException as error:
            # Wherever it failed: those that wait for it must not wait for ever.
            library.llmc_ranks_failed(rank, str(error).encode())
            raise

    try:
        with ThreadPoolExecutor(size) as pool:
            futures = [pool.submit(act, rank) for rank in range(size)]
            errors = [error for future in futures if (error := future.exception()) is not None]
    finally:
        library.llmc_ranks_ended()
    if errors:
        raise next((error for error in errors if not _is_echo(error)), errors[0])
    return [future.result() for future in futures]


def _is_echo(error: BaseException) -> bool:
    """Whether a rank failed only because another one did."""
    return isinstance(error, HostError) and " failed: " in str(error)
