"""Running passes, and the pipeline specification."""

from dataclasses import dataclass

import pytest

from ir.errors import ParseError, PassError
from ir.graph import Module
from ir.passes import (
    PASSES,
    CacheKv,
    PackLinears,
    Pass,
    PassResult,
    RemoveDead,
    parse_pipeline,
    print_pipeline,
    run_passes,
)
from tests.ir.models import Shape, decoder


def never(module: Module) -> list[str]:
    """Holds for no module."""
    return ["it never does"]


@dataclass(frozen=True)
class Noop(Pass):
    name = "test-noop"
    text: str = ""
    factor: float = 1.0
    limit: int | None = None
    wanted: bool = False

    def run(self, module: Module) -> PassResult:
        return PassResult(False, 0, ("did nothing",))


@dataclass(frozen=True)
class Picky(Noop):
    name = "test-picky"
    requires = (never,)


@dataclass(frozen=True)
class Liar(Noop):
    name = "test-liar"
    ensures = (never,)


@dataclass(frozen=True)
class Breaker(Noop):
    name = "test-breaker"

    def run(self, module: Module) -> PassResult:
        module.functions["main"].nodes.pop()
        return PassResult(True, 1)


@dataclass(frozen=True)
class Demanding(Pass):
    name = "test-demanding"
    size: int


def test_records_and_callback():
    seen: list[str] = []
    records = run_passes(
        decoder(Shape()),
        [Noop(), PackLinears()],
        lambda pass_, module, record: seen.append(f"{pass_.name} {record.result.matches}"),
    )
    assert seen == ["test-noop 0", "pack-linears 6"]
    assert [record.spec for record in records] == ["test-noop", "pack-linears"]
    assert records[0].result.notes == ("did nothing",)
    assert all(record.seconds >= 0 for record in records)


@pytest.mark.parametrize(
    ("pass_", "message"),
    [
        (Picky(), "test-picky cannot run:\nit never does"),
        (Liar(factor=2.0), "test-liar{factor=2.0} did not do its work:\nit never does"),
        (Breaker(), "test-breaker broke the graph:\n@main: output %logits is not defined"),
    ],
)
def test_broken_promises(pass_, message):
    with pytest.raises(PassError) as caught:
        run_passes(decoder(Shape()), [pass_])
    assert str(caught.value).startswith(message)


def test_a_pass_name_is_declared_once():
    with pytest.raises(ValueError, match="declared twice"):
        type("Again", (Pass,), {"name": "cache-kv"})


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", []),
        ("cache-kv{block-size=64},pack-linears", [CacheKv(block_size=64), PackLinears()]),
        (" dead-code , cache-kv { block-size = 64 } ", [RemoveDead(), CacheKv(block_size=64)]),
        ("cache-kv{}", [CacheKv()]),
        ('test-noop{text="a \\"b\\",c"}', [Noop(text='a "b",c')]),
        ("test-noop{text=bare-word,factor=2}", [Noop(text="bare-word", factor=2.0)]),
        ("test-noop{factor=-1e-05,limit=3,wanted=true}", [Noop("", -1e-5, 3, True)]),
        ("test-demanding{size=1}", [Demanding(1)]),
    ],
)
def test_pipelines(text, passes):
    assert parse_pipeline(text) == passes
    assert parse_pipeline(print_pipeline(passes)) == passes


def test_printed_pipelines_leave_defaults_out():
    passes = [CacheKv(), CacheKv(block_size=64), Noop(text="a b")]
    assert print_pipeline(passes) == 'cache-kv,cache-kv{block-size=64},test-noop{text="a b"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache-kv,nope", "pipeline, column 10: no pass nope (there are cache-kv, dead-code"),
        ("cache-kv{size=1}", "column 10: cache-kv has no option size (its options: block-size)"),
        ("pack-linears{size=1}", "no option size (its options: none)"),
        ("cache-kv{block-size=1.5}", "column 21: 1.5 is not int"),
        ("cache-kv{block-size=true}", "column 21: true is not int"),
        ("cache-kv{block-size=1,block-size=2}", "block-size is given twice"),
        ('test-noop{text="\\q"}', "bad string"),
        ("test-noop{limit=x}", "x is not int | None"),
        ("test-demanding", "test-demanding needs size"),
        ("cache-kv{", "the text ends too early"),
        ("cache-kv}", "column 9: unexpected '}'"),
        ("?", "column 1: unexpected '?'"),
    ],
)
def test_pipeline_errors(text, message):
    with pytest.raises(ParseError) as caught:
        parse_pipeline(text)
    assert message in str(caught.value)


def test_the_passes_of_this_package_are_known():
    assert {
        "cache-kv",
        "dead-code",
        "fold-layers",
        "inline-calls",
        "pack-linears",
        "simplify-views",
    } <= PASSES.keys()
