"""Packages for C++ models that are there already: roles, inputs, parameters, errors."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from codegen.errors import BadInputError, UnsupportedError
from codegen.host.atb_llm import install
from codegen.host.atb_llm.flash_causal_lm import FlashForCausalLM
from codegen.targets.atb.cpp_model import CppModel, Parameter, read_model
from codegen.targets.atb.emit_calling import calling_files
from codegen.targets.atb.emit_package import PackageSpec
from codegen.targets.atb.roles import Roles, find_roles
from ir.parse import parse_module
from tests.codegen.host.toy_package import ToyModelTorch, model_torch, write_checkpoint
from tests.codegen.targets.atb.cpp_sources import write_enum, write_mapped

#: A decoder whose names say nothing or the wrong thing.
LAYER = """
func @block(%h: float32[tokens, 8], %cos: float32[tokens, 4], %sin: float32[tokens, 4],
            %lens: int32[batch]) {
  param %n1: float32[8] = "down.weight"
  param %w1: float32[8, 8] = "mlp.v.weight"
  param %w2: float32[4, 8] = "mlp.q.weight"
  param %w3: float32[4, 8] = "mlp.k.weight"
  param %b1: float32[8] = "mlp.v.bias"
  param %b2: float32[4] = "mlp.q.bias"
  param %b3: float32[4] = "mlp.k.bias"
  param %wo: float32[8, 8] = "attn.up.weight"
  param %n2: float32[8] = "query.weight"
  param %wg: float32[12, 8] = "attn.up_proj.weight"
  param %wu: float32[12, 8] = "attn.gate_proj.weight"
  param %wd: float32[8, 12] = "attn.o.weight"
  %x = llm.rms_norm(%h, %n1) {eps = 0.001} : float32[tokens, 8] loc("block.0.down" "m.py:1")
  %c = llm.linear(%x, %w3, %b3) : float32[tokens, 4] loc("block.0.mlp.k" "m.py:2")
  %a = llm.linear(%x, %w1, %b1) : float32[tokens, 8] loc("block.0.mlp.v" "m.py:3")
  %b = llm.linear(%x, %w2, %b2) : float32[tokens, 4] loc("block.0.mlp.q" "m.py:4")
  %a1 = llm.reshape(%a) {tail = (2, 4)} : float32[tokens, 2, 4]
  %b1r = llm.reshape(%b) {tail = (1, 4)} : float32[tokens, 1, 4]
  %c1 = llm.reshape(%c) {tail = (1, 4)} : float32[tokens, 1, 4]
  %a2 = llm.rope(%a1, %cos, %sin) {style = "half"} : float32[tokens, 2, 4]
  %b2r = llm.rope(%b1r, %cos, %sin) {style = "half"} : float32[tokens, 1, 4]
  %t = llm.attention(%a2, %b2r, %c1, %lens) {scale = 0.5} : float32[tokens, 2, 4]
  %t1 = llm.reshape(%t) {tail = (8,)} : float32[tokens, 8]
  %o = llm.linear(%t1, %wo) : float32[tokens, 8] loc("block.0.attn.up" "m.py:5")
  %r = llm.add(%h, %o) : float32[tokens, 8]
  %y = llm.rms_norm(%r, %n2) {eps = 0.001} : float32[tokens, 8]
  %u = llm.linear(%y, %wu) : float32[tokens, 12]
  %g = llm.linear(%y, %wg) : float32[tokens, 12]
  %s = llm.activation(%g) {kind = "silu"} : float32[tokens, 12]
  %m = llm.mul(%u, %s) : float32[tokens, 12]
  %d = llm.linear(%m, %wd) : float32[tokens, 8]
  %e = llm.add(%r, %d) : float32[tokens, 8]
  return %e
}
"""
MAIN = """
func @main(%ids: int64[tokens], %positions: int64[tokens], %lens: int32[batch]) {
  param %emb: float32[10, 8] = "w.e.weight"
  param %nf: float32[8] = "w.n.weight"
  const %freq: float32[2] = [1.0, 0.01]
  %cos, %sin = llm.rope_table(%positions, %lens, %freq) {style = "half"}
    : float32[tokens, 4], float32[tokens, 4]
  %x = llm.embedding(%ids, %emb) : float32[tokens, 8]
  %a = func.call(%x, %cos, %sin, %lens) {callee = "block", scope = "w.b.0"} : float32[tokens, 8]
  %b = func.call(%a, %cos, %sin, %lens) {callee = "block", scope = "w.b.1"} : float32[tokens, 8]
  %n = llm.rms_norm(%b, %nf) {eps = 0.001} : float32[tokens, 8]
  %l = llm.linear(%n, %emb) : float32[tokens, 10]
  return %l
}
"""
SPEC = PackageSpec(
    model_type="llama",
    model_class="OddForCausalLM",
    compiled={"scale_emb": 12, "hidden_act": "silu"},
    sizes={
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 10,
        "max_position_embeddings": 16,
    },
)


def roles(layer: str = LAYER, main: str = MAIN) -> Roles:
    return find_roles(parse_module(f"entries @main\n{layer}{main}"))


def test_roles_come_from_the_graph() -> None:
    found = roles()
    assert [p.name for p in found.layer.qkv] == ["mlp.v", "mlp.q", "mlp.k"]
    assert [p.bias for p in found.layer.qkv] == [True] * 3
    assert (found.layer.out.name, found.layer.out.bias) == ("attn.up", False)
    assert [p.name for p in found.layer.gate_up] == ["attn.up_proj", "attn.gate_proj"]
    assert found.layer.down.name == "attn.o"
    assert (found.layer.attention_norm.name, found.layer.mlp_norm.name) == ("down", "query")
    assert (found.embedding, found.head, found.norm.name) == ("w.e", "w.e", "w.n")
    assert (found.layers, found.count, found.layer.head_dim) == ("w.b", 2, 4)
    assert found.rope is not None and found.rope.inv_freq == (1.0, 0.009999999776482582)


def packed(first: str, second: str) -> str:
    """The layer with gate and up projection in one."""
    rows = f"""  %p = llm.linear(%y, %wp) : float32[tokens, 24]
  %{first}, %{second} = llm.split(%p) {{axis = 1, sizes = (12, 12)}}
    : float32[tokens, 12], float32[tokens, 12]
"""
    lines = [
        line
        for line in LAYER.splitlines()
        if not line.startswith(("  %u =", "  %g =", "  param %wu"))
    ]
    text = "\n".join(lines).replace("  %s =", rows + "  %s =")
    return text.replace(
        'param %wg: float32[12, 8] = "attn.up_proj', 'param %wp: float32[24, 8] = "attn.both'
    )


def test_packed_projections() -> None:
    assert [p.name for p in roles(packed("g", "u")).layer.gate_up] == ["attn.both"]
    with pytest.raises(UnsupportedError, match="packed in an unusual order"):
        roles(packed("u", "g"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("llm.linear(%x, %w3, %b3)", "llm.linear(%x, %w3)", "some of the projections have a bias"),
        ("llm.rms_norm(%r, %n2)", "llm.activation(%r)", "2 llm.activation, not one"),
        ("llm.mul(%u, %s)", "llm.add(%u, %s)", "llm.add in front of llm.mul"),
        ("{eps = 0.001}", "{eps = 0.001, unit_offset = true}", "not a tensor of the checkpoint"),
        ("llm.linear(%t1, %wo)", "llm.linear(%t1, %wo) {transpose_weight = false}", "transposed"),
    ],
)
def test_other_decoders_are_refused(old: str, new: str, message: str) -> None:
    changed = LAYER.replace(old, new)
    if "activation" in new:
        changed = changed.replace(
            "%y = llm.activation(%r) {eps = 0.001}", '%y = llm.activation(%r) {kind = "relu"}'
        )
    assert changed != LAYER
    with pytest.raises(UnsupportedError, match=message):
        roles(changed)


def test_frequencies_that_change_are_refused() -> None:
    table = '{style = "half", original_max_position = 8, dynamic_factor = 2.0, dynamic_base = 9.0}'
    with pytest.raises(UnsupportedError, match="depends on the length"):
        roles(main=MAIN.replace('{style = "half"}', table))


# -- the package -----------------------------------------------------------------------------------


class Masks:
    """Marks of the two masks that MindIE makes."""

    def get_rope_prefill_mask(self, size: int, dtype: object, device: object) -> torch.Tensor:
        return torch.full((1,), 100.0)

    def get_rope_decode_mask(self, dtype: object, device: object) -> torch.Tensor:
        return torch.full((1,), 200.0)


class Wrapper:
    """Records in which order weights are registered."""

    def __init__(self, soc: object, rank: int, attention: Any, mlp: Any) -> None:
        self.attention, self.mlp = attention, mlp
        self.weights: list[Any] = []
        self.pack_quant_type = self.linear_type = [[0, 0]]
        self.linear_transpose_types = self.linear_descs = [[1, 1]]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.weights.append((name, getattr(what[0], "prefix", "lm_head")))


class Part(torch.nn.Module):
    """Stands for MindIE's layers: keeps what it is told."""

    def __init__(self, prefix: Any = "", config: Any = None, weights: Any = None, **more: Any):
        super().__init__()
        self.prefix = prefix

    def load_weights(self, **more: Any) -> None:
        pass


@contextmanager
def mindie(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package imported beside stubs of those parts of MindIE that only it uses."""
    monkeypatch.setattr(FlashForCausalLM, "attn_mask", Masks(), raising=False)
    monkeypatch.setattr(FlashForCausalLM, "max_base_len", 128, raising=False)
    head = SimpleNamespace(linear=SimpleNamespace(trans_flag=1))
    stubs: dict[str, dict[str, Any]] = {
        "atb_llm.utils.data": {},
        "atb_llm.utils.data.weight_wrapper": {
            "AttnWrapper": SimpleNamespace,
            "MlpWrapper": SimpleNamespace,
            "WeightWrapper": Wrapper,
        },
        "atb_llm.utils.layers": {
            "RMSNorm": Part,
            "TensorEmbedding": Part,
            "load_column_multi": lambda config, **given: head,
        },
        "atb_llm.models.base.modeling": {"MLP": Part, "FlashAttention": Part, "FlashLayer": Part},
    }
    operation = SimpleNamespace(OperationTorch=lambda name: ToyModelTorch(name))
    with model_torch(), install(package):
        torch.classes.OperationTorch = operation
        for name, content in stubs.items():
            module = ModuleType(name)
            vars(module).update(content)
            sys.modules[name] = module
        try:
            yield importlib.import_module(f"atb_llm.models.{package.name}.flash_causal_llama")
        finally:
            del torch.classes.OperationTorch


def write(files: dict[str, str], folder: Path) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder / "llama"


def run(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the model; returns it with the inputs and parameters of both kinds of steps."""
    from codegen.host.atb_llm.environment import Mapping, ProcessGroup
    from codegen.host.atb_llm.weights import Weights

    folder = write_checkpoint(tmp_path / "checkpoint")
    cpu, group = torch.device("cpu"), ProcessGroup(0, 1)
    weights = Weights(str(folder), cpu, torch.float16, group, Mapping(0, 1))
    with mindie(package, monkeypatch) as module:
        config: Any = SimpleNamespace(
            **SPEC.sizes, model_type="llama", quantize=None, torch_dtype=torch.float16
        )
        model = module.FlashLlamaForCausalLM(config, weights)
        model.init_ascend_weight()
        ids = torch.tensor([7, 8, 9])
        tables, lengths = torch.tensor([[5]]), torch.tensor([3])
        steps = [
            model.prepare_inputs_for_ascend(
                ids, ids * 10, prefill, [], tables, ids * 100, lengths, 3, torch.tensor([2])
            )
            for prefill in (True, False)
        ]
        return model, steps


def test_a_package_for_a_table_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpp = read_model(write_mapped(tmp_path), {"isPrefill": True})
    package = write(calling_files(cpp, roles(), SPEC), tmp_path)
    model, ((prefill, step), (decode, _)) = run(package, tmp_path, monkeypatch)
    named = dict(zip(cpp.inputs, prefill, strict=True))
    assert named["input_ids"].tolist() == [7, 8, 9]
    assert named["positional_ids"].tolist() == [70, 80, 90]
    assert named["slots"].tolist() == [700, 800, 900]
    assert named["block_tables"].tolist() == [[5]]
    assert named["seq_len"].tolist() == [3]
    assert named["logits_indices"].tolist() == [2]
    assert named["place_holder"] is model.placeholder
    assert (named["attention_mask"].item(), decode[4].item()) == (100.0, 200.0)
    angle = torch.tensor([1.0, 0.01, 1.0, 0.01]) * 15
    assert torch.allclose(named["cosine_table"][15].float(), angle.cos(), atol=1e-3)
    assert torch.allclose(named["sine_table"][15].float(), angle.sin(), atol=1e-3)
    assert json.loads(step) == {"seqLen": [3]}
    assert {p.key for p in cpp.step_parameters if p.required} <= set(json.loads(step))


def test_parameters_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpp = read_model(write_mapped(tmp_path))
    package = write(calling_files(cpp, roles(), SPEC), tmp_path)
    model, _ = run(package, tmp_path, monkeypatch)
    encoder, decoder = ToyModelTorch.made[:2]
    assert encoder.name == "mapped_MappedModel"
    assert encoder.params == [
        {
            "isPrefill": True,
            "numHiddenLayers": 2,
            "skipWordEmbedding": False,
            "positionEmbeddingType": 0,
            "scale_emb": 12,
        }
    ]
    assert decoder.params[0] == {**encoder.params[0], "isPrefill": False}
    text = (package / "flash_causal_llama.py").read_text()
    assert "defaults: isLongSeq" in text
    # The embedding, each layer, the last norm, the output projection.
    assert model.ascend_weight == [
        ("register_embedding", "w.e"),
        ("register_layer", "w.b.0"),
        ("register_layer", "w.b.1"),
        ("register_model_norm", "w.n"),
        ("register_model_lmhead", "lm_head"),
    ]
    layer = model.model.layers[1]
    assert layer.self_attn.qkv_names == ["w.b.1.mlp.v", "w.b.1.mlp.q", "w.b.1.mlp.k"]
    assert (layer.self_attn.dense_name, layer.self_attn.qkv_bias) == ("w.b.1.attn.up", True)
    assert layer.mlp.gate_up_names == ["w.b.1.attn.up_proj", "w.b.1.attn.gate_proj"]
    assert (layer.mlp.down_name, layer.mlp.norm_name) == ("w.b.1.attn.o", "w.b.1.query")
    wrapper = model.get_weights()
    assert wrapper.attention.sep_names == ["v", "q", "k"]
    assert (wrapper.attention.o_name, wrapper.attention.norm_name) == ("up", "down")
    assert wrapper.mlp.sep_names == ["up_proj", "gate_proj"]
    assert model.kv_cache_shapes(3, 8) == [((3, 8, 1, 4), (3, 8, 1, 4))] * 2


def test_prompts_and_steps_with_other_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpp = replace(read_model(write_mapped(tmp_path)), step_inputs=("IN_SLOTS", "seqlen"))
    package = write(calling_files(cpp, roles(), SPEC), tmp_path)
    _, ((prefill, _), (decode, _)) = run(package, tmp_path, monkeypatch)
    assert len(prefill) == 10
    assert [tensor.tolist() for tensor in decode] == [[700, 800, 900], [3]]


def test_everything_unknown_is_named_at_once(tmp_path: Path) -> None:
    cpp = read_model(write_enum(tmp_path))
    odd = replace(
        cpp,
        inputs=(*cpp.inputs, "IN_TENSOR_PATCHES", "IN_TENSOR_DEPTH"),
        parameters=(*cpp.parameters, Parameter("experts", "int", True, "", "", "")),
        step_parameters=(Parameter("wins", "list[int]", True, "", "", ""),),
        extra_inputs="N * 2",
        weights_per_layer=52,
    )
    with pytest.raises(BadInputError) as caught:
        calling_files(odd, roles(), SPEC)
    message = str(caught.value)
    for part in (
        "the unknown inputs IN_TENSOR_PATCHES, IN_TENSOR_DEPTH",
        "as many inputs as N * 2",
        "the unknown parameters experts (int)",
        "the unknown parameters wins in every step",
        "52 weights in a layer, not MindIE's 50",
    ):
        assert part in message
    assert "\n" not in message


def only(cpp: CppModel, *parameters: Parameter) -> CppModel:
    return replace(cpp, parameters=parameters)


def test_a_key_that_another_replaces(tmp_path: Path) -> None:
    cpp = read_model(write_enum(tmp_path))
    either = Parameter("oldName", "bool", True, "kvQuant", "", "")
    known = Parameter("kvQuant", "bool", False, "", "", "")
    calling_files(only(cpp, known, either), roles(), SPEC)
    with pytest.raises(BadInputError, match="oldName"):
        calling_files(only(cpp, either), roles(), SPEC)


def test_types_are_those_of_the_cpp(tmp_path: Path) -> None:
    cpp = read_model(write_enum(tmp_path))
    for kind, value in (("int", "0"), ("str", '"ROPE"')):
        given = only(cpp, Parameter("positionEmbeddingType", kind, True, "", "", ""))
        text = calling_files(given, roles(), SPEC)["llama/flash_causal_llama.py"]
        assert f'"positionEmbeddingType": {value}' in text
    with pytest.raises(BadInputError, match=r"worldSize \(str\)"):
        calling_files(only(cpp, Parameter("worldSize", "str", True, "", "", "")), roles(), SPEC)


def test_a_model_without_rotary_table(tmp_path: Path) -> None:
    cpp = read_model(write_mapped(tmp_path))
    with pytest.raises(BadInputError, match="a rotary table, which this model does not have"):
        calling_files(cpp, replace(roles(), rope=None), SPEC)
