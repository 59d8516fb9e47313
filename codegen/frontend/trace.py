"""From a model directory to an aten module: torch.export on fake tensors, then the importer."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim
from torch.export.graph_signature import OutputKind
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import PreTrainedConfig, PreTrainedModel

from codegen.errors import BadInputError, CodegenError, Problem, UnsupportedError
from codegen.frontend.attention import REGISTERED, failing_line, tracing
from codegen.frontend.convert import PREFIX
from codegen.frontend.fold import Folding, FoldingRefusedError, folded
from codegen.frontend.hf import (
    Source,
    accepted,
    build,
    build_real,
    first_line,
    load_config,
    shielded,
)
from codegen.frontend.importer import Traced, import_program
from codegen.frontend.lengths import longest
from codegen.frontend.rope import rope_as_node
from codegen.frontend.self_check import compare, shrunk
from codegen.frontend.vision import (
    FEATURES,
    Image,
    check_class,
    image_token,
    is_vision_language,
    language_class,
    look_at_image,
)
from ir.graph import Attr, Module
from ir.verify import verify

#: Attention implementations in the order in which they are tried: ours, then as HuggingFace would
#: pick them. They are not always the same: Falcon's eager code adds its ALiBi bias twice.
_IMPLEMENTATIONS = (REGISTERED, "sdpa", "eager")
#: Element types that weights may have.
_DTYPES = ("float16", "bfloat16", "float32")
#: Length of the fake prompt; any length that no size of a real model equals would do.
_TRACED_TOKENS = 13
#: Remote code with more parameters is checked in a version with two layers.
_CHECKED_PARAMETERS = 300_000_000


class TraceFailedError(UnsupportedError):
    """torch.export could not trace a model as it was built."""


def trace(source: Source, fold: bool = True) -> Module:
    """Traces a model directory.

    Args:
        source: The directory.
        fold: Trace each distinct layer once and make it a function; otherwise the whole model is
            one graph.

    Returns:
        A verified module of ``aten.*`` and ``trace.*`` operations with entry ``main``. Inputs are
        ``input_ids`` and, if the model takes them, ``position_ids``, both int64 ``[1, tokens]``;
        the output is ``[1, tokens, vocab]``. What ``meta`` holds is in `codegen.frontend`.

    Raises:
        BadInputError: The directory cannot be used.
        UnsupportedError: The model cannot be traced, every reason that was found; or it has code
            of its own and its trace computes something else.
    """
    config = load_config(source)
    module, is_remote = _trace(source, config, fold)
    if is_remote:
        _check_remote(source, config, module, fold)
    return module


def _check_remote(source: Source, config: PreTrainedConfig, module: Module, fold: bool) -> None:
    """Code that nobody has tried is run beside its trace, smaller where it is too large."""
    sizes = (math.prod(p.shape) for p in build(source, config, "eager").parameters())
    if sum(sizes) > _CHECKED_PARAMETERS:
        source, config = replace(source, weights=None), shrunk(config)
        module, _ = _trace(source, config, fold)
    with shielded(str(source.path)):
        compare(build_real(source, config), module, source)


def _trace(source: Source, config: PreTrainedConfig, fold: bool) -> tuple[Module, bool]:
    failures: list[CodegenError] = []
    for attention in _IMPLEMENTATIONS:
        try:
            model = build(source, config, attention)
        except BadInputError as error:
            failures.append(error)
            continue
        if is_vision_language(config):
            check_class(model)
        try:
            module = trace_model(source, model, fold)
        except TraceFailedError as error:
            # What our attention refuses may still be written out by the model itself.
            if attention != REGISTERED:
                raise
            failures.append(error)
            continue
        if attention == REGISTERED and _mask_is_lost(module):
            continue
        module.meta.update(_facts(source, model), attention=attention)
        _check_length(module)
        if is_vision_language(config):
            plain = module if fold else trace_model(source, model)
            module.meta.update(_image_facts(source, model, plain))
        verify(module)
        return module, type(model).__module__.startswith("transformers_modules")
    raise failures[0]


def _check_length(module: Module) -> None:
    """A trace must hold for every length that the model states."""
    good, stated = module.meta.get("max_tokens"), module.meta.get("max_position_embeddings")
    # Taking all rows of a stored table, at exactly its length, is a case of its own to the tracer.
    if isinstance(good, int) and isinstance(stated, int) and good + 1 < stated:
        reason = (
            f"the modelling code decides in Python by the length of the sequence: beyond {good} "
            f"tokens it computes something else, and the model allows {stated}"
        )
        remedy = f"set max_position_embeddings in config.json to {good} if that is long enough"
        raise UnsupportedError([Problem("", "", reason, remedy)])


def _facts(source: Source, model: PreTrainedModel) -> dict[str, Attr]:
    config = model.config.get_text_config()
    sizes = ("vocab_size", "hidden_size", "max_position_embeddings", "num_hidden_layers")
    facts: dict[str, Attr] = {
        "model_class": type(model).__name__,
        "model_type": str(model.config.model_type),
        "dtype": _dtype(source),
    }
    return facts | {
        name: value for name in sizes if isinstance(value := getattr(config, name, None), int)
    }


def _image_facts(source: Source, model: PreTrainedModel, plain: Module) -> dict[str, Attr]:
    """What is to be known of a language model that takes image features.

    Args:
        source: The directory.
        model: The model.
        plain: Its folded trace on token ids alone.

    Raises:
        UnsupportedError: Images change more than the hidden states of the image tokens.
    """
    merged = trace_model(source, model, with_image=True)
    return {
        "model_class": language_class(model.config),
        "image_token_id": image_token(plain, merged),
    }


def _dtype(source: Source) -> str:
    """Element type of the weights: as stored, else as the configuration says, else float32.

    Raises:
        BadInputError: It is none that the compiler knows, such as int8.
    """
    if source.weights and source.weights.tensors:
        stored = Counter(entry.dtype for entry in source.weights.tensors.values())
        named, place = stored.most_common(1)[0][0], "the weights"
    else:
        named = source.config.get("dtype", source.config.get("torch_dtype"))
        place = "config.json"
    if named in (None, "auto"):
        return "float32"
    if named not in _DTYPES:
        raise BadInputError(
            f"{source.path}: dtype {named} in {place}; convert the model to {', '.join(_DTYPES)}"
        )
    return named


def trace_model(
    source: Source, model: PreTrainedModel, fold: bool = True, with_image: bool = False
) -> Module:
    """Traces a model that is built already, as it is; see `trace`.

    With ``with_image``, the features of one image are another input, ``image_features``, float32
    ``[image tokens, hidden]``.

    Raises:
        BadInputError: As `trace`.
        UnsupportedError: As `trace`.
    """
    # Most models fold with the weights of repeated layers hidden. Where layers that look the same
    # turn out to be called differently, their weights are needed; where even that does not help,
    # every layer is traced in place.
    attempts = ((True, True), (True, False), (False, False)) if fold else ((False, False),)
    for folding, strip in attempts:
        try:
            return import_program(source, export(model, folding, strip, with_image))
        except FoldingRefusedError:
            continue
    raise UnsupportedError([Problem("", "", "layers are used in a way that cannot be traced")])


def export(model: PreTrainedModel, fold: bool, strip: bool, with_image: bool = False) -> Traced:
    """Runs torch.export on fake tensors.

    Args:
        model: From `codegen.frontend.hf.build`; parameters on the meta device.
        fold: Put markers around layers and let one stand for those like it.
        strip: Hide the weights of layers that look like an earlier one.
        with_image: Take the features of one image as an input.

    Raises:
        FoldingRefusedError: Trace again with ``strip`` or ``fold`` false.
        TraceFailedError: torch cannot trace the model.
        UnsupportedError: Its length cannot be dynamic, or it changes its own weights.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    names = ["input_ids", *accepted(model, "position_ids")]
    with mode:
        inputs = tuple(torch.zeros(1, _TRACED_TOKENS, dtype=torch.int64) for _ in names)
    sizes: list[dict[int, Any]] = [{1: Dim.DYNAMIC} for _ in names]
    image = _fake_image(model, mode) if with_image else None
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(tracing(model))
        layers = stack.enter_context(folded(model, state, strip)) if fold else Folding()
        stack.enter_context(rope_as_node(model, state))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        stack.enter_context(_fake_parameters(model, mode))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_quiet())
        if image is not None:
            stack.enter_context(image.instead(model))
            names, sizes = [*names, FEATURES], [*sizes, {}]
            with mode:
                inputs += (torch.zeros(image.shape),)
        try:
            program = torch.export.export(
                _Logits(model, names, image),
                inputs,
                dynamic_shapes=[tuple(sizes)],
                strict=False,
            )
        except FoldingRefusedError:
            raise
        except Exception as error:  # torch and modelling code raise anything at all
            if state.problems:
                raise TraceFailedError(state.problems) from error
            if any(isinstance(cause, FoldingRefusedError) for cause in _causes(error)):
                raise FoldingRefusedError(str(error)) from error
            if strip:
                raise FoldingRefusedError(first_line(error)) from error
            reason = f"torch.export failed: {first_line(error)}"
            raise TraceFailedError([Problem("", failing_line(error), reason)]) from error
    if any(_is_mutable(node.target) for node in program.graph.nodes):
        with _quiet():
            program = program.run_decompositions({})
    outputs = program.graph_signature.output_specs
    changed = {str(s.target) for s in outputs if s.kind is not OutputKind.USER_OUTPUT}
    if changed:
        reason = "forward changes this tensor, so a second run would differ from the first"
        names = sorted(name.removeprefix(f"{PREFIX}.") for name in changed)
        raise UnsupportedError([Problem(name, "", reason) for name in names])
    # How long a sequence may be does not depend on images, so it is read off the other trace.
    limit = None if with_image else longest(program, _TRACED_TOKENS)
    return Traced(program, model, layers, names, buffers, limit)


def _fake_image(model: PreTrainedModel, mode: FakeTensorMode) -> Image:
    with tracing(model), _fake_parameters(model, mode), torch.no_grad(), mode:
        return look_at_image(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's remarks about its own internals from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_mutable(target: object) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


class _Logits(nn.Module):
    """The model as a function of its inputs that returns logits only."""

    def __init__(self, model: nn.Module, names: list[str], image: Image | None) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.image = image

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        arguments = dict(zip(self.names, inputs, strict=True))
        if self.image is not None:
            self.image.features = [arguments.pop(FEATURES)]
            # The vision tower is replaced, so the pixels only have to be there.
            arguments["pixel_values"] = self.image.features[0]
            inputs = inputs[:-1]
        for other in inputs[1:]:
            torch._check(inputs[0].shape[1] == other.shape[1])  # one length, one symbol
        return self.model(**arguments, use_cache=False, return_dict=True).logits


@contextlib.contextmanager
def _fake_parameters(model: nn.Module, mode: FakeTensorMode) -> Iterator[None]:
    """Gives every parameter and buffer on the meta device a fake twin on the CPU."""
    twins: dict[int, torch.Tensor] = {}
    saved: list[tuple[MutableMapping[str, Any], str, torch.Tensor]] = []
    for module in model.modules():
        tables: tuple[MutableMapping[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            for name, tensor in table.items():
                if tensor is None or not tensor.is_meta:
                    continue
                if id(tensor) not in twins:
                    twin = FakeTensor(mode, tensor.data, device=torch.device("cpu"))
                    is_parameter = table is module._parameters
                    twins[id(tensor)] = nn.Parameter(twin, False) if is_parameter else twin
                saved.append((table, name, tensor))
    for table, name, tensor in saved:
        table[name] = twins[id(tensor)]
    try:
        yield
    finally:
        for table, name, tensor in saved:
            table[name] = tensor


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _mask_is_lost(module: Module) -> bool:
    """Whether the model asks for masks but does not hand them to our attention."""
    attention = any(graph.find("trace.attention") for graph in module)
    masks = [node for graph in module for node in graph.find("trace.mask")]
    boolean = [m for m in masks if not m.attrs["additive"]]
    passed = {"trace.attention", "func.call"}
    return not attention or any(user.op not in passed for m in boolean for user in m.result.users)
