"""Reading directories that somebody else wrote: every defect is one clear line."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from codegen.errors import BadInputError
from codegen.frontend.checkpoint import open_checkpoint, read_config, read_header


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_safetensors_writes(tmp_path: Path) -> None:
    tensors = {
        "a.weight": torch.randn(3, 5),
        "b": torch.randn(4).bfloat16(),
        "c.0.n": torch.arange(6).reshape(2, 3),
        "empty": torch.zeros(0, 7),
        "flags": torch.tensor([True, False]),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    assert set(checkpoint.tensors) == set(tensors)
    for name, wanted in tensors.items():
        assert checkpoint.tensors[name].shape == tuple(wanted.shape)
        read = checkpoint.read(name)
        assert read.dtype == wanted.dtype
        assert torch.equal(read, wanted)
    assert checkpoint.read_float("b").dtype == torch.float32
    assert checkpoint.read_float("c.0.n").dtype == torch.int64


def test_no_weights_is_no_checkpoint(tmp_path: Path) -> None:
    assert open_checkpoint(tmp_path) is None


HEADERS = {
    "empty file": b"",
    "short": b"\1\0\0",
    "header longer than file": raw({}, length=1 << 40),
    "not json": raw(b"{"),
    "not utf-8": raw(b'{"\xff": 1}'),
    "a list": raw([]),
    "deep": raw(b"[" * 100_000),
    "name twice": raw(b'{"a": 1, "a": 2}'),
    "no dtype": raw({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "extra key": raw({"a": entry() | {"path": "x"}}, b"1234"),
    "unknown dtype": raw({"a": entry("F31")}, b"1234"),
    "dtype no string": raw({"a": entry() | {"dtype": ["F32"]}}, b"1234"),
    "shape no list": raw({"a": entry() | {"shape": 1}}, b"1234"),
    "negative size": raw({"a": entry(shape=(-1,))}, b"1234"),
    "fractional size": raw({"a": entry(shape=(1.0,))}, b"1234"),
    "boolean size": raw({"a": entry(shape=(True,))}, b"1234"),
    "huge size": raw({"a": entry(shape=(1 << 63, 0))}, b""),
    "rank": raw({"a": entry(shape=(1,) * 9)}, b"1234"),
    "offsets backwards": raw({"a": entry(offsets=(4, 0))}, b"1234"),
    "one offset": raw({"a": entry(offsets=(4,))}, b"1234"),
    "wrong byte count": raw({"a": entry(shape=(2,))}, b"1234"),
    "past the end": raw({"a": entry()}, b"123"),
    "more than described": raw({"a": entry()}, b"12345"),
    "gap": raw({"a": entry(), "b": entry(offsets=(8, 12))}, b"123456789012"),
    "overlap": raw({"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(offsets=(4, 8))}, b"1" * 8),
}  # fmt: skip


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_malformed_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "../a", "/etc/passwd", "a\nb", "a\x1b[31m", "a b", 'a"b', "a\\b", "a.b.", "é",
     "-a", "a" * 2000, "a;import os", "${x}", "{{x}}"],
)  # fmt: skip
def test_hostile_tensor_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw({name: entry()}, b"1234"))
    with pytest.raises(BadInputError) as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value).isprintable()


def test_truncated_after_opening(tmp_path: Path) -> None:
    save_file({"a": torch.randn(100)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    os.truncate(tmp_path / "model.safetensors", 200)
    with pytest.raises(BadInputError, match="cut off inside a"):
        checkpoint.read("a")


def write_index(directory: Path, weight_map: Any) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: Path) -> None:
    first, second = torch.randn(3), torch.randn(4)
    save_file({"a": first}, tmp_path / "model-1.safetensors")
    save_file({"b": second}, tmp_path / "model-2.safetensors")
    write_index(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint is not None
    assert torch.equal(checkpoint.read("a"), first)
    assert torch.equal(checkpoint.read("b"), second)


@pytest.mark.parametrize(
    "weight_map",
    [
        None, [], {}, {"a": 1}, {"a": "../x.safetensors"}, {"a": "/tmp/x.safetensors"},
        {"a": "missing.safetensors"}, {"a": "model.bin"}, {"b": "model-1.safetensors"},
        {"a": "sub/model-1.safetensors"}, {"a": "\n.safetensors"}, {"a": "..safetensors"},
        {"a": "linked.safetensors"}, {"a": "pipe.safetensors"}, {"a": "folder.safetensors"},
    ],
)  # fmt: skip
def test_hostile_index_is_refused(tmp_path: Path, weight_map: Any) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "folder.safetensors").mkdir()
    os.mkfifo(home / "pipe.safetensors")
    for folder in (tmp_path, home, home / "sub"):
        save_file({"a": torch.randn(3)}, folder / "model-1.safetensors")
    (home / "linked.safetensors").symlink_to(tmp_path / "model-1.safetensors")
    write_index(home, weight_map)
    with pytest.raises(BadInputError):
        open_checkpoint(home)


def test_links_of_the_huggingface_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "repo" / "blobs", tmp_path / "repo" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file({"a": torch.randn(3)}, blobs / "0123")
    (blobs / "4567").write_text('{"model_type": "llama"}')
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    (snapshot / "config.json").symlink_to("../../blobs/4567")
    assert read_config(snapshot) == {"model_type": "llama"}
    checkpoint = open_checkpoint(snapshot)
    assert checkpoint is not None
    assert set(checkpoint.tensors) == {"a"}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 10_000],
)
def test_malformed_config_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(BadInputError, match=r"config\.json"):
        read_config(tmp_path)


def test_huge_config_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(BadInputError, match="larger than 16 MiB"):
        read_config(tmp_path)


def test_missing_directory_and_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not a directory"):
        read_config(tmp_path / "absent")
    with pytest.raises(BadInputError, match=r"no config\.json"):
        read_config(tmp_path)
    with pytest.raises(BadInputError):
        read_config(tmp_path / "nul\0byte")


@settings(max_examples=200, deadline=None)
@given(
    position=st.integers(0, 400),
    value=st.integers(0, 255),
    cut=st.integers(0, 400),
    keep=st.booleans(),
)
def test_damaged_files_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: int, keep: bool
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    save_file({"a.weight": torch.randn(3, 5), "b.bias": torch.randn(4)}, file)
    content = bytearray(file.read_bytes())
    content[position % len(content)] = value
    file.write_bytes(content if keep else content[:cut])
    try:
        for entry in read_header(file).values():
            assert entry.stop <= file.stat().st_size
    except BadInputError as error:
        assert "\n" not in str(error)
