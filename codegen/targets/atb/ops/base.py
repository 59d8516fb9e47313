"""How an ATB operation is declared, on top of ``ir.op``.

One declaration serves the verifier, both Python printers, the C++ printer and the host runtimes:
operand order and presence, the element types of each SoC family, attributes with their spelling in
MindIE's JSON registry and in ``torch_atb``, shape rule, limits, executable semantics.

Element types: a ``float32`` value may stand for the element type of the model, which is chosen
at emission. Where the contract says float16 or bfloat16, ``verify`` therefore accepts float32;
``AtbOp.problems`` with ``float32_is`` checks for one chosen type.

Semantics: ``evaluate`` computes in float32 and returns floating point results as float32, not
rounded. Whoever runs the graph rounds each result to its declared type (the host runtime with
precision float16 or bfloat16) or does not (reference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, cast

import torch

from ir.graph import Attr, Node, Value
from ir.op import REQUIRED, Attribute, Op, Operand, lookup
from ir.types import Dim, DType, TensorType

Attrs = Mapping[str, Attr]
DTypes = frozenset[DType]

HALF: DTypes = frozenset({DType.FLOAT16, DType.BFLOAT16})
FLOAT: DTypes = HALF | {DType.FLOAT32}
INT32: DTypes = frozenset({DType.INT32})
INT8: DTypes = frozenset({DType.INT8})
#: aclDataType names by element type.
ACL: dict[DType, str] = {
    DType.FLOAT32: "ACL_FLOAT",
    DType.FLOAT16: "ACL_FLOAT16",
    DType.BFLOAT16: "ACL_BF16",
    DType.INT8: "ACL_INT8",
    DType.INT32: "ACL_INT32",
    DType.INT64: "ACL_INT64",
}
FROM_ACL: dict[str, DType] = {name: dtype for dtype, name in ACL.items()}
UNDEFINED_DTYPE = "ACL_DT_UNDEFINED"


class Soc(Enum):
    """Families of Ascend chips whose contracts differ."""

    A2 = "a2"
    #: Atlas 300I Duo: no bfloat16, caches and weights in the NZ format.
    I310P = "310p"


class _SameAsDefault:
    """Marks a parameter whose API default is its default in the dialect."""


SAME = _SameAsDefault()


@dataclass
class Param(Attribute):
    """An attribute of an ATB operation and how the outside APIs spell it.

    Attributes:
        json: Dotted path in the JSON that MindIE's registry reads (``normParam.epsilon``); empty
            if the registry does not read it.
        torch_atb: Dotted path among the keyword arguments of the ``torch_atb`` parameter struct
            (``norm_param.epsilon``); empty if the struct does not have it.
        enum: The ``torch_atb`` enumeration of its values (``RmsNormParam.RmsNormType``); empty
            if the value is plain.
        api_default: What both APIs take when it is not given; printers leave such values out.
        json_names: Spelling in JSON of values that are spelled differently there.
        not_in_json: Values that the registry silently turns into its default.
        always: Printed even at the API's default, because it is a fact about the model.
    """

    json: str = ""
    torch_atb: str = ""
    enum: str = ""
    api_default: Attr | _SameAsDefault = SAME
    json_names: Mapping[str, str] = field(default_factory=dict[str, str])
    not_in_json: tuple[str, ...] = ()
    always: bool = False

    @property
    def omitted(self) -> Attr:
        """The value that both APIs take when the parameter is not given."""
        if not isinstance(self.api_default, _SameAsDefault):
            return self.api_default
        return None if self.default is REQUIRED else cast(Attr, self.default)


@dataclass
class Tensor(Operand):
    """An input tensor of an ATB operation.

    Attributes:
        dtypes: Element types on A2; on 310P the same without bfloat16.
        when: Whether the tensor is present, from the attributes; None for always.
        like: Name of the operand whose element type it must share.
        host: ATB reads its values on the host.
    """

    dtypes: DTypes = FLOAT
    when: Callable[[Attrs], bool] | None = None
    like: str = ""
    host: bool = False

    def __post_init__(self) -> None:
        self.optional = self.when is not None

    def allowed(self, soc: Soc) -> DTypes:
        """Element types on one SoC family."""
        return self.dtypes - {DType.BFLOAT16} if soc is Soc.I310P else self.dtypes


class AtbOp(Op):
    """Base of the ATB operations."""

    #: Name in MindIE's registry; empty for what is not an operation of its own.
    op_type: ClassVar[str] = ""
    #: Parameter struct of ``torch_atb``; empty where that API lacks the operation.
    torch_atb: ClassVar[str] = ""
    #: Results that are operands written in place: result position to operand position.
    inplace: ClassVar[dict[int, int]] = {}
    #: Parameters that exist as attributes of this class, by name.
    params: ClassVar[dict[str, Param]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.params = {k: a for k, a in cls.attributes.items() if isinstance(a, Param)}
        if cls.name and cls.op_type:
            VARIANTS.setdefault(cls.op_type, []).append(cls)

    @classmethod
    def tensors(cls) -> tuple[Tensor, ...]:
        """The declared operands."""
        return tuple(o for o in cls.operands if isinstance(o, Tensor))

    @classmethod
    def present(cls, attrs: Attrs) -> list[Tensor]:
        """The operands that a node with these attributes has, in ATB's order."""
        return [t for t in cls.tensors() if t.when is None or t.when(attrs)]

    @classmethod
    def result_count(cls, attrs: Attrs) -> int:
        """How many tensors a node with these attributes makes."""
        return len(cls.results)

    @classmethod
    def dtypes(cls, tensor: Tensor, attrs: Attrs, soc: Soc) -> DTypes:
        """Element types of one operand; overridden where they depend on the attributes."""
        return tensor.allowed(soc)

    @classmethod
    def same_type_as(cls, tensor: Tensor, attrs: Attrs) -> str:
        """The operand whose element type another one must share, empty for none."""
        return tensor.like

    @classmethod
    def contract(cls, node: Node, soc: Soc) -> list[str]:
        """Shapes, ranges and limits, once operands are present and have the right types."""
        return []

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        return cls.problems(node)

    @classmethod
    def problems(cls, node: Node, soc: Soc = Soc.A2, float32_is: DType | None = None) -> list[str]:
        """Violations of the contract.

        Args:
            node: A node of this operation whose arity and attributes are right.
            soc: The chip family it will run on.
            float32_is: The type that float32 values have when the code runs; None if that is
                not decided yet.
        """
        found = _presence(cls, node) or _element_types(cls, node, soc, float32_is)
        return found or cls.contract(node, soc)


#: All declared variants of a registry operation, by ``op_type``.
VARIANTS: dict[str, list[type[AtbOp]]] = {}


def _presence(op: type[AtbOp], node: Node) -> list[str]:
    wanted = {t.name for t in op.present(node.attrs)}
    found: list[str] = []
    for tensor, value in zip(op.tensors(), node.operands, strict=True):
        if tensor.name in wanted and value is None:
            found.append(f"operand {tensor.name} is missing")
        if tensor.name not in wanted and value is not None:
            found.append(f"operand {tensor.name} is not taken with these attributes")
    return found


def _element_types(op: type[AtbOp], node: Node, soc: Soc, float32_is: DType | None) -> list[str]:
    found: list[str] = []
    types: dict[str, DType] = {}
    for tensor, value in zip(op.tensors(), node.operands, strict=True):
        if value is None:
            continue
        dtype = value.type.dtype
        if dtype is DType.FLOAT32 and float32_is is not None:
            dtype = float32_is
        types[tensor.name] = dtype
        allowed = op.dtypes(tensor, node.attrs, soc)
        stands_in = float32_is is None and dtype is DType.FLOAT32 and bool(allowed & HALF)
        if dtype not in allowed and not stands_in:
            names = ", ".join(sorted(d.value for d in allowed))
            found.append(f"operand {tensor.name} is {dtype.value}, allowed on {soc.value}: {names}")
            continue
        like = op.same_type_as(tensor, node.attrs)
        other = types.get(like)
        undecided = float32_is is None and DType.FLOAT32 in (dtype, other)
        if other is not None and dtype is not other and not undecided:
            found.append(f"operand {tensor.name} is {dtype.value}, must be {other.value} as {like}")
    return found


# -- small helpers of the declarations ----------------------------------------------------------


def shape_of(node: Node, name: str) -> tuple[Dim, ...]:
    """Shape of a present operand."""
    return type_of(node, name).shape


def type_of(node: Node, name: str) -> TensorType:
    """Type of a present operand; ``ValueError`` if it is absent."""
    value = value_of(node, name)
    if value is None:
        raise ValueError(f"operand {name} is missing")
    return value.type


def value_of(node: Node, name: str) -> Value | None:
    """An operand by its declared name."""
    return node.operands[_position(node, name)]


def _position(node: Node, name: str) -> int:
    return [o.name for o in lookup(node.op).operands].index(name)


def tensor_of(node: Node, inputs: Sequence[torch.Tensor | None], name: str) -> torch.Tensor:
    """The tensor of an operand in an evaluation; ``ValueError`` if it is absent."""
    tensor = inputs[_position(node, name)]
    if tensor is None:
        raise ValueError(f"operand {name} is absent")
    return tensor


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """A floating point tensor in float32."""
    return tensor.float()


def text(attrs: Attrs, name: str) -> str:
    """A string attribute."""
    return str(attrs[name])


def integer(attrs: Attrs, name: str) -> int:
    """An integer attribute."""
    return int(str(attrs[name]))


def number(attrs: Attrs, name: str) -> float:
    """A floating point attribute."""
    return float(str(attrs[name]))


def integers(attrs: Attrs, name: str) -> tuple[int, ...]:
    """A tuple of integers; ``ValueError`` if the attribute is anything else."""
    value = attrs[name]
    if not isinstance(value, tuple) or not all(type(item) is int for item in value):
        raise ValueError(f"{name} is not a tuple of integers: {value!r}")
    return cast(tuple[int, ...], value)


def is_multiple(dim: Dim, of: int) -> bool:
    """Whether a dimension is a multiple; unknown sizes pass."""
    return not isinstance(dim, int) or dim % of == 0


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as a position; ``ValueError`` if out of range."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not in -{rank}..{rank - 1}")
    return axis % rank
