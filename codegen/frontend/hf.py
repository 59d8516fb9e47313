"""From a HuggingFace directory to a model without storage for its weights."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from codegen.errors import BadInputError, CodegenError, Problem, UnsupportedError
from codegen.frontend.checkpoint import Checkpoint, open_checkpoint, read_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_LAYER_LIMIT = 4096
_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Source:
    """A model directory that was read, but not yet built.

    Attributes:
        path: The directory.
        config: What its config.json holds.
        config_hash: sha256 of the configuration in canonical form, hexadecimal.
        architecture: First entry of ``architectures``, empty if there is none.
        weights: Its safetensors files; None if it has none.
        trust_remote_code: Python files of the directory may be run.
    """

    path: Path
    config: Mapping[str, Any]
    config_hash: str
    architecture: str
    weights: Checkpoint | None
    trust_remote_code: bool


def load(path: Path, trust_remote_code: bool = False) -> Source:
    """Reads a model directory: its configuration and the headers of its weights.

    Args:
        path: A directory with config.json and, if there are weights, safetensors files.
        trust_remote_code: Allow Python files of the directory to be run later.

    Raises:
        BadInputError: The directory or one of its files cannot be used.
    """
    config = read_config(path)
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    names = config.get("architectures") or [""]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInputError(f"{path / 'config.json'}: architectures must be a list of class names")
    if names[0] and not _CLASS_NAME.fullmatch(names[0]):
        raise BadInputError(f"{path / 'config.json'}: {names[0]!r} is not a class name")
    code = config.get("auto_map")
    if trust_remote_code and isinstance(code, dict) and any("--" in str(v) for v in code.values()):
        raise BadInputError(
            f"{path / 'config.json'}: its code lies in another repository (auto_map), "
            "and nothing is downloaded; copy the Python files into the directory"
        )
    return Source(
        path=path,
        config=config,
        config_hash=hashlib.sha256(canonical.encode()).hexdigest(),
        architecture=names[0],
        weights=open_checkpoint(path),
        trust_remote_code=trust_remote_code,
    )


def load_config(source: Source) -> PreTrainedConfig:
    """The configuration as transformers understands it.

    Raises:
        BadInputError: transformers does not know the model type or refuses a value.
        UnsupportedError: The model takes sound, or its weights are quantized.
    """
    with _offline(), shielded(f"{source.path / 'config.json'}"):
        from transformers import AutoConfig
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        kind = source.config.get("model_type")
        if not isinstance(kind, str):
            raise BadInputError(f"{source.path / 'config.json'}: model_type is missing")
        if kind not in CONFIG_MAPPING and not source.trust_remote_code:
            remedy = (
                "it has code of its own: pass --trust-remote-code to run it"
                if "auto_map" in source.config
                else "check model_type"
            )
            raise BadInputError(f"{source.path}: transformers has no model type {kind!r}; {remedy}")
        config = AutoConfig.from_pretrained(
            source.path, local_files_only=True, trust_remote_code=source.trust_remote_code
        )
    _check(source, config)
    return config


def _check(source: Source, config: PreTrainedConfig) -> None:
    if getattr(config, "audio_config", None) is not None:
        raise UnsupportedError(
            [
                Problem(
                    "", "config.json", "the model has an audio_config, only text and images are "
                    "compiled", "save its language model as a directory of its own",
                )
            ]
        )  # fmt: skip
    if source.config.get("quantization_config") is not None:
        raise UnsupportedError(
            [
                Problem(
                    "", "config.json", "the weights are quantized (quantization_config)",
                    "start from the unquantized model",
                )
            ]
        )  # fmt: skip
    layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 0 < layers <= _LAYER_LIMIT:
        raise BadInputError(
            f"{source.path / 'config.json'}: {layers!r} layers, must be 1 to {_LAYER_LIMIT}"
        )
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(length, int) and length < 1:
        raise BadInputError(
            f"{source.path / 'config.json'}: max_position_embeddings is {length}, must be positive"
        )


def build(source: Source, config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    """Builds the model with parameters on the meta device and buffers that hold their real values.

    Args:
        source: Where it comes from.
        config: Its configuration.
        attention: Attention implementation.

    Raises:
        BadInputError: The class is unknown or does not accept the configuration.
        UnsupportedError: A buffer's values are not known.
    """
    with _offline(), shielded(str(source.path)), _on_meta():
        from transformers.initialization import no_init_weights

        from codegen.frontend.attention import REGISTERED

        make = _model_class(source, config)
        options: dict[str, Any] = {
            "attn_implementation": attention,
            "experts_implementation": REGISTERED,
            "dtype": torch.float32,
        }
        with no_init_weights():
            model = make(copy.deepcopy(config), **options)
        model.tie_weights()
    model.requires_grad_(False).eval()
    unknown = [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and buffer.is_meta and name in module._non_persistent_buffers_set
    ]
    if unknown:
        raise UnsupportedError(
            [Problem(name, "", "the value of this buffer is not known") for name in unknown]
        )
    return model


def build_real(source: Source, config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the model with initialised weights, float32, the attention that HuggingFace picks.

    Raises:
        BadInputError: The class is unknown or does not accept the configuration.
    """
    with _offline(), shielded(str(source.path)):
        make = _model_class(source, config)
        return make(copy.deepcopy(config), dtype=torch.float32).eval()


def accepted(model: nn.Module, *names: str) -> list[str]:
    """Which of the arguments the model's forward takes by name."""
    return [name for name in names if name in inspect.signature(model.forward).parameters]


def _model_class(source: Source, config: PreTrainedConfig) -> Callable[..., PreTrainedModel]:
    import transformers
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    named: Any = getattr(transformers, source.architecture or "_", None)
    if (
        isinstance(named, type)
        and issubclass(named, PreTrainedModel)
        and named.config_class is type(config)
        and named.can_generate()
    ):
        return named._from_config
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM.from_config
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText.from_config
    if source.trust_remote_code and "auto_map" in source.config:

        def remote(config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
            return AutoModelForCausalLM.from_config(config, trust_remote_code=True, **options)

        return remote
    raise BadInputError(
        f"{source.path}: transformers has no causal language model for "
        f"{source.architecture or config.model_type}"
    )


class _EmptyOnMeta(TorchFunctionMode):
    """Uninitialised tensors are never anybody's values: they get no storage at all."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


@contextlib.contextmanager
def _on_meta() -> Iterator[None]:
    register = nn.Module.register_parameter

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(torch.empty_like(param, device="meta"), requires_grad=False)
        register(self, name, param)

    nn.Module.register_parameter = register_on_meta
    try:
        with _EmptyOnMeta():
            yield
    finally:
        nn.Module.register_parameter = register


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keeps huggingface_hub from the network, whatever a configuration names."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def shielded(place: str) -> Iterator[None]:
    """Turns whatever transformers raises about a directory into one clear line."""
    try:
        yield
    except CodegenError:
        raise
    except MemoryError:
        raise BadInputError(f"{place}: its sizes need more memory than there is") from None
    except Exception as error:  # transformers and remote code raise anything at all
        raise BadInputError(f"{place}: {first_line(error)}") from error


def first_line(error: BaseException, limit: int = 300) -> str:
    """The beginning of an exception's message, in one line; its type if it has none."""
    text = " ".join(str(error).split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return (text[: limit - 3] + "...") if len(text) > limit else text or type(error).__name__
