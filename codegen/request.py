"""What a user can ask `transform` for, and which of it is not there yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from codegen.errors import BadInputError

Target = Literal["atb-python", "atb-cpp", "ggml", "onnx"]
PythonApi = Literal["_libatb_torch", "torch_atb"]

TARGETS: tuple[Target, ...] = get_args(Target)
PYTHON_APIS: tuple[PythonApi, ...] = get_args(PythonApi)

#: Targets that exist; the others are known by name only.
AVAILABLE: frozenset[Target] = frozenset({"atb-python", "atb-cpp"})

_THERE = "atb-cpp and, with -py, atb-python, in floating point"
_CPP = (".cpp", ".cc", ".cxx", ".h", ".hpp")


@dataclass(frozen=True)
class Request:
    """One call of `transform`.

    Attributes:
        source: A HuggingFace directory, or C++ layer source.
        target: What is generated; None for the default of the flags.
        to_python: The ``-py`` flag.
        python_api: Which Python binding of ATB the emitted code is written against.
        to_quant: The ``-quant`` flag.
        quant_disable_names: Layers that stay float, comma-separated or a file.
        enable_sparse: Sparse quantization.
        atb_model_path: C++ model that only Python calling code is wanted for.
        analyze: Write the support report.
        trust_remote_code: Run modelling code that lies in the source directory.
    """

    source: Path
    target: Target | None = None
    to_python: bool = False
    python_api: PythonApi = "_libatb_torch"
    to_quant: bool = False
    quant_disable_names: str | None = None
    enable_sparse: bool = False
    atb_model_path: Path | None = None
    analyze: bool = False
    trust_remote_code: bool = False

    def resolve(self) -> Target:
        """The target this request means.

        Raises:
            BadInputError: Flags contradict each other, or something is not available yet.
        """
        if self.python_api not in PYTHON_APIS:
            raise BadInputError(f"no Python API {self.python_api!r}: {', '.join(PYTHON_APIS)}")
        if self.target is not None and self.target not in TARGETS:
            raise BadInputError(f"no target {self.target!r}: {', '.join(TARGETS)}")
        if self.to_python and self.target not in (None, "atb-python"):
            raise BadInputError(f"-py means --target atb-python, not {self.target}")
        target: Target = self.target or ("atb-python" if self.to_python else "atb-cpp")
        if self.to_quant and target != "atb-python":
            raise BadInputError("-quant needs -py")
        if self.quant_disable_names is not None and not self.to_quant:
            raise BadInputError("--quant-disable-names needs -quant and -py")
        if self.atb_model_path is not None and target != "atb-cpp":
            raise BadInputError("-atb writes Python that calls C++: it does not go with -py")
        missing = self._missing(target)
        if missing:
            raise BadInputError(f"{missing} not available yet; available: {_THERE}")
        return target

    def _missing(self, target: Target) -> str:
        """What is asked for and does not exist yet, as the subject of a sentence."""
        wanted = {
            "rewriting C++ layer sources is": self.source.suffix.lower() in _CPP,
            "-quant is": self.to_quant,
            "--enable-sparse is": self.enable_sparse,
            f"target {target} is": target not in AVAILABLE,
        }
        return next((subject for subject, asked in wanted.items() if asked), "")
