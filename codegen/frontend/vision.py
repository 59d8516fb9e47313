"""Vision-language models: where image features enter the language model, and that it is only there.

The vision tower and its projector stay in torch. The language model is compiled as one that takes
token ids, and whoever runs it writes the image features over the hidden states of the image tokens
before the first layer. That is right only if the model itself does this and nothing else, so the
model is traced a second time, with the features as an input, and both traces are compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from codegen.errors import Problem, UnsupportedError
from ir.func import Call
from ir.graph import Graph, Module, Value
from ir.structure import same_structure

#: Name of the input of a trace that takes the place of the vision tower.
FEATURES = "image_features"
_GET = "get_image_features"
_REMEDY = "save its language model as a directory of its own"
#: What a merge may do with the features: with one operand, these keep all rows in their order.
_KEEPS = frozenset({"aten.cat.default", "aten.reshape.default", "aten.to.dtype"})
#: What it may do with the mask besides: the same for all elements of a hidden state.
_SPREADS = _KEEPS | {"aten.expand.default", "aten.unsqueeze.default"}


def is_vision_language(config: PreTrainedConfig) -> bool:
    """Whether a configuration describes a language model with a vision tower."""
    return getattr(config, "vision_config", None) is not None


def unfit(reason: str) -> UnsupportedError:
    """The error for a vision-language model that is not put together as this compiler expects."""
    return UnsupportedError([Problem("", "config.json", reason, _REMEDY)])


def check_class(model: PreTrainedModel) -> None:
    """Looks for what a vision-language class must have.

    Raises:
        UnsupportedError: It computes its image features, or sees images, in another way.
    """
    name = type(model).__name__
    if not hasattr(model, _GET):
        raise unfit(
            f"{name} has no {_GET}; compiled are text models and models that compute the features "
            "of their images apart"
        )
    arguments = inspect.signature(model.forward).parameters
    pixels = arguments.get("pixel_values")
    if pixels is None or pixels.default is not None:
        raise unfit(f"{name} does not take pixel_values beside text as an option")
    kinds = [argument for argument in arguments if argument.endswith("token_type_ids")]
    if kinds:
        raise unfit(
            f"{name} takes {kinds[0]}: its attention or its positions depend on where images are"
        )


def language_class(config: PreTrainedConfig) -> str:
    """Name of the causal language model class that the text configuration belongs to."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text = config.get_text_config()
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise unfit(f"transformers has no causal language model for its {text.model_type}")
    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(text)]
    return found.__name__


def pixel_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that the vision tower takes.

    Raises:
        UnsupportedError: The configuration does not say.
    """
    vision = config.vision_config
    size: Any = getattr(vision, "image_size", None)
    channels: Any = getattr(vision, "num_channels", 3)
    sides: Any = size if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(type(n) is int and n > 0 for n in (channels, *sides)):
        raise unfit(
            f"vision_config does not say how large images are: image_size {size!r}, "
            f"num_channels {channels!r}"
        )
    return channels, sides[0], sides[1]


def feature_rows(returned: Any) -> Tensor:
    """The image features of all images, ``[image tokens, hidden]``, in the order of the tokens.

    Args:
        returned: What ``get_image_features`` of a model returned.
    """
    pooled = returned.pooler_output
    parts = [pooled] if isinstance(pooled, Tensor) else list(pooled)
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])


@dataclass
class Image:
    """Stands for one image while a model is traced.

    Attributes:
        returned: What ``get_image_features`` returns for it, on fake tensors.
        features: The tensor that takes the place of the features, ``[image tokens, hidden]``.
    """

    returned: Any
    features: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of image tokens of one image and width of the features."""
        rows = feature_rows(self.returned)
        return rows.shape[0], rows.shape[1]

    @contextmanager
    def instead(self, model: nn.Module) -> Iterator[None]:
        """Lets the model's vision tower return ``features`` while the context lasts."""
        owners = [module for module in model.modules() if hasattr(type(module), _GET)]
        for owner in owners:
            owner.__dict__[_GET] = self._answer
        try:
            yield
        finally:
            for owner in owners:
                del owner.__dict__[_GET]

    def _answer(self, *args: Any, **kwargs: Any) -> Any:
        (features,) = self.features
        pooled = self.returned.pooler_output
        if isinstance(pooled, Tensor):
            return type(self.returned)(pooler_output=features.reshape(pooled.shape))
        (part,) = pooled
        return type(self.returned)(pooler_output=type(pooled)([features.reshape(part.shape)]))


def look_at_image(model: PreTrainedModel) -> Image:
    """Computes the features of one image, without numbers.

    Args:
        model: With fake parameters, in the fake mode in which it will be traced.

    Raises:
        UnsupportedError: The features are not a function of the pixels alone.
    """
    pixels = torch.zeros(1, *pixel_shape(model.config))
    try:
        returned = getattr(model, _GET)(pixel_values=pixels)
        image = Image(returned)
        rows, width = image.shape
    except Exception as error:  # modelling code raises anything at all
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise unfit(
            f"the image features cannot be computed from the pixels of one image alone: {what}"
        ) from error
    parts = returned.pooler_output
    if not isinstance(parts, Tensor) and len(parts) != 1:
        raise unfit(f"one image has {len(parts)} sets of image features")
    if width != model.config.get_text_config().hidden_size or not rows:
        raise unfit(f"the image features are {width} wide, not as wide as the hidden states")
    return image


def image_token(plain: Module, merged: Module) -> int:
    """The token whose hidden states image features take the place of.

    Args:
        plain: The model traced on token ids.
        merged: The same with the features of an image as input ``image_features``.

    Raises:
        UnsupportedError: The two differ in something else than this.
    """
    merged = merged.copy()
    main = merged.functions["main"]
    merges = main.find("aten.masked_scatter.default")
    if len(merges) != 1:
        raise unfit("the image features do not simply take the places of the image tokens")
    (merge,) = merges
    hidden, mask, features = merge.operand(0), merge.operand(1), merge.operand(2)
    (given,) = (value for value in main.inputs if value.name == FEATURES)
    if _origin(features, _KEEPS) is not given:
        raise unfit("the image features are changed before they reach the language model")
    token = _compared_with(_origin(mask, _SPREADS))
    if token is None:
        raise unfit("the places of the image features are not those of one token")
    _check_first(main, merge.result)
    main.replace_uses(merge.result, hidden)
    main.remove_dead()
    if given.uses:
        raise unfit("the language model reads the image features in more than one place")
    main.inputs.remove(given)
    if not same_structure(merged, plain):
        raise unfit("the language model computes something else when there is an image")
    return token


def _origin(value: Value, through: frozenset[str]) -> Value:
    node = value.producer
    while node is not None and node.op in through and len(node.inputs) == 1:
        value = node.operand(0)
        node = value.producer
    return value


def _compared_with(mask: Value) -> int | None:
    """The number that the token ids are compared with."""
    node = mask.producer
    if node is None or node.op != "aten.eq.Scalar" or node.operand(0).name != "input_ids":
        return None
    arguments = node.attrs["args"]
    number = arguments[-1] if isinstance(arguments, tuple) else None
    return number if type(number) is int else None


def _check_first(main: Graph, merged: Value) -> None:
    """What was merged must be what the first layer takes, as it is, and nothing else's input."""
    calls = main.find(Call.name)
    if not calls or merged.users != calls[:1] or calls[0].operand(0) is not merged:
        raise unfit("something happens to the hidden states between image features and layers")
