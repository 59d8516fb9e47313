"""How an operation is declared.

One class per operation gives everything: operands, attributes, results, the shape rule, extra
verification and the reference evaluation in torch. Declaring the class registers it::

    class Scale(Op):
        '''y = factor * x.'''
        name = "llm.scale"
        x = Operand()
        factor = Attribute(float)
        results = ("y",)

        @classmethod
        def infer(cls, node):
            return [node.operand(0).type]

        @classmethod
        def evaluate(cls, node, inputs, env):
            return [inputs[0] * node.attrs["factor"]]

    scaled = Scale.build(graph, x, factor=0.5, loc=loc).result
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ir.errors import VerifyError
from ir.graph import Attr, Graph, Location, Node, Value
from ir.types import TensorType

Tensors = list[torch.Tensor]


@dataclass
class Operand:
    """One declared input.

    Attributes:
        doc: Shape and meaning, for the reference page.
        optional: May be absent (None).
        variadic: The last operand only: any number of values.
    """

    doc: str = ""
    optional: bool = False
    variadic: bool = False
    name: str = field(default="", init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class _Required:
    """Marks an attribute without a default."""


REQUIRED = _Required()


@dataclass
class Attribute:
    """One declared attribute.

    Attributes:
        kind: ``bool``, ``int``, ``float``, ``str`` or ``tuple``.
        default: Used by ``build`` when absent; ``REQUIRED`` if there is none. ``None`` as default
            makes the attribute nullable.
        choices: The allowed values, empty if any.
    """

    kind: type
    default: Attr | _Required = REQUIRED
    doc: str = ""
    choices: tuple[Attr, ...] = ()
    name: str = field(default="", init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def problem(self, value: Attr) -> str | None:
        """Why ``value`` is not allowed, or None."""
        if value is None:
            return None if self.default is None else "must not be none"
        exact = isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool))
        if not exact:
            return f"must be {self.kind.__name__}, is {value!r}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}, is {value!r}"
        return None


@dataclass
class Env:
    """What an evaluation may need beyond its operands.

    Attributes:
        call: Runs a ``func.call`` node: ``(node, inputs) -> results``.
        sizes: The number behind every size name (``tokens``) in this evaluation.
    """

    call: Callable[[Node, Tensors], Tensors] | None = None
    sizes: dict[str, int] = field(default_factory=dict[str, int])


class Op:
    """Base of every operation declaration; never instantiated."""

    name: ClassVar[str] = ""
    results: ClassVar[tuple[str, ...]] = ("y",)
    operands: ClassVar[tuple[Operand, ...]] = ()
    attributes: ClassVar[dict[str, Attribute]] = {}
    #: Writes one of its operands in place (caches); such nodes are kept even if unread.
    effects: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        members = [m for base in reversed(cls.__mro__) for m in vars(base).values()]
        cls.operands = tuple({m.name: m for m in members if isinstance(m, Operand)}.values())
        cls.attributes = {m.name: m for m in members if isinstance(m, Attribute)}
        if cls.name:
            if cls.name in REGISTRY:
                raise ValueError(f"{cls.name} is declared twice")
            REGISTRY[cls.name] = cls

    @classmethod
    def infer(cls, node: Node) -> list[TensorType]:
        """Result types from operand types and attributes."""
        raise TypeError(f"{cls.name} has no shape rule")

    @classmethod
    def verify(cls, node: Node) -> list[str]:
        """Violations of the operation's own contract, beyond arity, attributes and types."""
        return []

    @classmethod
    def evaluate(cls, node: Node, inputs: Sequence[torch.Tensor | None], env: Env) -> Tensors:
        """Reference semantics, computed with torch. Absent operands are None."""
        raise TypeError(f"{cls.name} has no reference evaluation")

    @classmethod
    def build(
        cls,
        graph: Graph,
        *operands: Value | None,
        loc: Location | None = None,
        before: Node | None = None,
        named: Sequence[str] = (),
        types: Sequence[TensorType] | None = None,
        **attrs: Attr,
    ) -> Node:
        """Adds a node of this operation to a graph, result types inferred.

        Args:
            graph: Where to add it.
            operands: In declared order; trailing optional ones may be left out.
            loc: Origin; default the unknown place.
            before: Insert before this node; default at the end.
            named: Names for the results, default the declared ones.
            types: Result types, for operations whose shape rule is not known (``aten``).
            attrs: Attributes; undeclared or missing ones are an error.

        Raises:
            VerifyError: An attribute is unknown, missing or of the wrong kind.
        """
        variadic = bool(cls.operands) and cls.operands[-1].variadic
        padded = list(operands)
        if not variadic:
            padded += [None] * (len(cls.operands) - len(padded))
        problems = [f"{cls.name}: unknown attribute {key}" for key in attrs.keys() - cls.attributes]
        full: dict[str, Attr] = {}
        for key, declared in cls.attributes.items():
            value = attrs.get(key, declared.default)
            if isinstance(value, _Required):
                problems.append(f"{cls.name}: attribute {key} is missing")
                continue
            full[key] = float(value) if declared.kind is float and type(value) is int else value
        where = loc or Location()
        if problems:
            raise VerifyError([f"{problem} ({where})" for problem in problems])
        draft = Node(cls.name, (), full, where)
        draft.operands = padded  # a draft is not entered into use-lists
        inferred = list(types) if types is not None else cls.infer(draft)
        names = named or (
            cls.results if len(cls.results) == len(inferred) else ("y",) * len(inferred)
        )
        return graph.make(cls.name, padded, full, inferred, names, where, before)


REGISTRY: dict[str, type[Op]] = {}
#: Families of operations that are made on demand, by prefix (``aten.``).
FAMILIES: dict[str, Callable[[str], type[Op]]] = {}


def lookup(name: str) -> type[Op]:
    """The declaration of an operation.

    Raises:
        KeyError: Nothing of that name is declared.
    """
    if name not in REGISTRY:
        family = FAMILIES.get(name.partition(".")[0])
        if family is None:
            raise KeyError(name)
        return family(name)
    return REGISTRY[name]


def check_node(node: Node) -> list[str]:
    """Every violation of a node's declaration: arity, attributes, result types, own contract."""
    try:
        op = lookup(node.op)
    except KeyError:
        return [f"unknown operation {node.op} ({node.loc})"]
    problems: list[str] = []
    variadic = bool(op.operands) and op.operands[-1].variadic
    if len(node.operands) != len(op.operands) and not (
        variadic and len(node.operands) >= len(op.operands) - 1
    ):
        problems.append(f"has {len(node.operands)} operands, wants {len(op.operands)}")
    for declared, value in zip(op.operands, node.operands, strict=False):
        if value is None and not declared.optional:
            problems.append(f"operand {declared.name} is missing")
    problems += [f"unknown attribute {key}" for key in sorted(node.attrs.keys() - op.attributes)]
    for key, declared in op.attributes.items():
        wrong = declared.problem(node.attrs[key]) if key in node.attrs else "is missing"
        if wrong:
            problems.append(f"attribute {key} {wrong}")
    if not problems:
        problems += op.verify(node)
    return [f"{node.op}: {problem} ({node.loc})" for problem in problems]
