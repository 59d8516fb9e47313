"""What is printed computes what the graphs compute, on one rank and on several."""

from __future__ import annotations

import pytest
import torch

from codegen.targets.atb.cpp.stage import Block, Blocks
from codegen.targets.atb.emit_python_stages import environment, input_names
from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import ShardPlan, shard
from tests.codegen.targets.atb import handmade, lowered
from tests.codegen.targets.atb.cpp.running import Ranks, Tensors
from tests.codegen.targets.atb.sharding.ranks import Ran, part_of, run_whole, step_inputs
from tests.codegen.targets.atb.test_lower import VARIANTS


def check(module: AtbModule, world_sizes: tuple[int, ...] = (1, 2, 4)) -> None:
    plan = shard(module)
    blocks = Blocks(module, plan, "space").sequence()
    seen: set[str] = set()
    for phase in module.entries:
        names = environment(module.functions[phase])
        ran = run_whole(module, phase, step_inputs(module, phase))
        for (block, _), stage in zip(blocks, ran, strict=True):
            if stage.graph.name in seen:
                continue
            seen.add(stage.graph.name)
            inputs = input_names(stage.graph, stage.call, names)
            for size in world_sizes:
                tensors = [of_rank(block, inputs, stage, plan, rank, size) for rank in range(size)]
                check_results(Ranks(block, phase == "prefill", tensors), stage)


def of_rank(
    block: Block, inputs: dict, stage: Ran, plan: ShardPlan, rank: int, size: int
) -> Tensors:
    """The in-tensors of a rank by enumerator."""
    shards = plan.graphs[stage.graph.name]
    ids = dict(zip(block.input_names, block.inputs, strict=True))
    ids_of_weights = dict(
        zip((recipe for recipe, _ in block.recipes), block.weights, strict=True)
    )
    known = {value: ids[name] for value, name in inputs.items()}
    known |= {value: ids_of_weights[value.recipe] for value in stage.graph.parameters}
    return {
        name: part_of(stage.tensors[value], shards.read(value), rank, size).clone()
        for value, name in known.items()
    }


def check_results(ranks: Ranks, stage: Ran) -> None:
    count = ranks.block.merged.counts[0 if ranks.prefill else 1]
    for results in ranks.run():
        for value, made in zip(stage.graph.outputs, results.values(), strict=True):
            wanted = stage.tensors[value]
            scale = max(1.0, float(wanted.abs().max()))
            assert made.shape == wanted.shape
            assert float((made - wanted).abs().max()) < 2e-5 * scale
    gathers = any(operation.struct == "AllGatherParam" for operation in ranks.ran)
    assert len(ranks.ran) == count + (3 if gathers else 0)


@pytest.mark.parametrize("name", VARIANTS)
def test_operations_compute_the_graph(name: str) -> None:
    check(lowered.for_cpp(lowered.handmade(name)))
