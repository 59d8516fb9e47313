"""What is golden, and the comparison of a folder of files with what was generated."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.pipeline import transform
from codegen.request import PythonApi, Target

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "golden"
UPDATE = "make golden"
_SHOWN_LINES = 40


@dataclass(frozen=True)
class Case:
    """One golden folder.

    Attributes:
        name: Name of the folder.
        source: Model directory, relative to the checkout.
        target: What is generated.
        api: Python binding of ATB.
    """

    name: str
    source: str
    target: Target
    api: PythonApi = "_libatb_torch"

    @property
    def id(self) -> str:
        return f"{self.target}/{self.name}"

    @property
    def folder(self) -> Path:
        return GOLDEN / self.target / self.name

    def generate(self, out: Path) -> Path:
        """Generates the files into a folder and returns it."""
        transform(ROOT / self.source, out, target=self.target, python_api=self.api)
        return out


_SOURCES = {
    **{
        path.parent.name: path.parent.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests" / "published").glob("*/config.json"))
    },
    "bytellama": "examples/bytellama",
}
_TARGETS: tuple[Target, ...] = ("atb-python", "atb-cpp")
CASES: dict[str, Case] = {
    case.id: case
    for case in (
        *(Case(name, source, target) for target in _TARGETS for name, source in _SOURCES.items()),
        Case("bytellama-torch_atb", "examples/bytellama", "atb-python", "torch_atb"),
    )
}


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by relative path; none if there is no folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(golden: Mapping[str, bytes], made: Mapping[str, bytes]) -> list[str]:
    """What differs, file by file, with a short unified diff of files that both have."""
    found: list[str] = []
    for path in sorted({*golden, *made}):
        if path not in golden:
            found.append(f"{path}: generated, but there is no golden file")
        elif path not in made:
            found.append(f"{path}: a golden file that is not generated any more")
        elif golden[path] != made[path]:
            found.append("\n".join((f"{path} differs:", *_diff(path, golden[path], made[path]))))
    return found


def _diff(path: str, golden: bytes, made: bytes) -> Iterator[str]:
    texts = [data.decode("utf-8", "backslashreplace").splitlines() for data in (golden, made)]
    lines = list(difflib.unified_diff(*texts, f"golden/{path}", f"made/{path}", lineterm="", n=1))
    yield from lines[:_SHOWN_LINES] or ["only the line ends differ"]
    if len(lines) > _SHOWN_LINES:
        yield f"... and {len(lines) - _SHOWN_LINES} more lines"


def replace(folder: Path, made: Mapping[str, bytes]) -> None:
    """Makes a golden folder hold exactly these files."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, data in made.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
