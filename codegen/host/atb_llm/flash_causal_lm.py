"""Base of the emitted model class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from codegen.errors import HostError
from codegen.host.atb_llm.environment import SocInfo
from codegen.host.atb_llm.model_utils import BaseModel
from codegen.host.atb_llm.weights import Weights

__all__ = ["FlashForCausalLM"]

#: Key and value cache of each layer.
KvCache = Sequence[tuple[Tensor, Tensor]]


class FlashForCausalLM(BaseModel):
    """A decoder with a paged cache: two ATB models, one for prompts and one for steps.

    A subclass makes them in ``init_ascend_operations``, gives them parameters and weights in
    ``init_ascend_weight``, and lists their inputs in ``prepare_inputs_for_ascend``.

    Attributes:
        config: The model's configuration.
        soc_info: What the chip needs.
        num_attention_heads: Query heads of this rank.
        num_key_value_heads: Key-value heads of this rank.
        head_size: Elements of a head.
        num_layers: Layers.
        tp_rank: Number of this rank.
        tp_world_size: How many ranks there are.
        placeholder: Tensor for inputs that are not used.
        acl_encoder_operation: The model for prompts.
        acl_decoder_operation: The model for steps.
        ascend_weight: Weights as the ATB models want them; empty until the first step.
    """

    def __init__(self, config: Any, weights: Weights, **options: Any) -> None:
        super().__init__()
        self.config = config
        self.soc_info = SocInfo()
        self.llm_config = options.get("llm_config")
        self.inference_mode = options.get("inference_mode")
        self.mapping = weights.mapping
        self.tp_rank: int = weights.process_group.rank()
        self.tp_world_size: int = weights.process_group.size()
        self.device, self.dtype = weights.device, weights.dtype
        self.quantize: str | None = config.quantize
        self.lcoc_enable = False
        self.speculate_enable = self.prefix_cache_enable = self.split_fuse_enable = False
        self._init_sizes(config)
        self.placeholder = torch.zeros(1, dtype=self.dtype, device=self.device)
        self.acl_param: str | None = None
        self.acl_encoder_operation: Any = None
        self.acl_decoder_operation: Any = None
        self.init_ascend_operations(config)
        self.ascend_weight: list[Tensor] = []
        self.ascend_kcache_id: int | None = None
        self.ascend_vcache_id: int | None = None
        self.ascend_kcache_shape: torch.Size | None = None
        self.ascend_vcache_shape: torch.Size | None = None
        self.acl_encoder_operation_inputs: list[Tensor | None] = []
        self.acl_decoder_operation_inputs: list[Tensor | None] = []
        self.lm_head_indices_fake = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.cos_embed: Tensor | None = None
        self.sin_embed: Tensor | None = None
        self.adapter_manager = None
        self.warmup_is_end = True

    def _init_sizes(self, config: Any) -> None:
        heads: int = config.num_attention_heads
        kv_heads: int = getattr(config, "num_key_value_heads", None) or heads
        ranks = self.tp_world_size
        repeats = ranks // kv_heads if kv_heads < ranks else 1
        self.hidden_size: int = config.hidden_size
        own_size = "qwen3" in config.model_type and hasattr(config, "head_dim")
        self.head_size: int = config.head_dim if own_size else self.hidden_size // heads
        self.num_layers: int = config.num_hidden_layers
        self.num_attention_heads = -(-heads // ranks)
        self.num_key_value_heads = -(-kv_heads * repeats // ranks)
        self.max_position_embeddings: int = config.max_position_embeddings

    def init_ascend_operations(self, config: Any) -> None:
        """Makes the two ATB models."""
        raise NotImplementedError

    def init_ascend_weight(self) -> None:
        """Gives the ATB models parameters and weights, and fills ``ascend_weight``."""
        raise NotImplementedError

    def prepare_inputs_for_ascend(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        is_prefill: bool,
        kv_cache: KvCache,
        block_tables: Tensor,
        slots: Tensor,
        input_lengths: Tensor,
        max_seq_len: int,
        lm_head_indices: Tensor | None = None,
        **options: Any,
    ) -> tuple[list[Tensor], str]:
        """The inputs of an ATB model in their order, and its parameters of this step as JSON."""
        raise NotImplementedError

    def init_kvcache(self, kv_cache: KvCache) -> None:
        """Hands the caches to both ATB models, if they are not the ones that those have."""
        key, value = kv_cache[0]
        now = (id(key), id(value), key.shape, value.shape)
        had = (
            self.ascend_kcache_id,
            self.ascend_vcache_id,
            self.ascend_kcache_shape,
            self.ascend_vcache_shape,
        )
        if now == had:
            return
        keys, values = [k for k, _ in kv_cache], [v for _, v in kv_cache]
        self.acl_encoder_operation.set_kv_cache(keys, values)
        self.acl_decoder_operation.set_kv_cache(keys, values)
        self.ascend_kcache_id, self.ascend_vcache_id = id(key), id(value)
        self.ascend_kcache_shape, self.ascend_vcache_shape = key.shape, value.shape

    def execute_ascend_operator(
        self, acl_inputs: list[Tensor], acl_param: str, is_prefill: bool
    ) -> Tensor:
        """Runs one of the ATB models and returns its first output.

        Raises:
            HostError: An input is missing or the parameters are no JSON, which the original
                would pass on to the device.
        """
        missing = [index for index, value in enumerate(acl_inputs) if not _is_tensor(value)]
        if missing:
            raise HostError(f"inputs {missing} of the ATB model are no tensors")
        try:
            json.loads(acl_param)
        except (TypeError, ValueError) as error:
            raise HostError(f"the ATB model's parameters are no JSON: {error}") from error
        model = self.acl_encoder_operation if is_prefill else self.acl_decoder_operation
        return model.execute(acl_inputs, acl_param)[0]

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        is_prefill: bool,
        kv_cache: KvCache,
        block_tables: Tensor,
        slots: Tensor,
        input_lengths: Tensor,
        max_seq_len: int,
        lm_head_indices: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Runs one step.

        Args:
            input_ids: New tokens of all sequences, one after the other, int64 ``[tokens]``.
            position_ids: Position of each in its sequence, int64 ``[tokens]``.
            is_prefill: The tokens are whole prompts.
            kv_cache: Key and value cache of each layer, ``[blocks, block size, heads, head size]``.
            block_tables: Cache blocks of each sequence, int32 ``[batch, blocks]``.
            slots: Cache row of each token, int32 ``[tokens]``.
            input_lengths: Tokens of each sequence in the cache after the step, int32 ``[batch]``.
            max_seq_len: The largest of them.
            lm_head_indices: Tokens whose logits are wanted, int64; None for all.

        Returns:
            Logits ``[tokens or indices, vocab]``.
        """
        if not self.ascend_weight:
            self.init_ascend_weight()
        self.init_kvcache(kv_cache)
        inputs, param = self.prepare_inputs_for_ascend(
            input_ids,
            position_ids,
            is_prefill,
            kv_cache,
            block_tables,
            slots,
            input_lengths,
            max_seq_len,
            lm_head_indices,
            **options,
        )
        return self.execute_ascend_operator(inputs, param, is_prefill)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
