"""Tracing each distinct layer once, between markers; layers like it become one opaque node.

Two calls are of the same kind when the layers have equal signatures (see `signature`), lie in the
same stack, and agree in every argument that is not a tensor and in the kind of every mask. A layer
that asks for its own position while it is traced stands for no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from codegen.frontend import library
from codegen.frontend.attention import Tracing
from codegen.frontend.signature import Signature, index_attributes, signature

Kind = tuple[torch.dtype, torch.Size]


class FoldingRefusedError(Exception):
    """Layers of this model cannot stand for each other; internal, never reaches the user."""


@dataclass
class Layer:
    """A layer that was traced for real.

    Attributes:
        path: Its module path.
        inputs: Names of its tensor inputs, in order.
        key: Everything that another call must agree in.
        arguments: The tensors it was called with.
        results: Element type and shape of the tensors it returns.
        returned: What it returns, with ``Tensor`` in the place of each tensor.
        spec: Structure of what it returns.
        repeatable: It may stand for others.
    """

    path: str
    inputs: list[str]
    key: tuple[Any, ...]
    arguments: list[Tensor]
    results: list[Kind] = field(default_factory=list[Kind])
    returned: list[Any] = field(default_factory=list[Any])
    spec: pytree.TreeSpec | None = None
    repeatable: bool = False


@dataclass
class Folding:
    """The layers of a trace.

    Attributes:
        traced: The distinct layers by path, in execution order.
        repeats: Path of the layer that stands for it, by path.
        products: Tensors that a layer returned, by identity, kept alive.
    """

    traced: dict[str, Layer] = field(default_factory=dict[str, Layer])
    repeats: dict[str, str] = field(default_factory=dict[str, str])
    products: dict[int, Tensor] = field(default_factory=dict[int, Tensor])


def layer_stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The outermost module lists whose members are modules made of modules, by path."""
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not isinstance(module, nn.ModuleList) or len(module) == 0 or inside:
            continue
        if all(any(True for _ in member.children()) for member in module):
            found[path] = module
    return found


@contextmanager
def folded(model: nn.Module, state: Tracing, strip: bool) -> Iterator[Folding]:
    """Lets only the first layer of each kind be traced while the context lasts.

    Args:
        model: The model; it is left as it was.
        state: The trace.
        strip: Hide the weights of layers that look like an earlier one from the tracer, whose
            cost grows with the number of weights.
    """
    folding = Folding()
    undo: list[Callable[[], None]] = []
    owners = Counter(id(p) for p in _parameters_of_modules(model))
    try:
        for stack_path, stack in layer_stacks(model).items():
            ignored = index_attributes(stack)
            kinds: list[Signature] = []
            for index, layer in enumerate(stack):
                inside = Counter(id(p) for p in _parameters_of_modules(layer))
                if any(owners[key] != count for key, count in inside.items()):
                    continue  # a weight is shared with something outside the layer
                kind = signature(layer, ignored)
                seen = kind in kinds
                if not seen:
                    kinds.append(kind)
                patched = _PatchedLayer(
                    f"{stack_path}.{index}",
                    layer,
                    kinds.index(kind),
                    folding,
                    state,
                    seen and strip,
                )
                undo.append(patched.install())
                undo.append(_strip(layer) if seen and strip else _watch(layer, ignored, patched))
        yield folding
    finally:
        for action in reversed(undo):
            action()


class _PatchedLayer:
    """Takes the place of one layer's forward during a trace."""

    def __init__(
        self,
        path: str,
        layer: nn.Module,
        kind: int,
        folding: Folding,
        state: Tracing,
        stripped: bool,
    ) -> None:
        self.path, self.layer, self.kind = path, layer, kind
        self.folding, self.state, self.stripped = folding, state, stripped
        self.forward = layer.forward
        self.index_read = False

    def install(self) -> Callable[[], None]:
        """Shadows the layer's forward; returns what takes the shadow away."""
        own = self.layer.__dict__.get("forward")
        self.layer.__dict__["forward"] = self.__call__

        def remove() -> None:
            del self.layer.__dict__["forward"]
            if own is not None:
                self.layer.__dict__["forward"] = own

        return remove

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.path in self.folding.traced or self.path in self.folding.repeats:
            raise FoldingRefusedError(f"{self.path} is called twice")
        paths, spec = pytree.tree_flatten_with_path((args, kwargs))
        leaves = [leaf for _, leaf in paths]
        names = [_name(path, self.layer) for path, _ in paths]
        key = (self.path.rpartition(".")[0], self.kind, tuple(names), *self._leaf_keys(leaves))
        for layer in self.folding.traced.values():
            if layer.repeatable and layer.key == key:
                return self._repeat(layer, leaves)
        if self.stripped:
            raise FoldingRefusedError(f"{self.path} differs from the layers it looks like")
        return self._trace(leaves, spec, names, key)

    def _leaf_keys(self, leaves: list[Any]) -> Iterator[Any]:
        leading = True
        for leaf in leaves:
            mask = self.state.mask_call(leaf)
            if mask is not None:
                yield mask.seen, mask.additive
            elif isinstance(leaf, Tensor):
                yield str(leaf.dtype), *map(str, leaf.shape)
                if not leading and id(leaf) not in self.folding.products:
                    yield id(leaf)
                leading = False
            elif leaf is None or isinstance(leaf, (bool, int, float, str)):
                yield type(leaf), leaf
            else:
                yield str(leaf) if isinstance(leaf, torch.SymInt) else id(leaf)

    def _passed(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and self.state.mask_call(leaf) is None

    def _repeat(self, layer: Layer, leaves: list[Any]) -> Any:
        assert layer.spec is not None
        self.folding.repeats[self.path] = layer.path
        passed = [leaf for leaf in leaves if self._passed(leaf)]
        replaced = [i for i, leaf in enumerate(passed) if leaf is not layer.arguments[i]]
        tensors = [passed[i] for i in replaced]
        like = [_index_of_type(kind, tensors) for kind in layer.results]
        others = [kind for kind, i in zip(layer.results, like, strict=True) if i < 0]
        made = library.layer_repeat(
            tensors,
            replaced,
            like,
            [size for _, shape in others for size in shape],
            " ".join(str(dtype).removeprefix("torch.") for dtype, _ in others),
            self.path,
            layer.path,
        )
        return self._returned(layer.returned, made, layer.spec)

    def _trace(
        self, leaves: list[Any], spec: pytree.TreeSpec, names: list[str], key: tuple[Any, ...]
    ) -> Any:
        passed = [leaf for leaf in leaves if self._passed(leaf)]
        inputs = [name for name, leaf in zip(names, leaves, strict=True) if self._passed(leaf)]
        layer = self.folding.traced[self.path] = Layer(self.path, inputs, key, passed)
        entered = iter(library.layer_enter(passed, self.path))
        inside: list[Any] = []
        for leaf in leaves:
            mask = self.state.mask_call(leaf)
            if mask is not None:
                # Made again inside, so that the layer's own graph says what its mask is.
                leaf = mask.make()
                self.state.masks[id(leaf)] = (leaf, mask)
            elif isinstance(leaf, Tensor):
                leaf = next(entered)
            inside.append(leaf)
        args, kwargs = pytree.tree_unflatten(inside, spec)
        returned, layer.spec = pytree.tree_flatten(self.forward(*args, **kwargs))
        produced = [leaf for leaf in returned if isinstance(leaf, Tensor)]
        layer.returned = [Tensor if isinstance(leaf, Tensor) else leaf for leaf in returned]
        layer.results = [(tensor.dtype, tensor.shape) for tensor in produced]
        plain = (type, bool, int, float, str, type(None))
        layer.repeatable = not self.index_read and all(
            isinstance(leaf, plain) for leaf in layer.returned
        )
        return self._returned(layer.returned, library.layer_exit(produced, self.path), layer.spec)

    def _returned(self, leaves: list[Any], made: list[Tensor], spec: pytree.TreeSpec) -> Any:
        self.folding.products.update((id(tensor), tensor) for tensor in made)
        rest = iter(made)
        filled = [next(rest) if leaf is Tensor else leaf for leaf in leaves]
        return pytree.tree_unflatten(filled, spec)


def _index_of_type(kind: Kind, tensors: list[Tensor]) -> int:
    dtype, shape = kind
    wanted = (dtype, *map(str, shape))
    kinds = [(tensor.dtype, *map(str, tensor.shape)) for tensor in tensors]
    return kinds.index(wanted) if wanted in kinds else -len(shape) - 1


def _name(path: tuple[Any, ...], layer: nn.Module) -> str:
    """A name for one argument: ``position_embeddings_0`` for the first of that pair."""
    keys: list[Any] = [getattr(key, "key", getattr(key, "idx", "")) for key in path]
    if keys[0] == 0:  # a positional argument
        code = getattr(type(layer).forward, "__wrapped__", type(layer).forward).__code__
        names = code.co_varnames[1 : code.co_argcount]
        keys[1] = names[keys[1]] if keys[1] < len(names) else f"argument_{keys[1]}"
    return "_".join(map(str, keys[1:]))


def _parameters_of_modules(root: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter as often as modules of the tree name it."""
    for _, module in root.named_modules(remove_duplicate=False):
        yield from (p for p in module._parameters.values() if p is not None)


def _strip(layer: nn.Module) -> Callable[[], None]:
    """Hides everything in the layer; whoever looks for it gets an ``AttributeError``."""
    names = ("_parameters", "_buffers", "_modules")
    saved = {name: layer.__dict__[name] for name in names}
    layer.__dict__.update({name: {} for name in names})

    def restore() -> None:
        layer.__dict__.update(saved)

    return restore


def _watch(
    layer: nn.Module, attributes: frozenset[tuple[str, str]], patched: _PatchedLayer
) -> Callable[[], None]:
    """Notes in ``patched`` when one of the attributes is read."""
    by_path: dict[str, list[str]] = {}
    for path, name in sorted(attributes):
        by_path.setdefault(path, []).append(name)
    saved = [(layer.get_submodule(path), layer.get_submodule(path).__class__) for path in by_path]

    def reader(name: str) -> property:
        def read(module: nn.Module) -> Any:
            patched.index_read = True
            return module.__dict__[name]

        return property(read)

    for (module, cls), names in zip(saved, by_path.values(), strict=True):
        members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        module.__class__ = type(cls.__name__, (cls,), members | {n: reader(n) for n in names})

    def restore() -> None:
        for module, cls in saved:
            module.__class__ = cls

    return restore
