"""Prints an ATB module as C++ for MindIE-LLM's ``atb_models`` framework, with its Python package.

``emit`` is the door. ``block`` prints the graph of one stage (embedding, layer, head) for one
phase, ``merge`` joins both phases, ``model`` prints what runs the stages, ``package`` and
``weights`` the Python side.
"""

from codegen.targets.atb.cpp.emit import CPP_PASSES, CppModel, emit, readme, space_of

__all__ = ["CPP_PASSES", "CppModel", "emit", "readme", "space_of"]
