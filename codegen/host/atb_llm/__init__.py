"""Runs the Python side of an emitted ATB C++ model on the CPU, unchanged.

Stand-ins for the part of MindIE's package ``atb_llm`` that the emitted package uses, written from
the behaviour of the original::

    with install(folder / "llama", "float32"):
        from atb_llm.runner.model_runner import ModelRunner

        runner = ModelRunner(str(checkpoint), rank=0, world_size=1)
        runner.load_weights()
        logits = runner.forward(...)

The ranks of a tensor parallel run are threads of this process: each makes its own ``ModelRunner``,
and nothing here belongs to one rank. The C++ is compiled and run by ``codegen.host.atb_cpp``.
"""

from __future__ import annotations

from codegen.host.atb_cpp.ranks import run_ranks
from codegen.host.atb_llm.session import PRECISIONS, Host, install

__all__ = ["PRECISIONS", "Host", "install", "run_ranks"]
