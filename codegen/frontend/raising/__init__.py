"""Raising: the traced aten graph becomes the semantic llm graph.

Four steps, each on every function of the module: written-out attention is found in the traced
layout; the graph is flattened to tokens-first form; norms, activations and rotary embeddings are
recognised; the rest is renamed or reported. Static arguments of the layers (masks, tables,
positions) are replaced by ``cos``, ``sin``, ``positions`` and ``seq_lens``.
"""

from codegen.frontend.raising.module import Raised, RaisingFailedError, raise_module
from codegen.frontend.raising.problems import NoMatch

__all__ = ["NoMatch", "Raised", "RaisingFailedError", "raise_module"]
