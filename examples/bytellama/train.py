"""Train ByteLlama, the bundled example model, on text that every Python installation carries.

The model is a small Llama with grouped-query attention whose tokens are bytes. It is trained, not
random, so that a loss or a changed token means something when generated code is compared with it.
Run ``python examples/bytellama/train.py``; README.md states the time and the loss to expect.
"""

import argparse
import codecs
import contextlib
import importlib
import io
import json
import math
import platform
import sys
import sysconfig
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 512
BATCH_TOKENS = 2048
LONG_FRACTION = 0.2  # of the steps, at the end, run on windows of CONTEXT instead of SHORT bytes
SHORT = 256
PEAK_LR = 3e-3
WARMUP_STEPS = 100
SPECIAL_TOKENS = {"<|bos|>": 256, "<|eos|>": 257, "<|pad|>": 258}
BOS, EOS, PAD = SPECIAL_TOKENS.values()
PACKAGES = (
    "asyncio", "collections", "concurrent", "email", "http", "importlib", "json", "logging",
    "multiprocessing", "re", "tomllib", "unittest", "urllib", "wsgiref", "xml",
)  # fmt: skip


def documents() -> Iterator[tuple[str, str]]:
    """Yields (name, text) of every training document, in an order that only names decide.

    The documents are the public top-level modules of the standard library, the packages in
    ``PACKAGES``, the language reference topics behind ``help()``, and the Zen of Python.
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    modules = [
        path
        for path in stdlib.glob("[!_]*.py")
        if path.stem in sys.stdlib_module_names  # leaves out sitecustomize.py and the like
    ]
    for package in PACKAGES:
        modules += (stdlib / package).rglob("*.py")
    for path in sorted(modules, key=lambda path: path.relative_to(stdlib).as_posix()):
        yield path.relative_to(stdlib).as_posix(), path.read_text(encoding="utf-8")
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        yield f"topics/{name}", topics[name]
    with contextlib.redirect_stdout(io.StringIO()):  # importing it prints it
        zen = importlib.import_module("this")
    yield "this", codecs.decode(zen.s, "rot13")


def load_split() -> tuple[torch.Tensor, torch.Tensor]:
    """Splits the documents by name: one in twenty is held out.

    Returns:
        Training tokens (each document between BOS and EOS) and validation tokens (bytes only,
        so that a mean loss over them is in nats per byte), both ``[n]`` int64. Characters outside
        ASCII are dropped: there are too few of them to learn.
    """
    train, held_out = [], bytearray()
    for name, text in documents():
        data = text.encode("ascii", errors="ignore")
        if zlib.crc32(name.encode()) % 20 == 0:
            held_out += data
        else:
            train += [BOS, *data, EOS]
    return torch.tensor(train), torch.tensor(list(held_out))


def unigram_entropy(tokens: torch.Tensor) -> float:
    """Entropy of the byte frequencies of ``tokens``: the loss of a model without context (nats)."""
    p = torch.bincount(tokens).double() / tokens.numel()
    return -torch.special.xlogy(p, p).sum().item()


def build_model() -> LlamaForCausalLM:
    """Creates the untrained model in float32."""
    config = LlamaConfig(
        vocab_size=272,  # 256 bytes, the special tokens, padding to a multiple of 16
        hidden_size=256,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        initializer_range=0.04,  # after 320 steps: loss 1.62, with 0.02 1.76
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Creates the tokenizer: byte ``b`` is token ``b``, and no text can be outside of it."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    shifted = iter(range(256, 512))  # the GPT-2 alphabet stands for the other bytes with these
    vocab = {chr(byte if byte in visible else next(shifted)): byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab | SPECIAL_TOKENS, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos, pad = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up to ``PEAK_LR``, then a half cosine down to zero at ``steps``."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return PEAK_LR * warmup * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(model: LlamaForCausalLM, tokens: torch.Tensor, steps: int, seed: int) -> None:
    """Trains ``model`` in place on random windows of ``tokens`` ``[n]``, float32 weights.

    The matrix products run in bfloat16. Most steps see short windows, which are cheaper; the last
    ones see the whole context, so that every position the config promises has been trained.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    model.train()
    start = time.monotonic()
    for step in range(steps):
        length = SHORT if step < steps * (1 - LONG_FRACTION) else CONTEXT
        offsets = torch.randint(
            tokens.numel() - length, (BATCH_TOKENS // length, 1), generator=generator
        )
        window = tokens[offsets + torch.arange(length + 1)]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=window[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1).float(), window[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - start
            print(f"step {step}/{steps} loss {loss.item():.3f} {seconds:.0f} s", file=sys.stderr)


@torch.no_grad()
def evaluate(model: LlamaForCausalLM, tokens: torch.Tensor) -> float:
    """Mean loss in nats per byte of ``tokens`` ``[n]``, in separate windows of the full context."""
    model.eval()
    count = (tokens.numel() - 1) // CONTEXT
    inputs = tokens[: count * CONTEXT].view(count, CONTEXT)
    targets = tokens[1 : count * CONTEXT + 1].view(count, CONTEXT)
    losses = [
        cross_entropy(model(input_ids=x, use_cache=False).logits.flatten(0, 1), y.flatten()).item()
        * x.shape[0]
        for x, y in zip(inputs.split(16), targets.split(16), strict=True)
    ]
    return sum(losses) / count


def main() -> None:
    """Trains, saves in float16, and reports the loss of what was saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    train_tokens, held_out = load_split()
    print(f"{train_tokens.numel()} + {held_out.numel()} tokens", file=sys.stderr)
    model = build_model()
    train(model, train_tokens, args.steps, args.seed)

    model.half().save_pretrained(args.out)
    # Greedy, so that two runs of the same weights can be compared token by token.
    GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    ).save_pretrained(args.out)
    build_tokenizer().save_pretrained(args.out)

    saved = LlamaForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    report = {
        "parameters": saved.num_parameters(),
        "python": platform.python_version(),
        "seed": args.seed,
        "steps": args.steps,
        "train_tokens": train_tokens.numel(),
        "validation_bytes": held_out.numel(),
        "validation_loss_nats_per_byte": round(evaluate(saved, held_out), 4),
        "validation_unigram_entropy_nats_per_byte": round(unigram_entropy(held_out), 4),
    }
    (args.out / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
