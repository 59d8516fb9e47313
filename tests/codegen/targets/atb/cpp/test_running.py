"""What is printed computes what the graphs compute, on one rank and on several."""

from __future__ import annotations

import pytest
import torch

from codegen.targets.atb import ops
from codegen.targets.atb.cpp.stage import Block, Blocks
from codegen.targets.atb.emit_python_stages import environment, input_names
from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import ShardPlan, shard
from ir.graph import Value
from tests.codegen.targets.atb import handmade, lowered
from tests.codegen.targets.atb.cpp.running import Ranks, Tensors
from tests.codegen.targets.atb.sharding.ranks import Ran, part_of, run_whole, step_inputs
from tests.codegen.targets.atb.sharding.test_numbers import HANDMADE

#: What the model calls the inputs of a graph.
Inputs = dict[Value, str]


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
                ranks = Ranks(block, phase == "prefill", tensors)
                check_results(ranks, stage)
                check_caches(ranks, inputs, stage, plan)


def of_rank(
    block: Block, inputs: Inputs, stage: Ran, plan: ShardPlan, rank: int, size: int
) -> Tensors:
    """The in-tensors of a rank by enumerator."""
    shards = plan.graphs[stage.graph.name]
    ids = dict(zip(block.input_names, block.inputs, strict=True))
    ids_of_weights = dict(zip((recipe for recipe, _ in block.recipes), block.weights, strict=True))
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


def check_caches(ranks: Ranks, inputs: Inputs, stage: Ran, plan: ShardPlan) -> None:
    """The new keys and values are where the graph puts them."""
    shards = plan.graphs[stage.graph.name]
    for node in stage.graph.find(ops.ReshapeAndCache.name):
        for written, cache in zip(node.results, node.operands[2:4], strict=True):
            assert cache is not None
            name = ranks.block.inputs[ranks.block.input_names.index(inputs[cache])]
            layout = shards.layouts.get(written)
            for rank, tensors in enumerate(ranks.tensors):
                wanted = part_of(stage.tensors[written], layout, rank, ranks.size)
                torch.testing.assert_close(tensors[name], wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", HANDMADE)
def test_operations_compute_the_graph(name: str) -> None:
    check(lowered.for_cpp(lowered.handmade(name)))


@pytest.mark.parametrize("name", ["olmo2", "gpt2", "gpt_neox", "phi3", "bloom"])
def test_operations_compute_the_graph_of_a_model_from_transformers(name: str) -> None:
    check(lowered.for_cpp(lowered.zoo(name)))


def test_filled_up_logits_are_cut_to_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade, "VOCAB", 49)
    check(lower(handmade.with_cache(handmade.Spec(layers=(None,)))))


def test_without_the_pass_the_operations_compute_the_same() -> None:
    check(lowered.handmade("gqa"))
