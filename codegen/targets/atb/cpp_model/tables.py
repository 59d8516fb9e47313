"""What marks code that names inputs, and the tables of names that it uses."""

from __future__ import annotations

import re
from typing import Any, cast

from tree_sitter import Node

from codegen.targets.atb.cpp_model.index import Function
from codegen.targets.atb.cpp_model.syntax import named, text

#: Text that changes the names or the number of a model's inputs.
_CHANGES = re.compile(
    r"(Assign|Add)Tensor\w{,16}\([^;]{,400}[iI]nTensor(Map|List)"
    r"|[iI]nTensorMap_?\s?\[[^\]]{,400}\]\s?=[^=]"
    r"|[iI]nTensorMap_?\.(clear|insert|emplace)|[iI]nTensorCand\w{,16}\s?(\[|=|\.)"
    r"|ConstructInTensorMap|graph_\.inTensors\.resize"
)


def changes_inputs(node: Node) -> bool:
    """Whether code changes the names or the number of a model's inputs."""
    return _CHANGES.search(text(node)) is not None


def only_returns(function: Function) -> bool:
    """Whether a function only returns something: a condition, or a table of names."""
    body = named(function.body)
    kinds = {child.type for child in body}
    return (
        bool(body)
        and body[-1].type == "return_statement"
        and kinds
        <= {
            "declaration",
            "return_statement",
        }
    )


def as_table(value: Any) -> Any:
    """A braced list as a dictionary, if it is one of key and value pairs."""
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        pairs = [row for row in rows if isinstance(row, list) and len(cast("Any", row)) == 2]
        if len(pairs) == len(rows) and all(
            isinstance(row[0], str) and isinstance(row[1], list) for row in pairs
        ):
            return {row[0]: row[1] for row in pairs}
    return value
