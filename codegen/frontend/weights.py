"""Which tensor of the checkpoint a parameter of the model is read from."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    PrefixChange,
    WeightConverter,
    WeightRenaming,
    rename_source_key,
)

from codegen.errors import BadInputError, Problem, UnsupportedError
from codegen.frontend.checkpoint import Checkpoint


class WeightNames:
    """Names of parameters and persistent buffers in the checkpoint.

    transformers renames tensors when it loads them, and a checkpoint of the bare base model lacks
    its prefix. Without a checkpoint, names are those under which transformers would save the model.

    Attributes:
        canonical: For each parameter, the one it is read as: parameters that are one tensor (tied
            embeddings) are read once, under the first name that the checkpoint has.
    """

    def __init__(self, model: PreTrainedModel, weights: Checkpoint | None) -> None:
        self.weights = weights
        self.shapes = {
            name: tuple(tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()
        }
        self.merged: set[str] = set()
        self.stored = self._reverted(model) if weights is None else self._matched(model, weights)
        groups: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
        self.canonical = {
            name: next((n for n in group if n in self.stored), group[0])
            for group in groups.values()
            for name in group
        }

    @property
    def tied(self) -> tuple[tuple[str, str], ...]:
        """``(name, name that is used)`` of every parameter that is read under another name."""
        pairs = ((name, used) for name, used in self.canonical.items() if name != used)
        return tuple(sorted((self.stored.get(a, a), self.stored.get(b, b)) for a, b in pairs))

    def has(self, name: str) -> bool:
        """Whether the checkpoint holds a parameter; true without a checkpoint."""
        return name in self.stored

    def name(self, parameter: str) -> str:
        """Checkpoint name of a parameter.

        Raises:
            BadInputError: The checkpoint lacks it, or holds it in another shape.
            UnsupportedError: It is made of several tensors of the checkpoint.
        """
        parameter = self.canonical.get(parameter, parameter)
        if parameter in self.merged:
            reason = "this weight is merged from several tensors when loaded"
            remedy = "use a dense model: expert weights are not supported yet"
            raise UnsupportedError([Problem(parameter, "", reason, remedy)])
        stored = self.stored.get(parameter)
        if stored is None:
            raise BadInputError(f"the checkpoint has no tensor {parameter}")
        entry = self.weights.tensors[stored] if self.weights else None
        if entry is not None and entry.shape != self.shapes[parameter]:
            raise BadInputError(
                f"{entry.file}: {stored} is {list(entry.shape)}, "
                f"the model wants {list(self.shapes[parameter])}"
            )
        return stored

    def scope(self, path: str) -> str:
        """The module path under which the checkpoint names the weights of a module."""
        inside = (name for name in self.shapes if name.startswith(f"{path}."))
        names = [self.stored[name] for name in inside if name in self.stored]
        if all(name.startswith(f"{path}.") for name in names):
            return path
        return _common_prefix(names)

    def relative(self, path: str) -> dict[str, str]:
        """Names relative to `scope` of all weights of a module, by their names in the module.

        Raises:
            BadInputError: As `name`.
            UnsupportedError: As `name`.
        """
        scope = self.scope(path)
        inside = (n for n in self.shapes if n.startswith(f"{path}.") and self._wanted(n))
        return {n.removeprefix(f"{path}."): self.name(n).removeprefix(f"{scope}.") for n in inside}

    def _wanted(self, name: str) -> bool:
        # A buffer that the checkpoint lacks keeps the value it was built with.
        # What is merged belongs to an operation that is refused for itself.
        return (name in self.stored or name in self.canonical) and name not in self.merged

    def _matched(self, model: PreTrainedModel, weights: Checkpoint) -> dict[str, str]:
        stored = {name: name for name in self.shapes if name in weights.tensors}
        rest = [name for name in weights.tensors if name not in stored]
        if len(stored) == len(self.shapes) or not rest:
            return stored
        transforms = get_model_conversion_mapping(model)
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        known = model.state_dict(keep_vars=True)
        for name in rest:
            target, merged = rename_source_key(
                name, renamings, converters, model.base_model_prefix, known
            )
            if target in self.shapes:
                stored[target] = name
                if merged is not None:
                    self.merged.add(target)
        return stored

    def _reverted(self, model: PreTrainedModel) -> dict[str, str]:
        transforms = [
            transform.reverse_transform()
            for transform in reversed(get_model_conversion_mapping(model, add_legacy=False))
            if not isinstance(transform, PrefixChange)
        ]
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        stored: dict[str, str] = {}
        for name in self.shapes:
            stored[name], merged = rename_source_key(name, renamings, converters, reverse=True)
            if merged is not None:
                self.merged.add(name)
        return stored


def _common_prefix(names: Iterable[str]) -> str:
    parts = [name.split(".")[:-1] for name in names]
    common: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return ".".join(common)
