"""Generates text with this model: MindIE runs its ATB C++ code.

    python mistral/run.py --model_path=DIR                             one NPU
    torchrun --nproc_per_node 4 mistral/run.py --model_path=DIR        four
    python mistral/run.py --model_path=DIR --device cpu                none, with llm-codegen

The Python files stay where they are; only the C++ has to be built into MindIE.
"""

import argparse
import importlib
import sys
import types
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
#: The C++ of this model.
CPP = HERE.parent / "mistralforcausallm"
#: The model type of config.json, which gives every file and class its name.
MODEL_TYPE = "mistral"
PACKAGE = f"atb_llm.models.{MODEL_TYPE}"


def parse_args():
    """Reads the command line. Names and meanings are those of MindIE's run_pa.py."""
    parser = argparse.ArgumentParser(description="Generates text with MistralForCausalLM.")
    parser.add_argument("--model_path", required=True, help="HuggingFace model directory")
    parser.add_argument(
        "--input_ids",
        nargs="+",
        type=parse_ids,
        default=[[1, 2, 3]],
        help="prompts as token ids with commas between them (default: 1,2,3)",
    )
    parser.add_argument("--max_output_length", type=positive, default=20, help="new tokens at most")
    parser.add_argument(
        "--max_batch_size", type=positive, help="prompts that run together (default: all)"
    )
    parser.add_argument("--max_position_embeddings", type=positive, help="replaces config.json's")
    parser.add_argument("--block_size", type=positive, default=128, help="tokens in a cache block")
    parser.add_argument("--ignore_eos", action="store_true", help="go on after an end token")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code of the model directory"
    )
    cpu = parser.add_argument_group("without an NPU")
    cpu.add_argument(
        "--device", choices=("npu", "cpu"), default="npu", help="cpu needs llm-codegen and g++"
    )
    cpu.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="element type on the cpu; on an NPU it is config.json's (default: float32)",
    )
    cpu.add_argument("--world_size", type=positive, default=1, help="ranks on the cpu")
    return parser.parse_args()


def parse_ids(text):
    """Token ids from `1,2,3`."""
    return [int(token) for token in text.split(",")]


def positive(text):
    """A number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above zero")
    return value


def use_this_folder():
    """Makes MindIE find the model here, although it is not in its own folder of models."""
    from atb_llm.runner import model_runner

    try:
        package = importlib.import_module(PACKAGE)  # MindIE may have a model of this type
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
        package.__path__ = []
    if str(HERE) not in package.__path__:
        package.__path__.insert(0, str(HERE))
        for part in ("router", "config", "flash_causal", "modeling"):
            sys.modules.pop(f"{PACKAGE}.{part}_{MODEL_TYPE}", None)
    model_runner.get_model = get_model


def get_model(model_name_or_path, llm_config_path=None, models_dict=None, **options):
    """Makes the router. Takes the place of MindIE's function, which looks in its own folder only.

    Raises:
        ValueError: The directory holds another type of model.
    """
    from atb_llm.models import DEFAULT_CONFIG_PATH
    from atb_llm.models.base.model_utils import safe_get_config_dict
    from atb_llm.utils.configuration_utils import LLMConfig

    config = safe_get_config_dict(model_name_or_path)
    if config["model_type"] != MODEL_TYPE:
        raise ValueError(f"{model_name_or_path}: model_type is not {MODEL_TYPE}")
    settings = LLMConfig(llm_config_path or DEFAULT_CONFIG_PATH)
    settings.update(models_dict, allow_new_keys=True, current_path="models")
    settings.merge_models_config(MODEL_TYPE)
    router = importlib.import_module(f"{PACKAGE}.router_{MODEL_TYPE}")
    return router.MistralRouter(
        model_name_or_path, config_dict=config, llm_config=settings, **options
    )


def step(runner, cache, sequences, starts, tables, block_size, is_prefill):
    """Runs the new tokens of some sequences.

    Args:
        runner: One rank of the model.
        cache: Key and value cache of each layer.
        sequences: All token ids of each sequence.
        starts: How many of them are in the cache already.
        tables: Cache blocks of each sequence.
        block_size: Tokens in a block.
        is_prefill: The new tokens are whole prompts.

    Returns:
        Logits after the last token of each sequence, [batch, vocab].
    """
    ids, positions, slots, last = [], [], [], []
    for sequence, start, table in zip(sequences, starts, tables, strict=True):
        for position in range(start, len(sequence)):
            ids.append(sequence[position])
            positions.append(position)
            slots.append(table[position // block_size] * block_size + position % block_size)
        last.append(len(ids) - 1)
    width = max(len(table) for table in tables)
    padded = [table + [0] * (width - len(table)) for table in tables]
    lengths = [len(sequence) for sequence in sequences]

    def tensor(values, dtype):
        return torch.tensor(values, dtype=dtype, device=runner.device)

    return runner.forward(
        input_ids=tensor(ids, torch.int64),
        position_ids=tensor(positions, torch.int64),
        is_prefill=is_prefill,
        kv_cache=cache,
        block_tables=tensor(padded, torch.int32),
        slots=tensor(slots, torch.int32),
        input_lengths=tensor(lengths, torch.int32),
        max_seq_len=max(lengths),
        lm_head_indices=tensor(last, torch.int64) if is_prefill else None,
    )


def generate(runner, prompts, max_new_tokens, block_size, stop):
    """Continues prompts greedily, as one batch.

    Args:
        runner: One rank of the model. All ranks choose the same tokens, since all have the logits
            of the whole vocabulary.
        prompts: Token ids of each prompt.
        max_new_tokens: How many tokens are added at most.
        block_size: Tokens in a block of the cache.
        stop: Tokens that end a sequence.

    Returns:
        The new tokens of each sequence, the end token included.

    Raises:
        ValueError: A prompt is empty.
    """
    if not all(prompts):
        raise ValueError("every prompt needs at least one token")
    tables, blocks = [], 0
    for prompt in prompts:
        # The last new token is not run any more, so it needs no room.
        count = -(-(len(prompt) + max_new_tokens - 1) // block_size)
        tables.append(list(range(blocks, blocks + count)))
        blocks += count

    def zeros(shape):
        return torch.zeros(shape, dtype=runner.dtype, device=runner.device)

    cache = [
        (zeros(keys), zeros(values))
        for keys, values in runner.model.kv_cache_shapes(blocks, block_size)
    ]
    sequences = [list(prompt) for prompt in prompts]
    running = list(range(len(prompts)))
    for number in range(max_new_tokens):
        is_prefill = number == 0
        logits = step(
            runner,
            cache,
            [sequences[i] for i in running],
            [0 if is_prefill else len(sequences[i]) - 1 for i in running],
            [tables[i] for i in running],
            block_size,
            is_prefill,
        )
        for i, token in zip(running, logits.argmax(-1).tolist(), strict=True):
            sequences[i].append(token)
        running = [i for i in running if sequences[i][-1] not in stop]
        if not running:
            break
    return [new[len(old) :] for new, old in zip(sequences, prompts, strict=True)]


def end_tokens(runner):
    """Tokens that end a text."""
    found = getattr(runner.config, "eos_token_id", None)
    if found is None and runner.tokenizer is not None:
        found = runner.tokenizer.eos_token_id
    found = found if isinstance(found, list) else [found]
    return {token for token in found if token is not None}


def answer(args, rank, world_size, local_rank):
    """Loads one rank of the model and continues all prompts.

    Returns:
        What went in and what came out for each prompt, as text.
    """
    from atb_llm.runner.model_runner import ModelRunner

    runner = ModelRunner(
        args.model_path,
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        load_tokenizer=False,
        max_position_embeddings=args.max_position_embeddings,
        trust_remote_code=args.trust_remote_code,
    )
    runner.load_weights()
    prompts = args.input_ids
    stop = set() if args.ignore_eos else end_tokens(runner)
    size = args.max_batch_size or len(prompts)
    new = []
    with torch.no_grad():
        for first in range(0, len(prompts), size):
            batch = prompts[first : first + size]
            new += generate(runner, batch, args.max_output_length, args.block_size, stop)
    texts = []
    for number, (prompt, more) in enumerate(zip(prompts, new, strict=True)):
        texts.append((",".join(map(str, prompt)), ",".join(map(str, prompt + more))))
    return texts


def answer_on_cpu(args):
    """The same without an NPU: llm-codegen compiles the C++ and stands in for MindIE and ATB."""
    try:
        from codegen.host import atb_cpp, atb_llm
    except ImportError as error:
        sys.exit(f"--device cpu needs llm-codegen: pip install llm-codegen ({error})")
    library = atb_cpp.compile_model(sorted(CPP.rglob("*.cpp")), [CPP])
    with atb_cpp.install(library, args.dtype), atb_llm.install(HERE, args.dtype):
        use_this_folder()
        ranks = args.world_size
        return atb_cpp.run_ranks(ranks, lambda rank: answer(args, rank, ranks, rank))[0]


def answer_on_npu(args):
    """Runs the rank that the launcher started this process for; without one, the only rank."""
    import torch_npu  # noqa: F401  (makes the device known to torch)

    use_this_folder()
    from atb_llm.utils.env import ENV

    texts = answer(args, ENV.rank, ENV.world_size, ENV.local_rank)
    return texts if ENV.rank == 0 else []


def main():
    """Loads the model and continues the prompts."""
    args = parse_args()
    texts = answer_on_cpu(args) if args.device == "cpu" else answer_on_npu(args)
    for prompt, output in texts:
        print("=" * 30)
        print("Input:", prompt)
        print("Output:", output)


if __name__ == "__main__":
    main()
