"""The stand-in for MindIE's Python package runs an emitted package unchanged."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codegen.errors import BadInputError, HostError
from codegen.host.atb_llm import install
from codegen.host.atb_llm.config import BaseConfig
from codegen.host.atb_llm.environment import Mapping, ProcessGroup
from codegen.host.atb_llm.weights import Weights
from tests.codegen.host.toy_package import (
    ToyModelTorch,
    model_torch,
    write_checkpoint,
    write_package,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("out"), checkpoint)


@pytest.fixture
def runner(package: Path, checkpoint: Path) -> Iterator[Any]:
    with model_torch(), install(package):
        module = importlib.import_module("atb_llm.runner.model_runner")
        made = module.ModelRunner(str(checkpoint), rank=1, world_size=4, load_tokenizer=False)
        made.load_weights()
        yield made


def weights(folder: Path, rank: int = 0, ranks: int = 1) -> Weights:
    device, dtype = torch.device("cpu"), torch.float32
    return Weights(str(folder), device, dtype, ProcessGroup(rank, ranks), Mapping(rank, ranks))


def step(runner: Any, cache: Any, **changed: Any) -> torch.Tensor:
    inputs = {
        "input_ids": torch.tensor([5, 6, 7]),
        "position_ids": torch.tensor([0, 1, 2]),
        "is_prefill": True,
        "kv_cache": cache,
        "block_tables": torch.zeros(1, 1, dtype=torch.int32),
        "slots": torch.tensor([0, 1, 2], dtype=torch.int32),
        "input_lengths": torch.tensor([3], dtype=torch.int32),
        "max_seq_len": 3,
        "lm_head_indices": torch.tensor([2]),
    }
    return runner.forward(**{**inputs, **changed})


def caches(runner: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    shapes = runner.model.kv_cache_shapes(2, 8)
    return [(torch.zeros(k), torch.zeros(v)) for k, v in shapes]


def test_the_runner_has_the_sizes_of_its_rank(runner: Any) -> None:
    # 4 query heads and 2 key-value heads on 4 ranks: one of each, the latter shared by two ranks.
    assert (runner.num_heads, runner.num_kv_heads, runner.head_size) == (1, 1, 4)
    assert (runner.num_layers, runner.dtype, runner.tokenizer) == (2, torch.float32, None)
    assert runner.config.torch_dtype is torch.bfloat16, "a float32 checkpoint runs in 16 bits"
    assert runner.model.placeholder.dtype is torch.float32


def test_weights_are_set_once_and_caches_when_they_change(runner: Any) -> None:
    first, second = caches(runner), caches(runner)
    for cache in (first, first, second, second):
        assert int(step(runner, cache).argmax()) == 18
    encoder, decoder = ToyModelTorch.made
    assert [len(model.params) for model in (encoder, decoder)] == [1, 1]
    assert encoder.params[0] == {"rank": 1, "worldSize": 4, "isPrefill": True}
    assert [model.caches for model in (encoder, decoder)] == [2, 2]


def test_the_decoder_runs_steps(runner: Any) -> None:
    cache = caches(runner)
    step(runner, cache)
    more = step(
        runner,
        cache,
        input_ids=torch.tensor([4]),
        position_ids=torch.tensor([3]),
        is_prefill=False,
        slots=torch.tensor([3], dtype=torch.int32),
        input_lengths=torch.tensor([4], dtype=torch.int32),
        lm_head_indices=None,
    )
    assert int(more.argmax()) == 22


def test_what_is_no_input_is_an_error(runner: Any) -> None:
    with pytest.raises(HostError, match=r"inputs \[2\] of the ATB model are no tensors"):
        step(runner, caches(runner), slots=None)


def test_other_configurations_are_refused(package: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", num_attention_heads=8)
    with model_torch(), install(package):
        module = importlib.import_module("atb_llm.runner.model_runner")
        with pytest.raises(ValueError, match=r"num_attention_heads is 8, .* generated for 4"):
            module.ModelRunner(str(other), 0, 1, load_tokenizer=False)


def test_a_key_that_appears_later_is_refused(package: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", rope_scaling={"rope_type": "yarn", "factor": 2.0})
    with model_torch(), install(package):
        module = importlib.import_module("atb_llm.runner.model_runner")
        with pytest.raises(ValueError, match=r"rope_scaling is .*yarn"):
            module.ModelRunner(str(other), 0, 1, load_tokenizer=False)


def test_other_model_types_are_not_found(package: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", model_type="mistral")
    with install(package):
        module = importlib.import_module("atb_llm.runner.model_runner")
        with pytest.raises(NotImplementedError, match="unsupported model type: mistral"):
            module.ModelRunner(str(other), 0, 1, load_tokenizer=False)


def test_nothing_stays(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = type(sys)("atb_llm")
    monkeypatch.setitem(sys.modules, "atb_llm", mine)
    files = sorted(package.rglob("*"))
    with install(package):
        importlib.import_module("atb_llm.models.llama.router_llama")
        assert sys.modules["atb_llm"] is not mine
    names = [name for name in sys.modules if name.startswith("atb_llm")]
    assert names == ["atb_llm"]
    assert sys.modules["atb_llm"] is mine
    assert sorted(package.rglob("*")) == files, "nothing is written into the package"


def test_a_folder_that_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no router_"):
        install(tmp_path)
    with pytest.raises(HostError, match="precision"):
        install(tmp_path, "float8")


def test_weights_read_one_tensor(checkpoint: Path) -> None:
    read = weights(checkpoint)
    assert read.get_tensor("scale").dtype is torch.float32
    assert read.get_tensor("scale", ignore_tensor_correction=True).dtype is torch.float16
    assert read.get_tensor("ids").dtype is torch.int64
    assert read.get_shape("wide") == [12, 4]
    with pytest.raises(AssertionError, match="weight nothing does not exist"):
        read.get_tensor("nothing")


def test_weights_of_a_rank(checkpoint: Path) -> None:
    rows = [weights(checkpoint, r, 4).get_partial_sharded("wide", 0)[:, 0] // 4 for r in range(4)]
    assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    shared = [weights(checkpoint, r, 4).get_partial_sharded("wide", 0, 6) for r in range(4)]
    assert [int(part[0, 0]) // 4 for part in shared] == [0, 0, 6, 6]
    columns = weights(checkpoint, 1, 2).get_partial_sharded("wide", 1)
    assert columns[0].tolist() == [2, 3]
    whole = columns.untyped_storage().nbytes()
    assert whole == columns.numel() * 4, "the rest of the tensor is not kept alive"


def test_a_broken_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.safetensors weights"):
        weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(BadInputError, match="too short"):
        weights(tmp_path)


class Mapped(BaseConfig):
    attribute_map = {"hidden_size": "n_embd"}
    n_embd: int = 8


def test_a_configuration_maps_names() -> None:
    config: Any = Mapped(n_embd=12, vocab_size=3, torch_dtype="float16")
    assert (config.hidden_size, config.torch_dtype) == (12, torch.float16)
    config.hidden_size = 16
    assert config.n_embd == 16
    with pytest.raises(ValueError, match="max_position_embeddings"):
        config.validate()


def test_rope_scaling_takes_known_keys_only() -> None:
    with pytest.raises(TypeError, match="mscale"):
        BaseConfig(rope_scaling={"mscale": 1.0})
