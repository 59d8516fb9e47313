"""Prints an ATB module as a folder of Python that runs on its own.

All decisions are made here and in the ``emit_python_*`` files beside this one; the templates only
loop over what they get.
"""

from __future__ import annotations

import keyword
import re
import subprocess
from dataclasses import dataclass
from typing import Literal

from codegen import templates
from codegen.errors import BadInputError, CodegenError, Problem, UnsupportedError
from codegen.targets.atb.emit_python_facts import config, element_type, facts
from codegen.targets.atb.emit_python_graph import LIBATB, TORCH_ATB
from codegen.targets.atb.emit_python_inputs import inputs_of
from codegen.targets.atb.emit_python_stages import (
    CARRIED,
    Stages,
    cache_inputs,
    stages_of,
)
from codegen.targets.atb.host_inputs import BLOCK_SIZE
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import SpellingError
from ir.graph import Graph

__all__ = [
    "EmitOptions",
    "config",
    "emit",
    "example_file_name",
    "format_python",
    "model_file_name",
]

LINE_LENGTH = 100
_SCOPE = re.compile(r"\w+(\.\w+)*", re.ASCII)
_RUNTIME = "atb_runtime.py"


@dataclass(frozen=True)
class EmitOptions:
    """What the user chooses about the emitted code.

    Attributes:
        api: The Python binding of ATB that it is written against.
        has_tokenizer: The model directory has a tokenizer, so ``run.py`` takes text.
        eos_token_ids: Tokens that end a text.
    """

    api: Literal["_libatb_torch", "torch_atb"] = LIBATB
    has_tokenizer: bool = True
    eos_token_ids: tuple[int, ...] = ()


def model_file_name(module: AtbModule) -> str:
    """Name of the model file: ``llamaforcausallm_atb_float.py``."""
    return f"{_class_name(module).lower()}_atb_float.py"


def example_file_name(module: AtbModule) -> str:
    """Name of the command line program, which takes an image where the model can see."""
    return "run.py" if _image_token(module) is None else "run_vl.py"


def emit(module: AtbModule, options: EmitOptions = EmitOptions()) -> dict[str, str]:
    """Prints a module.

    Args:
        module: The result of ``lower``.
        options: The user's choices.

    Returns:
        Text by path, relative to the output folder. The same module and options always give the
        same bytes.

    Raises:
        BadInputError: A name from the model cannot stand in source code.
        UnsupportedError: The chosen API cannot express something, or no element type of the
            device fits the model.
    """
    _check_names(module)
    try:
        stages = stages_of(module, options.api)
    except SpellingError as error:
        other = f"use the other Python API ({LIBATB})"
        remedy = other if options.api == TORCH_ATB else Problem.remedy
        raise UnsupportedError([Problem("", "", str(error), remedy)]) from error
    context = _context(module, options, stages)
    environment = templates.environment("atb_python")
    texts = {model_file_name(module): environment.get_template("model.py.j2").render(context)}
    for path in (_RUNTIME, example_file_name(module), "README.md"):
        texts[path] = environment.get_template(f"{path}.j2").render(context)
    return {
        path: format_python(text) if path.endswith(".py") else text
        for path, text in sorted(texts.items())
    }


def format_python(text: str) -> str:
    """The text as ``ruff format`` lays it out.

    Raises:
        CodegenError: ruff is missing, or the text is not Python.
    """
    command = [
        _ruff(),
        "format",
        "--isolated",
        "--no-cache",
        f"--line-length={LINE_LENGTH}",
        "--target-version=py310",
        "--stdin-filename=emitted.py",
        "-",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CodegenError(f"the emitted text is not Python: {done.stderr.strip()}")
    return done.stdout


def _ruff() -> str:
    try:
        from ruff import find_ruff_bin
    except ImportError as error:
        raise CodegenError("ruff is not installed: reinstall llm-codegen") from error
    return find_ruff_bin()


def _context(module: AtbModule, options: EmitOptions, stages: Stages) -> dict[str, object]:
    prefill = module.functions[module.entries[0]]
    inputs = inputs_of(module)
    name = model_file_name(module).removesuffix(".py")
    listed = [group for group in stages.groups if group.form == "listed"]
    dtype, note = element_type(module)
    last = stages.groups[-1].kind
    own = {
        "atb_runtime": "from atb_runtime import ATBModel, load_weights",
        name: f"from {name} import Model",
    }
    heads = [builder for builder in stages.builders if builder.name == last.prefill]
    return {
        "api": options.api,
        "has_tokenizer": options.has_tokenizer,
        "model_class": _class_name(module),
        "model_module": name,
        "example": example_file_name(module),
        "image_token": _image_token(module),
        "own_imports": tuple(line for _, line in sorted(own.items())),
        "facts": facts(module, dtype, note),
        "stages": stages,
        "any_scoped": any(kind.scoped for kind in stages.kinds),
        "listed": bool(listed),
        "listed_kinds": tuple(dict.fromkeys(kind for group in listed for kind in group.kinds)),
        "inputs": inputs,
        "config": repr(config(module)),
        "dtype": dtype.value,
        "eos_token_ids": repr(options.eos_token_ids),
        "cache_rows": _cache_rows(prefill),
        "head_is_tokenwise": all(head.inputs == (CARRIED,) for head in heads),
        "block_size": BLOCK_SIZE,
    }


def _cache_rows(entry: Graph) -> str:
    """Rows of all caches as source, repeated ones as a product."""
    rows = [tuple(int(str(d)) for d in v.type.shape[2:]) for v in cache_inputs(entry)]
    if len(set(rows)) == 1:
        return f"({rows[0]!r},) * {len(rows)}"
    return repr(tuple(rows))


def _image_token(module: AtbModule) -> int | None:
    token = module.meta.get("image_token_id")
    return token if isinstance(token, int) else None


def _class_name(module: AtbModule) -> str:
    name = str(module.meta.get("model_class", ""))
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise BadInputError(f"the model class {name!r} is not a Python identifier")
    return name


def _check_names(module: AtbModule) -> None:
    for entry in module.entries:
        for call in module.functions[entry].nodes:
            scope = str(call.attrs["scope"])
            if scope and not _SCOPE.fullmatch(scope):
                raise BadInputError(f"the module path {scope!r} cannot stand in source code")
