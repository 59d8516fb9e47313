"""The command line. It only wraps the Python API and imports what a command needs inside it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from codegen import __version__
from codegen.errors import CodegenError, VerificationError
from codegen.request import PythonApi, Request, Target

DONE, DIFFERENT, BAD_INPUT, INTERNAL = range(4)

app = typer.Typer(
    name="llm-codegen",
    help="Generates target code from a HuggingFace model, runs it on this machine and compares.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LogLevel = Literal["debug", "info", "warning", "error", "fatal", "critical"]
_Level = Literal["aten", "llm", "atb"]

_Source = Annotated[
    Path,
    typer.Option("-s", "--source", help="HuggingFace model directory.", show_default=False),
]
_Log = Annotated[_LogLevel, typer.Option("-l", "--log-level", help="How much is said on stderr.")]
_Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run modelling code that lies in the directory."),
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def transform(
    source: _Source,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Output directory; default ./<model_type>_<target>.",
            show_default=False,
        ),
    ] = None,
    to_python: Annotated[
        bool, typer.Option("-py", "--to-python", help="Generate ATB Python code.")
    ] = False,
    to_quant: Annotated[
        bool, typer.Option("-quant", "--to-quant", help="Generate a quantized model; needs -py.")
    ] = False,
    quant_disable_names: Annotated[
        str | None,
        typer.Option(help="Layers that stay float: a file, or names separated by ','."),
    ] = None,
    enable_sparse: Annotated[
        bool, typer.Option("--enable-sparse", help="Sparse instead of plain quantization.")
    ] = False,
    atb_model_path: Annotated[
        Path | None,
        typer.Option("-atb", "--atb_model_path", help="C++ model to write Python callers for."),
    ] = None,
    analyze: Annotated[
        bool, typer.Option("-a", "--analyze", help="Write the support report.")
    ] = False,
    target: Annotated[
        Target | None, typer.Option(help="What is generated; -py means atb-python.")
    ] = None,
    python_api: Annotated[
        PythonApi, typer.Option(help="Python binding of ATB that the code is written against.")
    ] = "_libatb_torch",
    trust_remote_code: _Trust = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    log_level: _Log = "info",
) -> None:
    """Generate code from a model directory (weights are not needed)."""
    request = Request(
        source=source,
        target=target,
        to_python=to_python,
        python_api=python_api,
        to_quant=to_quant,
        quant_disable_names=quant_disable_names,
        enable_sparse=enable_sparse,
        atb_model_path=atb_model_path,
        analyze=analyze,
        trust_remote_code=trust_remote_code,
    )
    with _reporting(log_level), _progress(log_level) as stage:
        request.resolve()  # before torch is imported
        from codegen.pipeline import Stages, run

        result = run(request, out, force, Stages(stage))
    typer.echo(result.closing, nl=False)


@app.command()
def verify(
    out: Annotated[Path, typer.Argument(help="Output directory of transform.")],
    source: Annotated[
        Path | None,
        typer.Option("-s", "--source", help="Model directory to compare with.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("-w", "--weights", help="Weights; default those of the source."),
    ] = None,
    trust_remote_code: _Trust = False,
    max_parameters: Annotated[
        int, typer.Option(help="Of larger models, a twin with few layers is run.")
    ] = 1_000_000_000,
    vendor_headers: Annotated[
        bool,
        typer.Option(
            "--vendor-headers",
            help="Compile generated C++ against ATB's own headers too ($ATB_HOME_PATH).",
        ),
    ] = False,
    include: Annotated[
        list[Path] | None,
        typer.Option("-I", "--include", help="With --vendor-headers: MindIE-LLM's headers."),
    ] = None,
    json: _Json = False,
    log_level: _Log = "info",
) -> None:
    """Run generated code on this machine and compare its numbers with HuggingFace."""
    with _reporting(log_level), _progress(log_level) as stage:
        from codegen.verification import verify as run

        result = run(
            out,
            source,
            weights,
            trust_remote_code=trust_remote_code,
            max_parameters=max_parameters,
            vendor_headers=vendor_headers,
            include=tuple(include or ()),
            on_stage=stage,
        )
    if json:
        typer.echo(result.to_json())
    else:
        from codegen.console import show_verification

        show_verification(result)
    raise typer.Exit(DONE if result.passed else DIFFERENT)


@app.command()
def diff(
    out: Annotated[Path, typer.Argument(help="Output directory that is judged.")],
    golden: Annotated[Path, typer.Argument(help="What it should be.")],
    json: _Json = False,
    log_level: _Log = "info",
) -> None:
    """Show what differs from a golden directory, meaning first, text second."""
    with _reporting(log_level):
        from codegen.diff import diff as compare

        result = compare(out, golden)
    if json:
        typer.echo(result.to_json())
    else:
        from codegen.console import show_diff

        show_diff(result)
    raise typer.Exit(DONE if result.same else DIFFERENT)


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(help="HuggingFace model directory.")],
    level: Annotated[_Level, typer.Option(help="Which graph is printed.")] = "llm",
    print_after: Annotated[
        list[str] | None, typer.Option(help="Print the graph after this pass; may be repeated.")
    ] = None,
    time_passes: Annotated[
        bool, typer.Option("--time-passes", help="Seconds and rewrites of every stage, on stderr.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Why patterns did not match.")] = False,
    trust_remote_code: _Trust = False,
    log_level: _Log = "info",
) -> None:
    """Print the intermediate graph of a model."""
    with _reporting(log_level), _progress(log_level) as stage:
        from codegen.inspect import inspect as look

        found = look(
            source,
            level=level,
            print_after=tuple(print_after or ()),
            explain=explain,
            trust_remote_code=trust_remote_code,
            on_stage=stage,
        )
    typer.echo(found.text, nl=False)
    if time_passes:
        typer.echo(found.timing, err=True, nl=False)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"llm-codegen {__version__}")
        raise typer.Exit(DONE)


@contextmanager
def _reporting(level: _LogLevel) -> Iterator[None]:
    """Turns errors of the block into one message on stderr and an exit code."""
    debug = level == "debug"
    logging.basicConfig(
        level=level.upper(),
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    if not debug:
        # Libraries report their own worries; the user asked about the model.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # only local files are ever read
    try:
        yield
    except VerificationError as error:
        typer.echo(f"verification failed: {error}", err=True)
        raise typer.Exit(DIFFERENT) from None
    except CodegenError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except Exception as error:
        if _is_graph_error(error):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(BAD_INPUT) from None
        if debug:
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        typer.echo(f"internal error, please report it with -l debug: {what}", err=True)
        raise typer.Exit(INTERNAL) from None


def _is_graph_error(error: Exception) -> bool:
    # Importing the package costs torch; an error of it cannot exist before it is imported.
    errors = sys.modules.get("ir.errors")
    return errors is not None and isinstance(error, errors.IrError)


@contextmanager
def _progress(level: _LogLevel) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the running stage: a spinner on a terminal, else a log line."""
    if not sys.stderr.isatty() or level not in ("debug", "info"):
        yield lambda stage: logging.getLogger("codegen").debug("stage: %s", stage)
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda stage: status.update(stage)


def main() -> None:
    """The ``llm-codegen`` command."""
    app()
