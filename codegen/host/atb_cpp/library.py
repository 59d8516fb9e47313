"""The runtime library: loading it, its C functions, tensors that cross the border."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from functools import cache
from typing import Any

import torch

from codegen.errors import HostError
from codegen.host.atb_cpp.build import RUNTIME, build_runtime

MAX_RANK = 8
#: aclDataType by torch element type.
ACL_TYPES: dict[torch.dtype, int] = {
    torch.float32: 0,
    torch.float16: 1,
    torch.int8: 2,
    torch.int32: 3,
    torch.uint8: 4,
    torch.int64: 9,
    torch.float64: 11,
    torch.bool: 12,
    torch.bfloat16: 27,
}
TORCH_TYPES = {number: dtype for dtype, number in ACL_TYPES.items()}
PRECISIONS = {"float32": 0, "float16": 1, "bfloat16": 2}


class CTensor(ctypes.Structure):
    """``LlmcTensor`` of ``src/api/c_api.h``."""

    _fields_ = [
        ("dtype", c_int32),
        ("rank", c_int32),
        ("dims", c_int64 * MAX_RANK),
        ("data", c_void_p),
        ("bytes", c_uint64),
        ("host", c_void_p),
    ]


Watch = ctypes.CFUNCTYPE(
    c_int32, POINTER(c_int32), c_int32, c_char_p, c_char_p, POINTER(CTensor), c_int32
)

_TENSORS = POINTER(CTensor)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llmc_message": (c_char_p, []),
    "llmc_ranks_ended": (None, []),
    "llmc_ranks_failed": (None, [c_int32, c_char_p]),
    "llmc_set_rank_timeout": (None, [c_double]),
    "llmc_library_open": (c_void_p, [c_char_p]),
    "llmc_library_close": (c_int32, [c_void_p]),
    "llmc_model_names": (c_char_p, []),
    "llmc_model_create": (c_void_p, [c_char_p, c_int32]),
    "llmc_model_destroy": (None, [c_void_p]),
    "llmc_model_watch": (c_int32, [c_void_p, Watch]),
    "llmc_model_set_param": (c_int32, [c_void_p, c_char_p]),
    "llmc_model_set_weight": (c_int32, [c_void_p, _TENSORS, c_int32]),
    "llmc_model_set_kv_cache": (c_int32, [c_void_p, _TENSORS, c_int32, _TENSORS, c_int32]),
    "llmc_model_set_format_to_nz": (c_int32, [c_void_p, c_int64]),
    "llmc_model_update_weight": (c_int32, [c_void_p, _TENSORS, c_int64]),
    "llmc_model_skip_event": (c_int32, [c_void_p, c_int32]),
    "llmc_model_clear_internal_tensors": (c_int32, [c_void_p]),
    "llmc_model_reset_execution_status": (c_int32, [c_void_p]),
    "llmc_model_infer": (
        c_int32,
        [c_void_p, _TENSORS, c_int32, _TENSORS, c_int32, POINTER(c_int32)],
    ),
    "llmc_model_execute": (c_int32, [c_void_p, _TENSORS, c_int32, _TENSORS, c_int32, c_char_p]),
    "llmc_model_abort": (c_int32, [c_void_p, c_char_p]),
    "llmc_operation_create": (c_void_p, [c_char_p, c_char_p, c_int32]),
    "llmc_operation_destroy": (None, [c_void_p]),
    "llmc_operation_infer": (
        c_int32,
        [c_void_p, _TENSORS, c_int32, _TENSORS, c_int32, POINTER(c_int32)],
    ),
    "llmc_operation_execute": (c_int32, [c_void_p, _TENSORS, c_int32, _TENSORS, c_int32]),
}


@cache
def runtime() -> ctypes.CDLL:
    """The runtime library, built first if needed; calls release the GIL.

    Raises:
        HostError: It cannot be built.
    """
    library = ctypes.CDLL(str(build_runtime() / RUNTIME))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def message() -> str:
    """Why the last call of this thread failed."""
    return runtime().llmc_message().decode(errors="replace") or "the host runtime failed"


def check(status: int) -> None:
    """Raises ``HostError`` with the runtime's message unless the status is 0."""
    if status:
        raise HostError(message())


def precision_number(precision: str) -> int:
    """The runtime's number of a precision.

    Raises:
        HostError: There is no such precision.
    """
    if precision not in PRECISIONS:
        raise HostError(f"precision must be one of {', '.join(PRECISIONS)}, is {precision!r}")
    return PRECISIONS[precision]


def lend(tensor: object, what: str) -> CTensor:
    """A torch tensor for the runtime, which uses its memory: it must be kept alive.

    Raises:
        HostError: No tensor, not on the CPU, not contiguous, of an element type that ATB does not
            know or with an impossible number of dimensions.
    """
    if not isinstance(tensor, torch.Tensor):
        raise HostError(f"{what} is not a tensor but {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        raise HostError(f"{what} is on {tensor.device}; the host runtime takes CPU tensors")
    if tensor.dtype not in ACL_TYPES:
        raise HostError(f"{what} has element type {tensor.dtype}, which ATB does not know")
    if not tensor.is_contiguous():
        raise HostError(f"{what} is not contiguous: {tuple(tensor.shape)}, {tensor.stride()}")
    if not 1 <= tensor.dim() <= MAX_RANK:
        raise HostError(f"{what} has {tensor.dim()} dimensions, must have 1 to {MAX_RANK}")
    dims = (c_int64 * MAX_RANK)(*tensor.shape)
    size = tensor.numel() * tensor.element_size()
    return CTensor(ACL_TYPES[tensor.dtype], tensor.dim(), dims, tensor.data_ptr(), size, None)


def lend_all(tensors: Sequence[torch.Tensor], what: str) -> ctypes.Array[CTensor]:
    """A list of torch tensors for the runtime; see ``lend``."""
    if not isinstance(tensors, (list, tuple)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise HostError(f"{what}s must be a list of tensors, are {type(tensors).__name__}")
    lent = [lend(tensor, f"{what} {i}") for i, tensor in enumerate(tensors)]
    return (CTensor * len(lent))(*lent)


def allocate(described: CTensor) -> torch.Tensor:
    """A new tensor of a described type, full of NaN so that what is not written shows."""
    dtype = TORCH_TYPES.get(described.dtype)
    if dtype is None:
        raise HostError(f"an output has aclDataType {described.dtype}, which torch does not have")
    shape = tuple(described.dims[: described.rank])
    garbage = float("nan") if dtype.is_floating_point else 99
    return torch.full(shape, garbage, dtype=dtype)


def copy_of(described: CTensor) -> torch.Tensor:
    """A copy of a tensor that the runtime owns."""
    dtype = TORCH_TYPES[described.dtype]
    shape = tuple(described.dims[: described.rank])
    if not described.bytes:
        return torch.empty(shape, dtype=dtype)
    memory = (ctypes.c_char * described.bytes).from_address(described.data)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape).clone()
