"""What runs the stages: the context of ``decoder_model.cpp`` and ``param.cpp``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.errors import CodegenError
from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.repeats import repeats
from codegen.targets.atb.cpp.sizes import unit_name
from codegen.targets.atb.cpp.stage import Block
from codegen.targets.atb.emit_python_stages import CACHE, CARRIED, LOGITS, entry_inputs
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import ShardPlan

#: The input that says of which tokens the logits are wanted; the prefill reads it.
LM_HEAD_INDICES = "lm_head_indices"
#: Inputs whose values operations read on the host, and where the caller puts them.
HOST_INPUTS = {"seq_lens": "seqLen", "context_lens": "contextLen"}


@dataclass(frozen=True)
class Divided:
    """What must be divisible among the ranks.

    Attributes:
        count: How many there are.
        what: ``attention heads``.
        repeats: Fewer than ranks may be repeated.
    """

    count: int
    what: str
    repeats: bool


@dataclass(frozen=True)
class BlockUse:
    """How the model adds a stage of one kind.

    Attributes:
        block: The kind.
        function: ``AddDecoderLayer``.
        tensors: Expressions of the inputs behind the weights.
        outputs: Expressions of the results.
        carries: A result is the hidden states of the next stage.
    """

    block: Block
    function: str
    tensors: tuple[str, ...]
    outputs: tuple[str, ...]
    carries: bool


@dataclass(frozen=True)
class Run:
    """Stages that follow one another.

    Attributes:
        functions: What adds them.
        count: How often all of them are called.
        comment: What they are.
    """

    functions: tuple[str, ...]
    count: int
    comment: str


@dataclass(frozen=True)
class HostInput:
    """An input that operations read on the host.

    Attributes:
        id: Enumerator of the input.
        member: Member that holds the values.
        key: Key in the parameters of a step.
    """

    id: str
    member: str
    key: str


@dataclass(frozen=True)
class ModelContext:
    """Everything about the model that C++ is printed from.

    Attributes:
        inputs: Enumerators of the inputs.
        input_names: Their names, in order.
        extra: Tensors besides the hidden states that go from stage to stage.
        selects_tokens: Prefill makes logits for chosen tokens only.
    """

    space: str
    model_class: str
    facts: tuple[str, ...]
    inputs: tuple[str, ...]
    input_names: tuple[str, ...]
    host_inputs: tuple[HostInput, ...]
    uses: tuple[BlockUse, ...]
    runs: tuple[Run, ...]
    extra: tuple[str, ...]
    carried: int
    caches: int
    weights: int
    vocab_size: int
    selects_tokens: bool
    divided: tuple[Divided, ...]

    @property
    def guard(self) -> str:
        """Prefix of the include guards."""
        return self.space.upper()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All kinds of stages."""
        return tuple(use.block for use in self.uses)


def context(
    module: AtbModule,
    plan: ShardPlan,
    stages: Sequence[tuple[Block, str]],
    space: str,
    facts: tuple[str, ...],
) -> ModelContext:
    """Reads the model off the sequence of its stages.

    Raises:
        CodegenError: The last stage does not make logits.
    """
    names = list(
        dict.fromkeys(
            name for entry in module.entries for name in entry_inputs(module.functions[entry])
        )
    )
    selects = stages[-1][0].input_names == (CARRIED,)
    if selects:
        names.append(LM_HEAD_INDICES)
    ids = {name: f"IN_{text.upper(name)}" for name in names}
    if len(set(ids.values())) != len(ids):
        raise CodegenError("two inputs of the model have the same C++ name")
    last = stages[-1][0].outputs
    if [output.name for output in last] != [LOGITS] or len(last[0].tail) != 1:
        raise CodegenError("the last stage does not make logits")
    extra = tuple(
        dict.fromkeys(
            output.name
            for block, _ in stages
            for output in block.outputs
            if output.name not in (CARRIED, LOGITS)
        )
    )
    blocks = tuple(dict.fromkeys(block for block, _ in stages))
    return ModelContext(
        space=space,
        model_class=str(module.meta["model_class"]),
        facts=facts,
        inputs=tuple(ids.values()),
        input_names=tuple(names),
        host_inputs=tuple(
            HostInput(ids[name], f"{text.variable(name)}_", key)
            for name, key in HOST_INPUTS.items()
            if name in ids
        ),
        uses=tuple(_use(block, ids, extra) for block in blocks),
        runs=tuple(_runs([block for block, _ in stages])),
        extra=tuple(f"INTERNAL_{text.upper(name)}" for name in extra),
        carried=sum(o.name == CARRIED for block, _ in stages for o in block.outputs) + selects,
        caches=sum(block.caches for block, _ in stages),
        weights=sum(len(block.weights) for block, _ in stages),
        vocab_size=last[0].tail[0],
        selects_tokens=selects,
        divided=tuple(
            Divided(unit.count, unit_name(unit), unit.repeats)
            for unit in plan.units
            if not unit.pads
        ),
    )


def _use(block: Block, ids: dict[str, str], extra: Sequence[str]) -> BlockUse:
    tensors: list[str] = []
    pairs = {"k": 0, "v": 0}
    for name in block.input_names:
        if name == CARRIED:
            tensors.append("hiddenStates_")
        elif CACHE.fullmatch(name):
            number = f"nextCache_ + {pairs[name[0]]}" if pairs[name[0]] else "nextCache_"
            tensors.append(f"&graph_.{name[0]}CacheTensors.at({number})")
            pairs[name[0]] += 1
        elif name in extra:
            tensors.append(f"&graph_.internalTensors.at(INTERNAL_{text.upper(name)})")
        else:
            tensors.append(f"&graph_.inTensors.at({ids[name]})")
    outputs: list[str] = []
    for output in block.outputs:
        if output.name == LOGITS:
            outputs.append("&graph_.outTensors.at(OUT_LOGITS)")
        elif output.name == CARRIED:
            outputs.append("hiddenStates_")
        else:
            outputs.append(f"&graph_.internalTensors.at(INTERNAL_{text.upper(output.name)})")
    carries = any(output.name == CARRIED for output in block.outputs)
    function = f"Add{text.camel(block.name)}"
    return BlockUse(block, function, tuple(tensors), tuple(outputs), carries)


def _runs(blocks: Sequence[Block]) -> list[Run]:
    return [
        Run(
            tuple(f"Add{text.camel(block.name)}" for block in found.pattern),
            found.count,
            _comment(found.count, len(found.pattern)),
        )
        for found in repeats(blocks)
    ]


def _comment(count: int, length: int) -> str:
    if count == 1:
        return ""
    return f"{count} equal layers." if length == 1 else f"{count} times {length} layers."
