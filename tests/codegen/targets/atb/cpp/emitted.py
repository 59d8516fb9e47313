"""Models printed as C++, each once in a test run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from codegen.targets.atb.cpp import CppModel, emit
from codegen.targets.atb.module import AtbModule
from tests.codegen.targets.atb import lowered

SPACE, PACKAGE = "llamaforcausallm", "llama"


def module(name: str) -> AtbModule:
    """A module as it is printed: ``zoo:qwen2``, or the name of a hand-made one."""
    origin, _, case = name.rpartition(":")
    two = case in ("llama-gqa", "gemma2", "qwen2-window")
    made = lowered.zoo(case, 2 if two else 1) if origin else lowered.handmade(case)
    return lowered.for_cpp(made)


@cache
def printed(name: str) -> CppModel:
    return emit(module(name))


@dataclass(frozen=True)
class Function:
    """A function of emitted C++.

    Attributes:
        parameters: Their names; empty ones have none.
        body: Between the braces.
    """

    name: str
    parameters: tuple[str, ...]
    body: str


_FUNCTION = re.compile(
    r"""
    ^[\w:]+\ \*?(?P<name>[\w:]+)\((?P<parameters>[^{;]*?)\)(?:\ const)?\n
    \{\n(?P<body>.*?)^\}$
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def functions(text: str) -> list[Function]:
    """The functions that are defined at the beginning of a line."""
    found: list[Function] = []
    for match in _FUNCTION.finditer(text):
        parameters = [p for p in re.split(r",\s*", match["parameters"]) if p.strip()]
        names = tuple(re.split(r"[\s&*]+", parameter.strip())[-1] for parameter in parameters)
        found.append(Function(match["name"], names, match["body"]))
    return found


def enumerators(text: str, name: str) -> dict[str, int]:
    """The values of an enumeration."""
    body = re.search(rf"enum {name} : uint32_t {{(.*?)}};", text, re.DOTALL)
    assert body is not None
    values: dict[str, int] = {}
    following = 0
    plain = re.sub(r"//[^\n]*", "", body[1])
    for item in filter(None, (part.strip() for part in plain.split(","))):
        word, _, given = item.partition(" = ")
        following = values[given] if given in values else int(given or following)
        assert word not in values
        values[word] = following
        following += 1
    return values


def constants(text: str) -> dict[str, int]:
    found = re.findall(r"constexpr (?:uint32_t|size_t|int64_t) (\w+) = (\d+);", text)
    return {name: int(value) for name, value in found}
