"""A small pattern matcher for rewrites: a producer tree with named holes.

A pattern is written the way the computation reads and matched from its last value backwards::

    x, eps = Bind("x"), Number("eps")
    square = Made("aten.pow.Tensor_Scalar", x, 2)
    mean = Made("aten.mean.dim", square, (-1,), True)
    scale = Made("aten.rsqrt.default", Made("aten.add.Tensor", mean, eps))
    norm = Made("aten.mul.Tensor", x, scale, commutative=True)
    found = match(norm, node.result)
    if log.record("rms-norm", node, found):     # else found.reason says why
        RmsNorm.build(graph, found.value("x"), weight, eps=found.number("eps"))

Holes of the same name must find the same thing. Arguments are matched as they stand in the call:
for ``aten.*`` nodes tensors and plain arguments in schema order, for other operations the operands;
keyword patterns match attributes. A trailing ``...`` accepts any further arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Final

from ir.aten import TENSOR
from ir.graph import Attr, Graph, Location, Node, Value

Subject = Value | None | bool | int | float | str | tuple["Subject", ...]


def arguments(node: Node) -> tuple[Subject, ...]:
    """A call's arguments in order; in ``aten.*`` nodes plain ones stand between the tensors."""
    if "args" not in node.attrs:
        return tuple(node.operands)
    tensors = iter(node.operands)

    def fill(item: Attr) -> Subject:
        if item == TENSOR:
            return next(tensors)
        return tuple(fill(part) for part in item) if isinstance(item, tuple) else item

    args = node.attrs["args"]
    return tuple(fill(item) for item in args) if isinstance(args, tuple) else ()


def keywords(node: Node) -> dict[str, Subject]:
    """A call's attributes by name; in ``aten.*`` nodes the keyword arguments."""
    pairs = node.attrs.get("kwargs")
    if "args" not in node.attrs or not isinstance(pairs, tuple):
        return dict(node.attrs)
    return {str(pair[0]): pair[1] for pair in pairs if isinstance(pair, tuple)}


def show(subject: Subject) -> str:
    """A subject as a reason names it."""
    if isinstance(subject, Value):
        kind = "weight" if subject.recipe else "input" if subject.data is None else "constant"
        return f"%{subject.name} ({subject.op or kind})"
    return repr(subject)


@dataclass(frozen=True)
class Found:
    """What has been matched so far: named holes, and the nodes inside of the pattern."""

    bindings: Mapping[str, Subject] = field(default_factory=dict[str, Subject])
    nodes: tuple[Node, ...] = ()

    def bind(self, name: str, subject: Subject) -> Found:
        """The same with one more name."""
        return Found({**self.bindings, name: subject}, self.nodes)


class Why:
    """Keeps the reason of the attempt that came furthest."""

    def __init__(self) -> None:
        self.reason = "nothing was tried"
        self.node: Node | None = None
        self._depth = -1

    def fail(self, found: Found, reason: str, subject: Subject = None) -> None:
        """Notes a failure; of two that came equally far the first one stays."""
        if len(found.nodes) > self._depth:
            self._depth, self.reason = len(found.nodes), reason
            self.node = subject.producer if isinstance(subject, Value) else None


@dataclass(frozen=True)
class MatchResult:
    """A match, or why there is none; true if it matched.

    Attributes:
        reason: Empty if it matched.
        bindings: What the named holes found.
        nodes: The matched nodes, the root first.
        at: The node at which a failed match got stuck, where one is known.
    """

    reason: str = ""
    bindings: Mapping[str, Subject] = field(default_factory=dict[str, Subject])
    nodes: tuple[Node, ...] = ()
    at: Node | None = None

    @staticmethod
    def fail(reason: str, at: Node | None = None) -> MatchResult:
        """A failed match."""
        return MatchResult(reason, at=at)

    def __bool__(self) -> bool:
        return not self.reason

    def __contains__(self, name: str) -> bool:
        return name in self.bindings

    def value(self, name: str) -> Value:
        """The tensor in hole ``name``; ``KeyError`` if there is none."""
        found = self.bindings.get(name)
        if not isinstance(found, Value):
            raise KeyError(f"{name} is not a tensor of this match")
        return found

    def number(self, name: str) -> float:
        """The number in hole ``name``; ``KeyError`` if there is none."""
        found = self.bindings.get(name)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise KeyError(f"{name} is not a number of this match")
        return float(found)

    def escaping(self, graph: Graph) -> list[Value]:
        """Results of matched nodes other than the root that something outside of it reads."""
        inside = set(self.nodes)
        return [
            value
            for node in self.nodes[1:]
            for value in node.results
            if value in graph.outputs or any(user not in inside for user in value.users)
        ]


class Pattern:
    """Base of the patterns below."""

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        """Every way in which ``subject`` matches, on top of what was found before."""
        raise TypeError("Pattern is abstract")


def scalar(subject: Subject) -> int | float | None:
    """A plain number, or that of a constant with one element; None if it is neither."""
    if isinstance(subject, Value) and subject.data is not None and subject.data.numel() == 1:
        subject = subject.data.item()
    if isinstance(subject, bool) or not isinstance(subject, (int, float)):
        return None
    return subject


@dataclass(frozen=True)
class Bind(Pattern):
    """Any tensor (or, with ``plain``, any plain argument), under a name."""

    name: str
    plain: bool = False

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        if isinstance(subject, Value) == self.plain:
            why.fail(found, f"{show(subject)} is {'' if self.plain else 'not '}a tensor", subject)
        elif self.name not in found.bindings:
            yield found.bind(self.name, subject)
        elif found.bindings[self.name] == subject:
            yield found
        else:
            known = f"{self.name} is {show(found.bindings[self.name])} here"
            why.fail(found, f"{known} and {show(subject)} there", subject)


@dataclass(frozen=True)
class Number(Pattern):
    """A number, plain or a constant with one element, under a name."""

    name: str

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        number = scalar(subject)
        if number is None:
            why.fail(found, f"{self.name} is not a constant: {show(subject)}", subject)
        elif found.bindings.get(self.name, number) != number:
            why.fail(found, f"{self.name} is {found.bindings[self.name]} and {number}", subject)
        else:
            yield found.bind(self.name, number)


@dataclass(frozen=True)
class Weight(Pattern):
    """A parameter or (unless ``strict``) a constant, under a name."""

    name: str
    strict: bool = False

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        known = isinstance(subject, Value) and (
            subject.recipe is not None or (subject.data is not None and not self.strict)
        )
        if known:
            yield from Bind(self.name).solve(subject, found, why)
        else:
            why.fail(found, f"{self.name} is not a weight: {show(subject)}", subject)


@dataclass(frozen=True)
class Literal(Pattern):
    """One plain value; a number also as a constant with one element."""

    wanted: Attr

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        is_number = type(self.wanted) in (int, float)
        got = scalar(subject) if is_number else subject
        if got is None and self.wanted is not None:
            got = subject
        if isinstance(got, bool) == isinstance(self.wanted, bool) and got == self.wanted:
            yield found
        else:
            why.fail(found, f"{show(subject)} is not {self.wanted!r}", subject)


@dataclass(frozen=True)
class Items(Pattern):
    """A tuple of arguments, one pattern for each."""

    items: tuple[Pattern, ...]

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        if not isinstance(subject, tuple) or len(subject) != len(self.items):
            why.fail(found, f"{show(subject)} is not a tuple of {len(self.items)}", subject)
            return
        yield from _all(self.items, subject, found, why)


class OneOf(Pattern):
    """Any of several patterns, tried in order."""

    def __init__(self, *options: Pattern) -> None:
        self.options: Final = options

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        for option in self.options:
            yield from option.solve(subject, found, why)


class Through(Pattern):
    """The pattern, below any number (also none) of nodes that only pass their first operand on.

    The lowest node is tried first.
    """

    def __init__(self, ops: str | tuple[str, ...], inner: Pattern) -> None:
        self.ops: Final = (ops,) if isinstance(ops, str) else ops
        self.inner: Final = inner

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        if isinstance(subject, Value) and subject.producer and subject.op in self.ops:
            node = subject.producer
            below = Found(found.bindings, _with(found.nodes, node))
            yield from self.solve(node.operand(0), below, why)
        yield from self.inner.solve(subject, found, why)


@dataclass(frozen=True)
class Where(Pattern):
    """A pattern and a condition on the tensor: ``Where(p, lambda v: ..., "is not square")``."""

    inner: Pattern
    holds: Callable[[Value], bool]
    otherwise: str

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        if isinstance(subject, Value) and self.holds(subject):
            yield from self.inner.solve(subject, found, why)
        else:
            why.fail(found, f"{show(subject)} {self.otherwise}", subject)


class Made(Pattern):
    """A tensor made by a node of one of the given operations.

    Args:
        op: Operation name, or several.
        args: Patterns of the arguments; plain values stand for themselves, ``...`` at the end for
            any further ones.
        commutative: The first two arguments may be exchanged.
        name: Binds the tensor itself.
        index: Which result of the node it is.
        attrs: Patterns of attributes (keyword arguments of ``aten.*`` nodes).
    """

    def __init__(
        self,
        op: str | tuple[str, ...],
        *args: Pattern | Attr | tuple[Pattern | Attr, ...] | EllipsisType,
        commutative: bool = False,
        name: str = "",
        index: int = 0,
        **attrs: Pattern | Attr,
    ) -> None:
        self.ops: Final = (op,) if isinstance(op, str) else op
        self.open: Final = bool(args) and args[-1] is ...
        self.args: Final = tuple(_pattern(a) for a in args if not isinstance(a, EllipsisType))
        self.commutative: Final = commutative
        self.name: Final = name
        self.index: Final = index
        self.attrs: Final = {key: _pattern(value) for key, value in attrs.items()}

    def solve(self, subject: Subject, found: Found, why: Why) -> Iterator[Found]:
        node = subject.producer if isinstance(subject, Value) else None
        if node is None or node.op not in self.ops or not isinstance(subject, Value):
            why.fail(found, f"{show(subject)} is not made by {' or '.join(self.ops)}", subject)
            return
        if subject.index != self.index:
            why.fail(found, f"{show(subject)} is result {subject.index}", subject)
            return
        args = arguments(node)
        if len(args) < len(self.args) or (len(args) > len(self.args) and not self.open):
            wanted = f"{len(self.args)}{' or more' if self.open else ''}"
            why.fail(found, f"{node.op} has {len(args)} arguments, not {wanted}", subject)
            return
        inside = Found(found.bindings, _with(found.nodes, node))
        if self.name:
            inside = inside.bind(self.name, subject)
        given = keywords(node)
        absent = [key for key in self.attrs if key not in given]
        if absent:
            why.fail(inside, f"{node.op} has no attribute {', '.join(absent)}", subject)
            return
        values = tuple(given[key] for key in self.attrs)
        for checked in _all(tuple(self.attrs.values()), values, inside, why):
            yield from _all(self.args, args[: len(self.args)], checked, why)
            if self.commutative:
                swapped = (args[1], args[0], *args[2 : len(self.args)])
                yield from _all(self.args, swapped, checked, why)


def _with(nodes: tuple[Node, ...], node: Node) -> tuple[Node, ...]:
    return nodes if node in nodes else (*nodes, node)


def _pattern(like: Pattern | Attr | tuple[Pattern | Attr, ...]) -> Pattern:
    if isinstance(like, Pattern):
        return like
    if isinstance(like, tuple):
        return Items(tuple(_pattern(item) for item in like))
    return Literal(like)


def _all(
    patterns: tuple[Pattern, ...], subjects: tuple[Subject, ...], found: Found, why: Why
) -> Iterator[Found]:
    if not patterns:
        yield found
        return
    for first in patterns[0].solve(subjects[0], found, why):
        yield from _all(patterns[1:], subjects[1:], first, why)


def match(pattern: Pattern, subject: Value) -> MatchResult:
    """The first way in which ``subject`` matches, or why the attempt that came furthest failed."""
    why = Why()
    for found in pattern.solve(subject, Found(), why):
        return MatchResult("", found.bindings, found.nodes)
    return MatchResult.fail(why.reason, why.node)


@dataclass(frozen=True)
class Attempt:
    """One rule that was tried at one node and did not apply."""

    rule: str
    root: Node
    reason: str
    loc: Location

    def __str__(self) -> str:
        where = f"; stuck at {self.loc}" if self.loc != self.root.loc else ""
        return f"{self.rule}: {self.reason} ({self.root.op}, {self.root.loc}{where})"


@dataclass
class MatchLog:
    """Collects failed matches, for ``inspect --explain``."""

    attempts: list[Attempt] = field(default_factory=list[Attempt])

    def record(self, rule: str, root: Node, result: MatchResult) -> MatchResult:
        """Notes a failed match and passes every match on."""
        if not result:
            loc = result.at.loc if result.at else root.loc
            self.attempts.append(Attempt(rule, root, result.reason, loc))
        return result
