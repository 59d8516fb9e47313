"""Reads the text form of a module; ``ir.text`` prints it and describes it."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from ir.errors import ParseError
from ir.graph import Attr, Graph, Location, Module, Node, Value
from ir.op import REQUIRED, Op, lookup
from ir.recipe import Affine, Concat, Fill, Permute, Recipe, Reshape, Slice, Source, Transpose
from ir.types import Dim, DType, TensorType, parse_dim

#: Recipes by the name they have in text; ``source`` has a syntax of its own.
RECIPES: dict[str, type[Recipe]] = {
    kind.__name__.lower(): kind
    for kind in (Concat, Transpose, Slice, Reshape, Permute, Affine, Fill)
}

_WORDS: dict[str, Attr] = {
    "none": None,
    "true": True,
    "false": False,
    "inf": float("inf"),
    "-inf": float("-inf"),
    "nan": float("nan"),
}

Branch = Tree[Token]


@cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", propagate_positions=True)


def parse_module(text: str) -> Module:
    """The module that a text describes. It is not verified.

    The dialects whose operations the text uses must have been imported.

    Raises:
        ParseError: The text is no module; the message starts with line and column.
    """
    try:
        tree = _grammar().parse(text)
    except UnexpectedCharacters as error:
        problem = f"unexpected {error.char!r}"
        raise ParseError(f"line {error.line}, column {error.column}: {problem}") from None
    except UnexpectedToken as error:
        token = error.token
        problem = (
            "the text ends too early" if token.type == "$END" else f"unexpected {str(token)!r}"
        )
        raise _error(token, problem) from None
    module = Module(entries=tuple(_name(s) for s in _tokens(_child(tree, "entries"), "SYMBOL")))
    for meta in _children(tree, "meta"):
        module.meta.update(_attributes(meta))
    for branch in _children(tree, "function"):
        symbol = _tokens(branch, "SYMBOL")[0]
        name = _name(symbol)
        if name in module.functions:
            raise _error(symbol, f"@{name} is defined twice")
        module.add(_Function(name).read(branch))
    return module


# -- the tree -----------------------------------------------------------------------------------


def _children(tree: Branch, rule: str) -> list[Branch]:
    return [c for c in tree.children if isinstance(c, Tree) and c.data == rule]


def _child(tree: Branch, rule: str) -> Branch:
    return _children(tree, rule)[0]


def _tokens(tree: Branch, *kinds: str) -> list[Token]:
    return [c for c in tree.children if isinstance(c, Token) and c.type in kinds]


def _error(at: Token | Branch, problem: str) -> ParseError:
    place = at if isinstance(at, Token) else at.meta
    return ParseError(f"line {place.line}, column {place.column}: {problem}")


def _string(token: Token, skip: int = 0) -> str:
    try:
        return str(json.loads(token[skip:]))
    except json.JSONDecodeError as error:
        raise _error(token, f"bad string: {error.msg}") from None


def _name(token: Token) -> str:
    """What a ``%value``, an ``@symbol`` or an attribute key is called."""
    skip = 1 if token[0] in "%@" else 0
    return _string(token, skip) if token[skip] == '"' else str(token[skip:])


# -- values -------------------------------------------------------------------------------------


def _attr(item: Token | Branch) -> Attr:
    if isinstance(item, Token):
        return _string(item)
    if item.data == "tuple":
        return tuple(_attr(child) for child in item.children)
    (token,) = _tokens(item, "INT", "FLOAT", "WORD")
    if token.type == "WORD":
        return _WORDS[token]
    return int(token) if token.type == "INT" else float(token)


def _attributes(tree: Branch) -> dict[str, Attr]:
    made: dict[str, Attr] = {}
    for attribute in _children(tree, "attribute"):
        key, value = attribute.children
        assert isinstance(key, Token)
        if _name(key) in made:
            raise _error(key, f"{_name(key)} is given twice")
        made[_name(key)] = _attr(value)
    return made


def _dtype(token: Token) -> DType:
    try:
        return DType(str(token))
    except ValueError:
        known = ", ".join(dtype.value for dtype in DType)
        raise _error(token, f"{token} is not an element type ({known})") from None


def _type(tree: Branch) -> TensorType:
    dims = (_dim(dim) for dim in _children(tree, "dim"))
    return TensorType(tuple(dims), _dtype(_tokens(tree, "NAME")[0]))


def _dim(tree: Branch) -> Dim:
    terms = ("*".join(map(str, term.children)) for term in _children(tree, "term"))
    return parse_dim(" + ".join(terms))


def _recipe(tree: Branch) -> Recipe:
    head = tree.children[0]
    assert isinstance(head, Token)
    if head.type == "STRING":
        return Source(_string(head))
    arguments = [_argument(child) for child in tree.children[1:] if isinstance(child, Tree)]
    if head == "absolute":
        match arguments:
            case [Source(name, False)]:
                return Source(name, absolute=True)
            case _:
                raise _error(head, "absolute takes one name")
    kind = RECIPES.get(head)
    if kind is None:
        raise _error(head, f"no recipe {head} (there are {', '.join(sorted(RECIPES))}, absolute)")
    if kind is Concat:
        arguments[1:] = [tuple(arguments[1:])]
    declared = fields(kind)  # pyright: ignore[reportArgumentType]: every recipe is a dataclass
    if len(arguments) != len(declared):
        raise _error(head, f"{head} takes {', '.join(field.name for field in declared)}")
    for position, field in enumerate(declared):
        accepts, what = _FIELDS[str(field.type)]
        if field.type == "float" and type(arguments[position]) is int:
            arguments[position] = float(arguments[position])
        if not accepts(arguments[position]):
            raise _error(head, f"{field.name} of {head} must be {what}")
    return kind(*arguments)


def _argument(tree: Branch) -> Any:
    return _recipe(tree) if tree.data == "recipe" else _attr(tree)


def _all_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, tuple)
        and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
    )


#: What the fields of recipes accept, by their annotation.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda value: type(value) is int, "an integer"),
    "float": (lambda value: type(value) is float, "a number"),
    "Recipe": (lambda value: isinstance(value, Recipe), "a recipe"),
    "tuple[int, ...]": (_all_of(int), "a tuple of integers"),
    "tuple[Recipe, ...]": (_all_of(Recipe), "recipes"),
}


def _data(tree: Branch, type: TensorType) -> torch.Tensor:
    shape = [dim for dim in type.shape if isinstance(dim, int)]
    if len(shape) != type.rank:
        raise _error(tree, f"a constant cannot have the shape {type}")
    try:
        if tree.data == "numbers":
            numbers = [_attr(item) for item in _children(tree, "number")]
            return torch.tensor(numbers, dtype=type.dtype.torch).reshape(shape)
        name, text = _tokens(tree, "NAME", "STRING")
        raw = bytearray(zlib.decompress(base64.b64decode(_string(text), validate=True)))
        if not raw:
            return torch.zeros(shape, dtype=_dtype(name).torch)
        return torch.frombuffer(raw, dtype=_dtype(name).torch).reshape(shape)
    except (RuntimeError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise _error(tree, f"the data does not make a {type}: {error}") from None


# -- functions ----------------------------------------------------------------------------------


class _Function:
    """Builds one graph, knowing the values defined so far."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.values: dict[str, Value] = {}

    def read(self, tree: Branch) -> Graph:
        for argument in _children(tree, "argument"):
            token, type = _declared(argument)
            self.graph.inputs.append(self.define(token, Value(_name(token), type)))
        for branch in _children(tree, "parameter"):
            token, type = _declared(branch)
            value = Value(_name(token), type, recipe=_recipe(_child(branch, "recipe")))
            self.graph.parameters.append(self.define(token, value))
        for branch in _children(tree, "constant"):
            token, type = _declared(branch)
            last = branch.children[-1]
            assert isinstance(last, Tree)
            value = Value(_name(token), type, data=_data(last, type))
            self.graph.constants.append(self.define(token, value))
        for branch in _children(tree, "node"):
            self.graph.nodes.append(self.node(branch))
        outputs = _tokens(_child(tree, "return"), "VALUE")
        self.graph.outputs = [self.used(token) for token in outputs]
        return self.graph

    def define(self, token: Token, value: Value) -> Value:
        if value.name in self.values:
            raise _error(token, f"%{value.name} is defined twice")
        self.graph.fresh(value.name)  # reserves the name
        self.values[value.name] = value
        return value

    def used(self, token: Token) -> Value:
        name = _name(token)
        if name not in self.values:
            raise _error(token, f"%{name} is not defined here")
        return self.values[name]

    def node(self, tree: Branch) -> Node:
        (name,) = _tokens(tree, "NAME")
        try:
            op = lookup(name)
        except KeyError:
            raise _error(name, f"unknown operation {name}") from None
        tokens = _tokens(_child(tree, "operands"), "VALUE", "ABSENT")
        operands = [None if t.type == "ABSENT" else self.used(t) for t in tokens]
        left_out = op.operands[len(operands) :]
        if all(operand.optional for operand in left_out):
            operands += [None] * len(left_out)
        attrs = dict(_filled(op, _attributes(_child(tree, "attributes"))))
        loc = Location()
        for branch in _children(tree, "loc"):
            loc = Location(*map(_string, _tokens(branch, "STRING")))
        node = Node(str(name), operands, attrs, loc)
        types = [_type(branch) for branch in _children(_child(tree, "types"), "type")]
        results = [t for branch in _children(tree, "results") for t in _tokens(branch, "VALUE")]
        if len(types) != len(results):
            raise _error(name, f"{len(results)} results but {len(types)} types")
        for index, (token, type) in enumerate(zip(results, types, strict=True)):
            node.results.append(self.define(token, Value(_name(token), type, node, index)))
        return node


def _declared(tree: Branch) -> tuple[Token, TensorType]:
    return _tokens(tree, "VALUE")[0], _type(_child(tree, "type"))


def _filled(op: type[Op], given: dict[str, Attr]) -> Iterator[tuple[str, Attr]]:
    """The attributes in declared order with defaults filled in; undeclared ones stay, last."""
    for key, declared in op.attributes.items():
        value = given.get(key, declared.default)
        if value is not REQUIRED:
            value = cast(Attr, value)
            yield key, float(value) if declared.kind is float and type(value) is int else value
    yield from ((key, value) for key, value in given.items() if key not in op.attributes)
