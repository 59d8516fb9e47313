"""Prints the Python package that calls a C++ model which is there already.

For MindIE's own models and others of their kind: the inputs and parameters are those that were
read from the C++, the weights go through MindIE's ``WeightWrapper``, and which weight is which was
found in the traced model.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen import templates
from codegen.errors import BadInputError
from codegen.targets.atb.calling_tables import (
    STEP_KEYS,
    input_expression,
    parameters,
    uses_rotary_table,
)
from codegen.targets.atb.cpp_model import CppModel, Parameter, plain_name
from codegen.targets.atb.emit_package import PackageSpec, literal, package_files
from codegen.targets.atb.emit_python import format_python
from codegen.targets.atb.emit_python_inputs import frequencies_source
from codegen.targets.atb.roles import Norm, Roles
from codegen.templates import py_string

#: Weight tensors of a layer that MindIE's ``WeightWrapper`` makes.
_WEIGHTS = 50


@dataclass(frozen=True)
class _Pair:
    """A key and an expression, both as source."""

    key: str
    value: str


@dataclass(frozen=True)
class CallingContext:
    """What the templates get.

    Attributes:
        cpp_name: Name that the C++ is registered under.
        prefill_inputs: Expressions of the inputs for prompts, with their names.
        decode_inputs: The same for steps.
        parameters: The JSON that the C++ model is made with.
        defaults: Keys of the C++ model itself that are left out, so its defaults hold.
        step_parameters: The JSON of a step.
        roles: Which weight is which.
        frequencies: Expression of the rotary frequencies, empty without.
        names: Names of modules as source.
    """

    cpp_name: str
    prefill_inputs: tuple[_Pair, ...]
    decode_inputs: tuple[_Pair, ...]
    parameters: tuple[_Pair, ...]
    defaults: tuple[str, ...]
    step_parameters: tuple[_Pair, ...]
    roles: Roles
    frequencies: str
    names: _Names


@dataclass(frozen=True)
class _Names:
    """Names of modules as string literals, and the attributes that MindIE makes of them."""

    embedding: str
    layers: str
    norm: str
    head: str
    qkv: tuple[str, ...]
    qkv_attributes: tuple[str, ...]
    out: str
    out_attribute: str
    gate_up: tuple[str, ...]
    gate_up_attributes: tuple[str, ...]
    down: str
    down_attribute: str
    attention_norm: str
    attention_norm_attribute: str
    mlp_norm: str
    mlp_norm_attribute: str
    qk_norm: tuple[str, ...]


def calling_files(model: CppModel, roles: Roles, spec: PackageSpec) -> dict[str, str]:
    """Prints a package for a C++ model.

    Args:
        model: What was read from the C++.
        roles: Which weight is which.
        spec: What the common files say; its ``cpp_folder`` must be None.

    Returns:
        Text by path, ``llama/flash_causal_llama.py``.

    Raises:
        BadInputError: The C++ wants inputs, parameters or weights that nobody knows; the message
            names all of them.
    """
    context = {
        "model_type": spec.model_type,
        "model_class": spec.model_class,
        "prefix": spec.prefix,
        "call": _context(model, roles, spec),
    }
    environment = templates.environment("atb_cpp")
    kind = spec.model_type
    files = {
        f"{kind}/{name}_{kind}.py": format_python(
            environment.get_template(f"package/{name}_mindie.py.j2").render(context)
        )
        for name in ("flash_causal", "modeling")
    }
    return {**package_files(spec), **files}


def _context(model: CppModel, roles: Roles, spec: PackageSpec) -> CallingContext:
    problems: list[str] = []
    prefill = _inputs(model.inputs, problems)
    decode = _inputs(model.step_inputs, problems)
    if model.extra_inputs:
        problems.append(f"as many inputs as {model.extra_inputs}, which have no names")
    given, left = _parameters(model, roles, spec, problems)
    steps = _steps(model.step_parameters, problems)
    expected = _WEIGHTS + 2 * bool(roles.layer.qk_norm) * (not _counts_qk_norm(model))
    if model.weights_per_layer != expected:
        counted = model.weights_per_layer or "an unknown number of"
        problems.append(f"{counted} weights in a layer, not MindIE's {expected}")
    if model.weights_of_embedding not in (None, 1):
        problems.append(f"{model.weights_of_embedding} weights for the embedding, not one")
    if uses_rotary_table(model.plain_inputs) and roles.rope is None:
        problems.append("a rotary table, which this model does not have")
    if problems:
        wanted = "; ".join(dict.fromkeys(problems))
        raise BadInputError(f"{model.source}: cannot be called for this model, it wants {wanted}")
    return CallingContext(
        cpp_name=py_string(model.name),
        prefill_inputs=prefill,
        decode_inputs=decode,
        parameters=given,
        defaults=left,
        step_parameters=steps,
        roles=roles,
        frequencies="" if roles.rope is None else frequencies_source(roles.rope.inv_freq),
        names=_names(roles),
    )


def _counts_qk_norm(model: CppModel) -> bool:
    return any(parameter.key == "useQKNorm" for parameter in model.parameters)


def _inputs(names: tuple[str, ...], problems: list[str]) -> tuple[_Pair, ...]:
    pairs: list[_Pair] = []
    unknown: list[str] = []
    for name in names:
        try:
            pairs.append(_Pair(name, input_expression(plain_name(name))))
        except KeyError:
            unknown.append(name)
    if unknown:
        problems.append(f"the unknown inputs {', '.join(unknown)}")
    return tuple(pairs)


def _parameters(
    model: CppModel, roles: Roles, spec: PackageSpec, problems: list[str]
) -> tuple[tuple[_Pair, ...], tuple[str, ...]]:
    """The parameters that are passed, and the model's own that are not."""
    table = parameters(roles)
    pairs: list[_Pair] = []
    missing: list[Parameter] = []
    for parameter in model.parameters:
        known = [row for row in table.get(parameter.key, ()) if _fits(row.type, parameter.type)]
        configured = spec.compiled.get(parameter.key)
        if known:
            pairs.append(_Pair(py_string(parameter.key), known[0].value))
        elif _fits(type(configured).__name__, parameter.type) and configured is not None:
            pairs.append(_Pair(py_string(parameter.key), literal(configured)))
        else:
            missing.append(parameter)
    given = {pair.key for pair in pairs}
    unknown = [p for p in missing if p.required and py_string(p.unless) not in given]
    if unknown:
        shown = ", ".join(f"{parameter.key} ({parameter.type})" for parameter in unknown)
        problems.append(f"the unknown parameters {shown}")
    own = tuple(f"{path}:" for path in (model.source, model.header))
    left = tuple(p.key for p in missing if p.line.startswith(own) and p.key.isidentifier())
    return tuple(pairs), left


def _fits(given: str, wanted: str) -> bool:
    """Whether C++ that reads one type accepts another."""
    return given == wanted or wanted == "object" or (given, wanted) == ("int", "float")


def _steps(found: tuple[Parameter, ...], problems: list[str]) -> tuple[_Pair, ...]:
    keys = [parameter.key for parameter in found if parameter.key in STEP_KEYS]
    unknown = [p.key for p in found if p.required and p.key not in STEP_KEYS]
    if unknown:
        problems.append(f"the unknown parameters {', '.join(unknown)} in every step")
    return tuple(_Pair(py_string(key), STEP_KEYS[key]) for key in keys)


def _names(roles: Roles) -> _Names:
    layer = roles.layer
    return _Names(
        embedding=py_string(roles.embedding),
        layers=py_string(roles.layers),
        norm=py_string(roles.norm.name),
        head=py_string(roles.head),
        qkv=tuple(py_string(p.name) for p in layer.qkv),
        qkv_attributes=tuple(_attribute(p.name) for p in layer.qkv),
        out=py_string(layer.out.name),
        out_attribute=_attribute(layer.out.name),
        gate_up=tuple(py_string(p.name) for p in layer.gate_up),
        gate_up_attributes=tuple(_attribute(p.name) for p in layer.gate_up),
        down=py_string(layer.down.name),
        down_attribute=_attribute(layer.down.name),
        attention_norm=py_string(layer.attention_norm.name),
        attention_norm_attribute=_norm_attribute(layer.attention_norm, layer.mlp_norm),
        mlp_norm=py_string(layer.mlp_norm.name),
        mlp_norm_attribute=_norm_attribute(layer.mlp_norm, layer.attention_norm),
        qk_norm=tuple(py_string(norm.name) for norm in layer.qk_norm),
    )


def _attribute(name: str) -> str:
    """The attribute that MindIE puts a module in: the last part of its name."""
    return py_string(name.rpartition(".")[2])


def _norm_attribute(norm: Norm, other: Norm) -> str:
    if _attribute(norm.name) == _attribute(other.name):
        raise BadInputError(f"the norms {norm.name} and {other.name} end in the same name")
    return _attribute(norm.name)
