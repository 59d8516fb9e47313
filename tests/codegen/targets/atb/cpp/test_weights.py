"""The emitted Python makes of every weight and cache what the C++ of a rank reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from codegen.targets.atb.cpp import CppModel, emit
from codegen.targets.atb.cpp import text as cpp_text
from codegen.targets.atb.lower import lower
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.sharding import shard
from tests.codegen.targets.atb import handmade, lowered
from tests.codegen.targets.atb.cpp.emitted import printed
from tests.codegen.targets.atb.handmade import Spec, llama_like, weights
from tests.codegen.targets.atb.sharding.ranks import part_of
from tests.codegen.targets.atb.test_lower import VARIANTS

NAMES = (
    "gqa", "mha-biases", "mqa", "transposed-weights", "packed", "qk-norm-per-head", "clamp", "tied",
    "layer-norm-without-bias", "mixed-windows", "learned-positions", "softcap",
)  # fmt: skip


def namespace(made: CppModel) -> dict[str, Any]:
    """The emitted module, executed; it imports nothing but torch."""
    found: dict[str, Any] = {}
    exec(made.files[f"{made.package}/modeling_{made.package}.py"], found)
    return found


def model_of(made: CppModel, read: Mapping[str, Tensor], rank: int, world_size: int) -> Any:
    """The emitted ``Model`` over a stand-in for MindIE's weights."""
    given = SimpleNamespace(
        process_group=SimpleNamespace(rank=lambda: rank, size=lambda: world_size),
        get_tensor=read.__getitem__,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return namespace(made)[f"{made.package.capitalize()}Model"](given)


def check(module: AtbModule, made: CppModel, read: Mapping[str, Tensor], sizes: list[int]) -> None:
    names = namespace(made)
    plan = shard(module)
    calls = module.functions["decode"].nodes
    for size in sizes:
        for rank in range(size):
            in_order = model_of(made, read, rank, size).in_order()
            assert len(in_order) == made.model.weights
            waiting = iter(in_order)
            for call in calls:
                name = str(call.attrs["callee"]).removeprefix("decode_")
                (block,) = (block for block in made.model.blocks if block.name == name)
                scope = str(call.attrs["scope"])
                function = weights_function(names, block.name, names["Ranks"](rank, size), read)
                found = function(scope) if scope else function()
                # the C++ reads them in the order of its enumerators
                relative = [key.removeprefix(f"{scope}.") for key in found]
                assert [f"IN_{cpp_text.upper(key)}" for key in relative] == list(block.weights)
                shards = plan.graphs[str(call.attrs["callee"])]
                graph = module.callee(call)
                layouts = {v.recipe: shards.read(v) for v in graph.parameters}
                for (recipe, layout), value in zip(block.recipes, found.values(), strict=True):
                    assert layouts.get(recipe, layout) == layout
                    whole = recipe.scoped(scope).evaluate(read.__getitem__)
                    wanted = part_of(whole, layout, rank, size)
                    assert torch.equal(value, wanted), (block.name, recipe, rank)
                    assert torch.equal(next(waiting), wanted)


def weights_function(
    names: Mapping[str, Any], block: str, ranks: object, read: Mapping[str, Tensor]
) -> Callable[..., dict[str, Tensor]]:
    function = names[f"{block}_weights"]
    takes = function.__code__.co_varnames[: function.__code__.co_argcount]
    return partial(function, read.__getitem__, *([ranks] if "ranks" in takes else []))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_parts_that_the_layouts_say(name: str) -> None:
    checkpoint = weights(llama_like(VARIANTS[name]))
    check(lowered.for_cpp(lowered.handmade(name)), printed(name), checkpoint, [1, 2, 4])


def test_a_vocabulary_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade, "VOCAB", 49)
    for spec in (Spec(layers=(None,), bias=True), Spec(layers=(None,), tied=True)):
        module = lowered.for_cpp(lower(handmade.with_cache(spec)))
        check(module, emit(module), weights(llama_like(spec)), [2, 4])


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "bloom"])
def test_weights_of_models_from_transformers(name: str) -> None:
    module = lowered.zoo(name)
    made = printed(f"zoo:{name}")
    checkpoint: dict[str, Tensor] = {}
    for call in module.functions["decode"].nodes:
        for value in module.callee(call).parameters:
            assert value.recipe is not None
            (source, *others) = value.recipe.scoped(str(call.attrs["scope"])).sources()
            assert not others
            checkpoint[source.name] = torch.randn([int(str(dim)) for dim in value.type.shape])
    check(lowered.for_cpp(module), made, checkpoint, [2, 4])


def test_a_tied_weight_is_on_the_device_once_where_it_is_whole() -> None:
    checkpoint = weights(llama_like(VARIANTS["tied"]))
    tensors = model_of(printed("tied"), checkpoint, 0, 1).in_order()
    assert tensors[0] is tensors[-1]
    tensors = model_of(printed("tied"), checkpoint, 0, 2).in_order()
    assert tensors[-1].shape[0] == tensors[0].shape[0] // 2


@pytest.mark.parametrize(
    ("name", "world_size", "heads"),
    [("gqa", 1, 2), ("gqa", 2, 1), ("gqa", 4, 1), ("mqa", 4, 1), ("mha-biases", 2, 2),
     ("softcap", 4, 2), ("mixed-windows", 2, 1)],
)  # fmt: skip
def test_caches_have_the_heads_of_a_rank(name: str, world_size: int, heads: int) -> None:
    layers = len(VARIANTS[name].layers)
    shapes = model_of(printed(name), {}, 0, world_size).kv_cache_shapes(7, 128)
    assert shapes == [((7, 128, heads, 32), (7, 128, heads, 32))] * layers


@pytest.mark.parametrize("name", ["no-rope-alibi", "alibi-window", "gqa", "window"])
def test_masks_with_heads_are_divided_before_they_are_given(name: str) -> None:
    made = printed(name)
    text = made.files["llama/flash_causal_llama.py"]
    pattern = r'tensors\["(\w+)"\] = self\.model\.ranks\.share\(\s*tensors\["(\w+)"\], dim=(\d), '
    found = re.findall(pattern + r"count=(\d+)\s*\)", text)
    plan = shard(lowered.handmade(name))
    wanted = {mask: plan.inputs[mask] for mask in plan.inputs if "mask" in mask}
    assert bool(wanted) == ("alibi" in name)
    assert found == [
        (mask, mask, str(layout.axis), str(layout.units[0].count))
        for mask, layout in sorted(wanted.items())
    ]


def test_pieces_that_cannot_be_divided_say_so() -> None:
    ranks = namespace(printed("gqa"))["Ranks"](0, 3)
    with pytest.raises(ValueError, match="4 pieces cannot be divided among 3 ranks"):
        ranks.share(torch.zeros(8), dim=0, count=4)


def test_parts_do_not_keep_the_whole_tensor_alive() -> None:
    ranks = namespace(printed("gqa"))["Ranks"](1, 2)
    whole = torch.arange(49.0)
    for part in (
        ranks.share(whole[:48], dim=0, count=4),
        ranks.share_padded(whole, dim=0),
        ranks.share_parts(whole, dim=0, parts=[(48, 4), (1, None)]),
    ):
        assert part.untyped_storage().nbytes() == part.numel() * 4 <= 25 * 4
    assert ranks.share_padded(whole, dim=0).tolist() == [*range(25, 49), 0]
    many = namespace(printed("gqa"))["Ranks"](63, 64)
    assert many.share_padded(whole, dim=0).tolist() == [0]
