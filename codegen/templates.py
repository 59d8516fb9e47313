"""Finds the templates and gives each target its Jinja2 environment."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from codegen.errors import CodegenError

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).resolve().parent
#: Fragments that several targets print.
_SHARED = "shared"


class TemplateError(CodegenError):
    """The templates of a target are not installed."""


def root() -> Path:
    """The directory with one folder of templates per target.

    In a wheel it lies inside the package, in a checkout beside it.

    Raises:
        TemplateError: Neither is there.
    """
    for folder in (_PACKAGE / "_templates", _PACKAGE.parent / "templates"):
        if folder.is_dir():
            return folder
    raise TemplateError("the templates are not installed: reinstall llm-codegen")


def py_string(text: str) -> str:
    """A Python string literal of `text` in double quotes, ASCII only.

    Whatever the text is (tensor names come from files), the literal is one token and evaluates to
    exactly that text.
    """
    inner = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{inner}"'


@cache
def environment(target: str) -> Environment:
    """The environment of one target's templates, which also sees those in ``shared``.

    Undefined names are errors, nothing is escaped (source code is not HTML), blocks leave no blank
    lines, and a file ends with the newline its template ends with.

    Args:
        target: Name of the folder under the template root, ``"atb_python"``.

    Raises:
        TemplateError: There is no such folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = root() / target
    if not folder.is_dir():
        raise TemplateError(f"there are no templates for {target}: reinstall llm-codegen")
    made = Environment(
        loader=FileSystemLoader([folder, root() / _SHARED]),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["py_string"] = py_string
    return made
