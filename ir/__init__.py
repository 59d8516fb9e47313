"""The intermediate graph: containers, operations, passes and the reference interpreter.

Knows nothing of HuggingFace, of targets or of files.
"""

from ir import aten, func, llm
from ir.graph import Graph, Location, Module, Node, Value
from ir.interpret import interpret
from ir.types import DType, Sym, TensorType
from ir.verify import verify

__all__ = [
    "DType",
    "Graph",
    "Location",
    "Module",
    "Node",
    "Sym",
    "TensorType",
    "Value",
    "aten",
    "func",
    "interpret",
    "llm",
    "verify",
]
