"""What is known of a model when its report is written: as far as compilation got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.errors import CodegenError, Problem
from codegen.frontend.hf import Source, build, load_config
from codegen.report.operation import UNTRACED_INPUTS, Operation, model_inputs, operations_of
from codegen.report.skeleton import Part, Skeleton, skeleton_of
from codegen.report.tree import Input
from codegen.report.untraced import exported, operations_of_modules, operations_of_program
from codegen.targets.atb.module import AtbModule
from ir.graph import Module

#: The attention implementation that tracing tries first.
_ATTENTION = "llm_codegen"


@dataclass(frozen=True)
class Heads:
    """Sizes of attention; zero where the configuration does not say.

    Attributes:
        layers: Layers with a key-value cache.
        query: Query heads.
        key_value: Key-value heads.
        size: Elements of a head.
        hidden: Elements of the residual stream.
    """

    layers: int
    query: int
    key_value: int
    size: int
    hidden: int


@dataclass(frozen=True)
class Evidence:
    """The model and what became of it.

    Attributes:
        class_name: Its class.
        model_type: What ``config.json`` calls it.
        skeleton: Its modules and weights.
        heads: Sizes of attention.
        inputs: What it takes.
        operations: What it computes.
        is_traced: `operations` come from a trace; else they are its innermost modules.
        is_raised: Every operation has a meaning; if there is no `atb`, lowering failed.
        atb: What it became; None if it could not be compiled.
        problems: Why it could not.
    """

    class_name: str
    model_type: str
    skeleton: Skeleton
    heads: Heads
    inputs: tuple[Input, ...]
    operations: tuple[Operation, ...]
    is_traced: bool
    is_raised: bool
    atb: AtbModule | None
    problems: tuple[Problem, ...]


def gather(
    source: Source,
    aten: Module | None,
    llm: Module | None,
    atb: AtbModule | None,
    problems: Sequence[Problem],
) -> Evidence:
    """Collects what is known.

    Args:
        source: The model directory.
        aten: Its trace, if there is one; else torch's own record of it is used.
        llm: What it was raised to, if that succeeded.
        atb: What it was lowered to, if that succeeded.
        problems: Everything that was found; empty with ``atb``.
    """
    try:
        config = load_config(source)
        model = build(source, config, str(aten.meta["attention"]) if aten else _ATTENTION)
    except CodegenError as error:
        return _nothing(source, problems or [Problem("", "config.json", str(error))])
    text = config.get_text_config()
    skeleton = skeleton_of(model)
    if aten is not None:
        operations, inputs = operations_of(aten), model_inputs(aten)
    else:
        program = exported(model)
        inputs = UNTRACED_INPUTS
        operations = operations_of_modules(model)
        if program is not None:
            inputs = [(name, (1, "tokens"), "int64") for name in program.inputs]
            operations = operations_of_program(program)
    is_traced = any(operation.source for operation in operations)
    return Evidence(
        class_name=str(aten.meta["model_class"]) if aten else type(model).__name__,
        model_type=str(config.model_type),
        skeleton=skeleton,
        heads=_heads(text),
        inputs=tuple(inputs),
        operations=tuple(operations),
        is_traced=is_traced,
        is_raised=llm is not None or atb is not None,
        atb=atb,
        problems=tuple(dict.fromkeys(problems)),
    )


def _nothing(source: Source, problems: Sequence[Problem]) -> Evidence:
    """A model that cannot even be built."""
    name = source.architecture or "Model"
    kind = str(source.config.get("model_type", ""))
    skeleton = Skeleton(Part("", name, {}))
    heads = Heads(0, 0, 0, 0, 0)
    return Evidence(name, kind, skeleton, heads, (), (), False, False, None, tuple(problems))


def _heads(config: object) -> Heads:
    """Sizes of attention as the configuration states them; families differ in what they spell."""

    def size(*names: str) -> int:
        values = (getattr(config, name, None) for name in names)
        return next((v for v in values if type(v) is int and v > 0), 0)

    query, hidden = size("num_attention_heads", "n_head"), size("hidden_size", "n_embd")
    key_value = size("num_key_value_heads", "num_kv_heads") or query
    head = size("head_dim") or (hidden // query if query else 0)
    return Heads(size("num_hidden_layers", "n_layer"), query, key_value, head, hidden)
