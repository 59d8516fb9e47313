"""The configuration of this model: what config.json may say, and what is fixed in the code."""

from atb_llm.models.base.config import BaseConfig

#: What this code was generated for, under the names of config.json. None: not in the file.
COMPILED = {
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "quantization_config": None,
    "quantize": None,
    "rms_norm_eps": 1e-05,
    "rope_parameters": None,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}
#: Element type for checkpoints in a type that ATB does not compute in.
DTYPE = "bfloat16"


class LlamaConfig(BaseConfig):
    """Values of config.json as attributes; the fields are those that MindIE reads."""

    model_type: str = "llama"
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    vocab_size: int = 128256
    max_position_embeddings: int = 131072

    def __init__(self, **kwargs):
        """Takes the values of config.json.

        Raises:
            ValueError: They are not those of the model that this code was generated for.
        """
        check_compiled(kwargs)
        # Rotary tables are computed in flash_causal_llama.py. MindIE would check the scaling
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
