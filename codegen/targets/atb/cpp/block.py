"""The graph of one stage in one phase, as the functions that build it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codegen.errors import CodegenError
from codegen.targets.atb.comments import comment
from codegen.targets.atb.cpp import text
from codegen.targets.atb.cpp.params import Field, fields
from codegen.targets.atb.cpp.sizes import Local, Sizes, viewed_dim
from codegen.targets.atb.emit_python_graph import operation_names
from codegen.targets.atb.emit_python_weights import WeightNames
from codegen.targets.atb.ops import (
    Linear,
    PagedAttention,
    Reshape,
    SelfAttention,
    Split,
)
from codegen.targets.atb.ops.spelling import op_of
from codegen.targets.atb.sharding import GraphShards, Layout
from ir.graph import Graph, Node, Value

#: Where a rank's part of the logits is until the parts are put together, and on the way there.
LOGITS_OF_RANK = "INTERMEDIATE_LOGITS_OF_RANK"
LOGITS_OF_RANKS = "INTERMEDIATE_LOGITS_OF_RANKS"
LOGITS_BY_TOKEN = "INTERMEDIATE_LOGITS_BY_TOKEN"
LOGIT_ROWS = "ViewLogitRows"
#: Names in a stage that its own tensors must not have.
_RESERVED = (
    "IN_TENSOR_COUNT",
    "OUT_TENSOR_COUNT",
    LOGITS_OF_RANK,
    LOGITS_OF_RANKS,
    LOGITS_BY_TOKEN,
)


@dataclass(frozen=True)
class View:
    """Another shape of a tensor: a function that makes the reshape function.

    Attributes:
        name: Its name.
        locals: Per-rank numbers it takes.
        dims: Expressions of the new dimensions.
        comment: ``[tokens, 32, 128]`` in words.
    """

    name: str
    locals: tuple[Local, ...]
    dims: tuple[str, ...]

    @property
    def reads_shape(self) -> bool:
        """Whether the old shape matters."""
        return any("oldShape" in dim for dim in self.dims)


#: Views by what they make of the per-rank numbers they take.
Views = dict[tuple[tuple[Local, ...], tuple[str, ...]], View]


@dataclass(frozen=True)
class Input:
    """An operand: tensor id, and the view it is read through."""

    id: str
    view: View | None = None


@dataclass(frozen=True)
class Operation:
    """One operation: a function that appends it to the graph.

    Attributes:
        function: Name of the function.
        comment: What it is for.
        struct: Parameter struct.
        fields: Members to set.
        locals: Per-rank numbers that the members and views use.
        inputs: Operands that are present.
        outputs: Tensor ids.
        parallel: With several ranks the products are summed: the members of LinearParallel.
        reads_param: The function takes the model's parameters.
    """

    function: str
    comment: tuple[str, ...]
    struct: str
    fields: tuple[Field, ...]
    locals: tuple[Local, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    parallel: tuple[Field, ...] = ()
    uses_rank: bool = False

    @property
    def reads_param(self) -> bool:
        """The function takes the model's parameters."""
        return bool(self.locals or self.parallel or self.uses_rank)

    @property
    def has_views(self) -> bool:
        """Some operand is read through a view."""
        return any(operand.view for operand in self.inputs)


@dataclass
class TensorIds:
    """Enumerators of the tensors of a stage, shared by both phases.

    Attributes:
        weights: Enumerator and checkpoint name of each weight, in order.
        inputs: Enumerator and name of each other input, in order.
        outputs: Enumerator and name of each result.
    """

    names: text.Names = field(default_factory=lambda: text.Names(_RESERVED))
    weights: dict[str, str] = field(default_factory=dict[str, str])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    outputs: dict[str, str] = field(default_factory=dict[str, str])

    def weight(self, name: str) -> str:
        """Enumerator of a weight."""
        made = self.names.name(("weight", name), f"IN_{text.upper(name)}")
        self.weights.setdefault(made, name)
        return made

    def input(self, name: str) -> str:
        """Enumerator of an input that changes from call to call."""
        made = self.names.name(("input", name), f"IN_{text.upper(name)}")
        self.inputs.setdefault(made, name)
        return made

    def output(self, name: str) -> str:
        """Enumerator of a result."""
        made = self.names.name(("output", name), f"OUT_{text.upper(name)}")
        self.outputs.setdefault(made, name)
        return made

    def internal(self, name: str) -> str:
        """Enumerator of a tensor inside the graph."""
        return self.names.name(("internal", name), f"INTERMEDIATE_{text.upper(name)}")


class BlockPrinter:
    """Turns one graph into operations.

    Args:
        graph: The graph.
        shards: Which part of each tensor a rank has.
        ids: Enumerators, shared with the other phase.
        inputs: Names of the inputs, as the model calls them.
        outputs: Names of the results, as the model calls them.
        weights: Names of the weights.
        views: Views by name, shared with the other phase.
    """

    def __init__(
        self,
        graph: Graph,
        shards: GraphShards,
        ids: TensorIds,
        inputs: Mapping[Value, str],
        outputs: Mapping[Value, str],
        weights: WeightNames,
        views: Views,
    ) -> None:
        self._graph, self._shards, self._ids = graph, shards, ids
        self._outputs, self._weights, self._views = outputs, weights, views
        self._id: dict[Value, str] = {value: ids.input(name) for value, name in inputs.items()}
        self._base: dict[Value, Value] = {}
        self._names = operation_names(graph)
        self._internal = text.Names()

    def operations(self) -> list[Operation]:
        """The operations in order; views are part of their readers."""
        for value in self._graph.parameters:
            if value.recipe is None:
                raise CodegenError(f"%{value.name} is a parameter without recipe")
            self._id[value] = self._ids.weight(self._weights.name(value.recipe))
        for constant in self._graph.constants:
            raise CodegenError(f"@{self._graph.name}: constant %{constant.name} has no ATB form")
        made: list[Operation] = []
        for node in self._graph.nodes:
            if node.op == Reshape.name:
                shown = node.operand(0)
                self._base[node.result] = self._base.get(shown, shown)
                continue
            made.append(self._operation(node))
            made += [self._slice(node, value) for value in node.results if self._is_cut(value)]
        return made

    def _is_cut(self, value: Value) -> bool:
        return value in self._shards.cuts

    def _operation(self, node: Node) -> Operation:
        op = op_of(node)
        sizes = Sizes()
        given = self._given(node, sizes)
        inputs = tuple(self._input(value, sizes) for value in node.operands if value is not None)
        outputs: list[str] = []
        for index, value in enumerate(node.results):
            if index in op.inplace:
                self._id[value] = self._id[node.operand(op.inplace[index])]
            else:
                self._id[value] = self._result(value)
            outputs.append(self._id[value])
        parallel = self._parallel(node) if node in self._shards.reduced else ()
        in_parts = any(value is self._shards.gathered for value in node.results)
        return Operation(
            self._function(node),
            text.comment(comment(node)),
            f"{op.op_type}Param",
            fields(node, given),
            sizes.locals,
            inputs,
            tuple(outputs),
            parallel,
            uses_rank=in_parts,
        )

    def _function(self, node: Node) -> str:
        name = self._names[node]
        kind = name.rstrip("0123456789_")
        if kind == "add":
            what = "Residual" if comment(node).startswith("Residual") else "Sum"
            return f"Add{what}{name.removeprefix('add').strip('_')}"
        return f"Add{text.camel(name)}"

    def _result(self, value: Value) -> str:
        if value in self._outputs:
            whole = self._ids.output(self._outputs[value])
            if value is not self._shards.gathered:
                return whole
            return f"param.worldSize == 1 ? {whole} : {LOGITS_OF_RANK}"
        name = self._internal.name(value, value.name)
        return self._ids.internal(name)

    def _slice(self, node: Node, value: Value) -> Operation:
        """This rank's part of a tensor that every rank has whole."""
        layout = self._shards.cuts[value]
        sizes = Sizes()
        (part,) = layout.parts
        rank = value.type.rank
        offsets = [sizes.first(part) if i == layout.axis else "0" for i in range(rank)]
        size = [sizes.parts((part,)) if i == layout.axis else "-1" for i in range(rank)]
        source = Input(self._id[value])
        name = f"{self._internal.name(value, value.name)}_of_rank"
        self._id[value] = self._ids.internal(name)
        return Operation(
            f"Add{text.camel(self._names[node])}OfRank",
            text.comment("The heads of this rank; the norm needed all of them."),
            "SliceParam",
            (
                Field("offsets", f"{{{', '.join(offsets)}}}"),
                Field("size", f"{{{', '.join(size)}}}"),
            ),
            sizes.locals,
            (source,),
            (self._id[value],),
            uses_rank=True,
        )

    def _input(self, value: Value, sizes: Sizes) -> Input:
        shown = self._base.get(value)
        if shown is None:
            return Input(self._id[value])
        own = Sizes()
        layout = self._shards.read(value)
        dims = tuple(
            own.axis(value, axis, layout) if isinstance(dim, int) else viewed_dim(dim, shown)
            for axis, dim in enumerate(value.type.shape)
        )
        key = (own.locals, dims)
        if key not in self._views:
            taken = {LOGIT_ROWS, *(view.name for view in self._views.values())}
            base = f"View{text.camel(value.name)}"
            name, count = base, 1
            while name in taken:
                count += 1
                name = f"{base}{count}"
            self._views[key] = View(name, own.locals, dims)
        if layout is not None:
            sizes.parts(layout.parts)  # the function that reads the view passes the numbers on
        return Input(self._id[shown], self._views[key])

    def _given(self, node: Node, sizes: Sizes) -> dict[str, str]:
        """Attributes that depend on the number of ranks."""
        if node.op in (SelfAttention.name, PagedAttention.name):
            heads = {"head_num": node.operand(0), "kv_head_num": node.operand(1)}
            axes = {"head_num": 1, "kv_head_num": 2 if node.op == PagedAttention.name else 1}
            return {
                name: sizes.parts(layout.parts)
                for name, value in heads.items()
                if (layout := self._read(value, axes[name])) is not None
            }
        if node.op == Split.name and node.attrs["split_sizes"]:
            axis = int(str(node.attrs["split_dim"]))
            if self._read(node.operand(0), axis) is not None:
                pieces = [sizes.axis(v, axis, self._shards.read(v)) for v in node.results]
                return {"split_sizes": f"{{{', '.join(pieces)}}}"}
        return {}

    def _read(self, value: Value, axis: int) -> Layout | None:
        layout = self._shards.read(value)
        return layout if layout is not None and layout.axis == axis else None

    def _parallel(self, node: Node) -> tuple[Field, ...]:
        """Members of ``LinearParallelParam``; its "residual" is a bias, added once."""
        if node.op != Linear.name:
            raise CodegenError(f"{node.op} cannot be summed over ranks")
        made = [
            Field("transWeight", "true" if node.attrs["transpose_b"] else "false"),
            Field("rank", "param.rank"),
            Field("rankSize", "param.worldSize"),
            Field("backend", "param.backend"),
            Field("rankTableFile", "param.rankTableFile"),
        ]
        if node.attrs["has_bias"]:
            made.append(Field("hasResidual", "true"))
        return tuple(made)
