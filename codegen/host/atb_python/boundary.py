"""Tensors that cross from Python into a program, and back."""

from __future__ import annotations

import torch

from codegen.host.atb_python.session import Host, fail
from ir.types import DType, TensorType


def type_of(graph: str, name: str, tensor: object, host: Host) -> TensorType:
    """The declared type of a tensor that the caller gives.

    Raises:
        HostError: No tensor, not on the CPU, of an unknown element type, or of a 16-bit type that
            is not the one of this run.
    """
    if not isinstance(tensor, torch.Tensor):
        fail(graph, f"{name!r} is not a tensor but {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        fail(graph, f"{name!r} is on {tensor.device}; the host runtime takes CPU tensors")
    try:
        dtype = DType.of(tensor.dtype)
    except ValueError:
        fail(graph, f"{name!r} has element type {tensor.dtype}, which ATB does not know")
    half = dtype in (DType.FLOAT16, DType.BFLOAT16)
    if half and not host.reference and dtype is not host.precision:
        fail(graph, f"{name!r} is {dtype.value} in a {host.precision.value} run")
    return TensorType(tuple(tensor.shape), dtype)


def enter(graph: str, name: str, tensor: torch.Tensor, written: bool, host: Host) -> torch.Tensor:
    """A tensor as the program holds it.

    Args:
        graph: Graph name, for messages.
        name: Tensor name.
        tensor: What the caller gives.
        written: The program writes it in place.
        host: The run.

    Raises:
        HostError: A tensor written in place would have to be copied.
    """
    if not written:
        return host.carried(tensor, DType.of(tensor.dtype)).contiguous()
    if not tensor.is_contiguous():
        fail(graph, f"{name!r} is written in place, so it must be contiguous")
    if host.reference and DType.of(tensor.dtype) in (DType.FLOAT16, DType.BFLOAT16):
        fail(graph, f"{name!r} is written in place, so it must be float32 in a float32 run")
    return tensor


def leave(
    graph: str, name: str, result: torch.Tensor, target: object, declared: TensorType, host: Host
) -> torch.Tensor:
    """Writes a result into the tensor that the caller gave for it.

    Raises:
        HostError: Its shape or element type is another one.
    """
    given = type_of(graph, name, target, host)
    assert isinstance(target, torch.Tensor)
    dtype = DType.FLOAT32 if host.reference and declared.dtype.is_float else declared.dtype
    wanted = TensorType(declared.shape, dtype)
    if given != wanted:
        fail(graph, f"output {name!r} must be {wanted}, the tensor given for it is {given}")
    target.copy_(result)
    return target


def check_bound(graph: str, name: str, bound: object, device: torch.Tensor, host: Host) -> None:
    """Checks values that operations read on the host against the device tensor they mirror.

    Raises:
        HostError: Not an int32 CPU tensor, or other values than the input.
    """
    type = type_of(graph, name, bound, host)
    assert isinstance(bound, torch.Tensor)
    if type.dtype is not DType.INT32:
        fail(graph, f"{name!r} is bound to {type}, the host values must be int32")
    if tuple(bound.shape) != tuple(device.shape) or not torch.equal(bound, device):
        fail(graph, f"{name!r} is bound to other values than the input has")
