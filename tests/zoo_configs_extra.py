"""Tiny models for breadth: architectures and traits that nobody asked for by name."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.zoo_case import (
    BASE,
    BASE_LN,
    COMMON,
    EPSILON,
    LONG,
    NO_KV,
    ROPE,
    SHORT,
    SHORT_CONTEXT,
    SIZES,
    WIDE,
    WINDOW,
    Case,
    case,
    rope,
)

_extra = partial(case, tier="extra")
_ALTERNATING = ["sliding_attention", "full_attention"] * 2
_GPT2: dict[str, Any] = {
    **COMMON,
    "n_positions": 64,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 112,
    "layer_norm_epsilon": EPSILON,
    "tie_word_embeddings": True,
}
_PHI: dict[str, Any] = {**NO_KV, **WIDE, "layer_norm_eps": EPSILON, "partial_rotary_factor": 0.5}

_VARIANTS = [
    _extra(
        "gpt2-inverse-layer-scale",
        "gpt2",
        {**_GPT2, "scale_attn_by_inverse_layer_idx": True},
        "the attention scale differs in every layer",
    ),
    _extra("phi-qk-layernorm", "phi", {**_PHI, "qk_layernorm": True}, "LayerNorm on q and k"),
    _extra(
        "phi3-partial-longrope",
        "phi3",
        {
            **BASE,
            **WIDE,
            "max_position_embeddings": 4 * SHORT_CONTEXT,
            "original_max_position_embeddings": SHORT_CONTEXT,
            "tie_word_embeddings": True,
            **rope(
                "longrope",
                factor=4.0,
                short_factor=SHORT,
                long_factor=LONG,
                partial_rotary_factor=0.5,
            ),
        },
        "partial rotary with length-dependent factors (Phi-4-mini)",
        rope_boundary=SHORT_CONTEXT,
        seed=3,
    ),
    _extra(
        "phi3-window",
        "phi3",
        {**BASE, "original_max_position_embeddings": 64, "sliding_window": WINDOW},
        "fused qkv with a window (Phi-3-mini-4k)",
    ),
    _extra(
        "starcoder2-window",
        "starcoder2",
        {**BASE_LN, "norm_epsilon": EPSILON, "sliding_window": WINDOW, "tie_word_embeddings": True},
        "a window in a LayerNorm model (starcoder2-3b)",
        seed=14,
    ),
    _extra(
        "bloom-six-heads",
        "bloom",
        {
            **COMMON,
            "hidden_size": 96,
            "n_layer": 3,
            "n_head": 6,
            "layer_norm_epsilon": EPSILON,
            "tie_word_embeddings": True,
            "apply_residual_connection_post_layernorm": True,
        },
        "ALiBi slopes for a head count that is no power of two, residual after the norm",
        seed=3,
    ),
    _extra(
        "falcon-one-norm",
        "falcon",
        {
            **COMMON,
            **SIZES,
            **ROPE,
            "ffn_hidden_size": 112,
            "layer_norm_epsilon": EPSILON,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "num_ln_in_parallel_attn": 1,
        },
        "new decoder with one LayerNorm, untied head (falcon-11b)",
    ),
]

_DENSE = [
    _extra(
        "gemma3",
        "gemma3_text",
        {
            **{k: v for k, v in BASE.items() if k != "rope_parameters"},
            "num_hidden_layers": 4,
            "head_dim": 32,
            "tie_word_embeddings": True,
            "query_pre_attn_scalar": 24,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0},
            },
        },
        "two rotary tables, one per layer kind; zero-centred norms on q and k heads",
    ),
    _extra("glm", "glm", {**BASE, "head_dim": 32, "partial_rotary_factor": 0.5}, "two norms only"),
    _extra(
        "olmo3",
        "olmo3",
        {
            **{k: v for k, v in BASE.items() if k != "rope_parameters"},
            "num_hidden_layers": 4,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
        },
        "olmo2 with an alternating window",
    ),
    _extra(
        "cohere2",
        "cohere2",
        {
            **BASE_LN,
            "num_hidden_layers": 4,
            "layer_norm_eps": EPSILON,
            "logit_scale": 1.7,
            "tie_word_embeddings": True,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
        },
        "rotary embedding only in the windowed layers",
    ),
    _extra(
        "exaone4",
        "exaone4",
        {
            **BASE,
            "num_hidden_layers": 4,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
        },
        "norm after attention and MLP, q and k norms, rotary only in the windowed layers",
    ),
    _extra(
        "ministral",
        "ministral",
        {
            **BASE,
            "head_dim": 16,
            "num_hidden_layers": 4,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
        },
        "mistral with an alternating window",
    ),
    _extra("helium", "helium", {**BASE, "head_dim": 16}, "interleaved rotary"),
    _extra(
        "nemotron",
        "nemotron",
        {**BASE_LN, **WIDE, "norm_eps": EPSILON, "partial_rotary_factor": 0.5},
        "LayerNorm with 1 + weight, squared ReLU without a gate, partial rotary",
    ),
    _extra(
        "seed_oss",
        "seed_oss",
        {**BASE, "head_dim": 32, "attention_bias": True, "attention_out_bias": False},
        "bias on q, k, v only and heads * head_dim != hidden",
    ),
    _extra("arcee", "arcee", BASE, "squared ReLU without a gate", seed=1),
    _extra(
        "ernie4_5",
        "ernie4_5",
        {**BASE, "head_dim": 32, "use_bias": True},
        "interleaved rotary with biases",
    ),
    _extra("hunyuan", "hunyuan_v1_dense", {**BASE, "head_dim": 32}, "q and k norms after rotary"),
    _extra("apertus", "apertus", BASE, "xIELU with learned parameters, q and k norms"),
    _extra(
        "persimmon",
        "persimmon",
        {**NO_KV, **WIDE, "layer_norm_eps": EPSILON, "partial_rotary_factor": 0.5},
        "qkv interleaved per head, LayerNorm on q and k, squared ReLU",
    ),
    _extra(
        "codegen",
        "codegen",
        {**_GPT2, "n_ctx": 64, "n_embd": 128, "rotary_dim": 16, "tie_word_embeddings": False},
        "qkv shuffled in four blocks of q, v, k; interleaved rotary",
    ),
    _extra("gpt_bigcode", "gpt_bigcode", _GPT2, "gpt2 with one KV head", seed=4),
    _extra(
        "gpt_neo",
        "gpt_neo",
        {
            **COMMON,
            "hidden_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "intermediate_size": 112,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 2]],
            "window_size": WINDOW,
            "layer_norm_epsilon": EPSILON,
            "tie_word_embeddings": True,
        },
        "attention without a scale, alternating window, learned positions",
    ),
    _extra(
        "mpt",
        "mpt",
        {
            **COMMON,
            "d_model": 64,
            "n_heads": 4,
            "n_layers": 3,
            "expansion_ratio": 2,
            "max_seq_len": 64,
            "layer_norm_epsilon": EPSILON,
            "tie_word_embeddings": True,
            "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.35},
        },
        "ALiBi, LayerNorm without bias, clamped qkv, its own scale",
    ),
    _extra(
        "biogpt",
        "biogpt",
        {**COMMON, **SIZES, "intermediate_size": 112, "layer_norm_eps": EPSILON, "pad_token_id": 0},
        "learned positions with offset 2, scaled embedding, untied head",
    ),
    _extra(
        "xglm",
        "xglm",
        {
            **COMMON,
            "d_model": 64,
            "num_layers": 3,
            "attention_heads": 4,
            "ffn_dim": 112,
            "max_position_embeddings": 64,
            "tie_word_embeddings": True,
            "pad_token_id": 0,
        },
        "sinusoidal positions",
        seed=33,
    ),
]

_EXPERTS: dict[str, Any] = {**BASE, "num_local_experts": 4, "num_experts_per_tok": 2}
_QWEN_EXPERTS: dict[str, Any] = {
    **BASE,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}

_SPARSE = [
    _extra("mixtral", "mixtral", _EXPERTS, "two of four experts, weights normalised over the two"),
    _extra(
        "qwen2_moe",
        "qwen2_moe",
        {**_QWEN_EXPERTS, "shared_expert_intermediate_size": 80},
        "a gated shared expert; weights of the chosen experts not normalised",
        seed=1,
    ),
    _extra(
        "qwen3_moe",
        "qwen3_moe",
        {**_QWEN_EXPERTS, "head_dim": 32, "norm_topk_prob": True, "mlp_only_layers": [1]},
        "experts in layers 0 and 2, a dense MLP in layer 1",
        seed=2,
    ),
    _extra(
        "phimoe",
        "phimoe",
        {**_EXPERTS, "attention_bias": True, "lm_head_bias": True},
        "LayerNorm, sparse-mixer routing, biases",
    ),
    _extra(
        "granitemoe",
        "granitemoe",
        {
            **_EXPERTS,
            "embedding_multiplier": 3.0,
            "logits_scaling": 1.7,
            "residual_multiplier": 0.6,
            "attention_multiplier": 0.35,
        },
        "granite's multipliers around experts",
    ),
    _extra(
        "gpt_oss",
        "gpt_oss",
        {
            **_EXPERTS,
            "num_hidden_layers": 4,
            "head_dim": 32,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
            "attention_bias": True,
        },
        "attention sinks, clamped gated experts with biases, alternating window",
    ),
    _extra(
        "deepseek_v3",
        "deepseek_v3",
        {
            **{k: v for k, v in BASE.items() if k != "num_key_value_heads"},
            "num_key_value_heads": 4,
            "moe_intermediate_size": 48,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 24,
            "q_lora_rank": 40,
            "qk_rope_head_dim": 16,
            "qk_nope_head_dim": 16,
            "v_head_dim": 24,
        },
        "latent attention with value size != key size, grouped sigmoid routing, first layer dense",
    ),
]

EXTRA: tuple[Case, ...] = (*_VARIANTS, *_DENSE, *_SPARSE)
