"""``torch.classes.ModelTorch.ModelTorch`` of MindIE on the CPU, with the same methods."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.library import (
    CTensor,
    Watch,
    allocate,
    check,
    copy_of,
    lend,
    lend_all,
    precision_number,
    runtime,
)

_MOST_OUTPUTS = 256


@dataclass(frozen=True, eq=False)
class Executed:
    """One operation that has run.

    Attributes:
        model: The model that ran it.
        path: Index of the node in the model, then in each nested graph.
        graph: Name of the innermost graph, empty if the operation is a node of the model itself.
        kind: Operation type: ``Linear``.
        outputs: Copies of its results; of operations that write caches, the whole caches.
    """

    model: ModelTorch
    path: tuple[int, ...]
    graph: str
    kind: str
    outputs: list[torch.Tensor]


#: Called after every executed operation, in the order in which they run.
Watcher = Callable[[Executed], None]


class ModelTorch:
    """A model of the library that is loaded. One thread at a time may use it.

    Args:
        name: The name under which it is registered: ``namespace_ClassName``.
        precision: Of the run.
        watchers: Told about every executed operation; a live list.
    """

    def __init__(
        self, name: str, precision: str = "float32", watchers: Sequence[Watcher] = ()
    ) -> None:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise HostError(f"the name of a model must be a string, is {name!r}")
        self.name = name
        self._watchers = watchers
        self._failure: BaseException | None = None
        self._held: dict[str, list[torch.Tensor]] = {}
        self._library: Any = runtime()
        handle = self._library.llmc_model_create(name.encode(), precision_number(precision))
        self._handle: int | None = handle
        self._close = weakref.finalize(self, self._library.llmc_model_destroy, handle)
        self._callback = Watch(_watch(weakref.ref(self)))

    # -- the methods of the original ------------------------------------------------------------

    def set_param(self, param: str) -> int:
        """Creates the model from its parameters, a JSON text, and builds its graph.

        Raises:
            HostError: No such model, or the model refuses.
        """
        with self._telling_other_ranks():
            check(self._library.llmc_model_set_param(self._live(), _text(param)))
        return 0

    def set_weight(self, weights: list[torch.Tensor]) -> int:
        """Sets the weights, in the model's order."""
        with self._telling_other_ranks():
            lent = lend_all(weights, "weight")
            check(self._library.llmc_model_set_weight(self._live(), lent, len(lent)))
            self._held["weight"] = list(weights)
        return 0

    def set_kv_cache(self, k_caches: list[torch.Tensor], v_caches: list[torch.Tensor]) -> int:
        """Sets the key and value cache of every layer; they are written in place."""
        with self._telling_other_ranks():
            keys = lend_all(k_caches, "key cache")
            values = lend_all(v_caches, "value cache")
            check(
                self._library.llmc_model_set_kv_cache(
                    self._live(), keys, len(keys), values, len(values)
                )
            )
            self._held["cache"] = [*k_caches, *v_caches]
        return 0

    def execute(self, inputs: list[torch.Tensor], param: str) -> list[torch.Tensor]:
        """Runs one step.

        Args:
            inputs: In the model's order.
            param: JSON text with the values that operations read on the host.

        Returns:
            New tensors, the outputs in order. The original gives an empty list on failure.

        Raises:
            HostError: Anything that the real library would refuse, crash on or silently ignore.
        """
        with self._telling_other_ranks():
            lent = lend_all(inputs, "input")
            described = (CTensor * _MOST_OUTPUTS)()
            count = ctypes.c_int32()
            check(
                self._library.llmc_model_infer(
                    self._live(), lent, len(lent), described, _MOST_OUTPUTS, ctypes.byref(count)
                )
            )
            outputs = [allocate(described[i]) for i in range(count.value)]
            self._run(lent, outputs, param)
        return outputs

    def execute_out(
        self, inputs: list[torch.Tensor], outputs: list[torch.Tensor], param: str
    ) -> int:
        """Runs one step whose results are written into given tensors; see ``execute``."""
        with self._telling_other_ranks():
            self._run(lend_all(inputs, "input"), outputs, param)
        return 0

    def skip_event(self, is_skip: bool) -> int:
        """Switches events between streams off; the CPU has one stream."""
        with self._telling_other_ranks():
            check(self._library.llmc_model_skip_event(self._live(), int(is_skip)))
        return 0

    def set_format_to_nz(self, weight_id: int) -> int:
        """Marks a weight as being in the NZ format; the CPU keeps it as it is."""
        with self._telling_other_ranks():
            check(self._library.llmc_model_set_format_to_nz(self._live(), weight_id))
        return 0

    def update_weights_ptr(self, weights: list[torch.Tensor], weight_ids: list[int]) -> int:
        """Replaces some of the weights by tensors of the same type.

        Raises:
            HostError: No such weight, or another type; the original does not look.
        """
        with self._telling_other_ranks():
            held = self._held.get("weight", [])
            if len(weights) != len(weight_ids):
                raise HostError(f"{len(weights)} weights are given for {len(weight_ids)} ids")
            for tensor, i in zip(weights, weight_ids, strict=True):
                lent = lend(tensor, f"weight {i}")
                if not 0 <= i < len(held):
                    raise HostError(f"model {self.name!r} has no weight {i}")
                if (tensor.shape, tensor.dtype) != (held[i].shape, held[i].dtype):
                    raise HostError(
                        f"weight {i} is {held[i].dtype}{list(held[i].shape)}, cannot become "
                        f"{tensor.dtype}{list(tensor.shape)}"
                    )
                check(self._library.llmc_model_update_weight(self._live(), ctypes.byref(lent), i))
                held[i] = tensor
        return 0

    def clear_internal_tensors(self) -> None:
        """Frees the tensors between operations; here that happens after each step."""
        check(self._library.llmc_model_clear_internal_tensors(self._live()))

    def reset_execution_status(self) -> None:
        """Forgets an earlier failure; here none is remembered."""
        check(self._library.llmc_model_reset_execution_status(self._live()))

    # -- for the host ---------------------------------------------------------------------------

    def close(self) -> None:
        """Destroys the model; it must happen before its library is unloaded."""
        self._handle = None
        self._close()
        self._held.clear()

    def _live(self) -> int:
        if self._handle is None:
            raise HostError(f"model {self.name!r} is used after its library was unloaded")
        return self._handle

    def _run(
        self, inputs: ctypes.Array[CTensor], outputs: Sequence[torch.Tensor], param: str
    ) -> None:
        lent = lend_all(list(outputs), "output")
        callback = self._callback if self._watchers else Watch()
        check(self._library.llmc_model_watch(self._live(), callback))
        self._failure = None
        status = self._library.llmc_model_execute(
            self._live(), inputs, len(inputs), lent, len(lent), _text(param)
        )
        if self._failure is not None:
            raise self._failure
        check(status)

    @contextmanager
    def _telling_other_ranks(self) -> Iterator[None]:
        """A failure before or after the runtime's own call must not leave other ranks waiting."""
        try:
            yield
        except BaseException as error:
            if self._handle is not None:
                self._library.llmc_model_abort(self._handle, str(error).encode())
            raise

    def tell(self, executed: Executed) -> bool:
        """Tells the watchers; False if one of them failed, which ends the step."""
        try:
            for watcher in self._watchers:
                watcher(executed)
        except BaseException as error:
            self._failure = error
            return False
        return True


def _text(param: str) -> bytes:
    if not isinstance(param, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise HostError(f"param must be a JSON text, is {type(param).__name__}")
    return param.encode()


def _watch(model: weakref.ref[ModelTorch]) -> Callable[..., int]:
    """What the runtime calls; it must not keep the model alive."""

    def told(path: Any, depth: int, graph: bytes, kind: bytes, outputs: Any, count: int) -> int:
        live = model()
        if live is None:
            return 1
        executed = Executed(
            model=live,
            path=tuple(path[:depth]),
            graph=graph.decode(),
            kind=kind.decode(),
            outputs=[copy_of(outputs[i]) for i in range(count)],
        )
        return 0 if live.tell(executed) else 1

    return told
