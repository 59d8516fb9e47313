"""Vision-language models: where image features enter the language model, and that it is only there.

The vision tower and its projector stay in torch. The language model is compiled as one that takes
token ids, and whoever runs it writes the image features over the hidden states of the image tokens
before the first layer. That is right only if the model itself does this and nothing else, so the
model is traced a second time, with the features as an input, and both traces are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from codegen.errors import BadInputError, Problem, UnsupportedError
from ir.func import Call
from ir.graph import Graph, Module, Value
from ir.structure import same_structure

#: Name of the input of a trace that takes the place of the vision tower.
FEATURES = "image_features"
_GET = "get_image_features"
_REMEDY = "save its language model as a directory of its own"
#: Operations that a merge may put around the features and the mask: they move no element.
_LAYOUT = frozenset({
    "aten.cat.default", "aten.expand.default", "aten.reshape.default", "aten.select.int",
    "aten.split.Tensor", "aten.to.dtype", "aten.unbind.int", "aten.unsqueeze.default",
})  # fmt: skip


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
        raise unfit(f"{name} has no {_GET}, so its image features cannot be computed apart")
    arguments = type(model).forward.__code__.co_varnames
    kinds = [argument for argument in arguments if argument.endswith("token_type_ids")]
    if kinds:
        raise unfit(
            f"{name} takes {kinds[0]}: which tokens see each other depends on where images are"
        )


def language_class(config: PreTrainedConfig) -> str:
    """Name of the causal language model class that the text configuration belongs to."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text = config.get_text_config()
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise unfit(f"transformers has no causal language model for its {text.model_type}")
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(text)].__name__


def pixel_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that the vision tower takes.

    Raises:
        BadInputError: The configuration does not say.
    """
    vision = config.vision_config
    size, channels = getattr(vision, "image_size", None), getattr(vision, "num_channels", 3)
    sides = [size, size] if isinstance(size, int) else list(size or ())
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise BadInputError(f"config.json: vision_config says no image_size, but {size!r}")
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
            made: Any = features.reshape(pooled.shape)
        else:
            sizes = [part.numel() // part.shape[-1] for part in pooled]
            parts = zip(features.split(sizes), pooled, strict=True)
            made = type(pooled)(part.reshape(old.shape) for part, old in parts)
        return type(self.returned)(pooler_output=made)


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
    if _origin(features) is not given:
        raise unfit("the image features are changed before they reach the language model")
    token = _compared_with(_origin(mask))
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


def _origin(value: Value) -> Value:
    while value.producer is not None and value.producer.op in _LAYOUT:
        if len(value.producer.inputs) != 1:
            return value
        value = value.producer.operand(0)
    return value


def _compared_with(mask: Value) -> int | None:
    """The number that the token ids are compared with."""
    node = mask.producer
    if node is None or node.op != "aten.eq.Scalar" or _origin(node.operand(0)).name != "input_ids":
        return None
    numbers = [item for item in node.attrs["args"] if type(item) is int]
    return numbers[0] if len(numbers) == 1 else None


def _check_first(main: Graph, merged: Value) -> None:
    """What was merged must be what the first layer takes, as it is, and nothing else's input."""
    calls = main.find(Call.name)
    users = [use.node for use in merged.uses]
    if not calls or users != calls[:1] or calls[0].operand(0) is not merged:
        raise unfit("something happens to the hidden states between image features and layers")
