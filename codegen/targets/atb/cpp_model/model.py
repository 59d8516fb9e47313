"""What Python has to know of an ATB C++ model in order to call it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tree_sitter import Node

from codegen.errors import BadInputError
from codegen.targets.atb.cpp_model.enums import enumerated_inputs
from codegen.targets.atb.cpp_model.evaluate import Evaluator
from codegen.targets.atb.cpp_model.host import HostTensor, host_tensors, plain_name
from codegen.targets.atb.cpp_model.index import Class, Index, index
from codegen.targets.atb.cpp_model.params import Parameter, merged, readings
from codegen.targets.atb.cpp_model.project import Pair, find_pair, load_files
from codegen.targets.atb.cpp_model.syntax import SourceFile, text, walk
from codegen.targets.atb.cpp_model.values import UNKNOWN

#: The base class of MindIE's newer models.
BASE_DECODER = "atb_speed::base::DecoderModel"
_REGISTER = re.compile(r"REGISTER_MODEL\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.ASCII)
_PER_LAYER = ("weightCountPerLayer", "weightCountPerLayer_", "WEIGHT_COUNT_PER_LAYER")
_EMBEDDING = ("weightCountWordEmbedding", "WEIGHT_COUNT_WORD_EMBEDDINGNODE")
_MAPS = ("inTensorMap", "inTensorMap_")


@dataclass(frozen=True)
class CppModel:
    """What Python has to know of a C++ model.

    Attributes:
        name: The name it is registered under, ``llama_LlamaDecoderModel``.
        namespace: First half of it.
        class_name: Second half.
        source: Its source file.
        header: Its header.
        style: ``enum`` or ``map``: how it names its inputs.
        inputs: The inputs for prompts in their order, by the names of the C++.
        step_inputs: The inputs for steps.
        extra_inputs: How the C++ states their number, if there are more than have names.
        parameters: Keys of the JSON that it is made with.
        step_parameters: Keys of the JSON that comes with every step.
        host_tensors: Inputs whose values the C++ reads from the JSON of a step.
        bases: The classes it derives from, the nearest first.
        weights_per_layer: Weight tensors of a layer, None if that is not plain.
        weights_of_embedding: Weight tensors in front of the layers, likewise.
    """

    name: str
    namespace: str
    class_name: str
    source: Path
    header: Path
    style: str
    inputs: tuple[str, ...]
    step_inputs: tuple[str, ...]
    extra_inputs: str
    parameters: tuple[Parameter, ...]
    step_parameters: tuple[Parameter, ...]
    host_tensors: tuple[HostTensor, ...]
    bases: tuple[str, ...]
    weights_per_layer: int | None
    weights_of_embedding: int | None

    @property
    def plain_inputs(self) -> tuple[str, ...]:
        """The inputs for prompts without the prefix that says that they are one."""
        return tuple(plain_name(name) for name in self.inputs)

    @property
    def derives_from_base(self) -> bool:
        """Whether it belongs to the family of MindIE's base decoder."""
        return BASE_DECODER in self.bases


def read_model(path: Path, values: Mapping[str, Any] | None = None) -> CppModel:
    """Reads a C++ model.

    Args:
        path: A source file or header, or a folder with exactly one pair. What it derives from is
            looked for in the folders above, as the C++ compiler would.
        values: The JSON that the model would be made with, as far as it is known. Where it says
            nothing the defaults of the C++ hold.

    Raises:
        BadInputError: There is no such pair, or it cannot be read; the message names file and line.
    """
    pair = find_pair(path)
    files = load_files(pair)
    own = files[:2]
    found = index(files)
    namespace, name, place, node = _registered(pair, own)
    cls = _class(found, own, name)
    if cls is None:
        raise place.bad(node, f"registers {name}, which is not defined here")
    chain = _chain(found, cls)
    holder = _parameters(found, chain)
    parameters = readings(found, holder, "FromString")
    steps = readings(found, chain, "ParseParam")
    runs = [
        _run(found, chain, holder, parameters, {**(values or {}), "isPrefill": prefill}, cls.file)
        for prefill in (True, False)
    ]
    if any(_map_of(run) for run in runs):
        style, (inputs, step_inputs) = "map", [_ordered(_map_of(run), cls) for run in runs]
    else:
        style = "enum"
        inputs = step_inputs = enumerated_inputs(found, own, cls)
    return CppModel(
        name=f"{namespace}_{name}",
        namespace=namespace,
        class_name=name,
        source=pair.source,
        header=pair.header,
        style=style,
        inputs=inputs,
        step_inputs=step_inputs,
        extra_inputs=_extra(runs[0], len(inputs)) or _extra(runs[1], len(step_inputs)),
        parameters=merged(parameters),
        step_parameters=merged(steps),
        host_tensors=host_tensors(found, chain, steps, {plain_name(name) for name in inputs}),
        bases=tuple("::".join(base.name) for base in chain[1:]),
        weights_per_layer=_weights(runs[0], found, chain, _PER_LAYER),
        weights_of_embedding=_weights(runs[0], found, chain, _EMBEDDING),
    )


def _registered(pair: Pair, own: Sequence[SourceFile]) -> tuple[str, str, SourceFile, Node]:
    found: list[tuple[str, str, SourceFile, Node]] = []
    for file in own:
        for node in walk(file.root):
            if node.type not in ("identifier", "type_identifier"):
                continue
            if text(node) != "REGISTER_MODEL" or _is_definition(node):
                continue
            match = _REGISTER.match(_following(file, node))
            if match is None:
                raise file.bad(node, "REGISTER_MODEL needs a namespace and a class")
            found.append((match[1], match[2], file, node))
    if not found:
        raise BadInputError(f"{pair.header}: no REGISTER_MODEL here or in {pair.source.name}")
    if len(found) > 1:
        names = ", ".join(f"{entry[0]}_{entry[1]}" for entry in found)
        _, _, file, node = found[1]
        raise file.bad(node, f"registers a second model: {names}")
    return found[0]


def _is_definition(node: Node) -> bool:
    return node.parent is not None and node.parent.type.startswith("preproc")


def _following(file: SourceFile, node: Node) -> str:
    return file.data[node.start_byte : node.start_byte + 400].decode("utf-8", "replace")


def _class(found: Index, own: Sequence[SourceFile], name: str) -> Class | None:
    named = [cls for cls in found.classes.values() if cls.name[-1] == name]
    return next((cls for cls in named if cls.file in own), None)


def _chain(found: Index, cls: Class) -> tuple[Class, ...]:
    """A class and its bases; the framework's own ``Model`` ends it."""
    chain = [cls]
    while True:
        current = chain[-1]
        bases = [base for base in current.bases if base[-1:] != ("Model",)]
        if not bases:
            return tuple(chain)
        base = found.resolve(bases[0], current.name[:-1])
        if base is None or base in chain:
            shown = "::".join(bases[0])
            raise current.file.bad(
                current.node,
                f"derives from {shown}, whose source is not found in the folders above; keep the "
                "file where it is in MindIE-LLM's atb_framework",
            )
        chain.append(base)


def _parameters(found: Index, chain: Sequence[Class]) -> tuple[Class, ...]:
    """The class of the member ``param`` and its bases; empty if there is none."""
    for owner in chain:
        for name in ("param", "param_"):
            member = owner.members.get(name)
            kind = None if member is None else _resolved(found, member.type, owner)
            if kind is not None:
                return _chain_of_parameters(found, kind)
    return ()


def _resolved(found: Index, written: str, owner: Class) -> Class | None:
    name = tuple(re.findall(r"\w+", written))
    return found.resolve(name, owner.name) if name else None


def _chain_of_parameters(found: Index, kind: Class) -> tuple[Class, ...]:
    chain = [kind]
    while chain[-1].bases:
        base = found.resolve(chain[-1].bases[0], chain[-1].name[:-1])
        if base is None or base in chain:
            break
        chain.append(base)
    return tuple(chain)


def _run(
    found: Index,
    chain: Sequence[Class],
    holder: Sequence[Class],
    parameters: Sequence[Parameter],
    values: Mapping[str, Any],
    file: SourceFile,
) -> Evaluator:
    """Makes the object and lets it say what its inputs are."""
    fields = _fields(found, chain, holder, parameters, values, file)
    run = Evaluator(found, chain, fields, file)
    for owner in reversed(chain):
        constructor = found.methods.get((owner.name, owner.name[-1]))
        if constructor is not None:
            run.call(constructor)
    build = found.method(chain, "BuildGraph")
    if build is not None:
        run.call(build)
    return run


def _fields(
    found: Index,
    chain: Sequence[Class],
    holder: Sequence[Class],
    parameters: Sequence[Parameter],
    values: Mapping[str, Any],
    file: SourceFile,
) -> dict[str, Any]:
    """Values of the parameters' variables: what is passed, or the default."""
    plain = Evaluator(found, chain, {}, file)
    fields: dict[str, Any] = {}
    for owner in reversed(holder):
        for name, member in owner.members.items():
            fields[name] = UNKNOWN if member.default is None else plain.value(member.default)
    for parameter in parameters:
        if parameter.key in values:
            fields[parameter.target] = values[parameter.key]
        elif parameter.required and parameter.type != "bool":
            fields[parameter.target] = UNKNOWN  # Python always passes it
    return fields


def _map_of(run: Evaluator) -> dict[str, Any]:
    found = [run.members.get(name) for name in _MAPS]
    return cast("dict[str, Any]", next((m for m in found if isinstance(m, dict) and m), {}))


def _ordered(numbers: Mapping[str, Any], cls: Class) -> tuple[str, ...]:
    order = {number: name for name, number in numbers.items() if type(number) is int}
    if sorted(order) != list(range(len(numbers))):
        raise cls.file.bad(cls.node, "the numbers of its inputs are not 0, 1, 2 and so on")
    return tuple(order[number] for number in range(len(numbers)))


def _extra(run: Evaluator, count: int) -> str:
    return next((shown for value, shown in run.sizes if value != count), "")


def _weights(
    run: Evaluator, found: Index, chain: Sequence[Class], names: Sequence[str]
) -> int | None:
    total = found.method(chain, "CalcWeightTensorSize")
    if total is not None and "::".join(total.scope) != BASE_DECODER:
        return None  # counts them in a way of its own
    for name in names:
        if type(run.members.get(name)) is int:
            return run.members[name]
        for owner in chain:
            member = owner.members.get(name)
            if member is not None and member.default is not None:
                value = run.value(member.default)
                return value if type(value) is int else None
        if name in found.constants:
            value = run.value(found.constants[name])
            return value if type(value) is int else None
    return None
