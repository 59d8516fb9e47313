"""From a HuggingFace model directory to target source code that was executed and compared.

The two functions are what the command line wraps; they import torch only when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codegen.pipeline import transform
    from codegen.verification import verify

__version__ = "0.1.0"
__all__ = ["__version__", "transform", "verify"]


def __getattr__(name: str) -> Any:
    if name == "transform":
        from codegen.pipeline import transform

        return transform
    if name == "verify":
        from codegen.verification import verify

        return verify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
