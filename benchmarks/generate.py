"""Time and memory of `transform` against the depth of the model, for both ATB targets.

The shape is Llama-3.1-70B's, from its configuration alone. Every figure is one child process,
measured by the operating system (`wait4`): CPU seconds (user + system) and peak resident memory.
The last rows are a plain `torch.export` of the same model on fake tensors, nothing folded.

    python benchmarks/generate.py [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPE = ROOT / "tests" / "published" / "llama-3.1-70b" / "config.json"
DEPTHS = (2, 32, 80)
#: Flags and what they are called.
TARGETS = {"ATB C++": (), "ATB Python": ("-py",)}

_PLAIN_EXPORT = """
import sys, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.from_pretrained(sys.argv[1])
mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
with mode:
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.zeros(1, 13, dtype=torch.int64)
tokens = torch.export.Dim("tokens", min=2, max=4096)
torch.export.export(
    model, (), {"input_ids": ids, "use_cache": False}, strict=False,
    dynamic_shapes={"input_ids": {1: tokens}, "use_cache": None},
)
"""


@dataclass(frozen=True)
class Cost:
    """What one process took.

    Attributes:
        cpu: User and system seconds.
        rss: Peak resident memory, MiB.
    """

    cpu: float
    rss: float


def run(command: list[str]) -> Cost:
    """Runs one process to its end; a failing one ends the benchmark with its last lines."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    told = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{told[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def best(command: list[str], repeat: int) -> Cost:
    """The median of CPU seconds, the highest memory."""
    costs = [run(command) for _ in range(repeat)]
    return Cost(statistics.median(c.cpu for c in costs), max(c.rss for c in costs))


def shaped(root: Path, layers: int) -> Path:
    """A directory with the configuration of that depth and nothing else."""
    config = json.loads(SHAPE.read_text()) | {"num_hidden_layers": layers}
    path = root / f"layers-{layers}"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    tool = [sys.executable, "-m", "codegen"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows: dict[str, Cost] = {"llm-codegen --help": best([*tool, "--help"], repeat)}
        sources = {layers: shaped(root, layers) for layers in DEPTHS}
        for target, flags in TARGETS.items():
            for layers, source in sources.items():
                out = str(root / f"{target}-{layers}")
                command = [*tool, "transform", "-s", str(source), "-o", out, "--force", *flags]
                rows[f"transform to {target}, {layers} layers"] = best(command, repeat)
        for layers in (2, 80):
            source = root / f"layers-{layers}"
            command = [sys.executable, "-c", _PLAIN_EXPORT, str(source)]
            rows[f"plain torch.export, {layers} layers"] = best(command, 1)
    print(
        f"Llama-3.1-70B shape, no weights; {platform.machine()}, {os.cpu_count()} cores, ", end=""
    )
    print(f"Python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")))
    print(f"{'':36}{'CPU s':>8}{'peak MiB':>10}")
    for name, cost in rows.items():
        print(f"{name:36}{cost.cpu:8.2f}{cost.rss:10.0f}")
    plain = rows["plain torch.export, 80 layers"].cpu
    for target in TARGETS:
        flat, deep = (rows[f"transform to {target}, {layers} layers"].cpu for layers in (2, 80))
        print(f"transform to {target}: CPU time of 80 layers / 2 layers = {deep / flat:.2f}")
        print(f"plain torch.export of 80 layers / transform to {target} = {plain / deep:.2f}")


if __name__ == "__main__":
    main()
