"""Loads one rank of a model and runs it."""

from __future__ import annotations

import sys
import threading
from typing import Any

import torch
from torch import Tensor

from codegen.errors import HostError
from codegen.host.atb_llm.environment import Mapping, ProcessGroup
from codegen.host.atb_llm.models import get_model
from codegen.host.atb_llm.session import active
from codegen.host.atb_llm.weights import Weights

__all__ = ["ModelRunner", "get_model"]

_MODULE = "atb_llm.runner.model_runner"
#: transformers imports its parts when they are asked for, which two threads must not do at once.
_loading = threading.Lock()


class ModelRunner:
    """One rank of a model.

    Attributes:
        rank: Number of the rank.
        world_size: How many ranks there are.
        model: The model, after ``load_weights``.
        config: Its configuration.
        tokenizer: Its tokenizer; None with ``load_tokenizer=False``.
        dtype: Element type of weights and caches.
        device: Where it runs.
        num_layers: Layers.
        num_heads: Query heads of this rank.
        num_kv_heads: Key-value heads of this rank.
        head_size: Elements of a head.
    """

    def __init__(
        self,
        model_name_or_path: str,
        rank: int,
        world_size: int,
        npu_id: int | None = None,
        local_rank: int | None = None,
        is_flash_causal_lm: bool = True,
        load_tokenizer: bool = True,
        max_position_embeddings: int | None = None,
        tokenizer_path: str | None = None,
        llm_config_path: str | None = None,
        models_dict: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Reads configuration and tokenizer.

        Raises:
            HostError: The rank does not exist.
        """
        if not 0 <= rank < world_size:
            raise HostError(f"rank {rank} of {world_size} ranks")
        self.model_name_or_path = model_name_or_path
        self.rank, self.world_size = rank, world_size
        self.local_rank = rank if local_rank is None else local_rank
        self.process_group = ProcessGroup(rank, world_size)
        self.mapping = Mapping(rank, world_size)
        self.device = torch.device("cpu")
        self.trust_remote_code = bool(options.get("trust_remote_code", False))
        self.max_batch_size = options.get("max_batch_size", -1)
        # Through the module, where emitted code may have put its own.
        router = sys.modules[_MODULE].get_model(
            model_name_or_path,
            is_flash_causal_lm=is_flash_causal_lm,
            load_tokenizer=load_tokenizer,
            max_position_embeddings=max_position_embeddings,
            revision=None,
            tokenizer_path=tokenizer_path,
            trust_remote_code=self.trust_remote_code,
            enable_atb_torch=False,
            enable_edge=False,
            llm_config_path=llm_config_path,
            models_dict=models_dict,
            sub_model_path=f"part{self.local_rank}-of-{world_size}",
        )
        with _loading:
            self.model_cls: Any = router.model_cls
            self.config: Any = router.config
            self.tokenizer: Any = router.tokenizer
        self.config_dict: dict[str, Any] = router.config_dict
        self.llm_config: Any = router.llm_config
        if self.config.torch_dtype not in (torch.float16, torch.bfloat16):
            raise NotImplementedError(
                "`torch_dtype` is only supported for type `float16` and `bfloat16`, is "
                f"{self.config.torch_dtype}"
            )
        self.dtype = active().dtype
        self.quantize: str | None = self.config.quantize
        self.max_position_embeddings: int = self.config.max_position_embeddings
        self.model: Any = None

    def load_weights(self, **options: Any) -> None:
        """Makes the model from the weights of the directory."""
        weights = Weights(
            self.model_name_or_path,
            self.device,
            self.dtype,
            process_group=self.process_group,
            mapping=self.mapping,
            quantize=self.quantize,
            extension=".safetensors",
            **options,
        )
        self.model = self.model_cls(
            self.config,
            weights,
            inference_mode=None,
            plugin_params=None,
            trust_remote_code=self.trust_remote_code,
            lora_model_config=None,
            lora_adapter=None,
            num_speculative_tokens=None,
            distributed_enable=False,
            max_batch_size=self.max_batch_size,
            llm_config=self.llm_config,
            model_role="standard",
        )
        self.model.to(self.device)
        weights.release_file_handler()
        self.soc_info = self.model.soc_info
        self.head_size: int = self.model.head_size
        self.num_heads: int = self.model.num_attention_heads
        self.num_kv_heads: int = self.model.num_key_value_heads
        self.num_layers: int = self.model.num_layers
        self.k_head_size = self.v_head_size = self.head_size

    def forward(self, **inputs: Any) -> Tensor:
        """Runs the model; the arguments are those of ``FlashForCausalLM.forward``.

        Returns:
            Logits.
        """
        return self.model.forward(**inputs)

    def clear_internal_tensors(self) -> None:
        """Frees what the engine keeps between steps; the stand-in keeps nothing."""
