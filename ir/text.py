"""The text form of a module: readable, deterministic, and exact both ways.

::

    entries @main
    meta {
      model_class = "LlamaForCausalLM"
    }

    func @main(%ids: int64[tokens]) {
      param %w: float32[256, 64] = "model.embed_tokens.weight"
      const %slopes: float32[2] = [0.5, 0.25]
      %y = llm.embedding(%ids, %w) : float32[tokens, 64] loc("model.embed_tokens" "llama.py:12")
      return %y
    }

What is left out is filled in by the parser from the operation's declaration: attributes that have
their default value, and absent optional operands at the end (others print as ``_``). A location
is left out where nothing is known. Recipes print as ``"name"`` (relative to the scope of the
call), ``absolute("name")``, or the lower-case class name with the fields in order:
``slice("w", 0, 16, 32)``, ``concat(0, "q", "k")``. A constant of more than ``LIST_LIMIT`` elements
prints as ``zlib DTYPE "base64"`` of its little-endian bytes.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import cast

import torch

from ir.graph import Attr, Graph, Module, Node, Value
from ir.op import REQUIRED, Attribute, Op, lookup
from ir.parse import parse_module
from ir.recipe import Concat, Recipe, Source
from ir.types import DType

__all__ = ["attr_text", "parse_module", "print_graph", "print_module", "recipe_text"]

#: Constants of up to this many elements print as numbers.
LIST_LIMIT = 64
#: A function whose inputs do not fit into this many columns prints one input per line.
WIDTH = 100

_WORD = re.compile(r"\w+")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_SYMBOL = re.compile(r"[\w.]+")


def attr_text(value: Attr) -> str:
    """An attribute value: ``none``, ``true``, ``-3``, ``1e-06``, ``"text"``, ``(2, 3)``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        inner = ", ".join(map(attr_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def recipe_text(recipe: Recipe) -> str:
    """A recipe, as described in the module's docstring."""
    if isinstance(recipe, Source):
        return (
            f"absolute({json.dumps(recipe.name)})" if recipe.absolute else json.dumps(recipe.name)
        )
    parts: list[str] = []
    for field in fields(recipe):  # pyright: ignore[reportArgumentType]: every recipe is one
        value = getattr(recipe, field.name)
        if isinstance(recipe, Concat) and field.name == "parts":
            parts += map(recipe_text, recipe.parts)
        else:
            parts.append(recipe_text(value) if isinstance(value, Recipe) else attr_text(value))
    return f"{type(recipe).__name__.lower()}({', '.join(parts)})"


def print_module(module: Module, *, locations: bool = True, data: bool = True) -> str:
    """A module as text; ``parse_module`` gives the same module back.

    Args:
        module: What to print; it need not verify.
        locations: Print where nodes come from.
        data: Print large constants; else they show as ``...``, which does not parse.
    """
    head = " ".join(["entries", ", ".join(f"@{_quoted(e, _SYMBOL)}" for e in module.entries)])
    lines = [head.rstrip()]
    if module.meta:
        lines.append("meta {")
        lines += [f"  {_quoted(k, _KEY)} = {attr_text(v)}" for k, v in module.meta.items()]
        lines.append("}")
    for graph in module:
        lines += ["", *_graph_lines(graph, locations, data)]
    return "\n".join(lines) + "\n"


def print_graph(graph: Graph, *, locations: bool = True, data: bool = True) -> str:
    """One function as text, as ``print_module`` prints it."""
    return "\n".join(_graph_lines(graph, locations, data)) + "\n"


def _quoted(name: str, plain: re.Pattern[str]) -> str:
    return name if plain.fullmatch(name) else json.dumps(name)


def _value(value: Value) -> str:
    return f"%{_quoted(value.name, _WORD)}"


def _values(values: Iterable[Value]) -> str:
    return ", ".join(map(_value, values))


def _graph_lines(graph: Graph, locations: bool, data: bool) -> Iterator[str]:
    inputs = [f"{_value(v)}: {v.type}" for v in graph.inputs]
    name = _quoted(graph.name, _SYMBOL)
    head = f"func @{name}({', '.join(inputs)}) {{"
    if len(head) <= WIDTH:
        yield head
    else:
        yield f"func @{name}("
        yield from (f"    {text}," for text in inputs[:-1])
        yield f"    {inputs[-1]}"
        yield ") {"
    for value in graph.parameters:
        recipe = recipe_text(value.recipe) if value.recipe else "..."
        yield f"  param {_value(value)}: {value.type} = {recipe}"
    for value in graph.constants:
        text = "..." if value.data is None else _data_text(value.data, value.type.dtype, data)
        yield f"  const {_value(value)}: {value.type} = {text}"
    yield from (f"  {_node_text(node, locations)}" for node in graph.nodes)
    yield f"  return {_values(graph.outputs)}".rstrip()
    yield "}"


def _node_text(node: Node, locations: bool) -> str:
    try:
        op = lookup(node.op)
    except KeyError:
        op = Op
    operands = list(node.operands)
    if len(operands) == len(op.operands):
        while operands and operands[-1] is None and op.operands[len(operands) - 1].optional:
            operands.pop()
    arguments = ", ".join("_" if v is None else _value(v) for v in operands)
    text = f"{_values(node.results)} = " if node.results else ""
    text += f"{node.op}({arguments})"
    attrs = [f"{_quoted(k, _KEY)} = {attr_text(v)}" for k, v in _attrs(node.attrs, op)]
    if attrs:
        text += f" {{{', '.join(attrs)}}}"
    if node.results:
        text += f" : {', '.join(str(v.type) for v in node.results)}"
    if locations and (node.loc.module or node.loc.source):
        text += f" loc({json.dumps(node.loc.module)} {json.dumps(node.loc.source)})"
    return text


def _attrs(attrs: Mapping[str, Attr], op: type[Op]) -> Iterator[tuple[str, Attr]]:
    for key, declared in op.attributes.items():
        if key in attrs and not _is_default(attrs[key], declared):
            yield key, attrs[key]
    for key in sorted(attrs.keys() - op.attributes):
        yield key, attrs[key]


def _is_default(value: Attr, declared: Attribute) -> bool:
    if declared.default is REQUIRED:
        return False
    return attr_text(value) == attr_text(cast(Attr, declared.default))


def _data_text(tensor: torch.Tensor, dtype: DType, data: bool) -> str:
    if tensor.numel() <= LIST_LIMIT and tensor.dtype == dtype.torch:
        numbers: list[bool | int | float] = tensor.flatten().tolist()
        # A list cannot hold the payload of an unusual NaN; such a constant prints as bytes.
        if not any(isinstance(n, float) and math.isnan(n) for n in numbers):
            return f"[{', '.join(map(attr_text, numbers))}]"
    if not data:
        return "..."
    raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    packed = base64.b64encode(zlib.compress(raw, 9)).decode()
    return f'zlib {DType.of(tensor.dtype).value} "{packed}"'
