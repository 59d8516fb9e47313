"""Tells MindIE where the parts of this model are."""

from dataclasses import dataclass

from atb_llm.models.base.router import BaseRouter

from .config_qwen3 import Qwen3Config


@dataclass
class Qwen3Router(BaseRouter):
    """Finds everything by MindIE's naming rules, except for the configuration.

    The model class is `FlashQwen3ForCausalLM` of `flash_causal_qwen3.py`; the tokenizer is
    that of the model directory.
    """

    def get_config(self):
        """Makes the configuration.

        The method of the base class would go on with an unchecked configuration if ours refuses
        config.json.

        Raises:
            ValueError: config.json is not that of the model that this code was generated for.
        """
        config = Qwen3Config.from_dict(self.config_dict)
        self.check_config(config)
        return config
