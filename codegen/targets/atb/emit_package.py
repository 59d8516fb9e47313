"""Prints the Python package that calls an ATB C++ model from MindIE.

The parts that are the same for every C++ model: ``run.py``, router and configuration. What depends
on the model's inputs and weights (``flash_causal_<type>.py``, ``modeling_<type>.py``) is printed
elsewhere.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from codegen import templates
from codegen.errors import BadInputError
from codegen.targets.atb.emit_python import format_python
from codegen.templates import py_string

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_TYPE = re.compile(r"[a-z][a-z0-9_]*")
#: Sizes that MindIE reads of every configuration, under these names.
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)
#: Tokens that a model without a limit of its own is said to take, as MindIE does.
_POSITIONS = 2048
#: Keys of config.json that change nothing in the generated code.
_BOOKKEEPING = frozenset(
    "_attn_implementation _commit_hash _name_or_path architectures attention_dropout attn_pdrop "
    "auto_map bos_token_id classifier_dropout decoder_start_token_id dtype embd_pdrop "
    "embed_dropout eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob "
    "id2label initializer_range is_decoder label2id layerdrop max_position_embeddings model_type "
    "n_positions output_attentions output_hidden_states output_router_logits pad_token_id "
    "pretraining_tp resid_pdrop residual_dropout return_dict sep_token_id "
    "summary_activation summary_first_dropout summary_proj_to_labels summary_type "
    "summary_use_proj task_specific_params tokenizer_class torch_dtype torchscript "
    "transformers_version unk_token_id use_cache".split()
)
#: Keys that change the model wherever they appear, so they may not appear later either.
_ABSENT = ("quantize", "quantization_config", "rope_parameters", "rope_scaling")
_DEPTH = 16


@dataclass(frozen=True)
class PackageSpec:
    """What the package of one model says.

    Attributes:
        model_type: Of config.json; names files, classes and the package.
        model_class: The HuggingFace class.
        compiled: Keys and values of config.json that the code was generated for.
        sizes: Value of each of ``SIZES`` that the model has.
        attribute_map: What the model calls sizes in config.json, where it differs.
        dtype: Element type for checkpoints that are not in 16 bits.
        has_tokenizer: The model directory has a tokenizer, so ``run.py`` takes text.
        cpp_folder: Folder with the C++ beside the package; None if the C++ lies elsewhere, then
            the package runs on the NPU only.
    """

    model_type: str
    model_class: str
    compiled: Mapping[str, Any]
    sizes: Mapping[str, int]
    attribute_map: Mapping[str, str] = field(default_factory=dict[str, str])
    dtype: str = "bfloat16"
    has_tokenizer: bool = True
    cpp_folder: str | None = None

    @property
    def prefix(self) -> str:
        """What MindIE makes of the model type in class names: ``Gpt_neox``."""
        return self.model_type.capitalize()


@dataclass(frozen=True)
class _Item:
    """A key and a value, both as source."""

    key: str
    value: str


@dataclass(frozen=True)
class _Size:
    """A field of the configuration class."""

    name: str
    value: int


def package_spec(
    config: Mapping[str, Any],
    understood: PreTrainedConfig,
    *,
    model_class: str,
    dtype: str,
    has_tokenizer: bool,
    cpp_folder: str | None,
) -> PackageSpec:
    """Reads off a model directory what its package says.

    Args:
        config: What its config.json holds.
        understood: The same as transformers understands it.
        model_class: The HuggingFace class.
        dtype: Element type that the code was checked for, ``float16`` or ``bfloat16``.
        has_tokenizer: The directory has a tokenizer.
        cpp_folder: See `PackageSpec`.

    Raises:
        BadInputError: The model type cannot name Python classes.
    """
    names = {
        name: real
        for name, real in type(understood).attribute_map.items()
        if name in SIZES and real != name
    }
    values = {name: getattr(understood, name, None) for name in SIZES}
    sizes = {name: value for name, value in values.items() if type(value) is int}
    sizes.setdefault("max_position_embeddings", _POSITIONS)
    compiled = {key: value for key, value in config.items() if key not in _BOOKKEEPING}
    return PackageSpec(
        model_type=check_model_type(config.get("model_type")),
        model_class=model_class,
        compiled={**dict.fromkeys(_ABSENT), **compiled},
        sizes=sizes,
        attribute_map=names,
        dtype=dtype,
        has_tokenizer=has_tokenizer,
        cpp_folder=cpp_folder,
    )


def check_model_type(name: object) -> str:
    """The model type, which MindIE makes file and class names of.

    Raises:
        BadInputError: It cannot stand in them.
    """
    if not isinstance(name, str) or not _TYPE.fullmatch(name) or keyword.iskeyword(name):
        raise BadInputError(
            f"the model type {name!r} cannot name MindIE's files and classes: it must be lower "
            "case letters, digits and underscores"
        )
    return name


def package_files(spec: PackageSpec) -> dict[str, str]:
    """Prints ``__init__.py``, ``run.py``, router and configuration.

    Returns:
        Text by path, ``llama/run.py``.

    Raises:
        BadInputError: A name from the model cannot stand in source code.
    """
    kind = check_model_type(spec.model_type)
    for name in (spec.model_class, *([] if spec.cpp_folder is None else [spec.cpp_folder])):
        if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
            raise BadInputError(f"{name!r} is not a Python identifier")
    context = _context(spec)
    environment = templates.environment("atb_cpp")
    names = {
        "__init__": "__init__.py",
        "config": f"config_{kind}.py",
        "router": f"router_{kind}.py",
        "run": "run.py",
    }
    return {
        f"{kind}/{name}": format_python(
            environment.get_template(f"package/{template}.py.j2").render(context)
        )
        for template, name in names.items()
    }


def _context(spec: PackageSpec) -> dict[str, object]:
    mapped = {name: real for name, real in spec.attribute_map.items() if name in spec.sizes}
    return {
        "model_type": spec.model_type,
        "model_class": spec.model_class,
        "prefix": spec.prefix,
        "compiled": tuple(
            _Item(py_string(key), literal(value)) for key, value in sorted(spec.compiled.items())
        ),
        "sizes": tuple(
            _Size(_identifier(mapped.get(name, name)), value) for name, value in spec.sizes.items()
        ),
        "attribute_map": tuple(_Item(py_string(n), py_string(r)) for n, r in mapped.items()),
        "dtype": spec.dtype,
        "has_tokenizer": spec.has_tokenizer,
        "cpp_folder": spec.cpp_folder,
    }


def _identifier(name: str) -> str:
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise BadInputError(f"{name!r} is not a Python identifier")
    return name


def literal(value: object, depth: int = _DEPTH) -> str:
    """A JSON value as a Python expression.

    Raises:
        BadInputError: It is nested too deeply.
    """
    if depth == 0:
        raise BadInputError("config.json is nested too deeply")
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, str):
        return py_string(value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return f"[{', '.join(literal(item, depth - 1) for item in items)}]"
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        shown = (f"{py_string(key)}: {literal(item, depth - 1)}" for key, item in pairs.items())
        return f"{{{', '.join(shown)}}}"
    raise BadInputError(f"config.json: {type(value).__name__} is not a value of JSON")
