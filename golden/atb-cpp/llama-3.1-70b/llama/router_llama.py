"""Tells MindIE where the parts of this model are."""

from dataclasses import dataclass

from atb_llm.models.base.router import BaseRouter

from .config_llama import LlamaConfig


@dataclass
class LlamaRouter(BaseRouter):
    """Finds everything by MindIE's naming rules, except for the configuration.

    The model class is `FlashLlamaForCausalLM` of `flash_causal_llama.py`; the tokenizer is
    that of the model directory.
    """

    def get_config(self):
        """Makes the configuration.

        The method of the base class would go on with an unchecked configuration if ours refuses
        config.json.

        Raises:
            ValueError: config.json is not that of the model that this code was generated for.
        """
        config = LlamaConfig.from_dict(self.config_dict)
        self.check_config(config)
        return config
