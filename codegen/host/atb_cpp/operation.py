"""Single operations of the runtime, to compare them with the ATB dialect."""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.library import (
    CTensor,
    allocate,
    check,
    lend_all,
    message,
    precision_number,
    runtime,
)

_MOST_OUTPUTS = 8


class Operation:
    """One operation, made from its name and parameters in the spelling of MindIE's registry.

    Args:
        op_type: ``Linear``.
        params: ``codegen.targets.atb.ops.json_params`` of a node.
        precision: Of the run.

    Raises:
        HostError: Unknown operation, parameter or value.
    """

    def __init__(self, op_type: str, params: Mapping[str, Any], precision: str = "float32") -> None:
        self._library: Any = runtime()
        text = json.dumps(dict(params)).encode()
        self._handle = self._library.llmc_operation_create(
            op_type.encode(), text, precision_number(precision)
        )
        if not self._handle:
            raise HostError(message())
        weakref.finalize(self, self._library.llmc_operation_destroy, self._handle)

    def __call__(
        self,
        inputs: Sequence[torch.Tensor],
        host: Mapping[int, torch.Tensor] | None = None,
        inplace: Mapping[int, int] | None = None,
    ) -> list[torch.Tensor]:
        """Runs it.

        Args:
            inputs: The operands that are present, in order.
            host: Values on the host by operand position.
            inplace: For results that are operands written in place: the operand's position.

        Returns:
            The results; those in place are the operands themselves.

        Raises:
            HostError: Anything that the real library would refuse, crash on or silently ignore.
        """
        lent = lend_all(list(inputs), "input")
        for position, values in (host or {}).items():
            lent[position].host = values.data_ptr()
        described = (CTensor * _MOST_OUTPUTS)()
        count = ctypes.c_int32()
        check(
            self._library.llmc_operation_infer(
                self._handle, lent, len(lent), described, _MOST_OUTPUTS, ctypes.byref(count)
            )
        )
        outputs = [
            inputs[(inplace or {})[i]] if i in (inplace or {}) else allocate(described[i])
            for i in range(count.value)
        ]
        given = lend_all(outputs, "output")
        check(
            self._library.llmc_operation_execute(self._handle, lent, len(lent), given, len(given))
        )
        return outputs
