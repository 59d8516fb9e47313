"""What one target makes of a lowered model: files, manifest entries, closing words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen import templates
from codegen.errors import BadInputError
from codegen.frontend.hf import Source, load_config
from codegen.manifest import Option
from codegen.request import Request
from codegen.targets.atb import cpp, emit_python
from codegen.targets.atb.cpp_model import CppModel
from codegen.targets.atb.emit_calling import calling_files
from codegen.targets.atb.emit_package import PackageSpec, package_files, package_spec
from codegen.targets.atb.emit_python import EmitOptions
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.roles import find_roles
from ir.graph import Module

#: The configuration that goes with the output, so that it can be verified on its own.
CONFIG = "config.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class Emission:
    """The output of one target.

    Attributes:
        files: Text by path, relative to the output directory.
        model: Facts for the manifest.
        main: The files that are executed.
        shown: What the closing words say besides where the output lies.
        template: Folder and name of the closing words' template.
    """

    files: Mapping[str, str]
    model: Mapping[str, Option]
    main: tuple[str, ...]
    shown: Mapping[str, object]
    template: tuple[str, str]

    def closing(self, out: Path) -> str:
        """What the command prints at the end: what was saved and how to run it."""
        folder, name = self.template
        template = templates.environment(folder).get_template(name)
        return template.render(
            {
                **self.shown,
                "out": out,
                "folder": None if out == Path() else shlex.quote(str(out)),
                "quote": lambda path: shlex.quote(str(out / path)),
            }
        )


def emit_atb_python(source: Source, atb: AtbModule, request: Request) -> Emission:
    """ATB Python: one module with the graphs, a runtime, a command line program."""
    options = EmitOptions(
        api=request.python_api,
        has_tokenizer=_has_tokenizer(source.path),
        eos_token_ids=_eos_token_ids(source),
    )
    name = emit_python.model_file_name(atb)
    module = name.removesuffix(".py")
    return Emission(
        files={**emit_python.emit(atb, options), CONFIG: config_text(source)},
        model={"class": str(atb.meta["model_class"]), "module": module},
        main=(name, "atb_runtime.py"),
        shown={
            "module": module,
            "config": emit_python.config(atb),
            "example": emit_python.example_file_name(atb),
        },
        template=("atb_python", "closing.txt.j2"),
    )


def emit_atb_cpp(source: Source, atb: AtbModule) -> Emission:
    """ATB C++: model and layers for MindIE's ``atb_models``, and the Python package that calls it.

    Args:
        source: The model directory.
        atb: The lowered model after ``cpp.CPP_PASSES``.
    """
    made = cpp.emit(atb)
    spec = _spec(source, atb, made.dtype, made.space)
    code = {**made.files, **package_files(spec)}
    return Emission(
        files={**code, "README.md": cpp.readme(made), CONFIG: config_text(source)},
        model={
            "class": str(atb.meta["model_class"]),
            "cpp": made.space,
            "package": made.package,
        },
        main=tuple(sorted(code)),
        shown={"files": sorted(code), "space": made.space, "package": made.package},
        template=("atb_cpp", "closing.txt.j2"),
    )


def is_ours(module: Module, model: CppModel) -> bool:
    """Whether a C++ model is what this tool generates for a model of this class."""
    return model.name == f"{cpp.space_of(module)}_DecoderModel" and model.style == "enum"


def emit_calling_ours(source: Source, atb: AtbModule, model: CppModel) -> Emission:
    """The Python package alone, for C++ that this tool generated before.

    Raises:
        BadInputError: The C++ was generated for another model.
    """
    made = cpp.emit(atb)
    if model.plain_inputs != made.model.input_names:
        raise BadInputError(
            f"{model.source} reads {', '.join(model.plain_inputs)}; what is generated for "
            f"{source.path} reads {', '.join(made.model.input_names)}: it is another model's"
        )
    own = {path: text for path, text in made.files.items() if path.startswith(f"{made.package}/")}
    spec = _spec(source, atb, made.dtype, None)
    return _calling(source, model, spec, {**own, **package_files(spec)})


def emit_calling(source: Source, llm: Module, model: CppModel) -> Emission:
    """The Python package for C++ of somebody else, MindIE's own above all.

    Args:
        source: The model directory.
        llm: The semantic graph, which says which weight is which.
        model: What the C++ says.

    Raises:
        BadInputError: The C++ wants something that nobody knows how to make.
        UnsupportedError: The model's layers are not of the kind that such C++ runs.
    """
    named = str(llm.meta.get("dtype", ""))
    dtype = named if named in ("float16", "bfloat16") else "bfloat16"
    spec = _spec(source, llm, dtype, None)
    return _calling(source, model, spec, calling_files(model, find_roles(llm), spec))


def _spec(source: Source, module: Module, dtype: str, cpp_folder: str | None) -> PackageSpec:
    return package_spec(
        source.config,
        load_config(source),
        model_class=str(module.meta["model_class"]),
        dtype=dtype,
        has_tokenizer=_has_tokenizer(source.path),
        cpp_folder=cpp_folder,
    )


def _calling(
    source: Source, model: CppModel, spec: PackageSpec, code: Mapping[str, str]
) -> Emission:
    return Emission(
        files={**code, CONFIG: config_text(source)},
        model={
            "class": spec.model_class,
            "package": spec.model_type,
            "calls": model.name,
        },
        main=tuple(sorted(code)),
        shown={"files": sorted(code), "package": spec.model_type, "name": model.name},
        template=("atb_cpp", "closing_calling.txt.j2"),
    )


def config_text(source: Source) -> str:
    """The configuration as it goes into the output."""
    # transformers notes in it where the model was loaded from, which is nobody's business.
    kept = {key: value for key, value in source.config.items() if key != "_name_or_path"}
    return json.dumps(kept, indent=2, sort_keys=True) + "\n"


def _eos_token_ids(source: Source) -> tuple[int, ...]:
    value = source.config.get("eos_token_id")
    if value is None and "text_config" in source.config:
        value = load_config(source).get_text_config().eos_token_id
    ids = value if isinstance(value, list) else [value]
    return tuple(i for i in ids if type(i) is int and i >= 0)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)
