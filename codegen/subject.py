"""The model that generated code is compared with: HuggingFace's, in float32, with its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from codegen.errors import BadInputError
from codegen.frontend.checkpoint import Checkpoint, open_checkpoint
from codegen.frontend.fold import layer_stacks
from codegen.frontend.hf import Source, build, load_config, shielded
from codegen.frontend.vision import is_vision_language
from codegen.frontend.weights import WeightNames
from codegen.reference import randomize

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SEED = "llm-codegen verify"


@dataclass(frozen=True)
class Subject:
    """A model and where its weights lie.

    Attributes:
        model: Float32, the attention that HuggingFace picks, evaluation mode.
        weights: Directory that generated code reads the same weights from.
        read: Gives the checkpoint tensor of a name, float32.
        random: The weights are seeded random numbers.
        layers: Module path of every layer by the path under which the checkpoint has it.
    """

    model: PreTrainedModel
    weights: Path
    read: Callable[[str], Tensor]
    random: bool
    layers: Mapping[str, str]


def count_parameters(source: Source) -> int:
    """How many parameters the model has, from its configuration alone."""
    return sum(p.numel() for p in build(source, load_config(source), "eager").parameters())


@contextmanager
def open_subject(source: Source, weights: Path | None) -> Iterator[Subject]:
    """Loads the model of a directory, with seeded random weights where it has none.

    Args:
        source: The model directory.
        weights: Directory with other weights for it; default its own.

    Raises:
        BadInputError: Weights are missing or malformed.
    """
    config = load_config(source)
    folder = weights or (source.path if source.weights is not None else None)
    if folder is not None:
        checkpoint = open_checkpoint(folder) if folder.is_dir() else None
        if checkpoint is None:
            raise BadInputError(f"{folder} is not a directory with safetensors files")
        model = _loaded(source, config, folder)
        layers = _layers(model, checkpoint)
        yield Subject(model, folder, checkpoint.read_float, random=False, layers=layers)
        return
    with TemporaryDirectory() as made:
        model = _randomized(source, config)
        model.save_pretrained(made)
        checkpoint = open_checkpoint(Path(made))
        assert checkpoint is not None
        layers = _layers(model, checkpoint)
        yield Subject(model, Path(made), checkpoint.read_float, random=True, layers=layers)


def _layers(model: PreTrainedModel, checkpoint: Checkpoint) -> dict[str, str]:
    names = WeightNames(model, checkpoint)
    paths = [
        f"{path}.{i}" for path, stack in layer_stacks(model).items() for i in range(len(stack))
    ]
    return {names.scope(path): path for path in paths}


def _auto_class(config: PreTrainedConfig) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if is_vision_language(config) else AutoModelForCausalLM


def _loaded(source: Source, config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    from transformers import GenerationConfig

    with _one_line(folder):
        loaded: Any = _auto_class(config).from_pretrained(
            folder,
            config=config,
            # Given, because transformers cannot load a directory that holds weights only.
            generation_config=GenerationConfig.from_model_config(config),
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=source.trust_remote_code,
            output_loading_info=True,
        )
    model, report = loaded
    missing: list[str] = sorted(map(str, report["missing_keys"]))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInputError(f"{folder}: the weights lack {missing[0]}{more}")
    return model.eval()


def _randomized(source: Source, config: PreTrainedConfig) -> PreTrainedModel:
    with _one_line(source.path), torch.random.fork_rng():
        torch.manual_seed(0)  # some initial values stay, and norms keep a part of theirs
        model = _auto_class(config).from_config(
            config,
            dtype=torch.float32,
            trust_remote_code=source.trust_remote_code,
        )
    randomize(model, _SEED)
    return model.eval()


@contextmanager
def _one_line(place: Path) -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with shielded(str(place)):
            yield
    finally:
        logging.set_verbosity(level)
