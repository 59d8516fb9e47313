"""The emitted files: sound C++ and Python that say the same about the same model."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruff import find_ruff_bin

from codegen.errors import CodegenError
from codegen.targets.atb.cpp import emit, readme
from codegen.targets.atb.cpp.block import Operation
from codegen.targets.atb.cpp.layout import format_cpp
from codegen.targets.atb.module import AtbModule
from codegen.targets.atb.ops import Reshape
from ir.graph import Graph, Value
from ir.text import attr_text, recipe_text
from tests.codegen.targets.atb import lowered
from tests.codegen.targets.atb.cpp import lexer
from tests.codegen.targets.atb.cpp.emitted import (
    constants,
    enumerators,
    functions,
    module,
    printed,
)

HANDMADE = (
    "gqa", "mha-biases", "mqa", "transposed-weights", "layer-norm", "layer-norm-without-bias",
    "partial-interleaved", "rope-of-q-only", "no-rope-alibi", "learned-positions", "mixed-windows",
    "softcap", "qk-norm-per-head", "clamp", "zero-centred-norm", "tied",
)  # fmt: skip
ZOO = tuple(
    f"zoo:{name}"
    for name in (
        "llama-gqa", "qwen2", "olmo2", "gpt2", "gpt_neox", "phi3", "bloom", "gemma2", "starcoder2",
    )
)  # fmt: skip
NAMES = (*HANDMADE, *ZOO)


def sources(name: str, kind: str = "layer", suffix: str = ".cpp") -> dict[str, str]:
    files = printed(name).files
    return {
        path: text for path, text in files.items() if f"/{kind}/" in path and path.endswith(suffix)
    }


# -- C++ as such ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_grammar_of_cpp_accepts_every_file(name: str) -> None:
    for path, text in printed(name).files.items():
        if path.endswith((".cpp", ".h")):
            assert lexer.errors(text) == [], path
            assert set(text) <= {"\n", *map(chr, range(32, 127))}, path
            assert "??" not in text
            assert max(map(len, text.splitlines())) <= 100
            assert not re.search(r"\{\{|\}\}[^;,)]|\{%|None|True|False|\bParam\b.*'", text), path
            assert lexer.code(text)  # no token is unknown to the lexer


def test_the_grammar_check_finds_errors() -> None:
    text = sources("gqa")["llamaforcausallm/layer/head.cpp"]
    assert lexer.errors(text.replace("atb::Node node;", "atb::Node node", 1))
    assert lexer.errors(text.replace("return atb::NO_ERROR;\n}", "return atb::NO_ERROR;\n", 1))


@pytest.mark.parametrize("name", NAMES)
def test_guards_and_namespaces_are_those_of_the_file(name: str) -> None:
    space = printed(name).space
    for path, text in printed(name).files.items():
        if not path.endswith((".cpp", ".h")):
            continue
        *_, folder, file = path.split("/")
        opened = re.findall(r"^namespace (\w+) \{", text, re.MULTILINE)
        inner = [file.partition(".")[0]] if folder == "layer" else []
        assert opened == ["atb_speed", space, *inner], path
        closed = re.findall(r"^\}  // namespace (\w+)$", text, re.MULTILINE)
        assert closed == opened[::-1]
        guards = re.findall(r"^#(?:ifndef|define) (\w+)$", text, re.MULTILINE)
        wanted = f"{space}_{folder}_{file}".upper().replace(".", "_")
        assert guards == ([wanted] * 2 if file.endswith(".h") else [])


def test_files_are_laid_out() -> None:
    for path, text in printed("gqa").files.items():
        if path.endswith((".cpp", ".h")):
            assert format_cpp(text) == text


# -- the graphs of the stages --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_defined_once_called_and_given_what_they_take(name: str) -> None:
    for path, text in sources(name).items():
        made = {function.name: function for function in functions(text)}
        assert len(made) == len(functions(text)), path
        adds = [n for n in made if n.startswith("Add") and n != "AddOperations"]
        called = re.findall(
            r"CHECK_OPERATION_STATUS_RETURN\((\w+)\(((?:param, )?)graph\)\);",
            made["AddOperations"].body,
        )
        assert dict.fromkeys(function for function, _ in called).keys() == set(adds), path
        for function, param in called:
            wanted = ("param", "graph") if param else ("graph",)
            assert made[function].parameters == wanted, function
        views = [n for n in made if n.startswith("View")]
        for view in views:
            uses = re.findall(rf"\b{view}\(([^)]*)\);", text)
            assert uses, view
            assert all(
                len(use.split(", ") if use else []) == len(made[view].parameters) for use in uses
            )
        assert sorted(made) == sorted([*adds, *views, "AddOperations", "InferShape", "Create"])


@pytest.mark.parametrize("name", NAMES)
def test_functions_say_what_their_operation_is(name: str) -> None:
    made = printed(name)
    for block in made.model.blocks:
        text = made.files[f"{made.space}/layer/{block.name}.cpp"]
        bodies = {f.name: " ".join(f.body.split()) for f in functions(text)}
        for operation in block.merged.operations:
            check_operation(operation, bodies[operation.function])
        for view in block.merged.views:
            sizes = re.findall(r"newShape\.(\w+)(?:\[(\d)\])? = ([^;]+);", bodies[view.name])
            assert sizes == [
                ("dimNum", "", str(len(view.dims))),
                *(("dims", str(axis), dim) for axis, dim in enumerate(view.dims)),
            ]
            captured = ", ".join(local.variable for local in view.locals)
            assert f"return [{captured}](const atb::Dims &" in bodies[view.name]


def check_operation(operation: Operation, body: str) -> None:
    """The text of a function, in one line."""
    assert re.findall(r"const int32_t (\w+) = param\.PerRank\((\d+)\);", body) == [
        (local.variable, str(local.count)) for local in operation.locals
    ]
    single, _, several = body.partition("} else {")
    for part, struct, given in (
        (single, operation.struct, operation.fields),
        (several, "LinearParallelParam", operation.parallel),
    ):
        if part is several and not operation.parallel:
            assert not several
            continue
        assert re.findall(r"atb::infer::(\w+) opParam;", part) == [struct]
        assert re.findall(r"opParam\.([\w.]+) = ([^;]+);", part) == [
            (field.path, field.value) for field in given
        ]
        assert part.count("CREATE_OPERATION(opParam, &node.operation);") == 1
    assert bool(several) == ("if (param.worldSize == 1) {" in single)
    ids = re.search(r"inTensorIds = \{([^}]*)\};", body)
    results = re.search(r"outTensorIds = \{([^}]*)\};", body)
    assert ids is not None
    assert results is not None
    assert re.split(r", ", ids[1].strip()) == [operand.id for operand in operation.inputs]
    assert re.split(r", ", results[1].strip()) == list(operation.outputs)
    wanted = [
        (str(index), view.name, ", ".join(local.variable for local in view.locals))
        for index, operand in enumerate(operation.inputs)
        if (view := operand.view) is not None
    ]
    assert re.findall(r"ReshapeFuncs\.at\((\d+)\) = (\w+)\(([^)]*)\);", body) == wanted
    resized = "inTensorReshapeFuncs.resize(node.inTensorIds.size());"
    assert (resized in body) == bool(wanted)
    assert body.endswith("graph.nodes.push_back(node); return atb::NO_ERROR;")


def unused(text: str) -> list[str]:
    """Parameters and variables that nothing reads, by function."""
    found: list[str] = []
    for function in functions(text):
        declaration = r"^ +(?!return )(?:const )?[\w:]+(?:<[^;]*?>)? [*&]?(\w+)( =[^;]*)?;"
        local = [word for word, _ in re.findall(declaration, function.body, re.MULTILINE)]
        for variable in (*function.parameters, *local):
            uses = len(re.findall(rf"\b{variable}\b", function.body))
            if uses == local.count(variable):
                found.append(f"{function.name} {variable}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_declared_in_vain(name: str) -> None:
    for kind in ("layer", "model"):
        for path, text in sources(name, kind).items():
            assert unused(text) == [], path


def test_what_is_declared_in_vain_is_found() -> None:
    text = sources("gqa")["llamaforcausallm/layer/decoder_layer.cpp"]
    assert unused(text.replace("opParam.headNum = headNum;", "").replace("(headNum)", "(1)")) == [
        "AddSelfAttnAttention headNum",
        "AddSelfAttnPagedAttention headNum",
        "AddSelfAttnOProj headNum",
    ]
    changed = text.replace("AddInputLayernorm(atb", "AddInputLayernorm(const Param &param, atb")
    assert unused(changed) == ["AddInputLayernorm param"]


@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_declared_and_counts_agree(name: str) -> None:
    made = printed(name)
    for block in made.model.blocks:
        folder = f"{made.space}/layer/{block.name}"
        header, text = made.files[f"{folder}.h"], made.files[f"{folder}.cpp"]
        ids, counts = enumerators(header, "TensorId"), constants(header)
        used = set(re.findall(r"\b(?:IN|OUT|INTERMEDIATE)_\w+", text)) - counts.keys()
        assert used <= ids.keys()
        first = counts["IN_TENSOR_COUNT"]
        inputs = [n for n in ids if n.startswith("IN_")]
        outputs = [n for n in ids if n.startswith("OUT_")]
        assert [ids[n] for n in inputs] == list(range(first))
        assert [ids[n] for n in outputs] == list(range(first, first + counts["OUT_TENSOR_COUNT"]))
        assert counts["WEIGHT_COUNT"] == len(block.weights) == len(block.recipes)
        assert tuple(inputs[: len(block.weights)]) == block.weights
        check_internal(block, text, ids, first + counts["OUT_TENSOR_COUNT"])


def check_internal(block, text: str, ids: dict[str, int], first: int) -> None:
    """Inner tensors of each phase and number of ranks lie behind the others without a gap."""
    expression = re.search(r"graph\.internalTensorNum = ([^;]+);", text)
    assert expression is not None
    bodies = {function.name: function.body for function in functions(text)}
    for prefill in (True, False):
        for ranks in (1, 2):
            python = re.sub(r"(.+) \? (\d+) : (\d+)", r"\2 if \1 else \3", expression[1])
            python = python.replace("param.isPrefill", str(prefill))
            count = eval(python.replace("param.worldSize", str(ranks)))
            written: set[str] = set()
            read: set[str] = set()
            for step in block.merged.steps:
                holds = {
                    "": True, "param.isPrefill": prefill, "!param.isPrefill": not prefill,
                    "param.worldSize > 1": ranks > 1,
                }[step.condition]  # fmt: skip
                for operation in step.operations if holds else step.otherwise:
                    body = bodies[operation.function]
                    outs = re.search(r"outTensorIds = \{([^}]*)\}", body)
                    ins = re.search(r"inTensorIds = \{([^}]*)\}", body)
                    assert outs is not None
                    assert ins is not None
                    read |= set(re.findall(r"INTERMEDIATE_\w+", ins[1]))
                    assert read <= written, operation.function
                    choice = re.sub(r".* \? (\w+) : (\w+)", r"\1" if ranks == 1 else r"\2", outs[1])
                    made = set(re.findall(r"INTERMEDIATE_\w+", choice))
                    assert not made & written
                    written |= made
            assert {ids[name] for name in written} == set(range(first, first + count))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_input_has_the_tokens_and_results_their_shape(name: str) -> None:
    graphs = module(name)
    for block in printed(name).model.blocks:
        graph = graphs.functions[f"prefill_{block.name}"]
        names = dict(zip(block.inputs, graph.inputs, strict=False))
        tokens = names[block.tokens_input].type.shape[0]
        for value, output in zip(graph.outputs, block.outputs, strict=True):
            assert value.type.shape == (tokens, *output.tail)


@pytest.mark.parametrize("name", ["zoo:llama-gqa", "zoo:qwen2", "gqa"])
def test_a_llama_layer_has_twelve_operations(name: str) -> None:
    block = printed(name).model.blocks[1]
    assert block.name == "decoder_layer"
    assert block.merged.counts == (12, 12)
    assert sum(o.struct == "RmsNormParam" for o in block.merged.operations) == 2
    origin, _, case = name.rpartition(":")
    without = (
        lowered.zoo(case, 2 if case == "llama-gqa" else 1) if origin else lowered.handmade(case)
    )
    layer = without.functions["decode_decoder_layer"]
    assert sum(node.op != Reshape.name for node in layer.nodes) == 13


def test_a_window_is_named_where_a_layer_has_one() -> None:
    headers = sources("mixed-windows", suffix=".h")
    shown = {path.rpartition("/")[2]: lexer.comments(text)[0] for path, text in headers.items()}
    assert shown == {
        "embedding.h": "// Embedding.",
        "decoder_layer.h": "// Decoder layer.",
        "decoder_layer_2.h": "// Decoder layer 2 with a window of 4 tokens.",
        "head.h": "// Head.",
    }


# -- different models ----------------------------------------------------------------------------


def normalised(graph: Graph) -> str:
    """A graph as text in which nothing but the computation matters."""
    names: dict[Value, str] = {}
    for value in graph.values():
        names[value] = f"%{len(names)}"
    lines = [f"{names[v]}: {v.type}" for v in graph.inputs]
    lines += [
        f"{names[v]}: {v.type} = {'' if v.recipe is None else recipe_text(v.recipe)}"
        for v in graph.parameters
    ]
    for node in graph.nodes:
        operands = ", ".join("_" if v is None else names[v] for v in node.operands)
        attrs = ", ".join(
            f"{key} = {attr_text(value)}" for key, value in sorted(node.attrs.items())
        )
        results = ", ".join(f"{names[v]}: {v.type}" for v in node.results)
        lines.append(f"{results} = {node.op}({operands}) {{{attrs}}}")
    return "\n".join(lines)


def test_different_graphs_never_give_the_same_layer() -> None:
    by_text: dict[str, set[str]] = {}
    for name in NAMES:
        made, graphs = printed(name), module(name)
        for block in made.model.blocks[1:-1]:
            folder = f"{made.space}/layer/{block.name}"
            text = "".join(made.files[f"{folder}.{suffix}"] for suffix in ("h", "cpp"))
            for word in (made.model.model_class, made.space, made.space.upper()):
                text = text.replace(word, "NAME")  # the model's name is no difference
            both = [graphs.functions[f"{phase}_{block.name}"] for phase in ("prefill", "decode")]
            by_text.setdefault(text, set()).add("\n".join(map(normalised, both)))
    for text, computed in by_text.items():
        assert len(computed) == 1, text
    assert len(by_text) > len(NAMES) * 2 // 3


# -- the model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_model_runs_every_stage_and_counts_what_they_read(name: str) -> None:
    made, graphs = printed(name), module(name)
    text = made.files[f"{made.space}/model/decoder_model.cpp"]
    build = next(f.body for f in functions(text) if f.name == "DecoderModel::BuildGraph")
    assert called(build) == wanted_stages(made.model, graphs)
    counts = constants(text)
    calls = graphs.functions["prefill"].nodes
    used = {use.function: use for use in made.model.uses}
    stages = [used[f] for f in called(build) if f != "AddSelectTokens"]
    assert counts["WEIGHT_COUNT"] == sum(len(use.block.weights) for use in stages)
    assert counts["CACHE_COUNT"] == sum(
        "k_cache" in v.name for v in graphs.functions["prefill"].inputs
    )
    hidden = sum(use.carries for use in stages) + ("AddSelectTokens" in called(build))
    assert counts["HIDDEN_STATES_COUNT"] == hidden == len(calls) - 1 + made.model.selects_tokens
    assert counts["VOCAB_SIZE"] == graphs.functions["prefill"].outputs[0].type.shape[-1]


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_given_their_tensors(name: str) -> None:
    made = printed(name)
    text = made.files[f"{made.space}/model/decoder_model.cpp"]
    ids = enumerators(text, "DecoderModelTensorId")
    bodies = {function.name: function.body for function in functions(text)}
    for use in made.model.uses:
        body = bodies[f"DecoderModel::{use.function}"]
        listed = re.search(r"inputs = \{\n(.*?),?\n? *\};", body, re.DOTALL)
        assert listed is not None
        given = re.split(r",\s+", listed[1].strip())
        wanted = {
            "hidden_states": "hiddenStates_",
            "k_cache": "&graph_.kCacheTensors.at(nextCache_)",
            "v_cache": "&graph_.vCacheTensors.at(nextCache_)",
        }
        names = use.block.input_names
        assert given == [
            wanted.get(name, f"&graph_.inTensors.at(IN_{name.upper()})") for name in names
        ]
        assert {f"IN_{name.upper()}" for name in names if name not in wanted} <= ids.keys()
        assert ("nextCache_ += 1;" in body) == ("k_cache" in names) == ("v_cache" in names)
        # the hidden states that a stage reads are those before it makes its own
        assert body.index("inputs = ") < body.index("node.outTensors = ")
        if use.carries:
            assert body.index("inputs = ") < body.index("hiddenStates_ = NextHiddenStates();")
            assert "node.outTensors = {hiddenStates_};" in body
        else:
            assert "node.outTensors = {&graph_.outTensors.at(OUT_LOGITS)};" in body
        assert f"NewNode(operation, {use.block.name}::WEIGHT_COUNT)" in body


def called(build: str) -> list[str]:
    """The functions that BuildGraph calls, loops unrolled."""
    found: list[str] = []
    position = 0
    loop = re.compile(r"    for \(int i = 0; i < (\d+); \+\+i\) \{\n(.*?)\n    \}\n", re.DOTALL)
    call = re.compile(r"CHECK_OPERATION_STATUS_RETURN\((\w+)\(\)\)")
    for match in loop.finditer(build):
        found += call.findall(build[position : match.start()])
        found += call.findall(match[2]) * int(match[1])
        position = match.end()
    return found + call.findall(build[position:])


def wanted_stages(model, graphs: AtbModule) -> list[str]:
    names = [str(node.attrs["callee"]) for node in graphs.functions["prefill"].nodes]
    words = [name.removeprefix("prefill_").split("_") for name in names]
    found = ["Add" + "".join(word.capitalize() for word in each) for each in words]
    return [*found[:-1], "AddSelectTokens", found[-1]] if model.selects_tokens else found


@pytest.mark.parametrize("name", NAMES)
def test_the_interface_is_the_same_everywhere(name: str) -> None:
    made = printed(name)
    facts = json.loads(made.files[f"{made.package}/{made.package}.json"])
    text = made.files[f"{made.space}/model/decoder_model.cpp"]
    ids = enumerators(text, "DecoderModelTensorId")
    assert list(ids.values()) == list(range(len(ids)))
    assert [*(f"IN_{name.upper()}" for name in facts["inTensors"]), "IN_TENSOR_COUNT"] == list(ids)
    assert facts["outTensors"] == ["logits"]
    assert facts["weights"] == constants(text)["WEIGHT_COUNT"]
    assert facts["caches"] == constants(text)["CACHE_COUNT"]
    assert facts["model"] == f"{made.space}_DecoderModel"
    assert f"REGISTER_MODEL({made.space}, DecoderModel);" in text
    assert f'INTERFACE[] = "{facts["interface"]}";' in made.files[f"{made.space}/model/param.cpp"]
    python = made.files[f"{made.package}/flash_causal_{made.package}.py"]
    given = re.findall(r'^        "(\w+)": ', python, re.MULTILINE)
    assert set(facts["inTensors"]) - {"lm_head_indices"} == set(given) - {"seqLen", "contextLen"}


def test_another_model_has_another_interface() -> None:
    marks = {
        name: json.loads(
            printed(name).files[f"{printed(name).package}/{printed(name).package}.json"]
        )["interface"]
        for name in NAMES
    }
    different = (
        "gqa",
        "mha-biases",
        "mqa",
        "transposed-weights",
        "zoo:qwen2",
        "mixed-windows",
        "tied",
    )
    assert len({marks[name] for name in different}) == len(different)
    assert all(re.fullmatch(r"[0-9a-f]{16}", mark) for mark in marks.values())


def test_another_number_in_the_cpp_is_another_interface() -> None:
    changed = module("gqa").copy()
    for graph in changed.functions.values():
        for node in graph.nodes:
            if node.op == "atb.rms_norm":
                node.attrs["epsilon"] = 1e-3
    one, other = printed("gqa"), emit(changed)
    path = f"{one.package}/{one.package}.json"
    assert json.loads(one.files[path])["interface"] != json.loads(other.files[path])["interface"]
    python = f"{one.package}/modeling_{one.package}.py"
    assert one.files[python] == other.files[python]  # it is only the C++ that differs


def test_numbers_of_ranks_are_checked_where_something_is_divided() -> None:
    checks = {
        name: re.findall(r"Check\((\d+ % worldSize == 0[^,]*),", text)
        for name in ("gqa", "mha-biases", "mqa", "softcap")
        if (text := printed(name).files[f"{printed(name).space}/model/param.cpp"])
    }
    assert checks == {
        "gqa": [
            "4 % worldSize == 0",
            "2 % worldSize == 0 || worldSize % 2 == 0",
            "96 % worldSize == 0",
        ],
        "mha-biases": ["4 % worldSize == 0", "96 % worldSize == 0"],
        "mqa": ["4 % worldSize == 0", "96 % worldSize == 0"],
        "softcap": ["96 % worldSize == 0"],
    }


def test_the_readme_says_what_is_divided_and_what_is_not() -> None:
    text = readme(printed("gqa"))
    assert "- 4 attention heads, which the number of ranks must divide" in text
    assert "- 2 key-value heads, repeated where there are more ranks" in text
    assert "ATB operations: 12 for prompts, 12 for single tokens" in text
    assert "Not divided" not in text
    spelled = readme(printed("softcap"))
    assert "Not divided: every rank has all attention heads: attention is spelled out." in spelled
    assert "{{" not in text + spelled


# -- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_python_is_python(name: str) -> None:
    for path, text in printed(name).files.items():
        if path.endswith(".py"):
            ast.parse(text)
            assert set(text) <= {"\n", *map(chr, range(32, 127))}


def test_python_is_ruff_clean(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        for path, text in printed(name).files.items():
            if path.endswith(".py"):
                (tmp_path / f"model_{number}_{Path(path).name}").write_text(text)
    rules = "E,F,W,B,UP,SIM,C4,RET,PIE,PTH,D1,N,ARG"
    for command in (
        # Class names are spelled as MindIE wants them; a long model class can be all of a line.
        ["check", f"--select={rules}", "--ignore=D107,B905,ARG002,N801,E501"],
        ["format", "--check"],
    ):
        common = ["--isolated", "--no-cache", "--line-length=100", str(tmp_path)]
        done = subprocess.run(
            [find_ruff_bin(), *command, *common], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


# -- always the same -----------------------------------------------------------------------------


def digest(names: tuple[str, ...]) -> str:
    files = [dict(emit(module(name)).files) for name in names]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def test_emission_is_deterministic() -> None:
    assert dict(emit(module("mixed-windows")).files) == dict(printed("mixed-windows").files)


def test_emission_does_not_depend_on_the_hash_seed() -> None:
    code = "from tests.codegen.targets.atb.cpp.test_emit_cpp import digest\nprint(digest({}))\n"
    names = ("mixed-windows", "qk-norm-per-head")
    root = Path(__file__).parents[5]
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code.format(names)],
        capture_output=True, text=True, env=env, cwd=root, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == digest(names)


def test_emission_changes_no_graph() -> None:
    from ir.text import print_module

    made = module("qk-norm-per-head")
    before = print_module(made)
    emit(made)
    assert print_module(made) == before


# -- what cannot be printed ----------------------------------------------------------------------


def test_graphs_that_are_not_lowered_completely_are_refused() -> None:
    import torch

    from ir.types import DType, TensorType

    made = module("gqa")
    graph = made.functions["prefill_head"]
    graph.add_constant(torch.ones(3), TensorType((3,), DType.FLOAT32), "ones")
    with pytest.raises(CodegenError, match="@prefill_head: constant %ones has no ATB form"):
        emit(made)
    made = module("gqa")
    made.functions["prefill_head"].parameters[0].recipe = None
    with pytest.raises(CodegenError, match="is a parameter without recipe"):
        emit(made)


def test_entries_with_other_layers_are_refused() -> None:
    made = module("mixed-windows")
    made.functions["decode"].nodes[1].attrs["scope"] = "model.layers.7"
    with pytest.raises(CodegenError, match="prefill and decode do not have the same layers"):
        emit(made)
