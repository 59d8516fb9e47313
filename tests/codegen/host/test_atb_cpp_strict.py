"""Wrong graphs and models are errors that name model, graph, node and operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from codegen.errors import HostError
from codegen.host.atb_cpp import Host, ModelTorch, compile_model, install

FOLDER = Path(__file__).parent / "atb_cpp_strict"
X, Y = torch.arange(16.0).reshape(4, 4), torch.ones(4, 4)


@pytest.fixture(scope="module")
def library() -> Path:
    return compile_model(sorted(FOLDER.glob("*.cpp")), [FOLDER])


@pytest.fixture
def host(library: Path) -> Iterator[Host]:
    with install(library) as made:
        yield made


def build(host: Host, name: str) -> ModelTorch:
    model = host.model("strict_StrictModel")
    model.set_param(json.dumps({"case": name}))
    return model


def run(host: Host, name: str, *inputs: torch.Tensor, param: str = "{}") -> torch.Tensor:
    return build(host, name).execute(list(inputs or (X, Y)), param)[0]


def silu(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.silu(x)


def test_good_graphs_compute(host: Host) -> None:
    assert torch.equal(run(host, "good"), X + Y)
    torch.testing.assert_close(run(host, "two"), silu(X) + Y)
    torch.testing.assert_close(run(host, "nested"), silu(X) @ Y.T)


def test_a_graph_may_have_1023_nodes_but_not_write_an_input_of_the_model(host: Host) -> None:
    with pytest.raises(HostError, match=r"node 0 \(Graph\): writes input 0 in place"):
        build(host, "nodes_1023")


NODE = r"graph 'g', node "
BUILT = {
    "name": "graph 'a-b': the name must be",
    "name_empty": "graph '': the name must be",
    "name_long": "the name must be 1 to 128",
    "nodes_none": "has no nodes",
    "nodes_1024": "has 1024 nodes, there must be fewer than 1024",
    "inputs_257": "has 257 input tensors, limit 256",
    "internals_257": "has 257 internal tensors, limit 256",
    "operation_null": NODE + "0: has no operation",
    "operands": NODE + r"0 \(Elewise\): has 1 inputs, wants 2",
    "results": NODE + r"0 \(Elewise\): has 2 outputs, wants 1",
    "id": NODE + r"0 \(Elewise\): names tensor 9, but the graph has 3",
    "id_out": NODE + r"0 \(Elewise\): names tensor 9, but the graph has 3",
    "read_early": NODE + r"0 \(Elewise\): reads tensor 3 \(internal tensor 0\), which no node",
    "written_twice": NODE + r"2 \(Elewise\): writes tensor 3 .*, which node 0 writes already",
    "out_unwritten": r"graph 'g': tensor 3 \(output 1\) is never written",
    "internal_unwritten": r"tensor 3 \(internal tensor 0\) is never written",
    "internal_unread": r"tensor 3 \(internal tensor 0\), which node 1 writes, is never read",
    "chunks": NODE + "0 .*inTensorChunks",
    "reshape_count": NODE + "0 .*has 1 inTensorReshapeFuncs for 2 inputs",
    "shared": NODE + r"1 \(Activation\): its operation is a node already",
    "in_place_linear": NODE + r"1 \(Linear\): writes tensor 0 .* while it reads it",
    "nested_in_place": NODE + r"1 \(Graph\): writes tensor 3 .* in place; only inputs",
    "cache": NODE + r"0 \(ReshapeAndCache\): output 1 is tensor 6 .*, must be tensor 3",
    "rsv": "Linear: LinearParam.rsv must stay zero",
    "nested_rsv": "RmsNorm: RmsNormParam.normParam.rsv must stay zero",
    "sparse": "LinearSparse: the host runtime cannot execute it: the compressed weight format",
    "ignored": "RmsNorm: layerType must be",
    "constructor": "the parameters are not mine",
    "build_throws": "no such layer",
    "build_status": "BuildGraph: failed with status 2",
    "node_foreign": "node 0 .*: input 1 is no tensor of the model's graph",
    "node_null": "node 0 .*: input 1 is null",
    "node_counts": "node 0 .*: has 1 inputs and 1 outputs, wants 2 and 1",
    "node_empty": "model 'StrictModel', node 0: has no operation",
    "writes_input": "node 0 .*: writes input 0",
    "internal_early": "node 0 .*: reads internal tensor 0, which no node before it writes",
    "internal_twice": "node 1 .*: writes internal tensor 0, which an earlier node writes already",
    "output_twice": "node 1 .*: writes output 0, which an earlier node writes already",
    "no_output": "output 0 is never written",
    "no_nodes": "model 'StrictModel' has no nodes",
}


@pytest.mark.parametrize("name", BUILT)
def test_wrong_graphs_are_refused_when_built(host: Host, name: str) -> None:
    with pytest.raises(HostError, match=BUILT[name]):
        build(host, name)


INNER = r"model 'StrictModel', node 0 \(Graph\): graph 'g', node "
RUN = {
    "nested": INNER + r"1 \(Graph\): graph 'inner', node 0 \(Linear\): x is .* wants 3 features",
    "reshape_volume": INNER + r"0 \(Elewise\): the reshape of input 1 makes float32\[1\] of",
    "reshape_unset": INNER + r"0 \(Elewise\): input 1 after its reshape has a negative size",
    "reshape_throws": INNER + r"0 \(Elewise\): the reshape of input 1: no such dimension",
    "infer_shape": r"inferShapeFunc says that output 0 is float32\[5, 4\], the nodes make",
    "infer_dtype": r"inferShapeFunc says that output 0 is float16\[4, 4\], the nodes make",
    "infer_unset": "output 0 of inferShapeFunc has no element type",
    "infer_status": "graph 'g': inferShapeFunc: the layer is not ready",
    "infer_wrong": r"output 0 is float32\[1, 4\], the operation makes float32\[4, 4\]",
    "infer_refuses": "InferShape: failed with status 1",
    "bind": "BindParamHostTensor: failed with status 1",
}


@pytest.mark.parametrize("name", RUN)
def test_wrong_graphs_are_refused_when_run(host: Host, name: str) -> None:
    inputs = (X, torch.ones(4, 3)) if name == "nested" else (X, Y)
    with pytest.raises(HostError, match=RUN[name]):
        run(host, name, *inputs)


def test_exceptions_of_model_code_are_errors(host: Host) -> None:
    with pytest.raises(HostError, match="the step is bad"):
        run(host, "good", param='{"bad": 1}')
    with pytest.raises(HostError, match="parse error"):
        run(host, "good", param="{")
    model = host.model("strict_StrictModel")
    with pytest.raises(HostError, match="key 'case' not found"):
        model.set_param("{}")
    with pytest.raises(HostError, match="no model is registered as 'strict_Other'; registered: "):
        host.model("strict_Other").set_param("{}")


def test_calls_in_the_wrong_order_or_with_wrong_things(host: Host) -> None:
    model = host.model("strict_StrictModel")
    with pytest.raises(HostError, match="set_param must be called first"):
        model.set_weight([])
    model = build(host, "good")
    with pytest.raises(HostError, match="is given 1 weights, wants 0"):
        model.set_weight([X])
    with pytest.raises(HostError, match="is given 1 inputs, wants 2"):
        model.execute([X], "{}")
    with pytest.raises(HostError, match=r"output 0 is float32\[4\]"):
        model.execute_out([X, Y], [torch.empty(4)], "{}")
    with pytest.raises(HostError, match="has no weight 0"):
        model.set_format_to_nz(0)
    with pytest.raises(HostError, match="has no weight 0"):
        model.update_weights_ptr([X], [0])
    out = torch.empty(4, 4)
    assert model.execute_out([X, Y], [out], "{}") == 0
    assert torch.equal(out, X + Y)
    assert model.skip_event(True) == 0
    model.clear_internal_tensors()
    model.reset_execution_status()


def test_torch_classes_gives_the_model_while_installed(library: Path) -> None:
    with install(library) as host:
        assert host.model_names == ["strict_StrictModel"]
        model = torch.classes.ModelTorch.ModelTorch("strict_StrictModel")
        model.set_param(json.dumps({"case": "good"}))
        assert torch.equal(model.execute([X, Y], "{}")[0], X + Y)
    assert "ModelTorch" not in vars(torch.classes)
    with pytest.raises(HostError, match="after its library was unloaded"):
        model.execute([X, Y], "{}")
    with install(library) as host:
        assert torch.equal(run(host, "good"), X + Y)


def test_two_libraries_cannot_have_the_same_model(library: Path, tmp_path: Path) -> None:
    source = (FOLDER / "models.cpp").read_text()
    (tmp_path / "models.cpp").write_text(f"{source}\n// another library\n")
    other = compile_model([tmp_path / "models.cpp", FOLDER / "graphs.cpp"], [FOLDER])
    with install(library):
        taken = r"'strict_StrictModel' of .* is registered already, by"
        with pytest.raises(HostError, match=taken), install(other):
            pass
        with pytest.raises(HostError, match="is loaded already"), install(library):
            pass
    with install(other) as host:
        assert torch.equal(run(host, "good"), X + Y)
