"""Lowers an llm module with entries ``prefill`` and ``decode`` to ATB operations.

Structure only: every llm operation has a rule that writes ``atb.*`` nodes, or adds a problem. All
problems of a module are shown together. What each operation turns into is in the ``lower_*``
files beside this one; importing them registers their rules.
"""

from __future__ import annotations

from codegen.errors import UnsupportedError
from codegen.targets.atb import (
    lower_arithmetic,
    lower_attention,
    lower_linear,
    lower_norm,
    lower_rope,
    lower_shape,
)
from codegen.targets.atb.host_inputs import StepDims
from codegen.targets.atb.lower_checks import contract_problems
from codegen.targets.atb.lower_graph import ModuleLowering
from codegen.targets.atb.lower_outline import outline
from codegen.targets.atb.module import AtbModule
from ir.errors import PassError
from ir.graph import Graph, Module
from ir.types import Dim, Sym
from ir.verify import verify

#: The files whose rules this one uses.
RULE_FILES = (
    lower_arithmetic,
    lower_attention,
    lower_linear,
    lower_norm,
    lower_rope,
    lower_shape,
)
ENTRIES = ("prefill", "decode")


def lower(module: Module) -> AtbModule:
    """Lowers a module.

    Args:
        module: llm graphs after the passes, entries ``prefill`` and ``decode``. Not changed.

    Returns:
        ATB graphs: the entries consist of calls only, each callee is one graph operation.

    Raises:
        PassError: The module does not have these two entries.
        UnsupportedError: Something cannot be expressed with ATB operations, with every problem.
    """
    if module.entries != ENTRIES:
        raise PassError(f"lowering to ATB wants the entries {ENTRIES}, not {module.entries}")
    tokens = _size(module.functions["prefill"], "input_ids", 0)
    dims = {name: _step_dims(module.functions[name], name) for name in ENTRIES}
    state = ModuleLowering(module, tokens, ENTRIES[0], dims[ENTRIES[0]])
    for name in ENTRIES:
        state.phase, state.dims = name, dims[name]
        state.graph(name)
    if state.problems:
        raise UnsupportedError(state.problems)
    flat = {name: lowered.target for name, lowered in state.lowered.items()}
    made = AtbModule({}, ENTRIES, {**state.facts, **module.meta}, state.feeds)
    for graph in outline(flat, ENTRIES):
        made.add(graph)
    problems = contract_problems(made)
    if problems:
        raise UnsupportedError(problems)
    verify(made)
    return made


def _size(entry: Graph, name: str, axis: int) -> Dim:
    for value in entry.inputs:
        if value.name == name:
            return value.type.shape[axis]
    raise PassError(f"@{entry.name} has no input {name}")


def _step_dims(entry: Graph, phase: str) -> StepDims:
    batch, longest = _size(entry, "seq_lens", 0), Sym.of("longest")
    if phase == "prefill":
        return StepDims(_size(entry, "input_ids", 0), batch, 0, longest)
    return StepDims(batch, batch, _size(entry, "block_tables", 1), 1)
