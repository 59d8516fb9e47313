"""What the `_libatb_torch` stand-in computes, and how it rounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from codegen.errors import HostError
from codegen.host.atb_python import Host, install

TOKENS, HIDDEN, HEADS, KV, D = 5, 64, 4, 2, 16
LENS = torch.tensor([3, 2], dtype=torch.int32)


@pytest.fixture
def host() -> Iterator[Host]:
    with install("float32") as made:
        yield made


def base(op_type: str, name: str = "", **params: Any) -> Any:
    import _libatb_torch  # pyright: ignore[reportMissingImports]

    return _libatb_torch.BaseOperation(op_type, json.dumps(params), name or op_type.lower())


def graph(name: str = "layer") -> Any:
    import _libatb_torch  # pyright: ignore[reportMissingImports]

    return _libatb_torch.GraphOperation(name)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def attention_graph(name: str = "attention") -> Any:
    """q, k and v from one product, into the cache, over the prompt."""
    made = graph(name)
    made.add_input_output(["x", "w", "k_cache", "v_cache", "slots", "seq_lens"], ["y"])
    made.add_operation(base("Linear", "qkv", hasBias=False), ["x", "w"], ["qkv"])
    made.add_operation(
        base("Split", "cut", splitDim=1, splitNum=3, splitSizes=[64, 32, 32]),
        ["qkv"],
        ["q", "k", "v"],
    )
    for short, heads in (("q", HEADS), ("k", KV), ("v", KV)):
        made.add_reshape(short, f"{short}_heads", lambda s, n=heads: [s[0], n, s[1] // n])
    made.add_operation(
        base("ReshapeAndCache", "write"),
        ["k_heads", "v_heads", "k_cache", "v_cache", "slots"],
        ["k_cache", "v_cache"],
    )
    made.add_operation(
        base("SelfAttention", "attend", headNum=HEADS, kvHeadNum=KV, calcType="PA_ENCODER"),
        ["q_heads", "k_heads", "v_heads", "seq_lens"],
        ["heads"],
    )
    made.add_reshape("heads", "flat", lambda s: [s[0], s[1] * s[2]])
    made.add_operation(
        base("Elewise", "double", elewiseType="ELEWISE_MULS", mulsParam={"varAttr": 2.0}),
        ["flat"],
        ["y"],
    )
    made.build()
    return made


def attention_tensors() -> dict[str, torch.Tensor]:
    cache = torch.zeros(2, 4, KV, D)
    slots = torch.tensor([0, 1, 2, 4, 5], dtype=torch.int32)
    return {
        "x": rand(TOKENS, HIDDEN),
        "k_cache": cache,
        "v_cache": cache.clone(),
        "slots": slots,
        "seq_lens": LENS,
    }


def test_a_layer_with_views_and_caches(host: Host) -> None:
    layer, tensors, w = attention_graph(), attention_tensors(), rand(128, HIDDEN) * 0.1
    layer.set_weights({"w": w})
    y = torch.empty(TOKENS, HIDDEN)
    returned = layer.forward(tensors, {"y": y}, {"seq_lens": LENS})
    assert returned["y"] is y
    q, k, v = (tensors["x"] @ w.t()).split([64, 32, 32], 1)
    rows = []
    for start, stop in ((0, 3), (3, 5)):
        heads = [
            torch.softmax(q[start:stop, h * D : h * D + D] @ part[0].t(), -1) @ part[1]
            for h in range(HEADS)
            for part in [[t[start:stop, h // 2 * D : h // 2 * D + D] for t in (k, v)]]
        ]
        rows.append(torch.cat(heads, 1))
    torch.testing.assert_close(y, 2 * torch.cat(rows), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tensors["k_cache"].flatten(0, 1)[4], k[3].view(KV, D))
    assert float(tensors["v_cache"].flatten(0, 1)[3].abs().sum()) == 0


def test_graphs_in_graphs_and_watching(host: Host) -> None:
    seen: list[tuple[str, str, str, list[str]]] = []
    host.watch(lambda g, n, k, outputs: seen.append((g, n, k, list(outputs))))
    model = graph("model")
    names = ["x", "w", "k0", "v0", "k1", "v1", "slots", "seq_lens"]
    model.add_input_output(names, ["y"])
    model.execute_as_single = False
    for index, (source, target) in enumerate([("x", "h"), ("h", "y")]):
        model.add_operation(
            attention_graph(f"layer_{index}"),
            [source, "w", f"k{index}", f"v{index}", "slots", "seq_lens"],
            [target],
        )
    model.build()
    given = attention_tensors()
    tensors = {"x": given["x"], "slots": given["slots"], "seq_lens": LENS, "w": rand(128, HIDDEN)}
    caches = {n: torch.zeros(2, 4, KV, D) for n in ("k0", "v0", "k1", "v1")}
    y = torch.empty(TOKENS, HIDDEN)
    model.forward({**tensors, **caches}, {"y": y}, {"seq_lens": LENS})
    alone = attention_graph("alone")
    h, z = torch.empty(TOKENS, HIDDEN), torch.empty(TOKENS, HIDDEN)
    for source, target in ((given["x"], h), (h, z)):
        fresh = {"k_cache": torch.zeros(2, 4, KV, D), "v_cache": torch.zeros(2, 4, KV, D)}
        inputs = {"x": source, "w": tensors["w"], "slots": given["slots"], "seq_lens": LENS}
        alone.forward({**inputs, **fresh}, {"y": target}, {"seq_lens": LENS})
    assert torch.equal(y, z)
    assert torch.equal(caches["k1"], fresh["k_cache"])
    assert seen[0] == ("layer_0", "qkv", "Linear", ["qkv"])
    assert [s[1] for s in seen[:6]] == ["qkv", "cut", "write", "attend", "double", "layer_0"]
    assert seen[1][3] == ["q", "k", "v"]


def test_both_spellings_and_undo() -> None:
    mine = ModuleType("torch_atb")
    sys.modules["torch_atb"] = mine
    with install():
        import _libatb_torch as atb  # pyright: ignore[reportMissingImports]

        assert atb.GraphOperation is atb._GraphOperation
        assert atb.BaseOperation is atb._BaseOperation
        single = atb.BaseOperation("Elewise", '{"elewiseType": "ELEWISE_ADD"}', "add")
        assert (single.op_name, single.op_type) == ("add", "Elewise")
        assert (single.input_names, single.output_names) == (["in0", "in1"], ["out0"])
        x, y = rand(3), torch.empty(3)
        assert torch.equal(single.forward({"in0": x, "in1": x}, {"out0": y})["out0"], 2 * x)
        assert sys.modules["torch_atb"] is not mine
    assert "_libatb_torch" not in sys.modules
    assert sys.modules.pop("torch_atb") is mine
    with pytest.raises(HostError, match="not installed"):
        single.forward({"in0": x, "in1": x}, {"out0": y})


# -- rounding -----------------------------------------------------------------------------------


def sum_of_three(dtype: torch.dtype) -> torch.Tensor:
    made = graph()
    made.add_input_output(["a", "b", "c"], ["y"])
    made.add_operation(base("Elewise", "one", elewiseType="ELEWISE_ADD"), ["a", "b"], ["ab"])
    made.add_operation(base("Elewise", "two", elewiseType="ELEWISE_SUB"), ["ab", "c"], ["y"])
    made.build()
    a, b = torch.tensor([256.0], dtype=dtype), torch.tensor([0.09375], dtype=dtype)
    y = torch.empty(1, dtype=dtype)
    return made.forward({"a": a, "b": b, "c": a}, {"y": y})["y"]


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", 0.09375), ("float16", 0.0), ("bfloat16", 0.0)]
)
def test_results_are_rounded_after_every_operation(precision: str, expected: float) -> None:
    with install(precision):
        assert sum_of_three(getattr(torch, precision)).item() == expected


def test_products_accumulate_in_float32() -> None:
    with install("float16"):
        x = torch.full((1, 4096), 1.0, dtype=torch.float16)
        y = torch.empty(1, 1, dtype=torch.float16)
        base("Linear", hasBias=False).forward({"in0": x, "in1": x}, {"out0": y})
        assert y.item() == 4096


def test_the_reference_does_not_round_declared_16_bit_results() -> None:
    x, y = torch.tensor([1.0 + 2**-12]), torch.empty(1)
    params = {"elewiseType": "ELEWISE_CAST", "outTensorType": "ACL_BF16"}
    with install("float32"):
        base("Elewise", **params).forward({"in0": x}, {"out0": y})
    assert y.item() == x.item()
    with install("bfloat16"):
        short = torch.empty(1, dtype=torch.bfloat16)
        base("Elewise", **params).forward({"in0": x}, {"out0": short})
    assert short.item() == 1.0


def test_16_bit_runs_are_strict_about_types() -> None:
    norm = {"layerType": "RMS_NORM_NORM"}
    with install("bfloat16"):
        x, g = rand(2, 16), rand(16)
        with pytest.raises(HostError, match="operand x is float32, allowed on a2: bfloat16"):
            base("RmsNorm", **norm).forward({"in0": x, "in1": g}, {"out0": x.clone()})
        with pytest.raises(HostError, match="'in0' is float16 in a bfloat16 run"):
            base("RmsNorm", **norm).forward({"in0": x.half(), "in1": g}, {"out0": x.clone()})
