"""Compiles emitted ATB C++ with g++ and runs it on the CPU, unchanged.

Own headers with the names of ATB's and MindIE's (``include``), a runtime that executes the
operations on ATen (``src``), and ``torch.classes.ModelTorch`` on top::

    library = compile_model(sources, include_dirs)
    with install(library, "float32") as host:
        host.watch(compare)
        model = torch.classes.ModelTorch.ModelTorch("llama_LlamaModel")

It is stricter than the real libraries: what those ignore or crash on is a ``HostError`` that names
model, node, graph, operation and operand.
"""

from __future__ import annotations

from codegen.host.atb_cpp.build import build_runtime, compile_model
from codegen.host.atb_cpp.install import Host, install
from codegen.host.atb_cpp.model_torch import Executed, ModelTorch, Watcher
from codegen.host.atb_cpp.ranks import run_ranks

__all__ = [
    "Executed",
    "Host",
    "ModelTorch",
    "Watcher",
    "build_runtime",
    "compile_model",
    "install",
    "run_ranks",
]
