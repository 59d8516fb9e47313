"""A checkpoint, one tensor in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codegen.frontend.checkpoint import Checkpoint, open_checkpoint
from codegen.host.atb_llm.environment import Mapping, ProcessGroup

__all__ = ["Weights"]

#: Quantized weights keep their type.
_KEPT = (torch.int8, torch.int32, torch.int64)


class Weights:
    """Tensors of the safetensors files in a directory.

    Attributes:
        device: Where the tensors are wanted. They are returned on the CPU, as by the original.
        dtype: Type that floating point tensors are converted to.
        process_group: This rank and how many there are.
        mapping: How the ranks share the work.
        quant_desc: Description of quantized weights; None for float.
        quantize: Name of the quantization; None for float.
    """

    def __init__(
        self,
        model_name_or_path: str,
        device: torch.device,
        dtype: torch.dtype,
        process_group: ProcessGroup,
        mapping: Mapping,
        quantize: str | None = None,
        **options: Any,
    ) -> None:
        """Reads the headers of the files.

        Raises:
            FileNotFoundError: The directory has no safetensors files.
        """
        found = open_checkpoint(Path(model_name_or_path))
        if found is None:
            raise FileNotFoundError(f"{model_name_or_path}: no .safetensors weights found")
        self._checkpoint: Checkpoint = found
        self.device, self.dtype = device, dtype
        self.process_group, self.mapping = process_group, mapping
        self.quantize, self.quant_desc = quantize, None

    def get_shape(self, tensor_name: str) -> list[int]:
        """Sizes of a tensor, without reading it."""
        self._require(tensor_name)
        return list(self._checkpoint.tensors[tensor_name].shape)

    def get_tensor(self, tensor_name: str, ignore_tensor_correction: bool = False) -> Tensor:
        """Reads a whole tensor.

        Args:
            tensor_name: Its name in the checkpoint.
            ignore_tensor_correction: Keep the element type of the file.

        Raises:
            AssertionError: There is no such tensor.
        """
        self._require(tensor_name)
        tensor = self._checkpoint.read(tensor_name)
        if ignore_tensor_correction or tensor.dtype in _KEPT:
            return tensor
        return tensor.to(self.dtype)

    def get_partial_sharded(self, tensor_name: str, dim: int, gqa_size: int = 1) -> Tensor:
        """This rank's part of a tensor.

        Groups of ``gqa_size`` rows stay together. Where there are fewer groups than ranks,
        neighbouring ranks get the same group.
        """
        rank, ranks = self.process_group.rank(), self.process_group.size()
        tensor = self.get_tensor(tensor_name)
        size = tensor.shape[dim]
        groups = size // gqa_size
        if groups >= ranks:
            length = size // ranks
            start = rank * length
        else:
            length = gqa_size
            start = rank // (ranks // groups) * length
        return tensor.narrow(dim, start, length).clone()

    def release_file_handler(self) -> None:
        """Closes the files; the stand-in keeps none open."""

    def _require(self, name: str) -> None:
        if name not in self._checkpoint.tensors:
            raise AssertionError(f"weight {name} does not exist")
