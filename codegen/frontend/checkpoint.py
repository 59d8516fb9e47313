"""Reads config.json and safetensors headers, without torch and without trusting them."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from codegen.errors import BadInputError

if TYPE_CHECKING:
    import torch

_JSON_LIMIT = 16 << 20
_HEADER_LIMIT = 100 << 20
_TENSOR_LIMIT = 1_000_000
_RANK_LIMIT = 8
#: Bytes per element of the safetensors element types, and their names in torch.
_DTYPES = {
    "F64": (8, "float64"), "F32": (4, "float32"), "F16": (2, "float16"), "BF16": (2, "bfloat16"),
    "I64": (8, "int64"), "I32": (4, "int32"), "I16": (2, "int16"), "I8": (1, "int8"),
    "U8": (1, "uint8"), "BOOL": (1, "bool"), "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E5M2": (1, "float8_e5m2"),
}  # fmt: skip
#: Tensor names end up in generated code and in file formats, so they are plain identifiers.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]*(\.[A-Za-z0-9_][A-Za-z0-9_\-]*)*")


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a checkpoint.

    Attributes:
        name: Dotted name.
        dtype: torch name of the element type.
        shape: Its sizes.
        file: The safetensors file that holds it.
        start: First byte, counted from the beginning of the file.
        stop: Byte after the last.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a directory, read one at a time when asked for."""

    tensors: Mapping[str, TensorEntry]

    def read(self, name: str) -> torch.Tensor:
        """Reads one tensor as it is stored.

        Raises:
            KeyError: There is no tensor of that name.
            BadInputError: The file is gone or was cut since it was opened.
        """
        import torch

        entry = self.tensors[name]
        with _reading(entry.file), entry.file.open("rb") as file:
            file.seek(entry.start)
            raw = bytearray(file.read(entry.stop - entry.start))
        if len(raw) != entry.stop - entry.start:
            raise BadInputError(f"{entry.file}: cut off inside {name}")
        dtype: torch.dtype = getattr(torch, entry.dtype)
        if not raw:
            return torch.empty(entry.shape, dtype=dtype)
        return torch.frombuffer(raw, dtype=dtype).reshape(entry.shape)

    def read_float(self, name: str) -> torch.Tensor:
        """Reads one tensor; floating point numbers as float32."""
        tensor = self.read(name)
        return tensor.float() if tensor.is_floating_point() else tensor


def read_config(directory: Path) -> dict[str, Any]:
    """Reads config.json.

    Raises:
        BadInputError: It is missing, too large, or not a JSON object.
    """
    with _reading(directory):
        if not directory.is_dir():
            raise BadInputError(f"{directory}: not a directory")
    if not (directory / "config.json").exists():
        raise BadInputError(f"{directory}: no config.json, so not a HuggingFace model directory")
    return _read_json(_inside(directory, "config.json"))


def open_checkpoint(directory: Path) -> Checkpoint | None:
    """Reads the headers of a directory's safetensors files.

    Returns:
        None if the directory has none.

    Raises:
        BadInputError: A file is missing, malformed or outside the directory.
    """
    index = directory / "model.safetensors.index.json"
    if index.exists():
        return _open_shards(directory, _read_json(_inside(directory, index.name)), index)
    if (directory / "model.safetensors").exists():
        return Checkpoint(read_header(_inside(directory, "model.safetensors")))
    return None


def _open_shards(directory: Path, content: dict[str, Any], index: Path) -> Checkpoint:
    table = content.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise BadInputError(f"{index}: weight_map must be an object and not empty")
    shards: dict[str, dict[str, TensorEntry]] = {}
    tensors: dict[str, TensorEntry] = {}
    for name, shard in cast("dict[str, Any]", table).items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise BadInputError(f"{index}: {_show(name)} is in {_show(shard)}, no safetensors file")
        if shard not in shards:
            shards[shard] = read_header(_inside(directory, shard))
        if name not in shards[shard]:
            raise BadInputError(f"{index}: {_show(name)} is not in {shard}")
        tensors[name] = shards[shard][name]
    return Checkpoint(tensors)


def read_header(file: Path) -> dict[str, TensorEntry]:
    """Reads and checks the header of a safetensors file.

    Returns:
        Its tensors by name, in the order of the header.

    Raises:
        BadInputError: The header breaks a rule of the format, or a name is not a dotted identifier.
    """
    with _reading(file), file.open("rb") as stream:
        size = file.stat().st_size
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise BadInputError(f"{file}: too short for a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(_HEADER_LIMIT, size - 8):
            raise BadInputError(f"{file}: header of {length} bytes does not fit into the file")
        text = stream.read(length)
    header = _parse_json(text, file)
    header.pop("__metadata__", None)
    if len(header) > _TENSOR_LIMIT:
        raise BadInputError(f"{file}: more than {_TENSOR_LIMIT} tensors")
    start = 8 + length
    entries = {name: _entry(file, name, entry, start) for name, entry in header.items()}
    _check_layout(file, entries.values(), start, size)
    return entries


def _entry(file: Path, name: str, entry: Any, base: int) -> TensorEntry:
    def bad(reason: str) -> BadInputError:
        return BadInputError(f"{file}: tensor {_show(name)}: {reason}")

    if len(name) > 1024 or not _NAME.fullmatch(name):
        raise bad("not a dotted identifier")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise bad("needs exactly dtype, shape and data_offsets")
    known = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if known is None:
        raise bad(f"unknown element type {_show(entry['dtype'])}")
    shape, offsets = _naturals(entry["shape"]), _naturals(entry["data_offsets"])
    if shape is None or len(shape) > _RANK_LIMIT:
        raise bad("shape must be a short list of sizes")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise bad("data_offsets must be two growing numbers")
    if math.prod(shape) * known[0] != offsets[1] - offsets[0]:
        raise bad(f"{offsets[1] - offsets[0]} bytes do not hold {list(shape)} {entry['dtype']}")
    return TensorEntry(name, known[1], shape, file, base + offsets[0], base + offsets[1])


def _naturals(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    items = cast("list[Any]", value)
    if any(type(item) is not int or not 0 <= item < 1 << 62 for item in items):
        return None
    return tuple(items)


def _check_layout(file: Path, entries: Iterator[TensorEntry] | Any, start: int, size: int) -> None:
    end = start
    for entry in sorted(entries, key=lambda e: (e.start, e.stop)):
        if entry.start != end:
            what = "overlaps the one before it" if entry.start < end else "leaves a gap before it"
            raise BadInputError(f"{file}: tensor {entry.name} {what}")
        end = entry.stop
    if end != size:
        raise BadInputError(f"{file}: {size} bytes, the header describes {end}")


def _inside(directory: Path, name: str) -> Path:
    """The path of a plain file directly in the directory (or where the HuggingFace cache put it).

    In the cache a directory is ``<repo>/snapshots/<revision>`` and its files are links into
    ``<repo>/blobs``; no other link may leave the directory.
    """
    plain = name not in ("", ".", "..") and name.isprintable() and not set(name) & set("/\\:")
    if not plain:
        raise BadInputError(f"{directory}: {_show(name)} is not a plain file name")
    file = directory / name
    with _reading(file):
        if not file.exists():
            raise BadInputError(f"{file}: no such file")
        target, home = file.resolve(), directory.resolve()
        cached = home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs"
        if target.parent != home and not cached:
            raise BadInputError(f"{file}: is a link that leaves the directory")
        if not target.is_file():
            raise BadInputError(f"{file}: not a plain file")
    return file


def _read_json(file: Path) -> dict[str, Any]:
    with _reading(file):
        if file.stat().st_size > _JSON_LIMIT:
            raise BadInputError(f"{file}: larger than {_JSON_LIMIT >> 20} MiB")
        text = file.read_bytes()
    return _parse_json(text, file)


def _parse_json(text: bytes, file: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise BadInputError(f"{file}: an object names the same key twice")
        return made

    def constant(word: str) -> float:
        if word == "NaN":
            raise BadInputError(f"{file}: holds NaN, which is no number")
        return float(word)

    try:
        content = json.loads(
            text.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{file}: must hold a JSON object")
    return cast("dict[str, Any]", content)


class _reading:  # noqa: N801  (reads as a verb at its uses)
    """Turns errors of the file system into one clear line."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            reason = getattr(error, "strerror", None) or str(error)
            raise BadInputError(f"{_show(str(self.file))}: {reason}") from None


def _show(value: object) -> str:
    """A value of unknown origin, safe to print and not long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
