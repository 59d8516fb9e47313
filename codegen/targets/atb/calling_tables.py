"""What MindIE's Python side has for the inputs and parameters of its C++ models.

One row for each thing that a package generated for a given C++ model can pass. Whatever a C++
model wants beyond these rows is an error: nobody would know what to give it.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.targets.atb.roles import Roles

#: Expressions for the inputs of a step, by their names without prefix. ``None`` stands for an input
#: that plain prefill and decode over a paged cache leave unused.
_INPUTS: dict[str, str | None] = {
    "input_ids": "input_ids",
    "input_ids_or_embedding": "input_ids",
    "positional_ids": "position_ids.to(torch.int64)",
    "cosine_table": "self.cos_embed",
    "sine_table": "self.sin_embed",
    "attention_mask": "mask",
    "block_tables": "block_tables.to(torch.int32)",
    "slots": "slots.to(torch.int32)",
    "seq_len": "input_lengths.to(torch.int32)",
    "logits_indices": "lm_head_indices if is_prefill else self.lm_head_indices_fake",
    "input_embedding": None,
    "kv_cache_idx": None,
    "lora_im_mask": None,
    "place_holder": None,
    "token_offset": None,
}
#: Other spellings in MindIE's models, misspelled ones included.
_SPELLINGS = {
    "position_ids": "positional_ids",
    "cos_table": "cosine_table",
    "cos_embed": "cosine_table",
    "sin_table": "sine_table",
    "sin_embed": "sine_table",
    "attentionmask": "attention_mask",
    "seqlen": "seq_len",
    "logtis_indices": "logits_indices",
    "lm_head_indices": "logits_indices",
    "kvcache_idx": "kv_cache_idx",
    "placeholder": "place_holder",
    "tokenoffset": "token_offset",
}
#: Expressions for the JSON of a step.
STEP_KEYS = {"seqLen": "input_lengths.tolist()"}


@dataclass(frozen=True)
class Known:
    """A parameter that can be passed.

    Attributes:
        type: As in `Parameter`.
        value: Expression for it.
    """

    type: str
    value: str


def input_expression(name: str) -> str:
    """The expression for an input.

    Raises:
        KeyError: Nobody knows what to give it.
    """
    return _INPUTS[_SPELLINGS.get(name, name)] or "self.placeholder"


def uses_rotary_table(names: tuple[str, ...]) -> bool:
    """Whether a model takes the rotary table."""
    return "cosine_table" in {_SPELLINGS.get(name, name) for name in names}


def parameters(roles: Roles) -> dict[str, tuple[Known, ...]]:
    """The parameters that can be passed, by key; several where C++ models differ in the type."""
    layer = roles.layer
    norm = Known("float", repr(layer.attention_norm.eps))
    biases = [group.bias for group in (layer.qkv[0], layer.out, layer.gate_up[0], layer.down)]
    swiglu, lcoc = (
        Known("bool", "not self.soc_info.need_nz"),
        Known("bool", "self.lcoc_enable and is_prefill"),
    )
    yes, no = Known("bool", "True"), Known("bool", "False")
    table = {
        "isPrefill": Known("bool", "is_prefill"),
        "isBF16": Known("bool", "self.dtype == torch.bfloat16"),
        "isFA": no,
        "isUnpadInputs": yes,
        "isEmbeddingParallel": no,
        "isLmHeadParallel": yes,
        "skipWordEmbedding": no,
        "withEmbedding": yes,
        "normEps": norm,
        "rmsNormEps": norm,
        "normType": Known("int", repr(int(layer.attention_norm.layer_norm))),
        "numHiddenLayers": Known("int", "self.num_layers"),
        "numAttentionHeadsPerRank": Known("int", "self.num_attention_heads"),
        "numKeyValueHeadsPerRank": Known("int", "self.num_key_value_heads"),
        "hiddenSizePerAttentionHead": Known("int", "self.head_size"),
        "hiddenSize": Known("int", "self.hidden_size"),
        "vocabSize": Known("int", "self.config.vocab_size"),
        "lmHeadTransposeType": Known("int", "self.lm_head.linear.trans_flag"),
        "rank": Known("int", "self.tp_rank"),
        "worldSize": Known("int", "self.tp_world_size"),
        "backend": Known("str", "self.soc_info.communication_backend"),
        "rankTableFile": Known("str", "ENV.rank_table_file"),
        "packQuantType": Known("list[list[int]]", "wrapper.pack_quant_type"),
        "linearQuantType": Known("list[list[int]]", "wrapper.linear_type"),
        "linearTransposeType": Known("list[list[int]]", "wrapper.linear_transpose_types"),
        "linearDescs": Known("list[list[int]]", "wrapper.linear_descs"),
        "linearHasBias": Known("list[list[bool]]", f"[{biases!r}] * self.num_layers"),
        "enableSwiGLU": swiglu,
        "supportSwiGLU": swiglu,
        "enableLcoc": lcoc,
        "supportLcoc": lcoc,
        "enableKvQuant": no,
        "kvQuant": no,
        "enableAddNorm": no,
        "splitWithStride": no,
        "useQKNorm": Known("bool", repr(bool(layer.qk_norm))),
    }
    rotary = (Known("int", "0"), Known("str", '"ROPE"'))
    return {**{key: (known,) for key, known in table.items()}, "positionEmbeddingType": rotary}
