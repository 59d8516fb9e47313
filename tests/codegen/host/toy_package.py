"""An emitted package around a toy model, whose answers show whether it was called rightly.

The toy writes each token id into the cache row of its slot. Its next token is the sum of all ids
that the block table shows, so a wrong slot, block, position or length gives another answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from codegen.frontend.checkpoint import read_config
from codegen.targets.atb.emit_package import package_files, package_spec

VOCAB = 97
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "float32",
    "eos_token_id": 96,
}
FLASH = """
import json
import torch
from atb_llm.models.base.flash_causal_lm import FlashForCausalLM

CPP_MODEL = "toy_DecoderModel"


class FlashLlamaForCausalLM(FlashForCausalLM):
    def __init__(self, config, weights, **kwargs):
        super().__init__(config, weights, **kwargs)
        self.scale = weights.get_tensor("scale")

    def init_ascend_operations(self, config):
        self.acl_encoder_operation = torch.classes.ModelTorch.ModelTorch(CPP_MODEL)
        self.acl_decoder_operation = torch.classes.ModelTorch.ModelTorch(CPP_MODEL)

    def init_ascend_weight(self):
        self.ascend_weight = [self.scale]
        common = {"rank": self.tp_rank, "worldSize": self.tp_world_size}
        for model, prefill in (
            (self.acl_encoder_operation, True),
            (self.acl_decoder_operation, False),
        ):
            model.set_param(json.dumps({**common, "isPrefill": prefill}))
            model.set_weight(self.ascend_weight)

    def prepare_inputs_for_ascend(self, input_ids, position_ids, is_prefill, kv_cache,
                                  block_tables, slots, input_lengths, max_seq_len,
                                  lm_head_indices=None, **kwargs):
        if lm_head_indices is None:
            lm_head_indices = torch.arange(len(input_ids))
        inputs = [input_ids, position_ids, slots, block_tables, input_lengths, lm_head_indices]
        return inputs, json.dumps({"seqLen": input_lengths.tolist()})

    def kv_cache_shapes(self, blocks, block_size):
        heads = self.num_key_value_heads
        return [((blocks, block_size, heads, self.head_size),) * 2] * self.num_layers
"""


class ToyModelTorch:
    """What the C++ model would be."""

    made: list[ToyModelTorch] = []

    def __init__(self, name: str) -> None:
        self.name = name
        self.params: list[dict[str, Any]] = []
        self.weights: list[Tensor] = []
        self.caches = 0
        ToyModelTorch.made.append(self)

    def set_param(self, text: str) -> None:
        self.params.append(json.loads(text))

    def set_weight(self, weights: list[Tensor]) -> None:
        self.weights = weights

    def set_kv_cache(self, keys: list[Tensor], values: list[Tensor]) -> None:
        assert len(keys) == len(values) == CONFIG["num_hidden_layers"]
        self.keys, self.caches = keys, self.caches + 1

    def execute(self, inputs: list[Tensor], text: str) -> list[Tensor]:
        ids, positions, slots, tables, lengths, last = inputs
        assert json.loads(text)["seqLen"] == lengths.tolist()
        if not self.params[0]["isPrefill"]:
            assert len(ids) == len(lengths)
        rows = self.keys[0]
        size = rows.shape[1]
        for token, position, slot in zip(ids, positions, slots, strict=True):
            owner = [b for b, table in enumerate(tables) if slot // size in table.tolist()]
            assert owner, "a slot outside of all tables"
            assert int(slot) % size == int(position) % size
            rows[int(slot) // size, int(slot) % size, 0, 0] = token.to(rows.dtype)
        sums: list[int] = []
        for table, length in zip(tables, lengths, strict=True):
            flat = torch.cat([rows[int(block), :, 0, 0] for block in table])
            sums.append(int(flat[: int(length)].sum()))
        logits = torch.zeros(len(sums), VOCAB, dtype=self.weights[0].dtype)
        for row, total in enumerate(sums):
            logits[row, total % (VOCAB - 1)] = self.weights[0][0]
        assert len(last) == len(sums)
        return [logits]


@contextmanager
def model_torch(folder: Path | None = None, precision: str = "float32") -> Iterator[None]:
    """Puts the toy where emitted code looks for the C++ model."""
    ToyModelTorch.made.clear()
    torch.classes.ModelTorch = SimpleNamespace(ModelTorch=ToyModelTorch)
    try:
        yield
    finally:
        del torch.classes.ModelTorch


def expected(prompt: list[int], count: int) -> list[int]:
    """What the toy continues a prompt with."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum(tokens) % (VOCAB - 1))
        if tokens[-1] == CONFIG["eos_token_id"]:
            break
    return tokens[len(prompt) :]


def write_checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    tensors = {"scale": torch.tensor([2.0], dtype=torch.float16), "ids": torch.arange(24)}
    tensors["wide"] = torch.arange(48, dtype=torch.float32).reshape(12, 4)
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_package(out: Path, checkpoint: Path, has_tokenizer: bool = False) -> Path:
    """Emits the package and adds the toy's model class."""
    from transformers import AutoConfig

    spec = package_spec(
        read_config(checkpoint),
        AutoConfig.from_pretrained(checkpoint),
        model_class="LlamaForCausalLM",
        dtype="bfloat16",
        has_tokenizer=has_tokenizer,
        cpp_folder="llamaforcausallm",
    )
    for path, text in package_files(spec).items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")
    package = out / "llama"
    (package / "flash_causal_llama.py").write_text(FLASH, encoding="utf-8")
    return package
