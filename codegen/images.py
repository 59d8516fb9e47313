"""Random images for the prompts that generated code is verified with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from codegen.errors import BadInputError
from codegen.frontend.vision import feature_rows, pixel_shape


@torch.no_grad()
def image_features(model: nn.Module, pixels: Tensor) -> Tensor:
    """What the vision tower and the projector of a model make of images.

    Args:
        model: A vision-language model.
        pixels: Float ``[images, channels, height, width]``.

    Returns:
        Float ``[image tokens, hidden]``.
    """
    compute: Any = model.get_image_features
    return feature_rows(compute(pixel_values=pixels))


@dataclass(frozen=True)
class Images:
    """How images stand in the prompts of a model.

    Attributes:
        token: The image token.
        count: How many image tokens stand for one image.
        shape: Channels, height and width of an image.
    """

    token: int
    count: int
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, model: PreTrainedModel, token: int) -> Images:
        """How a model takes images; its vision tower is run once."""
        shape = pixel_shape(model.config)
        return cls(token, len(image_features(model, torch.zeros(1, *shape))), shape)

    def pixels(self, prompt: Sequence[int], seed: int) -> Tensor | None:
        """Random pixels for the image tokens of a prompt, None if it has none.

        Raises:
            BadInputError: Some image would have too few tokens.
        """
        images, rest = divmod(list(prompt).count(self.token), self.count)
        if rest:
            raise BadInputError(f"a prompt has {rest} image tokens too many: {self.count} an image")
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(images, *self.shape, generator=generator) if images else None

    def put_into(self, texts: Sequence[Sequence[int]]) -> list[list[int]]:
        """The texts with an image in each, and after them the first text without."""
        clean = [[max(0, i - 1) if i == self.token else i for i in text] for text in texts]
        image = [self.token] * self.count
        shown = [[*text[: at + 2], *image, *text[at + 2 :]] for at, text in enumerate(clean)]
        return [*shown, clean[0]]
