"""The bundled model is what its README says: small, trained, byte-level, with grouped queries."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

MODEL = Path(__file__).parents[2] / "examples" / "bytellama"
HELD_OUT = Path(__file__).with_name("heldout.txt")


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(MODEL)


@torch.no_grad()
def loss_per_byte(model: LlamaForCausalLM, tokens: list[int]) -> float:
    """Mean loss in nats over separate windows of the full context."""
    context = model.config.max_position_embeddings
    losses = []
    for start in range(0, len(tokens) - 1, context):
        window = torch.tensor(tokens[start : start + context + 1])
        logits = model(input_ids=window[None, :-1]).logits[0]
        losses += cross_entropy(logits, window[1:], reduction="none").tolist()
    return math.fsum(losses) / len(losses)


def unigram_entropy(data: bytes) -> float:
    return -sum(n / len(data) * math.log(n / len(data)) for n in Counter(data).values())


def test_loss_is_far_below_the_unigram_entropy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    text = HELD_OUT.read_bytes()
    loss = loss_per_byte(model, tokenizer.encode(text.decode()))
    # An untrained model is at ln 272 = 5.6 nats, byte frequencies reach 2.97, and the frequencies
    # of byte pairs in this very text 2.02. Half the entropy, 1.49, takes attention to earlier
    # bytes: a broken RoPE, mask or head shows here.
    assert loss < 0.5 * unigram_entropy(text)


def test_saved_report_agrees_with_the_claim() -> None:
    report = json.loads((MODEL / "training.json").read_text())
    loss = report["validation_loss_nats_per_byte"]
    assert loss < 0.5 * report["validation_unigram_entropy_nats_per_byte"]


def test_every_token_is_one_byte(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "def f(x):\n    return x\n"
    assert tokenizer.encode(text) == list(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        HELD_OUT.read_text(),
        " leading, trailing and  double spaces \r\n\t",
        "don't , can not . n't ?",  # what clean_up_tokenization_spaces would change
        "Grüße, 你好, नमस्ते, 🐍🏳️‍🌈, e\u0301 is not é",
        "".join(map(chr, range(0x120))),
        "",
    ],
)
def test_tokenizer_round_trips(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert len(tokens) == len(text.encode())
    assert tokenizer.decode(tokens) == text


def test_special_tokens_agree_with_the_config(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    expected = (256, 257, 258)
    for owner in (model.config, model.generation_config, tokenizer):
        assert (owner.bos_token_id, owner.eos_token_id, owner.pad_token_id) == expected


def test_weights_fit_in_the_repository() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 4_000_000


def test_config_has_what_the_later_stages_need(model: LlamaForCausalLM) -> None:
    config = model.config
    assert config.num_attention_heads == 8 and config.num_key_value_heads == 4  # grouped queries
    assert config.num_hidden_layers >= 4  # the pattern search needs layers to choose between
    assert config.head_dim % 16 == 0  # Ascend RoPE
    assert config.hidden_size * 2 % 32 == 0  # Ascend rows are aligned to 32 bytes
    assert json.loads((MODEL / "config.json").read_text())["dtype"] == "float16"


def test_full_context_was_trained(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokens = torch.tensor(tokenizer.encode(HELD_OUT.read_text())[: 512 + 1])
    with torch.no_grad():
        logits = model(input_ids=tokens[None, :-1]).logits[0]
    losses = cross_entropy(logits, tokens[1:], reduction="none")
    # With positions it has never seen, a RoPE model gets worse than it was on the first bytes.
    assert losses[256:].mean() < losses[:256].mean()
