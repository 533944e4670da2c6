"""A page as one file that needs no network: texts are escaped, data is embedded, and scripts are allowed by their hash.

Templates, styles and scripts are the files in `page/`. Every page extends the skeleton `page.html` and fills its blocks
`head` and `main`. Its scripts read the data that `render` embeds with `data(...)` from base.js. Prompts, names and
models' words are data: Jinja escapes them, `text_only` removes control characters, scripts set them as text, and the
page's policy allows no other script and no request to any address.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...errors import UserError
from ...wording import counted

FILES = Path(__file__).parent / "page"
# Control characters but tab and newline, what turns the direction of text around, and halves of surrogate pairs.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_IN_SCRIPTS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(template: str, data: Mapping[str, Any], scripts: Sequence[str], plots: bool = False, **context: Any) -> str:
    """A page as HTML.

    Args:
        template: a file of `page/` that extends page.html.
        data: name -> what scripts read with `data(name)`; anything that JSON can hold.
        scripts: files of `page/` that run in this order, after base.js.
        plots: embed plotly.js, which scripts load with `plotly()`.
        context: variables of the template; `title` is required.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FILES), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "signed": signed, "interval": interval, "counted": counted}
    code = [_file(name) for name in ("base.js", *scripts)]
    library = _plotly() if plots else None
    return environment.get_template(template).render(
        **text_only(context),
        policy=_policy([*code, *([library] if library else [])]),
        style=Markup(_file("page.css")),
        data={name: in_script(text_only(value)) for name, value in data.items()},
        library=_packed(library) if library else "",
        scripts=[Markup(text) for text in code],
    )


def number(value: float | None) -> str:
    """A number with two decimals; a dash for None."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A number with its sign and two decimals."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def interval(ci: Sequence[float] | None) -> str:
    """An interval as `[6.10, 6.80]`; an empty text for None."""
    return f"[{ci[0]:.2f}, {ci[1]:.2f}]".replace("-", "−") if ci else ""


def text_only(value: Any) -> Any:
    """The same value with readable texts: control characters and those that change the direction of text become �."""
    if isinstance(value, str):
        return value if isinstance(value, Markup) else _UNREADABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {text_only(name): text_only(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [text_only(part) for part in value]
    return value


def in_script(value: Any) -> Markup:
    """JSON for a script element, escaped so that no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&\u2028\u2029]", lambda sign: _IN_SCRIPTS[sign[0]], text))


def _policy(scripts: Sequence[str]) -> str:
    """The page's content security policy: run these scripts, show embedded pictures, make no requests."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """The text of plotly.js from the Python package; its first lines name its MIT licence."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(
            "The page report.html needs plotly", "It is not installed", "Run: pip install plotly"
        ) from error
    return str(get_plotlyjs())


@cache
def _packed(script: str) -> str:
    """A script as base64 of gzip: 2 MB instead of 5 for plotly. The browser unpacks it after the page is shown."""
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
