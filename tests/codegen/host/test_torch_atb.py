"""The `torch_atb` stand-in: what it computes, and everything it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from codegen.errors import HostError
from codegen.host.atb_python import Host, install

HEADS, KV, D = 4, 2, 16
LENS = torch.tensor([2, 1], dtype=torch.int32)


@pytest.fixture(autouse=True)
def host() -> Iterator[Host]:
    with install("float32") as made:
        yield made


def atb() -> Any:
    import torch_atb  # pyright: ignore[reportMissingImports]

    return torch_atb


def elewise(kind: str, **fields: Any) -> Any:
    param = atb().ElewiseParam
    return param(elewise_type=getattr(param.ElewiseType, f"ELEWISE_{kind}"), **fields)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def attention_param() -> Any:
    param = atb().SelfAttentionParam
    return param(head_num=HEADS, kv_head_num=KV, calc_type=param.CalcType.PA_ENCODER)


def test_parameters_are_those_of_the_structs() -> None:
    module = atb()
    param = module.RmsNormParam()
    param.layer_type = module.RmsNormParam.RmsNormType.RMS_NORM_NORM
    param.norm_param.epsilon = 0.5
    x, g = rand(2, 16), rand(16)
    (y,) = module.Operation(param).forward([x, g])
    torch.testing.assert_close(y, x / (x.pow(2).mean(-1, keepdim=True) + 0.5).sqrt() * g)
    assert module.LinearParam().transpose_b is True
    assert module.ACL_FLOAT16 is module.AclDataType.ACL_FLOAT16
    muls = elewise("MULS", muls_param=module.ElewiseParam.MulsParam(var_attr=3.0))
    assert torch.equal(module.Operation(muls).forward([x])[0], x * 3)
    operation = module.Operation(module.LinearParam())
    assert (operation.input_num, operation.output_num) == (3, 1)


def test_graph_builder_with_caches() -> None:
    module = atb()
    builder = module.GraphBuilder("layer")
    builder.set_input_output(["qkv", "k_cache", "v_cache", "slots", "lens"], ["y"])
    split = module.SplitParam(split_dim=1, split_num=3, split_sizes=[64, 32, 32])
    builder.add_operation(module.Operation(split), ["qkv"], ["q", "k", "v"])
    for name, heads in (("q", HEADS), ("k", KV), ("v", KV)):
        builder.reshape(name, lambda s, n=heads: [s[0], n, D], f"{name}_heads")
    builder.add_operation(
        module.Operation(module.ReshapeAndCacheParam()),
        ["k_heads", "v_heads", "k_cache", "v_cache", "slots"],
        ["k_cache", "v_cache"],
    )
    builder.add_operation(
        module.Operation(attention_param()), ["q_heads", "k_heads", "v_heads", "lens"], ["y"]
    )
    layer = builder.build()
    assert (layer.name, layer.input_num, layer.output_num) == ("layer", 5, 1)
    qkv, cache = rand(3, 128), torch.zeros(1, 4, KV, D)
    caches = [cache, cache.clone()]
    slots = torch.tensor([3, 1, 0], dtype=torch.int32)
    (y,) = layer.forward([qkv, *caches, slots, LENS])
    assert y.shape == (3, HEADS, D)
    assert torch.equal(y[2, 3], qkv[2, 112:])  # a sequence of one token sees its own value
    assert torch.equal(caches[0][0, 3], qkv[0, 64:96].view(KV, D))


def test_builder() -> None:
    module = atb()
    builder = module.Builder("sum")
    x, y = builder.add_input("x"), builder.add_input("y")
    total = builder.add_node([x, y], elewise("ADD"))
    builder.reshape(total.get_output(0), lambda s: [s[0] * s[1]], "flat")
    double = elewise("MULS", muls_param=module.ElewiseParam.MulsParam(var_attr=2.0))
    scaled = builder.add_node(["flat"], module.Operation(double))
    builder.mark_output(scaled.get_output(0))
    a, b = rand(2, 3), rand(2, 3)
    (made,) = builder.build().forward([a, b])
    assert torch.equal(made, (2 * (a + b)).flatten())


def built(inputs: list[str], *steps: tuple[Any, list[str], list[str]], out: str = "y") -> Any:
    builder = atb().GraphBuilder("g")
    builder.set_input_output(inputs, [out])
    for param, reads, writes in steps:
        builder.add_operation(atb().Operation(param), reads, writes)
    return builder.build()


def shared_lens() -> None:
    rope = atb().RopeParam(rotary_coeff=2)
    built(
        ["q", "k", "v", "cos", "sin", "lens"],
        (rope, ["q", "k", "cos", "sin", "lens"], ["q2", "k2"]),
        (attention_param(), ["q2", "k2", "v", "lens"], ["y"]),
    )


def twice() -> None:
    builder = atb().GraphBuilder("g")
    builder.set_input_output(["x"], ["y"])
    operation = atb().Operation(elewise("NEG"))
    builder.add_operation(operation, ["x"], ["h"])
    builder.add_operation(operation, ["h"], ["y"])


def released() -> None:
    builder = atb().GraphBuilder("g")
    builder.set_input_output(["x"], ["y"])
    operation = atb().Operation(elewise("NEG"))
    builder.add_operation(operation, ["x"], ["y"])
    operation.forward([rand(2)])


def node(param: Any) -> None:
    builder = atb().Builder("g")
    names = [builder.add_input(name) for name in "abcde"]
    builder.add_node(names, param)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown field": (lambda: atb().LinearParam(bias=True), "LinearParam has no field 'bias'"),
    "unknown attribute": (
        lambda: setattr(atb().RmsNormParam(), "epsilon", 1e-6),
        "RmsNormParam has no field 'epsilon'",
    ),
    "unknown nested": (
        lambda: atb().RmsNormParam.NormParam(eps=1e-6),
        "RmsNormParam.NormParam has no field 'eps'",
    ),
    "positional": (lambda: atb().LinearParam(False), "name the fields"),
    "enum": (
        lambda: atb().ElewiseParam(elewise_type="ELEWISE_ADD"),
        "elewise_type must be a ElewiseParam.ElewiseType",
    ),
    "nested kind": (lambda: atb().RmsNormParam(norm_param={}), "must be a RmsNormParam.NormParam"),
    "variant": (lambda: atb().Operation(atb().RmsNormParam()), "needs layer_type RMS_NORM_NORM"),
    "other variant's field": (
        lambda: atb().Operation(
            atb().RmsNormParam(
                layer_type=atb().RmsNormParam.RmsNormType.RMS_NORM_NORM,
                pre_norm_param=atb().RmsNormParam.PreNormParam(epsilon=1e-6),
            )
        ),
        "does not read pre_norm_param.epsilon",
    ),
    "value kind": (lambda: atb().Operation(atb().GatherParam(axis=1.5)), "axis must be int"),
    "no type": (lambda: atb().Operation(atb().ElewiseParam()), "elewise_type is missing"),
    "no struct": (lambda: atb().Operation({}), "not a parameter struct"),
    "list": (lambda: atb().Operation(elewise("NEG")).forward(rand(2)), "wants a list of 1 tensors"),
    "count": (lambda: atb().Operation(elewise("ADD")).forward([rand(2)]), "wants a list of 2"),
    "contract": (
        lambda: atb().Operation(elewise("NEG")).forward([LENS]),
        r"\(Elewise\): operand x is int32",
    ),
    "cache alone": (
        lambda: atb().Operation(atb().ReshapeAndCacheParam()).forward([]),
        "would be new tensors, not the caches",
    ),
    "cache in builder": (lambda: node(atb().ReshapeAndCacheParam()), "use GraphBuilder"),
    "paged attention in builder": (
        lambda: node(atb().PagedAttentionParam()),
        "wrap it in Operation",
    ),
    "host and device": (
        shared_lens,
        "operand seq_len reads 'lens' on the device, other operations read it on the host",
    ),
    "twice": (twice, "was added before"),
    "released": (released, "cannot run any more"),
    "undefined": (
        lambda: built(["x"], (elewise("NEG"), ["z"], ["y"])),
        "operand x reads 'z', which is not defined",
    ),
    "never written": (lambda: built(["x"], (elewise("NEG"), ["x"], ["h"])), "never written"),
    "mark": (lambda: atb().Builder("g").mark_output("y"), "not a result of a node"),
    "no repeat": (lambda: atb().RepeatParam, "RepeatParam"),
    "no inputs": (
        lambda: atb().Builder("g").add_node([], elewise("NEG")),
        "has 0 inputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    action, message = REFUSED[case]
    with pytest.raises((HostError, AttributeError), match=message):
        action()
