"""Non-linearities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from codegen.targets.atb.ops.base import (
    FLOAT,
    HALF,
    AtbOp,
    Attrs,
    DTypes,
    Param,
    Soc,
    Tensor,
    is_multiple,
    tensor_of,
    text,
    type_of,
    wide,
)
from ir.graph import Node
from ir.op import Env, Tensors
from ir.types import DType, TensorType

_DTYPES: dict[str, DTypes] = {
    "ACTIVATION_RELU": frozenset({DType.FLOAT32, DType.BFLOAT16}),
    "ACTIVATION_GELU": FLOAT,
    "ACTIVATION_FAST_GELU": HALF,
    "ACTIVATION_SWISH": HALF,
    "ACTIVATION_LOG": FLOAT,
    "ACTIVATION_SWIGLU_FORWARD": FLOAT,
    "ACTIVATION_SIGMOID": HALF,
}


def _swiglu(x: torch.Tensor) -> torch.Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ACTIVATION_RELU": F.relu,
    "ACTIVATION_FAST_GELU": lambda x: x * torch.sigmoid(1.702 * x),
    "ACTIVATION_SWISH": F.silu,
    "ACTIVATION_LOG": torch.log,
    "ACTIVATION_SWIGLU_FORWARD": _swiglu,
    "ACTIVATION_SIGMOID": torch.sigmoid,
}


class Activation(AtbOp):
    """``y = f(x)``.

    ``GELU`` with ``gelu_mode`` ``TANH_MODE`` (the default) is the tanh approximation, with
    ``NONE_MODE`` the exact function; ``FAST_GELU`` is ``x * sigmoid(1.702 x)``; ``SWISH`` is SiLU;
    ``SWIGLU_FORWARD`` halves the last dimension: ``silu(first half) * second half``.
    """

    name = "atb.activation"
    op_type = "Activation"
    torch_atb = "ActivationParam"
    x = Tensor("Any shape.")
    activation_type = Param(
        str,
        choices=tuple(_DTYPES),
        json="activationType",
        torch_atb="activation_type",
        enum="ActivationType",
        api_default="ACTIVATION_UNDEFINED",
    )
    dim = Param(int, -1, choices=(-1,), json="dim", torch_atb="dim")
    gelu_mode = Param(
        str,
        "TANH_MODE",
        choices=("TANH_MODE", "NONE_MODE"),
        json="geluMode",
        torch_atb="gelu_mode",
        enum="ActivationParam.GeLUMode",
    )

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        allowed = _DTYPES[text(attrs, "activation_type")]
        return allowed - {DType.BFLOAT16} if soc is Soc.I310P else allowed

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        x = type_of(node, "x")
        if node.attrs["activation_type"] != "ACTIVATION_SWIGLU_FORWARD":
            return [x]
        last = x.shape[-1]
        if not isinstance(last, int) or last % 2:
            raise ValueError(f"the last dimension of {x} cannot be halved")
        return [x.with_shape(*x.shape[:-1], last // 2)]

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        swiglu = node.attrs["activation_type"] == "ACTIVATION_SWIGLU_FORWARD"
        x = type_of(node, "x")
        if swiglu and soc is Soc.I310P and not is_multiple(x.shape[-1], 32):
            return [f"on 310p the last dimension of {x} must be a multiple of 32"]
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        x, kind = wide(tensor_of(node, inputs, "x")), text(node.attrs, "activation_type")
        if kind == "ACTIVATION_GELU":
            exact = node.attrs["gelu_mode"] == "NONE_MODE"
            return [F.gelu(x, approximate="none" if exact else "tanh")]
        return [_FUNCTIONS[kind](x)]
