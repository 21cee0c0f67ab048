"""What the pages are made of: templates, styles and scripts, the plot library packed, and the policy over both.

A page makes no request: everything is inside it, and its content security policy lets the browser run only the
scripts whose hashes it names.
"""

import base64
import functools
import gzip
import hashlib
import importlib.resources
import json
from typing import Any

import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs


class ReportError(ValueError):
    """The content of a report does not fit together."""


def asset(name: str) -> str:
    """One of our own templates, styles or scripts, as text."""
    return importlib.resources.files("quant").joinpath("report_page", name).read_text("utf-8")


@functools.cache
def environment() -> Environment:
    """The environment of all templates: text is escaped, a name that is missing is an error."""
    made = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
    return made


def shell(style: str, script: str) -> dict[str, Markup | str]:
    """What every page needs of style and script: both as markup, the plot library packed, and the scripts' hashes.

    Parameters
    ----------
    style, script
        Text of our own files: it is not escaped.
    """
    library = get_plotlyjs()
    return {
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": _policy_hash(script),
        "library_hash": _policy_hash(library),
        "library": _packed_text(library),
    }


def packed(content: bytes) -> str:
    """Bytes, compressed by gzip and written in Base64; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def packed_json(value: Any) -> str:
    """What JSON can hold, packed; not a number is refused."""
    return packed(json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode())


def require(name: str, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Raise ``ReportError`` where a frame lacks one of the columns."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ReportError(f"{name} lacks {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


@functools.cache
def _packed_text(text: str) -> str:
    return packed(text.encode())


def _policy_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
