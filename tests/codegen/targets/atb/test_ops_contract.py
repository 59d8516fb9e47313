"""What the contract refuses, limits of graphs, spelling in the two APIs and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codegen.targets.atb.ops import (
    VARIANTS,
    Activation,
    AtbOp,
    Concat,
    Elewise,
    Gather,
    LayerNorm,
    Linear,
    PagedAttention,
    PostRmsNorm,
    PreRmsNorm,
    Repeat,
    Reshape,
    ReshapeAndCache,
    RmsNorm,
    Rope,
    SelfAttention,
    Slice,
    Soc,
    Softmax,
    SpellingError,
    Split,
    Transpose,
    check_contracts,
    check_graph_limits,
    from_json,
    from_struct,
    json_params,
    torch_atb_struct,
)
from codegen.targets.atb.ops.spelling import Struct
from ir.graph import Graph, Module
from ir.op import check_node
from ir.types import DType, Sym, TensorType
from tests.codegen.targets.atb.nodes import node_of, problems

F32, F16, BF16, I8, I32, I64 = (
    DType.FLOAT32,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.INT8,
    DType.INT32,
    DType.INT64,
)


def t(*shape: int | str, dtype: DType = BF16) -> TensorType:
    return TensorType(tuple(Sym.of(d) if isinstance(d, str) else d for d in shape), dtype)


ROPE = (t("n", 64), t("n", 32), t("n", 16), t("n", 16), t("b", dtype=I32))
PREFILL = (t("n", 4, 16), t("n", 2, 16), t("n", 2, 16), None, t("b", dtype=I32))
CACHE = t(8, 128, 2, 16)
DECODE = (t("b", 4, 16), CACHE, CACHE, t("b", "m", dtype=I32), t("b", dtype=I32))
WRITE = (t("n", 2, 16), t("n", 2, 16), CACHE, CACHE, t("n", dtype=I32))
HEADS = {"head_num": 4, "kv_head_num": 2}


def swap(operands: tuple[TensorType | None, ...], index: int, new: TensorType | None):
    return (*operands[:index], new, *operands[index + 1 :])


@pytest.mark.parametrize(
    ("op", "operands", "attrs"),
    [
        (Linear, (t("n", 32), t(64, 32)), {"has_bias": False}),
        (RmsNorm, (t("n", 32), t(32)), {}),
        (LayerNorm, (t("n", 32), t(32), t(32)), {"begin_norm_axis": 1}),
        (Rope, ROPE, {"rotary_coeff": 2}),
        (SelfAttention, PREFILL, HEADS),
        (PagedAttention, DECODE, HEADS),
        (ReshapeAndCache, WRITE, {}),
        (Elewise, (t("n", 32), t("n", 32)), {"elewise_type": "ELEWISE_MUL"}),
    ],
)
def test_accepts(op: type[AtbOp], operands: Any, attrs: dict[str, Any]) -> None:
    assert problems(op, *operands, **attrs) == ""
    as_float32 = [o and (TensorType(o.shape, F32) if o.dtype is BF16 else o) for o in operands]
    assert problems(op, *as_float32, **attrs) == ""  # float32 stands for the model's type


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "message"),
    [
        (Linear, (t("n", 32), t(64, 32)), {}, "operand bias is missing"),
        (Linear, (t("n", 32), t(64, 32), t(64)), {"has_bias": False}, "bias is not taken"),
        (Linear, (t("n", 32), t(64, 32), t(32)), {}, "is not [64]"),
        (Linear, (t("n", 32), t(64, 32, dtype=F16)), {"has_bias": False}, "must be bfloat16 as x"),
        (Linear, (t("n", 32), t(64, 32, dtype=I8)), {"has_bias": False}, "weight is int8"),
        (
            Linear,
            (t("n", 32), t(64, 32), t(64), t("n", 64, dtype=F32)),
            {"en_accum": True},
            "exclude each other",
        ),
        (
            Linear,
            (t("n", 32, dtype=I8), t(64, 32, dtype=I8), t(64, dtype=I32), None, t(64, dtype=F32)),
            {"out_data_type": "ACL_FLOAT16"},
            "deq_scale is float32",
        ),
        (RmsNorm, (t("n", 20), t(20)), {}, "not a multiple of 16"),
        (RmsNorm, (t("n", 32), t(16)), {}, "gamma bfloat16[16] is not [32]"),
        (RmsNorm, (t("n", 32), t(2, 32)), {}, "is not [32]"),
        (RmsNorm, (t("n", 32), t(32)), {"epsilon": 0.0}, "epsilon must not be zero"),
        (RmsNorm, (t("n", 32), t(32)), {"quant_type": "QUANT_INT8"}, "operand beta is missing"),
        (PreRmsNorm, (t("n", 32), None, t("n", 16), t(32)), {}, "res_in"),
        (PostRmsNorm, (t("n", 32), None, t("n", 32), t(32)), {"has_bias": True}, "bias is missing"),
        (LayerNorm, (t("n", 32), t(32), t(32)), {}, "does not cover rank 2"),
        (LayerNorm, (t("n", 32), t(16), t(16)), {"begin_norm_axis": 1}, "not the end of x"),
        (LayerNorm, (t("n", 32), t(32), t(16)), {"begin_norm_axis": 1}, "shape of gamma"),
        (Rope, ROPE, {"rotary_coeff": 8}, "rotary_coeff 8"),
        (Rope, swap(ROPE, 1, t("n", 48)), {"rotary_coeff": 2}, "not a multiple of the 48"),
        (Rope, swap(ROPE, 4, t("b", dtype=I64)), {"rotary_coeff": 2}, "seq_len is int64"),
        (Rope, swap(ROPE, 1, t("m", 32)), {"rotary_coeff": 2}, "numbers of tokens"),
        (Rope, swap(ROPE, 0, t("n", 4, 16)), {"rotary_coeff": 2}, "rank 2 or 4"),
        (
            Rope,
            (t("n", 32), t("n", 32), t("n", 8), t("n", 8), t("b", dtype=I32)),
            {"rotary_coeff": 2},
            "head dimension 8 is not in 16..4096",
        ),
        (SelfAttention, PREFILL, {"kv_head_num": 2}, "head_num 0 must be positive"),
        (SelfAttention, PREFILL, {"head_num": 4, "kv_head_num": 3}, "not a multiple"),
        (SelfAttention, PREFILL, {**HEADS, "is_triu_mask": 1}, "is_triu_mask needs a mask"),
        (SelfAttention, PREFILL, {**HEADS, "mask_type": "MASK_TYPE_NORM"}, "mask is missing"),
        (SelfAttention, PREFILL, {**HEADS, "calc_type": "ENCODER"}, "must be one of PA_ENCODER"),
        (SelfAttention, swap(PREFILL, 1, t("n", 4, 16)), HEADS, "does not have 2 heads"),
        (SelfAttention, swap(PREFILL, 1, t("n", 2, 32)), HEADS, "different head dimensions"),
        (
            SelfAttention,
            (t("n", 4, 640), t("n", 2, 640), t("n", 2, 640), None, t("b", dtype=I32)),
            HEADS,
            "exceeds 576",
        ),
        (PagedAttention, swap(DECODE, 3, t("c", "m", dtype=I32)), HEADS, "different batches"),
        (PagedAttention, swap(DECODE, 0, t("b", 2, 16)), HEADS, "do not have 4 and 2 heads"),
        (PagedAttention, swap(DECODE, 2, t(8, 64, 2, 16)), HEADS, "differ in blocks"),
        (
            PagedAttention,
            (t("b", 4, 320), t(8, 256, 2, 320), t(8, 256, 2, 320), *DECODE[3:]),
            HEADS,
            "blocks hold at most 128",
        ),
        (ReshapeAndCache, swap(WRITE, 0, t("n", 4, 16)), {}, "does not fit k_cache"),
        (ReshapeAndCache, swap(WRITE, 4, t("m", dtype=I32)), {}, "numbers of tokens"),
        (Elewise, (t("n", 32),), {"elewise_type": "ELEWISE_ADD"}, "operand y is missing"),
        (Elewise, (t(4), t(4)), {"elewise_type": "ELEWISE_TANH"}, "y is not taken"),
        (Elewise, (t(4), t(4, dtype=F16)), {"elewise_type": "ELEWISE_ADD"}, "as x"),
        (Elewise, (t(4, dtype=I32), t(4, dtype=I32)), {"elewise_type": "ELEWISE_MUL"}, "int32"),
        (Elewise, (t(4),), {"elewise_type": "ELEWISE_CAST"}, "needs out_tensor_type"),
        (Elewise, (t(4, 40, dtype=F16),), {"elewise_type": "ELEWISE_QUANT"}, "multiple of 32"),
        (Elewise, (t(4),), {"elewise_type": "ELEWISE_POW"}, "must be one of"),
        (Activation, (t(4, dtype=F16),), {"activation_type": "ACTIVATION_RELU"}, "float16"),
        (Gather, (t(4, 4), t("n", dtype=I8)), {}, "indices is int8"),
        (Split, (t("n", 8),), {"split_dim": -1, "split_sizes": (4, 4)}, "not be negative"),
        (Split, (t("n", 8),), {"split_dim": 1, "split_num": 3, "split_sizes": (4, 4)}, "split_num"),
        (Split, (t("n", 8),), {"split_dim": 1, "split_num": 4}, "must be one of 2, 3"),
        (Concat, (t(4, dtype=I32), t(4, dtype=I32)), {}, "int32"),
        (Transpose, (t(4, 4, dtype=DType.BOOL),), {"perm": (1, 0)}, "bool"),
        (Softmax, (t(4, 4, 4),), {"axes": (0, 2)}, "do not follow"),
        (Softmax, (t(4, 4),), {}, "empty"),
    ],
)
def test_refuses(op: type[AtbOp], operands: Any, attrs: dict[str, Any], message: str) -> None:
    made = node_of(op, *operands, types=[t(1)] * 3, **attrs)
    assert message in "\n".join(check_node(made))


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "message"),
    [
        (Linear, (t(4, 8), t(4, 16)), {"has_bias": False}, "wants 16 features"),
        (Linear, (t(4, 8), t(2, 4, 8)), {"has_bias": False}, "not matrices"),
        (Linear, (t(3, 4, 8), t(2, 4, 8)), {"has_bias": False}, "different batches"),
        (Elewise, (t(4), t(3)), {"elewise_type": "ELEWISE_ADD"}, "do not broadcast"),
        (Activation, (t(5),), {"activation_type": "ACTIVATION_SWIGLU_FORWARD"}, "halved"),
        (Gather, (t(4), t(2, dtype=I32)), {"axis": 1}, "axis 1"),
        (Split, (t("n", 8),), {}, "must be known"),
        (Split, (t("n", 9),), {"split_dim": 1}, "not a multiple of 2"),
        (Split, (t("n", 9),), {"split_dim": 1, "split_sizes": (4, 4)}, "do not add up"),
        (Concat, (t(4, 2), t(4, 3)), {}, "differ outside"),
        (Slice, (t(4),), {"offsets": (3,), "size": (2,)}, "exceed"),
        (Slice, (t(4),), {}, "rank"),
        (Transpose, (t(4, 4),), {"perm": (0,)}, "perm"),
        (Repeat, (t(4, 4),), {"multiples": (2,)}, "multiples"),
        (Reshape, (t("n", 8),), {"shape": ((0,), 3, 3)}, "has no view"),
        (Reshape, (t("n", "m"),), {"shape": ((0, 1),)}, "not a linear size"),
        (Reshape, (t("n", 8),), {"shape": ((2,), 8)}, "neither a size nor dimensions"),
    ],
)
def test_shape_rules(op: type[AtbOp], operands: Any, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        node_of(op, *operands, **attrs)


def test_symbolic_views() -> None:
    heads = node_of(Reshape, t("n", 64), shape=((0,), 4, 16))
    assert str(heads.result.type) == "bfloat16[n, 4, 16]"
    joined = node_of(Reshape, t("n", 4, 16), shape=((0, 1), (2,)))
    assert str(joined.result.type) == "bfloat16[4*n, 16]"


def test_soc_and_model_type() -> None:
    linear = node_of(Linear, t("n", 32), t(64, 32), has_bias=False)
    assert "allowed on 310p: float16" in Linear.problems(linear, Soc.I310P)[0]
    decode = node_of(
        PagedAttention,
        *(o and TensorType(o.shape, F16) if o.dtype is BF16 else o for o in DECODE),
        **HEADS,
    )
    assert "NZ" in PagedAttention.problems(decode, Soc.I310P)[0]
    norm = node_of(RmsNorm, t("n", 32, dtype=F32), t(32, dtype=F32))
    assert RmsNorm.problems(norm) == []
    assert "float32" in RmsNorm.problems(norm, float32_is=F32)[0]
    assert RmsNorm.problems(norm, float32_is=F16) == []
    graph = Graph("main")
    x = graph.add_input("x", t("n", 32, dtype=F32))
    RmsNorm.build(graph, x, graph.add_parameter(t(32, dtype=F32), "w"))
    module = Module({"main": graph})
    assert check_contracts(module, float32_is=BF16) == []
    (problem,) = check_contracts(module, Soc.I310P, BF16)[:1]
    assert problem.startswith("@main: atb.rms_norm: operand x is bfloat16")


# -- limits -------------------------------------------------------------------------------------


def chain(length: int, name: str = "layer", parameters: int = 0) -> Graph:
    graph = Graph(name)
    x = graph.add_input("x", t(4))
    for i in range(parameters):
        graph.add_parameter(t(4), f"w{i}")
    for _ in range(length):
        x = Elewise.build(graph, x, elewise_type="ELEWISE_NEG").result
    graph.outputs = [x]
    return graph


def test_limits() -> None:
    assert check_graph_limits(chain(257, parameters=255)) == []
    assert "257 internal tensors exceed 256" in check_graph_limits(chain(258))[0]
    assert "257 input tensors" in check_graph_limits(chain(1, parameters=256))[0]
    assert "must be fewer than 1024" in check_graph_limits(chain(1024))[-1]
    assert check_graph_limits(chain(2000, parameters=999), single=False) == []
    assert "letters, digits" in check_graph_limits(chain(1, "a.b"))[0]
    assert "letters, digits" in check_graph_limits(chain(1, "a" * 129))[0]
    wide = chain(1)
    wide.outputs = [
        Elewise.build(wide, wide.inputs[0], elewise_type="ELEWISE_NEG").result for _ in range(257)
    ]
    assert "257 output tensors" in "".join(check_graph_limits(wide))


def test_limits_of_outputs() -> None:
    graph = chain(1)
    view = Reshape.build(graph, graph.outputs[0], shape=(2, 2)).result
    graph.outputs = [view, graph.inputs[0]]
    assert "is a view" in check_graph_limits(graph)[0]
    assert "not computed" in check_graph_limits(graph)[1]
    cache = Graph("cache")
    operands = [cache.add_input(f"x{i}", type) for i, type in enumerate(WRITE)]
    cache.outputs = ReshapeAndCache.build(cache, *operands).results
    assert "written in place" in check_graph_limits(cache)[0]


# -- spelling -----------------------------------------------------------------------------------

SPELLED = [
    (
        node_of(RmsNorm, t("n", 32), t(32), epsilon=1e-6),
        {"layerType": "RMS_NORM_NORM", "normParam": {"epsilon": 1e-6}},
        "torch_atb.RmsNormParam(layer_type=torch_atb.RmsNormParam.RmsNormType.RMS_NORM_NORM, "
        "norm_param=torch_atb.RmsNormParam.NormParam(epsilon=1e-06))",
    ),
    (
        node_of(PostRmsNorm, t("n", 32), None, t("n", 32), t(32), epsilon=1e-6),
        {"layerType": "RMS_NORM_POSTNORM", "postNormParam": {"epsilon": 1e-6}},
        "torch_atb.RmsNormParam(layer_type=torch_atb.RmsNormParam.RmsNormType.RMS_NORM_POSTNORM, "
        "post_norm_param=torch_atb.RmsNormParam.PostNormParam(epsilon=1e-06))",
    ),
    (node_of(Linear, t("n", 32), t(64, 32), t(64)), {}, "torch_atb.LinearParam()"),
    (
        node_of(PagedAttention, *DECODE, **HEADS, qk_scale=0.25),
        {"headNum": 4, "qkScale": 0.25, "kvHeadNum": 2},
        "torch_atb.PagedAttentionParam(head_num=4, qk_scale=0.25, kv_head_num=2)",
    ),
    (
        node_of(Split, t("n", 8), split_dim=1, split_num=3, split_sizes=(4, 2, 2)),
        {"splitDim": 1, "splitNum": 3, "splitSizes": [4, 2, 2]},
        "torch_atb.SplitParam(split_dim=1, split_num=3, split_sizes=[4, 2, 2])",
    ),
    (
        node_of(Elewise, t(4), elewise_type="ELEWISE_MULS", var_attr=0.5),
        {"elewiseType": "ELEWISE_MULS", "mulsParam": {"varAttr": 0.5}},
        "torch_atb.ElewiseParam(elewise_type=torch_atb.ElewiseParam.ElewiseType.ELEWISE_MULS, "
        "muls_param=torch_atb.ElewiseParam.MulsParam(var_attr=0.5))",
    ),
]


@pytest.mark.parametrize(("node", "spelled", "source"), SPELLED)
def test_spelling_and_back(node: Any, spelled: dict[str, Any], source: str) -> None:
    assert json_params(node) == spelled
    struct = torch_atb_struct(node)
    assert struct.source("torch_atb") == source
    op, attrs = from_json(VARIANTS_OF[node.op].op_type, json.loads(json.dumps(spelled)))
    assert (op.name, attrs) == (node.op, node.attrs)
    op, attrs = from_struct(struct.name, flat(struct))
    assert (op.name, attrs) == (node.op, node.attrs)


VARIANTS_OF = {op.name: op for ops in VARIANTS.values() for op in ops}


def flat(struct: Struct, prefix: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in struct.fields:
        if isinstance(value, Struct):
            made |= flat(value, f"{prefix}{key}.")
        else:
            made[f"{prefix}{key}"] = getattr(value, "value", value)
    return made


@pytest.mark.parametrize(
    ("op_type", "given", "message"),
    [
        ("RmsNorms", {}, "'RmsNorms' is not known"),
        ("RmsNorm", {}, "needs layerType RMS_NORM_NORM or"),
        ("RmsNorm", {"layerType": "RMS_NORM_NORM", "epsilon": 1e-6}, "key 'epsilon'"),
        (
            "RmsNorm",
            {"layerType": "RMS_NORM_NORM", "preNormParam": {"epsilon": 1e-6}},
            "preNormParam.epsilon",
        ),
        ("SelfAttention", {"calcType": "PA_ENCODER", "windowSize": 8}, "key 'windowSize'"),
        (
            "SelfAttention",
            {"calcType": "PA_ENCODER", "maskType": "MASK_TYPE_SLIDING_WINDOW_NORM"},
            "maskType must be one of",
        ),
        ("SelfAttention", {"headNum": 4}, "calcType PA_ENCODER"),
        ("PagedAttention", {"maskType": "MASK_TYPE_SPEC"}, "maskType must be one of"),
        ("Linear", {"hasBias": 0}, "hasBias must be bool"),
        ("Linear", {"transposeB": "true"}, "transposeB must be bool"),
        ("Elewise", {}, "elewiseType is missing"),
        ("Softmax", {"axes": [0.5]}, "must hold integers"),
    ],
)
def test_reading_refuses(op_type: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpellingError) as error:
        from_json(op_type, given)
    assert message in str(error.value)


def test_apis_that_lack_something() -> None:
    repeat = node_of(Repeat, t(4), multiples=(2,))
    assert json_params(repeat) == {"multiples": [2]}
    with pytest.raises(SpellingError, match="torch_atb has no Repeat"):
        torch_atb_struct(repeat)
    with pytest.raises(SpellingError, match="not an ATB operation of its own"):
        json_params(node_of(Reshape, t(4), shape=(2, 2)))


def test_every_json_key_has_a_default_that_is_left_out() -> None:
    """Printers leave defaults out, so a default must be what reading an empty object gives."""
    for op in VARIANTS_OF.values():
        for param in op.params.values():
            assert param.json, f"{op.name}.{param.name}"
            if param.choices and param.problem(param.omitted):
                assert param.choices[0] != param.omitted
