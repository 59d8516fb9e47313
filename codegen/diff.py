"""What differs between two generated folders: meaning first, text second."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from codegen import diff_cpp, manifest
from codegen.errors import BadInputError

Status = Literal["same", "meaning", "text", "missing", "extra"]

_MEANING_LINES = 40
_TEXT_LINES = 60
_IGNORED = {"__pycache__"}
_CPP = (".cpp", ".cc", ".cxx", ".h", ".hpp")


@dataclass(frozen=True)
class FileDiff:
    """How one file differs from its golden twin.

    Attributes:
        path: Relative path.
        status: ``meaning``: it does something else; ``text``: only layout, comments or key order
            differ; ``missing``: only the golden folder has it; ``extra``: only the output has it.
        meaning: What it says else, one line per difference, golden value first.
        text: Unified diff from golden to output, cut after some lines.
    """

    path: str
    status: Status
    meaning: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Diff:
    """Every file of two folders, sorted by path."""

    files: tuple[FileDiff, ...]

    @property
    def same(self) -> bool:
        """Whether the folders hold the same bytes."""
        return all(file.status == "same" for file in self.files)

    def to_json(self) -> str:
        """One object: ``{"same", "files": [{"path", "status", "meaning", "text"}]}``."""
        return json.dumps({"same": self.same, "files": [asdict(f) for f in self.files]}, indent=2)


def diff(out: Path, golden: Path) -> Diff:
    """Compares an output folder with a golden one.

    Args:
        out: The folder that is judged.
        golden: What it should be.

    Raises:
        BadInputError: One of them is not a readable folder.
    """
    found, wanted = _files(out), _files(golden)
    return Diff(
        tuple(_compare(path, found.get(path), wanted.get(path)) for path in sorted(found | wanted))
    )


def _files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a directory")
    try:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not _IGNORED & set(path.relative_to(folder).parts)
        }
    except OSError as error:
        raise BadInputError(f"cannot read {error.filename}: {error.strerror}") from error


def _compare(path: str, found: bytes | None, wanted: bytes | None) -> FileDiff:
    if found is None:
        return FileDiff(path, "missing")
    if wanted is None:
        return FileDiff(path, "extra")
    if found == wanted:
        return FileDiff(path, "same")
    try:
        new, old = found.decode("utf-8"), wanted.decode("utf-8")
    except UnicodeDecodeError:
        return FileDiff(path, "meaning", (f"binary: {len(wanted)} -> {len(found)} bytes",))
    meaning = tuple(_meaning(path, old, new))
    if len(meaning) > _MEANING_LINES:
        meaning = (*meaning[:_MEANING_LINES], f"... {len(meaning) - _MEANING_LINES} more")
    return FileDiff(path, "meaning" if meaning else "text", meaning, _text(old, new))


def _text(old: str, new: str) -> str:
    lines = list(
        difflib.unified_diff(old.splitlines(), new.splitlines(), "golden", "output", lineterm="")
    )
    if len(lines) > _TEXT_LINES:
        lines = [*lines[:_TEXT_LINES], f"... {len(lines) - _TEXT_LINES} more lines"]
    return "\n".join(lines)


def _meaning(path: str, old: str, new: str) -> Iterator[str]:
    if path.endswith(".json"):
        try:
            before, after = json.loads(old), json.loads(new)
        except ValueError:
            yield "not valid JSON"
            return
        if path == manifest.NAME and isinstance(before, dict) and isinstance(after, dict):
            # The digests repeat what the comparison of the files themselves says.
            before, after = ({**m, "files": sorted(m.get("files", {}))} for m in (before, after))
        yield from _json(before, after, "")
    elif path.endswith(".py"):
        try:
            before, after = _definitions(old), _definitions(new)
        except (SyntaxError, ValueError):
            yield "not valid Python"
            return
        yield from _python(before, after)
    elif path.endswith(_CPP):
        yield from diff_cpp.changes(old, new)
    elif not path.endswith(".md"):  # documents mean what they say, but nothing is executed
        yield "content differs"


def _json(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{place}.{key}" if place else key
            if key not in new:
                yield f"{where}: removed, was {_short(old[key])}"
            elif key not in old:
                yield f"{where}: added, {_short(new[key])}"
            else:
                yield from _json(old[key], new[key], where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _json(before, after, f"{place}[{index}]")
    elif type(old) is not type(new) or old != new:
        yield f"{place or 'document'}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _definitions(source: str) -> dict[str, list[str]]:
    """Statements of every function, class body and of the module, in one spelling.

    Comments, layout, quotes and docstrings are gone.
    """
    made: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], name: str) -> None:
        rest: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{name}.{statement.name}" if name else statement.name
                visit(statement.body, inner)
                statement.body = [ast.Pass()]
                made[inner].insert(0, ast.unparse(statement).rpartition("\n")[0])
            elif not _is_docstring(statement):
                rest.append(statement)
        made[name] = [line for s in rest for line in ast.unparse(s).splitlines()]

    visit(ast.parse(source).body, "")
    return made


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _python(old: dict[str, list[str]], new: dict[str, list[str]]) -> Iterator[str]:
    for name in dict.fromkeys((*old, *new)):
        where = name or "module"
        if name not in new:
            yield f"{where}: removed"
        elif name not in old:
            yield f"{where}: added"
        else:
            changes = difflib.unified_diff(old[name], new[name], lineterm="", n=0)
            for line in list(changes)[2:]:
                if not line.startswith("@@"):
                    yield f"{where}: {line[0]} {line[1:].strip()}"
