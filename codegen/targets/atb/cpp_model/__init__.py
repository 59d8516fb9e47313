"""Reads ATB C++ models: ours, and those of MindIE-LLM.

``read_model`` finds the pair of files, follows what it derives from, and says what Python has to
know in order to call it. The text is parsed with tree-sitter and never compiled or run.
"""

from __future__ import annotations

from codegen.targets.atb.cpp_model.host import HostTensor, plain_name
from codegen.targets.atb.cpp_model.model import BASE_DECODER, CppModel, read_model
from codegen.targets.atb.cpp_model.params import Parameter

__all__ = ["BASE_DECODER", "CppModel", "HostTensor", "Parameter", "plain_name", "read_model"]
