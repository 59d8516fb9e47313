"""Names come from files: whatever they hold, they are strings in the emitted code, or refused."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.errors import BadInputError
from codegen.targets.atb.emit_python import EmitOptions, emit
from codegen.targets.atb.emit_python_weights import prefixed
from codegen.targets.atb.lower import lower
from codegen.templates import py_string
from ir.graph import Location, Module
from ir.passes import run_passes
from ir.passes.name_values import NameValues
from ir.recipe import Concat, Recipe, Source
from tests.codegen.targets.atb import emitting
from tests.codegen.targets.atb.handmade import Spec, with_cache

BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
FRAGMENTS = (
    '"', "'", '"""', "'''", "\\", "\\\\", "\\N{DIGIT ONE}", "\\x41", "\n", "\r\n", "\t", "\x00",
    "\x0c", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "{", "}", "{{", "}}", "{prefix}",
    "{prefix!r}", '{__import__("os")}', "%s", "#", "# noqa", "{% raw %}", "{{ 7 * 7 }}", "{#",
    "\nraise SystemExit(7)\n", '"); raise SystemExit(7) #', ".", "..", "weight", "wеight",
    "ﬁ", "𝐰", "é", "\U0001f600", "a" * 300, " ", "",
)  # fmt: skip
NAMES = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), min_size=1, max_size=5
).map("".join)
# Surrogates cannot be in a file: neither JSON nor safetensors decode to them.
WRITABLE = NAMES.filter(lambda name: not any("\ud800" <= c <= "\udfff" for c in name))
PRINTABLE = {"\n", *map(chr, range(32, 127))}
APIS = ("_libatb_torch", "torch_atb")


def renamed(recipe: Recipe, name: Callable[[str], str]) -> Recipe:
    match recipe:
        case Source(name=old, absolute=absolute):
            return Source(name(old), absolute)
        case Concat(parts=parts):
            return replace(recipe, parts=tuple(renamed(part, name) for part in parts))
        case other:
            return other


def with_names(tensor: Callable[[str], str], path: Callable[[str], str]) -> Module:
    """A small model whose tensors and module paths are called something else."""
    module = with_cache(Spec(bias=True))
    for graph in module:
        for value in graph.parameters:
            if value.recipe is not None:
                value.recipe = renamed(value.recipe, tensor)
        for node in graph.nodes:
            node.loc = Location(path(node.loc.module), node.loc.source)
    run_passes(module, [NameValues()])
    return module


def emitted(module: Module, api: str = APIS[0]) -> dict[str, str]:
    return emit(lower(module), EmitOptions(api="torch_atb" if api == APIS[1] else "_libatb_torch"))


def skeleton(text: str) -> list[str]:
    """The code without what is in its strings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return [line for part in tree.body for line in ast.dump(part, indent=0).splitlines()]


def strings(text: str) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@cache
def harmless(api: str) -> dict[str, list[str]]:
    files = emitted(with_names(lambda name: name, lambda path: path), api)
    return {path: skeleton(text) for path, text in files.items() if path.endswith(".py")}


@BOUNDED
@given(name=WRITABLE, api=st.sampled_from(APIS))
def test_tensor_names_are_strings_and_nothing_else(name: str, api: str) -> None:
    def tensor(old: str) -> str:
        owner, _, leaf = old.rpartition(".")
        return f"{owner}{name}.{leaf}" if owner else f"{name}{old}"

    files = emitted(with_names(tensor, lambda path: path), api)
    for path, expected in harmless(api).items():
        assert skeleton(files[path]) == expected
    assert any(name in string for string in strings(files[f"{emitting.NAME}.py"]))


@BOUNDED
@given(name=WRITABLE, api=st.sampled_from(APIS))
def test_module_paths_are_in_strings_and_comments_only(name: str, api: str) -> None:
    files = emitted(
        with_names(lambda old: old, lambda path: f"{path}.{name}" if path else name), api
    )
    for path, expected in harmless(api).items():
        assert skeleton(files[path]) == expected
        assert set(files[path]) <= PRINTABLE


@BOUNDED
@given(name=WRITABLE)
def test_what_is_read_is_the_tensor_of_that_name(name: str) -> None:
    wanted: list[str] = []
    module = with_names(lambda old: f"{old}{name}", lambda path: path)
    text = emitted(module)[f"{emitting.NAME}.py"]
    layer = next(graph for graph in module if graph.name == "prefill_decoder_layer")
    for value in layer.parameters:
        assert value.recipe is not None
        wanted += [f"model.layers.0.{source.name}" for source in value.recipe.sources()]
    read: list[str] = []
    tree = ast.parse(text)
    tree.body = [n for n in tree.body if getattr(n, "name", "") == "decoder_layer_weights"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read":
            read.append(eval(ast.unparse(node.args[0]), {"prefix": "model.layers.0"}))
    assert sorted(read) == sorted(wanted)


@given(name=WRITABLE)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_literals_mean_exactly_the_name(name: str) -> None:
    for literal, value in ((py_string(name), name), (prefixed(name), f"a.b.{name}")):
        assert literal.isascii()
        assert literal.isprintable()
        assert len(ast.parse(literal).body) == 1
        assert eval(literal, {"prefix": "a.b"}) == value


@pytest.mark.parametrize(
    "scope",
    [
        "model.layers\n.0", 'model."""', "{prefix}", "model.layers.0;", "model layers", "mоdel.0",
        "model..0", ".model", "model.", "model.layers.0\n", "a" * 5 + "\u2028", "'",
    ],
)  # fmt: skip
def test_layer_paths_that_are_not_plain_are_refused(scope: str) -> None:
    module = lower(with_cache(Spec()))
    for entry in module.entries:
        for call in module.functions[entry].nodes:
            if call.attrs["scope"]:
                call.attrs["scope"] = scope
    with pytest.raises(BadInputError, match="cannot stand in source code"):
        emit(module)


@pytest.mark.parametrize(
    "name", ["", "class", "X Y", 'X"', "X\n", "Lla\u2028ma", "Llаma", "../X", "X.Y", "ﬁ", "{{ x }}"]
)
def test_class_names_that_are_not_plain_are_refused(name: str) -> None:
    module = lower(with_cache(Spec()))
    module.meta["model_class"] = name
    with pytest.raises(BadInputError, match="is not a Python identifier"):
        emit(module)


def test_hostile_names_run(tmp_path: Path) -> None:
    from tests.codegen.targets.atb import stepping
    from tests.codegen.targets.atb.handmade import llama_like, weights

    hostile = '{prefix}"""\'\\\n{0}'
    module = with_names(lambda old: f"{old}{hostile}", lambda path: f"{path}.{hostile}")
    checkpoint = {
        f"{name}{hostile}": tensor for name, tensor in weights(llama_like(Spec(bias=True))).items()
    }
    folder = emitting.write(emitted(module), tmp_path)
    wanted = stepping.trajectory(module, checkpoint)
    assert stepping.worst(wanted, emitting.trajectory(folder, checkpoint)) < 1e-5
