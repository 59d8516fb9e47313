"""The configuration of this model: what config.json may say, and what is fixed in the code."""

from atb_llm.models.base.config import BaseConfig

#: What this code was generated for, under the names of config.json. None: not in the file.
COMPILED = {
    "attention_bias": False,
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "quantization_config": None,
    "quantize": None,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_parameters": None,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
#: Element type for checkpoints in a type that ATB does not compute in.
DTYPE = "bfloat16"


class Gemma2Config(BaseConfig):
    """Values of config.json as attributes; the fields are those that MindIE reads."""

    model_type: str = "gemma2"
    hidden_size: int = 2304
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    vocab_size: int = 256000
    max_position_embeddings: int = 8192

    def __init__(self, **kwargs):
        """Takes the values of config.json.

        Raises:
            ValueError: They are not those of the model that this code was generated for.
        """
        check_compiled(kwargs)
        # Rotary tables are computed in flash_causal_gemma2.py. MindIE would check the scaling
        # against the list of those that its own models know.
        for key in ("rope_scaling", "rope_parameters"):
            kwargs.pop(key, None)
        dtype = kwargs.pop("dtype", None) or kwargs.get("torch_dtype")
        kwargs["torch_dtype"] = dtype if dtype in ("float16", "bfloat16") else DTYPE
        super().__init__(**kwargs)


def check_compiled(config):
    """Compares a config.json with what the code was generated for.

    Raises:
        ValueError: They differ; the message names the key and both values.
    """
    for key, compiled in COMPILED.items():
        value = config.get(key)
        if value != compiled:
            raise ValueError(
                f"config.json: {key} is {value!r}, but this code was generated for {compiled!r}; "
                "generate it again from this model directory"
            )
