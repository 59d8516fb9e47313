"""Modelling code of the kind that ships with checkpoints: right, or refused with the reason.

Every folder of tests/remote_code holds one variation. It is put together with `common.py` and a
config.json to a directory like those of the hub, and goes through `transform` and `verify`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from codegen.errors import UnsupportedError, VerificationError
from codegen.pipeline import transform
from codegen.verification import verify
from ir.errors import IrError

MODELS = Path(__file__).resolve().parents[1] / "remote_code"

#: Configuration of each variation that reaches parity, beside the defaults of `common.Config`.
PARITY: dict[str, dict[str, object]] = {
    "alibi_six_heads": {
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "hidden_size": 192,
    },
    "fused_bias": {"num_key_value_heads": 4},
    "gated_attention": {},
    "grouped_wqkv": {},
    "half_interleaved_rope": {},
    "learned_positions": {},
    "mqa_broadcast": {"num_key_value_heads": 1},
    "noncontiguous_heads": {},
    "packed_up_gate": {},
    "parallel_shared_norm": {},
    "plain": {},
    "qk_clip": {},
    "repeated_layer": {},
    "residual_by_layer": {},
    "rope_after_qk_norm": {},
    "rope_before_qk_norm": {},
    "rope_last_dims": {},
    "sandwich_norms": {},
    "scaled_and_normed_embedding": {},
    "sdpa_call": {},
    "sdpa_mask": {},
    "softcap": {},
    "squared_relu": {},
    "tied_scaled_logits": {"tie_word_embeddings": True},
    "tril_mask": {},
    "two_rope_bases": {},
    "window_by_parity": {},
    "window_of_floats": {},
}

#: What is said about each variation that is refused.
REFUSED = {
    "complex_rope": "common.py:.*complex64 cannot be compiled",
    "dynamic_ntk": "beyond 32 tokens it computes something else.*max_position_embeddings",
    "interleaved_gate": r"layers\.0\.mlp at modeling.py:\d+: aten.add.Tensor",
    "last_logits_only": "it takes a part of the tokens",
    "learned_bias": "the attention is not understood: two tensors that depend on the tokens",
    "learned_temperature": "the attention is not understood: the scores are multiplied by a tensor",
    "logn_queries": "layers.0.self_attn at common.py:.*follows from the positions",
    "norm_head": r"lm_head at modeling.py:\d+: aten.linalg_vector_norm",
    "norm_head_once": "forward must not change weights",
    "norm_head_parameter": r"lm_head at modeling.py:\d+: aten.linalg_vector_norm",
    "offset_rope": "position_table has no ATB form",
    "position_temperature": "position_table has no ATB form",
    "prefix_mask": "it hides other keys than a causal mask or a sliding window does",
    "rope_by_length": "follows from the positions in an unknown way",
    "router": "layers.0.mlp at modeling.py:.*aten.argmax",
    "short_convolution": "layers.0.conv at modeling.py:.*aten.conv1d",
    "softmax_plus_one": "a product of two activations outside attention",
    "token_mean": "it works across tokens, which only attention may do",
    "token_shift": "the code works only for some numbers of tokens",
    "values_of_first_layer": "layers",
    "window_in_steps": "the modelling code builds it with aten.floor_divide.default",
    "window_with_sinks": "it hides other keys than a causal mask or a sliding window does",
}
_TRAINED = {"dynamic_ntk": {"trained_length": 32}, "logn_queries": {"trained_length": 32}}
#: Variations in which layers differ or depend on each other.
_BY_LAYER = {"plain", "residual_by_layer", "values_of_first_layer", "window_by_parity"}
_UNUSABLE = {"no_cache", "no_mask"}


@pytest.fixture(scope="module")
def code_cache(tmp_path_factory: pytest.TempPathFactory):
    """Where transformers copies remote code to, apart from that of the user and of other tests."""
    from transformers import dynamic_module_utils

    def forget() -> None:
        for name in [n for n in sys.modules if n.split(".")[0] == "transformers_modules"]:
            del sys.modules[name]

    forget()
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("modules")
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(folder)
        yield
    forget()


@pytest.fixture
def directory(tmp_path: Path, code_cache):
    """Puts one variation together."""

    def make(name: str, **config: object) -> Path:
        path = tmp_path / name
        path.mkdir()
        shutil.copy(MODELS / "common.py", path)
        shutil.copy(MODELS / name / "modeling.py", path)
        facts = {
            "model_type": f"remote_{name}",
            "architectures": ["Model"],
            "num_hidden_layers": 2 if name in _BY_LAYER else 1,
            "auto_map": {
                "AutoConfig": "common.Config",
                "AutoModelForCausalLM": "modeling.Model",
            },
        }
        (path / "config.json").write_text(json.dumps(facts | config))
        return path

    return make


def test_every_variation_is_listed():
    names = {path.parent.name for path in MODELS.glob("*/modeling.py")}
    assert names == PARITY.keys() | REFUSED.keys() | _UNUSABLE


@pytest.mark.parametrize("name", PARITY)
def test_parity(name, directory, tmp_path):
    path, out = directory(name, **PARITY[name]), tmp_path / "out"
    transform(path, out, target="atb-python", trust_remote_code=True)
    # The second prompt and its continuation are longer than every window of the variations.
    prompts = [[5, 1, 60], [*range(7, 51)]]
    result = verify(out, path, prompts=prompts, decode_steps=4, trust_remote_code=True)
    assert result.passed, result.departure


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name, directory, tmp_path):
    path, out = directory(name, **_TRAINED.get(name, {})), tmp_path / "out"
    with pytest.raises(UnsupportedError, match=REFUSED[name]) as refused:
        transform(path, out, target="atb-python", trust_remote_code=True)
    assert not out.exists()
    assert all(problem.reason and problem.remedy for problem in refused.value.problems)


def test_a_model_without_a_cache_cannot_be_verified(directory, tmp_path):
    path, out = directory("no_cache"), tmp_path / "out"
    transform(path, out, target="atb-python", trust_remote_code=True)
    with pytest.raises(VerificationError, match="returns no cache"):
        verify(out, path, trust_remote_code=True)


def test_attention_without_a_mask_has_no_cache(directory, tmp_path):
    with pytest.raises(IrError, match=r"attention is not causal \(layers.0.self_attn at common.py"):
        transform(
            directory("no_mask"),
            tmp_path / "out",
            target="atb-python",
            trust_remote_code=True,
        )
    assert not (tmp_path / "out").exists()
