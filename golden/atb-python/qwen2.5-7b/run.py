"""Generates text with the ATB model of this folder."""

import argparse
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


def parse_args():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-i",
        "--inputs",
        nargs="+",
        default=["1,2,3"],
        help="token ids of one prompt or of several, which run as one batch (default: 1,2,3)",
    )
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        default=Path(os.environ.get("MODEL_PATH", HERE)),
        help="HuggingFace model directory (default: $MODEL_PATH, else the folder of this file)",
    )
    parser.add_argument(
        "-w",
        "--weight",
        type=Path,
        help="weights: a directory, a .safetensors or a PyTorch file (default: --model)",
    )
    parser.add_argument(
        "--device",
        choices=["npu", "cpu"],
        default="npu",
        help="cpu runs on the host runtime of llm-codegen, without an accelerator",
    )
    parser.add_argument(
        "--dtype",
        choices=["float16", "bfloat16", "float32"],
        default="bfloat16",
        help="element type (default: bfloat16; float32 on the CPU only)",
    )
    parser.add_argument("-n", "--max-new-tokens", type=int, default=32, help="default: 32")
    return parser.parse_args()


def prepare_device(args):
    """Makes the ATB bindings importable.

    On the CPU the host runtime of llm-codegen stands in for them.
    """
    if args.device == "npu":
        import torch_npu  # noqa: F401  (registers the device)

        return
    try:
        from codegen.host.atb_python import install
    except ImportError:
        sys.exit("--device cpu needs llm-codegen: pip install llm-codegen")
    install(args.dtype)


def main():
    """Loads the model and continues the prompts."""
    args = parse_args()
    prepare_device(args)
    from atb_runtime import ATBModel, load_weights
    from qwen2forcausallm_atb_float import Model

    prompts = [[int(token) for token in text.split(",")] for text in args.inputs]
    atb_model = ATBModel(Model(), dtype=getattr(torch, args.dtype), device=args.device)
    try:
        atb_model.set_weights(load_weights(args.weight or args.model))
    except FileNotFoundError as error:
        sys.exit(f"{error}, with -w or -m")
    continued = atb_model.generate(prompts, args.max_new_tokens)
    for text, prompt, new in zip(args.inputs, prompts, continued, strict=True):
        print("=" * 30)
        print("Input:", text)
        print("Output:", ",".join(map(str, prompt + new)))


if __name__ == "__main__":
    main()
