from __future__ import annotations

import pytest

from codegen.targets.atb.lower import lower
from tests.codegen.targets.atb.handmade import Spec, llama_like, weights, with_cache
from tests.codegen.targets.atb.stepping import trajectory, worst

VARIANTS = {
    "gqa": Spec(),
    "mha-biases": Spec(kv_heads=4, bias=True),
    "mqa": Spec(kv_heads=1),
    "transposed-weights": Spec(transpose_weight=False, packed=True),
    "packed": Spec(packed=True),
    "zero-centred-norm": Spec(unit_offset=True, gate="gelu_tanh", multiplier=0.7),
    "norm-without-weight": Spec(norm_weight=False),
    "layer-norm": Spec(norm="layer", bias=True, gate=None),
    "layer-norm-without-bias": Spec(norm="layer", parallel=True),
    "layer-norm-without-weight": Spec(norm="layer", norm_weight=False),
    "interleaved": Spec(rope="interleaved"),
    "partial-half": Spec(rotary_dim=16),
    "partial-interleaved": Spec(rope="interleaved", rotary_dim=16),
    "rope-of-q-only": Spec(q_only=True),
    "longrope": Spec(long_rope=True, rope_attrs={"original_max_position": 10, "scale": 1.2}),
    "dynamic-ntk": Spec(
        rope_attrs={"original_max_position": 10, "dynamic_factor": 3.0, "dynamic_base": 1000.0}
    ),
    "no-rope-alibi": Spec(rope=None, alibi=True),
    "learned-positions": Spec(rope=None, learned_positions=2, gate=None, activation="relu"),
    "window": Spec(layers=(5, 5)),
    "mixed-windows": Spec(layers=(None, 4, None)),
    "alibi-window": Spec(rope=None, alibi=True, layers=(4, None)),
    "softcap": Spec(softcap=4.0, logit_softcap=8.0),
    "softcap-window-mha": Spec(softcap=4.0, layers=(5, None), kv_heads=4),
    "softcap-alibi": Spec(softcap=4.0, rope=None, alibi=True),
    "qk-norm": Spec(qk_norm="shared"),
    "qk-norm-per-head": Spec(qk_norm="per_head"),
    "qk-layer-norm-per-head": Spec(qk_norm="per_head", norm="layer"),
    "clamp": Spec(clamp=0.4),
    "relu2": Spec(gate=None, activation="relu2"),
    "quick-gelu": Spec(gate=None, activation="quick_gelu"),
    "tied": Spec(tied=True),
    "one-layer": Spec(layers=(None,)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_lowered_equals_llm_in_prefill_and_decode(name: str) -> None:
    checkpoint = weights(llama_like(VARIANTS[name]))
    module = with_cache(VARIANTS[name])
    assert worst(trajectory(module, checkpoint), trajectory(lower(module), checkpoint)) < 1e-5
