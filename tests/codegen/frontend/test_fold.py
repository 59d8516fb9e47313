"""Layers that are the same are traced once; layers that only look the same are not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codegen.frontend.fold import layer_stacks
from codegen.frontend.signature import index_attributes, signature
from codegen.frontend.trace import export
from ir.interpret import interpret
from tests.codegen.frontend.toy import HIDDEN, ToyConfig, ToyLayer, ToyModel, check, ids, traced
from tests.frontend_util import load_module


def toy(
    make: Callable[[int], nn.Module] = ToyLayer,
    run: Callable[[ToyModel, Tensor], Tensor] | None = None,
    layers: int = 4,
) -> ToyModel:
    return ToyModel(ToyConfig(layers), make, run)


def test_equal_layers_are_one_function() -> None:
    module = check(toy(), 1)
    calls = module.functions["main"].find("func.call")
    assert [call.attrs["scope"] for call in calls] == [f"layers.{i}" for i in range(4)]
    names = {str(v.recipe) for v in module.functions["decoder_layer"].parameters}
    assert names == {
        "Source(name='proj.weight', absolute=False)",
        "Source(name='proj.bias', absolute=False)",
    }


def test_unfolded_is_one_graph() -> None:
    module = check(toy(), 0, fold=False)
    assert list(module.functions) == ["main"]


class BranchesOnIndex(ToyLayer):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.proj(hidden) * (2.0 if self.layer_idx % 2 else 0.5)


class IndexInChild(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.inner = BranchesOnIndex(index)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden)


@pytest.mark.parametrize("make", [BranchesOnIndex, IndexInChild])
def test_layers_that_read_their_index_stay_apart(make: type[nn.Module]) -> None:
    check(toy(make), 4)


class HasScalar(ToyLayer):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.factor = 2.0 if index == 2 else 1.0

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.factor * self.proj(hidden)


class HasBuffer(ToyLayer):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        scale = torch.full((HIDDEN,), 1.0 + (index == 2))
        self.register_buffer("scale", scale, persistent=False)
        self.scale: Tensor

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.scale * self.proj(hidden)


class HasWidth(ToyLayer):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.proj = nn.Sequential(
            nn.Linear(HIDDEN, 4 + 2 * (index == 2)), nn.Linear(4 + 2 * (index == 2), HIDDEN)
        )


class HasClosure(ToyLayer):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        factor = object() if index == 2 else None
        self.act = lambda x: x if factor is None else -x

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.act(self.proj(hidden))


class HasPartial(ToyLayer):
    def __init__(self, index: int) -> None:
        super().__init__(index)
        kind = "none" if index == 2 else "tanh"
        self.act = functools.partial(nn.functional.gelu, approximate=kind)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.act(self.proj(hidden))


@pytest.mark.parametrize("make", [HasScalar, HasBuffer, HasWidth, HasClosure, HasPartial])
def test_one_layer_that_differs_is_a_function_of_its_own(make: type[nn.Module]) -> None:
    module = check(toy(make), 2)
    calls = module.functions["main"].find("func.call")
    other = ["decoder_layer", "decoder_layer", "decoder_layer_2", "decoder_layer"]
    assert [call.attrs["callee"] for call in calls] == other


def test_a_different_forward_is_a_function_of_its_own() -> None:
    def make(index: int) -> nn.Module:
        layer = ToyLayer(index)
        if index == 1:
            layer.forward = lambda hidden: hidden - layer.proj(hidden)  # type: ignore[method-assign]
        return layer

    check(toy(make), 2)


class WithFlag(ToyLayer):
    def forward(self, hidden: Tensor, negate: bool = False, scale: Tensor | None = None) -> Tensor:
        hidden = -hidden if negate else hidden
        return self.proj(hidden if scale is None else hidden * scale)


def test_static_arguments_keep_layers_apart() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        for index, layer in enumerate(model.layers):
            hidden = layer(hidden, negate=index == 2)
        return hidden

    check(toy(WithFlag, run), 2)


def test_absent_and_present_tensors_keep_layers_apart() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        scale = hidden.mean(-1, keepdim=True)
        for index, layer in enumerate(model.layers):
            hidden = layer(hidden, scale=scale if index == 2 else None)
        return hidden

    check(toy(WithFlag, run), 2)


def test_another_tensor_argument_keeps_layers_apart() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        scales = hidden.mean(-1, keepdim=True), hidden.amax(-1, keepdim=True)
        for index, layer in enumerate(model.layers):
            hidden = layer(hidden, scale=scales[index % 2])
        return hidden

    check(toy(WithFlag, run), 2)


class TwoResults(ToyLayer):
    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = hidden if residual is None else hidden + residual
        return self.proj(total), total


def test_two_streams_between_layers_fold() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        residual = None
        for layer in model.layers:
            hidden, residual = layer(hidden, residual)
        return hidden + residual

    check(toy(TwoResults, run), 2)


class Shared(ToyLayer):
    common = nn.Linear(HIDDEN, HIDDEN)

    def __init__(self, index: int) -> None:
        super().__init__(index)
        if index in (1, 3):
            self.proj = self.common


def test_layers_that_share_a_weight_are_traced_in_place() -> None:
    module = check(toy(Shared), 1)
    assert len(module.functions["main"].find("func.call")) == 2
    assert dict([*module.meta["tied"]])["layers.3.proj.weight"] == "layers.1.proj.weight"  # type: ignore[misc]


@pytest.mark.parametrize("index", [0, 2])
def test_weights_used_outside_their_layer_prevent_folding(index: int) -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        hidden = hidden * model.layers[index].proj.weight.abs().max()
        for layer in model.layers:
            hidden = layer(hidden)
        return hidden

    check(toy(run=run), 0)


def test_a_layer_that_is_called_twice_prevents_folding() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        for layer in (*model.layers, model.layers[0]):
            hidden = layer(hidden)
        return hidden

    check(toy(run=run), 0)


def test_a_part_of_a_layer_called_from_outside_prevents_folding() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        for layer in model.layers:
            hidden = layer(hidden)
        return model.layers[-1].proj(hidden)

    check(toy(run=run), 0)


class Captures(ToyLayer):
    box: list[Tensor] = []

    def forward(self, hidden: Tensor) -> Tensor:
        return self.proj(hidden) * self.box[-1]


def test_a_tensor_that_reaches_a_layer_behind_the_call_prevents_folding() -> None:
    def run(model: ToyModel, hidden: Tensor) -> Tensor:
        for layer in model.layers:
            Captures.box.append(hidden.mean(-1, keepdim=True))
            hidden = layer(hidden)
        Captures.box.clear()
        return hidden

    check(toy(Captures, run), 0)


class InPlace(ToyLayer):
    def forward(self, hidden: Tensor) -> Tensor:
        made = self.proj(hidden)
        made += hidden
        return made.clamp_(-1.5, 1.5)


def test_changes_in_place_are_made_functional() -> None:
    module = check(toy(InPlace), 1)
    assert not any("_." in node.op for graph in module for node in graph.nodes)


def test_the_model_is_left_as_it_was() -> None:
    model = toy(HasBuffer).eval()
    before = [
        (path, m.__class__, set(vars(m)), len(m._parameters)) for path, m in model.named_modules()
    ]
    names = list(model.state_dict())
    traced(model)
    after = [
        (path, m.__class__, set(vars(m)), len(m._parameters)) for path, m in model.named_modules()
    ]
    assert before == after
    assert names == list(model.state_dict())
    assert model(ids(3)).logits.shape == (1, 3, 16)


def test_depth_costs_no_traced_layer() -> None:
    found = export(toy(layers=60).eval().requires_grad_(False), fold=True, strip=True).folding
    assert list(found.traced) == ["layers.0"]
    assert len(found.repeats) == 59


def test_index_attributes_are_those_that_count_up() -> None:
    (stack,) = layer_stacks(toy(IndexInChild)).values()
    assert index_attributes(stack) == {("inner", "layer_idx")}
    assert signature(stack[0]) != signature(stack[1])
    ignored = index_attributes(stack)
    assert signature(stack[0], ignored) == signature(stack[1], ignored)


CASES = {
    "gemma2": 2,
    "qwen2-window": 2,
    "smollm3": 2,
    "llama-gqa": 1,
    "gpt2-inverse-layer-scale": 3,
}


@pytest.mark.parametrize(("name", "functions"), CASES.items())
def test_heterogeneous_stacks(name: str, functions: int, zoo: Callable[[str], Path]) -> None:
    module = load_module(zoo(name))
    assert len(module.functions) == functions + 1
    calls = module.functions["main"].find("func.call")
    if name == "gemma2":
        assert [call.attrs["callee"] for call in calls] == ["decoder_layer", "decoder_layer_2"] * 2
        windows = [
            [node.attrs["window"] for node in module.functions[f].find("trace.attention")]
            for f in ("decoder_layer", "decoder_layer_2")
        ]
        assert windows == [[5], [None]]


def test_any_length_agrees_with_the_model() -> None:
    model = toy().eval()
    module = traced(model)
    for length in (1, 2, 13, 40):
        (made,) = interpret(module, {"input_ids": ids(length)}, model.state_dict()).values()
        torch.testing.assert_close(made, model(ids(length)).logits, atol=1e-5, rtol=1e-5)
