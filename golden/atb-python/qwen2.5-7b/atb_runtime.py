"""Runs the ATB model of this folder: weights, paged key-value cache, generation.

Nothing here depends on the architecture; that is all in the model file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

#: Tokens in one block of the key-value cache.
BLOCK_SIZE = 128


@dataclass
class Step:
    """The new tokens of every sequence of a batch, one sequence after the other, no padding.

    Attributes:
        input_ids: int64 [tokens].
        positions: Position of each token in its sequence, int64 [tokens].
        seq_lens: New tokens of each sequence, int32 [batch].
        slots: Cache row that each token's key and value are written to, int32 [tokens]. Row
            `s % BLOCK_SIZE` of block `s // BLOCK_SIZE`.
        block_tables: Cache blocks of each sequence in order, int32 [batch, max_blocks]; unused
            entries at the end of a row are 0 and never read.
        context_lens: Tokens of each sequence in the cache after this step, int32 [batch].
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    seq_lens: torch.Tensor
    slots: torch.Tensor
    block_tables: torch.Tensor
    context_lens: torch.Tensor


class KvCache:
    """Paged caches of all layers, and which blocks each sequence holds.

    All layers use the same block numbers, so one table serves them all. The caches grow when
    they run out of blocks.
    """

    def __init__(
        self,
        rows: Sequence[tuple[int, ...]],
        blocks: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Allocates the caches.

        Args:
            rows: What one token takes in each cache, `(kv_heads, head_dim)`: the key cache and
                the value cache of each layer in turn.
            blocks: Number of blocks to start with.
            dtype: Element type.
            device: Where the caches are.
        """
        self._rows = list(rows)
        self._dtype, self._device = dtype, device
        self.tensors = [self._zeros(row, blocks) for row in self._rows]
        self._free = list(reversed(range(blocks)))
        self._tables: list[list[int]] = []
        self._lengths: list[int] = []

    def _zeros(self, row: tuple[int, ...], blocks: int) -> torch.Tensor:
        return torch.zeros(blocks, BLOCK_SIZE, *row, dtype=self._dtype, device=self._device)

    def clear(self) -> None:
        """Forgets all sequences; their blocks are free again."""
        for table in self._tables:
            self._free.extend(reversed(table))
        self._tables, self._lengths = [], []

    def add_sequence(self) -> int:
        """Returns the number of a new, empty sequence."""
        self._tables.append([])
        self._lengths.append(0)
        return len(self._tables) - 1

    def release(self, sequence: int) -> None:
        """Frees the blocks of a sequence that is finished."""
        self._free.extend(reversed(self._tables[sequence]))
        self._tables[sequence], self._lengths[sequence] = [], 0

    def step(self, sequences: Sequence[int], tokens: Sequence[Sequence[int]]) -> Step:
        """Makes room for new tokens of some sequences and describes the forward pass over them."""
        positions: list[int] = []
        slots: list[int] = []
        for sequence, new in zip(sequences, tokens, strict=True):
            start = self._lengths[sequence]
            table = self._tables[sequence]
            while len(table) * BLOCK_SIZE < start + len(new):
                table.append(self._take_block())
            for position in range(start, start + len(new)):
                positions.append(position)
                slots.append(table[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE)
            self._lengths[sequence] = start + len(new)
        tables = [self._tables[sequence] for sequence in sequences]
        width = max(len(table) for table in tables)
        return Step(
            input_ids=torch.tensor([token for new in tokens for token in new]),
            positions=torch.tensor(positions),
            seq_lens=torch.tensor([len(new) for new in tokens], dtype=torch.int32),
            slots=torch.tensor(slots, dtype=torch.int32),
            block_tables=torch.tensor(
                [table + [0] * (width - len(table)) for table in tables], dtype=torch.int32
            ),
            context_lens=torch.tensor([self._lengths[s] for s in sequences], dtype=torch.int32),
        )

    def _take_block(self) -> int:
        if not self._free:
            have = self.tensors[0].shape[0]
            more = max(have, 1)
            self.tensors = [
                torch.cat([cache, self._zeros(row, more)])
                for cache, row in zip(self.tensors, self._rows, strict=True)
            ]
            self._free = list(reversed(range(have, have + more)))
        return self._free.pop()


class ATBModel:
    """A model with its weights on a device, ready to run.

    Example:
        atb_model = ATBModel(Model())
        atb_model.set_weights(load_weights("path/to/the/model"))
        print(atb_model.generate([[1, 2, 3]], max_new_tokens=8))
    """

    def __init__(
        self, model, dtype: torch.dtype | None = None, device: str | torch.device = "npu"
    ) -> None:
        """Wraps a `Model()` of the model file.

        Args:
            model: The graphs.
            dtype: Element type of weights and activations, default the checkpoint's.
            device: Where the graphs run. "cpu" needs the host runtime of llm-codegen.
        """
        self.model = model
        self.dtype = dtype or model.DTYPE
        self.device = torch.device(device)
        sequences, tokens = (model.CONFIG[key] for key in ("max_batch_size", "max_seq_len"))
        blocks = sequences * -(-tokens // BLOCK_SIZE)
        self.cache = KvCache(model.CACHE_ROWS, blocks, self.dtype, self.device)

    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Packs the weights as the graphs want them and moves them to the device.

        Args:
            weights: Tensors of the checkpoint under their HuggingFace names. They are read one
                layer at a time, so a lazy mapping such as `load_weights` returns saves memory.

        Raises:
            KeyError: A tensor is missing.
        """
        self.model.set_weights(weights.__getitem__, self.dtype, self.device)

    def prefill(
        self,
        prompts: Sequence[Sequence[int]],
        last_only: bool = False,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Starts a new batch: runs whole prompts and keeps their keys and values.

        Args:
            prompts: Token ids of each sequence; none may be empty.
            last_only: Compute the logits of the last token of each prompt only.
            positions: int64 [tokens], default 0, 1, 2, ... in each sequence.

        Returns:
            Logits [tokens, vocab_size], or [batch, vocab_size] with `last_only`.

        Raises:
            ValueError: A prompt is empty, or there is none.
        """
        if not prompts or not all(prompts):
            raise ValueError("every prompt needs at least one token")
        self.cache.clear()
        sequences = [self.cache.add_sequence() for _ in prompts]
        step = self.cache.step(sequences, prompts)
        if positions is not None:
            step.positions = positions.long().cpu()
        with torch.no_grad():
            return self.model.prefill(step, self.cache.tensors, last_only)

    def decode(self, tokens: Sequence[int], sequences: Sequence[int] | None = None) -> torch.Tensor:
        """Runs one more token of each sequence over the cache.

        Args:
            tokens: The new token of each sequence.
            sequences: Numbers of the sequences, default all, in the order of the prompts.

        Returns:
            Logits [batch, vocab_size].
        """
        chosen = range(len(tokens)) if sequences is None else sequences
        step = self.cache.step(list(chosen), [[token] for token in tokens])
        with torch.no_grad():
            return self.model.decode(step, self.cache.tensors)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        seq_lens: Sequence[int] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Runs prompts and returns the logits of every token.

        Args:
            input_ids: Tokens of one sequence, or of several one after the other, int64 [tokens].
            position_ids: int64 [tokens], default 0, 1, 2, ... in each sequence.
            seq_lens: Number of tokens of each sequence, default one sequence.

        Returns:
            The logits [tokens, vocab_size] under "output".
        """
        ids = input_ids.flatten()
        lens = [ids.numel()] if seq_lens is None else [int(length) for length in seq_lens]
        prompts = [part.tolist() for part in ids.split(lens)]
        positions = None if position_ids is None else position_ids.flatten()
        return {"output": self.prefill(prompts, positions=positions)}

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 32,
        eos_token_ids: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """Continues every prompt greedily.

        Args:
            prompts: Token ids of each sequence, of any lengths.
            max_new_tokens: How many tokens are added at most.
            eos_token_ids: Tokens that end a sequence, default those of the model.

        Returns:
            The new tokens of each sequence, the end token included.
        """
        stop = self.model.EOS_TOKEN_IDS if eos_token_ids is None else eos_token_ids
        new: list[list[int]] = [[] for _ in prompts]
        if max_new_tokens < 1:
            return new
        running = list(range(len(prompts)))
        logits = self.prefill(prompts, last_only=True)
        while True:
            for sequence, token in zip(running, logits.argmax(-1).tolist(), strict=True):
                new[sequence].append(token)
                if token in stop:
                    self.cache.release(sequence)
            running = [s for s in running if new[s][-1] not in stop]
            if not running or len(new[running[0]]) == max_new_tokens:
                return new
            logits = self.decode([new[sequence][-1] for sequence in running], running)


class Checkpoint(Mapping[str, torch.Tensor]):
    """Tensors of safetensors files by name, each read when it is asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Takes the file of every tensor name."""
        self._files = dict(files)

    def __getitem__(self, name: str) -> torch.Tensor:
        """Reads one tensor."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        """Iterates over the tensor names."""
        return iter(self._files)

    def __len__(self) -> int:
        """Counts the tensors."""
        return len(self._files)


def load_weights(path: str | Path) -> Mapping[str, torch.Tensor]:
    """Opens a checkpoint.

    Args:
        path: A HuggingFace model directory, a .safetensors file or a PyTorch file with a state
            dict. PyTorch files are read with `weights_only`: no code in them is run.

    Returns:
        Tensors by name.

    Raises:
        FileNotFoundError: There are no weights at `path`.
    """
    path = Path(path)
    if path.is_file():
        return _load_file(path)
    for index_name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        index = path / index_name
        if index.is_file():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            if "safetensors" in index_name:
                return Checkpoint({name: path / Path(file).name for name, file in names.items()})
            merged: dict[str, torch.Tensor] = {}
            for file in sorted(set(names.values())):
                merged.update(_load_file(path / Path(file).name))
            return merged
    for file_name in ("model.safetensors", "pytorch_model.bin"):
        if (path / file_name).is_file():
            return _load_file(path / file_name)
    raise FileNotFoundError(f"no weights at {path}: give a model directory or a weight file")


def _load_file(path: Path) -> Mapping[str, torch.Tensor]:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return Checkpoint(dict.fromkeys(file.keys(), path))
