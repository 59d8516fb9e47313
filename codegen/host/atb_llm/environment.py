"""What emitted code reads of the process: environment variables, the chip, the place of a rank."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

__all__ = ["ENV", "logger", "print_log"]

#: The counterpart of MindIE's logger.
logger = logging.getLogger("atb_llm")


def print_log(rank: int, log: object, message: str, need_filter: bool = False) -> None:
    """Logs on rank 0 only, through a method of ``logger``."""
    if rank == 0 and callable(log):
        log(message)


class Environment:
    """Variables that a launcher such as torchrun sets, read when they are asked for."""

    @property
    def rank(self) -> int:
        """Number of this process among all."""
        return int(os.environ.get("RANK", "0"))

    @property
    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def rank_table_file(self) -> str:
        """File that says which device has which rank, empty for one machine."""
        return os.environ.get("RANK_TABLE_FILE", "")


ENV = Environment()


@dataclass
class SocInfo:
    """What the chip needs; the stand-in is an Atlas 800I A2.

    Attributes:
        soc_version: Number of the chip.
        need_nz: Weights and caches must be in the blocked format NZ.
        support_bf16: There is bfloat16.
        communication_backend: Library of the collective operations.
    """

    soc_version: int = 220
    need_nz: bool = False
    support_bf16: bool = True
    communication_backend: str = "lccl"

    def is_300i(self) -> bool:
        """Whether the chip is one of Atlas 300I Duo's."""
        return False


@dataclass(frozen=True)
class ProcessGroup:
    """A rank and how many there are."""

    _rank: int
    _size: int

    def rank(self) -> int:
        """Number of this rank."""
        return self._rank

    def size(self) -> int:
        """How many ranks there are."""
        return self._size


@dataclass(frozen=True)
class Parallel:
    """One way in which the ranks share the work."""

    rank: int
    group_size: int


@dataclass(frozen=True)
class Mapping:
    """How the ranks share the work: here all of it by tensor parallelism.

    Attributes:
        rank: Number of this rank.
        world_size: How many ranks there are.
    """

    rank: int
    world_size: int

    @property
    def attn_tp(self) -> Parallel:
        """Tensor parallelism of attention."""
        return Parallel(self.rank, self.world_size)

    @property
    def mlp_tp(self) -> Parallel:
        """Tensor parallelism of the feed-forward part."""
        return Parallel(self.rank, self.world_size)

    def has_pp(self) -> bool:
        """Whether layers are spread over the ranks."""
        return False

    def has_dp(self) -> bool:
        """Whether sequences are spread over the ranks."""
        return False
