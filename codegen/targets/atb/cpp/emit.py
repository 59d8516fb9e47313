"""Puts the files of the C++ target together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from codegen import templates
from codegen.errors import BadInputError, Problem, UnsupportedError
from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.layout import format_cpp
from codegen.targets.atb.cpp.model import ModelContext, context
from codegen.targets.atb.cpp.package import PackageContext, package_context
from codegen.targets.atb.cpp.stage import Blocks
from codegen.targets.atb.emit_package import check_model_type
from codegen.targets.atb.emit_python import format_python
from codegen.targets.atb.emit_python_facts import element_type, facts
from codegen.targets.atb.host_inputs import BLOCK_SIZE
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.passes.fuse_residual_norm import FuseResidualNorm
from codegen.targets.atb.sharding import shard
from codegen.templates import py_string
from ir.graph import Module
from ir.passes.base import Pass

if TYPE_CHECKING:
    from jinja2 import Environment

#: What happens to the ATB graphs before they are printed as C++.
CPP_PASSES: tuple[Pass, ...] = (FuseResidualNorm(),)
_SCOPE = re.compile(r"\w+(\.\w+)*", re.ASCII)
_CLASS = re.compile(r"[A-Za-z]\w*", re.ASCII)
#: Graphs are named after the model; ATB takes 128 characters.
_LONGEST = 64
#: Namespaces that emitted code names from within its own; it would find itself instead.
_TAKEN = frozenset(("atb", "atb_speed", "nlohmann", "std"))


@dataclass(frozen=True)
class CppModel:
    """What was emitted.

    Attributes:
        files: Text by path, relative to the output folder.
        space: Namespace and folder of the C++.
        package: Folder of the Python package, which is the model type.
        model: The C++ side.
        python: The Python side.
        dtype: Element type that the contracts were checked for.
    """

    files: Mapping[str, str]
    space: str
    package: str
    model: ModelContext
    python: PackageContext
    dtype: str


def space_of(module: Module) -> str:
    """Namespace and folder of the C++: ``llamaforcausallm``.

    Raises:
        BadInputError: The model class cannot name a namespace.
    """
    name = str(module.meta.get("model_class", ""))
    if not _CLASS.fullmatch(name):
        raise BadInputError(f"the model class {name!r} is not an identifier")
    if len(name) > _LONGEST:
        raise BadInputError(f"the model class {name!r} is longer than {_LONGEST} characters")
    space = name.lower()
    if space == module.meta.get("model_type"):
        space = f"{space}_cpp"  # the folder of that name is the Python package
    if space in _TAKEN or space in text.KEYWORDS:
        raise BadInputError(f"the model class {name!r} cannot name a namespace of C++: {space}")
    return space


def emit(module: AtbModule) -> CppModel:
    """Prints a module as C++ with the two Python files that depend on its tensors.

    Args:
        module: The result of ``lower`` after ``CPP_PASSES``.

    Raises:
        BadInputError: A name from the model cannot stand in source code.
        UnsupportedError: No element type of the device fits the model.
    """
    space, model_type = space_of(module), check_model_type(module.meta.get("model_type"))
    _check_scopes(module)
    _check_text_only(module)
    dtype, note = element_type(module)
    plan = shard(module)
    blocks = Blocks(module, plan, space)
    stages = blocks.sequence()
    known = tuple(" ".join(text.comment(line)) for line in facts(module, dtype, note))
    model = context(module, plan, stages, space, known)
    python = package_context(module, plan, stages, model, blocks.weights)
    files = {**_cpp_files(model), **_python_files(model, python, model_type)}
    mark = _mark(files)
    files[_param_cpp(space)] = _render_param(model, mark)
    files[f"{model_type}/{model_type}.json"] = interface_json(model, mark)
    return CppModel(files, space, model_type, model, python, dtype.value)


def _cpp_files(model: ModelContext) -> dict[str, str]:
    """All C++; the interface has no mark yet."""
    environment = templates.environment("atb_cpp")
    render = partial(_render_cpp, environment, model=model, space=model.space)
    files = {
        f"{model.space}/model/{name}": render(f"{name}.j2")
        for name in ("decoder_model.cpp", "decoder_model.h", "param.h")
    }
    files[_param_cpp(model.space)] = _render_param(model, "")
    for block in model.blocks:
        for suffix in ("cpp", "h"):
            path = f"{model.space}/layer/{block.name}.{suffix}"
            files[path] = render(f"layer.{suffix}.j2", block=block)
    return files


def _param_cpp(space: str) -> str:
    return f"{space}/model/param.cpp"


def _render_param(model: ModelContext, interface: str) -> str:
    environment = templates.environment("atb_cpp")
    return _render_cpp(
        environment, "param.cpp.j2", model=model, space=model.space, interface=interface
    )


def _mark(files: Mapping[str, str]) -> str:
    """Identifies C++ and package that were printed together.

    Another epsilon or scale counts as much as another weight: a package that belongs to other C++
    would run, and compute something else.
    """
    text = json.dumps(sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _render_cpp(environment: Environment, template: str, **context: object) -> str:
    return format_cpp(environment.get_template(template).render(context))


def _python_files(model: ModelContext, package: PackageContext, model_type: str) -> dict[str, str]:
    environment = templates.environment("atb_cpp")
    context = {
        "model": model,
        "package": package,
        "inputs": package.inputs,
        "model_type": model_type,
        "prefix": model_type.capitalize(),
        "block_size": BLOCK_SIZE,
    }
    return {
        f"{model_type}/{name}_{model_type}.py": format_python(
            environment.get_template(f"{name}.py.j2").render(context)
        )
        for name in ("modeling", "flash_causal")
    }


def interface_json(model: ModelContext, interface: str) -> str:
    """What Python has to know about the C++ model."""
    body = {
        "model": f"{model.space}_DecoderModel",
        "interface": interface,
        "inTensors": list(model.input_names),
        "outTensors": ["logits"],
        "weights": model.weights,
        "caches": model.caches,
    }
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"


def _check_text_only(module: AtbModule) -> None:
    if module.meta.get("image_token_id") is not None:
        reason = (
            "a vision-language model needs image features, which MindIE's package has no way in"
        )
        raise UnsupportedError([Problem("", "", reason, "generate ATB Python: -py")])


def _check_scopes(module: AtbModule) -> None:
    for entry in module.entries:
        for call in module.functions[entry].nodes:
            scope = str(call.attrs["scope"])
            if scope and not _SCOPE.fullmatch(scope):
                raise BadInputError(f"the module path {py_string(scope)} cannot stand in source")


def readme(made: CppModel) -> str:
    """What the owner of the code has to know."""
    template = templates.environment("atb_cpp").get_template("README.md.j2")
    return template.render(
        model=made.model, python=made.python, space=made.space, package=made.package
    )
