"""Names come from files: whatever they hold, they cannot break out of the emitted C++ or Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings

from codegen.errors import BadInputError
from codegen.targets.atb.cpp import CppModel, emit, readme, space_of
from codegen.targets.atb.cpp import text as cpp_text
from codegen.targets.atb.lower import lower
from ir.graph import Module
from tests.codegen.targets.atb import lowered
from tests.codegen.targets.atb.cpp import lexer
from tests.codegen.targets.atb.test_emit_hostile import WRITABLE, skeleton, strings, with_names

BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
#: Identifiers that are made from names of tensors and modules.
_DERIVED = re.compile(r"(Add|View|IN_|OUT_|INTERMEDIATE_)\w*")
PRINTABLE = {"\n", *map(chr, range(32, 127))}


@contextmanager
def as_printed() -> Iterator[None]:
    """Leaves out the layout, which is most of the time and adds nothing to what is checked."""
    plain: Callable[[str], str] = lambda text: text  # noqa: E731
    with (
        patch("codegen.targets.atb.cpp.emit.format_cpp", plain),
        patch("codegen.targets.atb.cpp.emit.format_python", plain),
    ):
        yield


def emitted(module: Module) -> CppModel:
    return emit(lowered.for_cpp(lower(module)))


def shape(text: str) -> list[str]:
    """The code without comments, strings and the names that are made from the model's."""
    return [_DERIVED.sub(r"\1", token) for token in lexer.code(text)]


@cache
def harmless() -> CppModel:
    with as_printed():
        return emitted(with_names(lambda name: name, lambda path: path))


def check(made: CppModel) -> None:
    """Everything is as with harmless names, but for names."""
    wanted = harmless()
    assert made.files.keys() == wanted.files.keys()
    for path, text in made.files.items():
        assert set(text) <= PRINTABLE, path
        if path.endswith((".cpp", ".h")):
            assert shape(text) == shape(wanted.files[path]), path
            known = [s for s in lexer.strings(wanted.files[path]) if not is_mark(s)]
            assert [s for s in lexer.strings(text) if not is_mark(s)] == known, path
            assert lexer.errors(text) == [], path
            for comment in lexer.comments(text):
                assert "\n" not in comment, path
                assert "\\" not in comment
                assert "??" not in comment
        elif path.endswith(".py"):
            assert skeleton(text) == skeleton(wanted.files[path]), path
        else:
            assert json.loads(text) | {"interface": ""} == json.loads(wanted.files[path]) | {
                "interface": ""
            }
    assert readme(made) == readme(wanted)


def is_mark(string: str) -> bool:
    """Identifies the model, of which the names are a part."""
    return bool(re.fullmatch(r"[0-9a-f]{16}", string))


@BOUNDED
@given(name=WRITABLE)
def test_tensor_names_are_python_strings_and_parts_of_identifiers(name: str) -> None:
    def tensor(old: str) -> str:
        owner, _, leaf = old.rpartition(".")
        return f"{owner}{name}.{leaf}" if owner else f"{name}{old}"

    with as_printed():
        made = emitted(with_names(tensor, lambda path: path))
    check(made)
    assert any(name in string for string in strings(made.files["llama/modeling_llama.py"]))


@BOUNDED
@given(name=WRITABLE)
def test_module_paths_are_in_comments_and_parts_of_identifiers(name: str) -> None:
    with as_printed():
        made = emitted(with_names(lambda old: old, lambda path: f"{path}.{name}" if path else name))
    check(made)


@pytest.mark.parametrize(
    "name",
    [
        "*/ int evil; /*", "x\nint evil;\n//", "x \\", "a" * 93 + " ??/ b", '"; int evil; "',
        "#include <evil>", "clang-format off", "tensor.count", "operations",
    ],
)  # fmt: skip
def test_laid_out_files_are_sound_too(name: str) -> None:
    made = emitted(
        with_names(lambda old: f"{old}{name}", lambda path: f"{path}.{name}" if path else name)
    )
    for path, text in made.files.items():
        if path.endswith((".cpp", ".h")):
            assert lexer.errors(text) == [], path
            assert "evil" not in "".join(lexer.code(text) + lexer.strings(text)), path
            assert shape(text) == shape(harmless().files[path]), path
        elif path.endswith(".py"):
            assert skeleton(text) == skeleton(harmless().files[path]), path


def test_names_that_differ_in_punctuation_only_stay_apart() -> None:
    """Modules ``a.b`` and ``a_b`` are one word in C++."""
    module = with_names(
        lambda name: name.replace(".", "_"), lambda path: re.sub(r"\w+$", "m", path)
    )
    made = emitted(module)
    for path, text in made.files.items():
        if path.endswith(".cpp"):
            defined = re.findall(r"^[\w:]+ ((?:Add|View)\w+)\(", text, re.MULTILINE)
            assert len(set(defined)) == len(defined), path


@pytest.mark.parametrize("name", ["é", "\u202e", "\x00", "漢字", "-", " "])
def test_names_without_a_letter_still_tell_operations_apart(name: str) -> None:
    count = iter(range(1000))
    module = with_names(lambda old: f"{name * next(count)}", lambda path: path and name)
    with as_printed():
        made = emitted(module)
    for path, text in made.files.items():
        if path.endswith((".cpp", ".h")):
            assert lexer.errors(text) == [], path
            defined = re.findall(r"^[\w:]+ ((?:Add|View)\w*)\(", text, re.MULTILINE)
            assert len(set(defined)) == len(defined), path


@pytest.mark.parametrize("text", ["float32\nint evil;", "float32 \\", "float32 ??/", "\x1b[31m"])
def test_facts_stay_in_their_comment(text: str) -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["dtype"] = text
    for path, made in emit(module).files.items():
        if path.endswith((".cpp", ".h")):
            assert set(made) <= PRINTABLE
            assert "evil" not in lexer.code(made)
            for comment in lexer.comments(made):
                assert not comment.endswith(("\\", "??/"))


# -- names that are refused ----------------------------------------------------------------------

CLASSES = (
    "", "X Y", 'X"', "X\n", "Lla\u2028ma", "Llаma", "../X", "X.Y", "ﬁ", "{{ x }}", "1X", "_X",
    "X-Y", "X;", "X::Y", "X//", "X\\",
)  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_class_names_that_are_not_plain_are_refused(name: str) -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_class"] = name
    with pytest.raises(BadInputError, match="is not an identifier"):
        emit(module)


@pytest.mark.parametrize(
    "name", ["Int", "NAMESPACE", "Class", "Co_Await", "Std", "ATB", "Atb_Speed"]
)
def test_class_names_that_mean_something_else_in_cpp_are_refused(name: str) -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_class"] = name
    with pytest.raises(BadInputError, match=f"{name!r} cannot name a namespace of C"):
        emit(module)


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "X", "My_Model2", "Integer", "Standard"])
def test_class_names_that_can_be_namespaces(name: str) -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_class"] = name
    assert space_of(module) == name.lower()
    assert name.lower() not in cpp_text.KEYWORDS


def test_a_class_named_like_its_type_gets_a_folder_of_its_own() -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_class"] = "Llama"
    made = emit(module)
    assert (made.space, made.package) == ("llama_cpp", "llama")
    assert {path.split("/")[0] for path in made.files} == {"llama_cpp", "llama"}
    assert "namespace llama_cpp" in made.files["llama_cpp/model/param.cpp"]


def test_class_names_that_are_too_long_are_refused() -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_class"] = "A" * 64
    assert space_of(module) == "a" * 64
    module.meta["model_class"] = "A" * 65
    with pytest.raises(BadInputError, match="longer than 64 characters"):
        emit(module)


@pytest.mark.parametrize(
    "name", ["", None, "Llama", "../x", "a b", "class", "x\n", "1x", "x-y", 'x"', "lаma", 7]
)
def test_model_types_that_cannot_name_files_are_refused(name: object) -> None:
    module = lowered.handmade("one-layer").copy()
    module.meta["model_type"] = name  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInputError, match="cannot name MindIE's files and classes"):
        emit(module)


@pytest.mark.parametrize(
    "scope",
    [
        "model.layers\n.0", 'model."""', "{prefix}", "model.layers.0;", "model layers", "mоdel.0",
        "model..0", ".model", "model.", "model.layers.0\n", "aaaaa\u2028", "'",
    ],
)  # fmt: skip
def test_layer_paths_that_are_not_plain_are_refused(scope: str) -> None:
    module = lowered.handmade("one-layer").copy()
    for entry in module.entries:
        for call in module.functions[entry].nodes:
            if call.attrs["scope"]:
                call.attrs["scope"] = scope
    with pytest.raises(BadInputError, match="cannot stand in source"):
        emit(module)
