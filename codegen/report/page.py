"""The HTML page: one file, nothing loaded from elsewhere, everything in it escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from codegen import templates
from codegen.report.page_context import Page

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = "report"


def render(page: Page) -> str:
    """The page as HTML."""
    return _environment().get_template("report.html.j2").render(page=page)


@cache
def _environment() -> Environment:
    """Templates of the report; unlike those of source code they escape what they print."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(templates.root() / FOLDER),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def script_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON that ends no script element and starts no comment, whatever strings are in it.

    ``<``, ``>`` and ``&`` and the two line separators of JavaScript only occur in strings, where
    they are written as escapes.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def as_data(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Frozen records as dictionaries."""
    return [asdict(row) for row in rows]
