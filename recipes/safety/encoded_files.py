"""Files that stand in a text as base64 or as a data URL: pictures in Markdown, HTML, JSON, columns of text."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote, unquote_to_bytes

from recipes.safety.contents import Contents, contents_of
from recipes.safety.image_texts import is_image

_LETTERS = r"A-Za-z0-9+/_-"
_RUN = rf"(?:[{_LETTERS}]{{60,}}\r?\n[ \t]*)*[{_LETTERS}]*={{0,2}}"  # lines of mail, or one line of any length
_URL = re.compile(r"(?i)data:[\w.+/\\-]{0,100}(?:;[\w.+=-]{1,100}){0,9},\s*")
_PLAIN = re.compile(r"[^\s\"'<>()]+")
_BASE64 = re.compile(rf"(?:[%\\{_LETTERS}]{{16,}}\r?\n[ \t]*)*[%\\{_LETTERS}]*={{0,2}}")  # perhaps escaped
_BEGINNINGS = (  # of images in base64
    r"iVBORw0KGgo|[/_]9j[/_]|R0lGOD|UklGR|Qk|SUkq|TU0A|AAAA[\w+/-]{2}Z0eX|AAAA[\w+/-]{2}ZnR5c"
)
_HEAD = 48  # characters by which a picture is told
_BARE = re.compile(
    rf"(?<![={_LETTERS}])(?:(?=(?:{_BEGINNINGS})[{_LETTERS}]{{52}}){_RUN}|[{_LETTERS}]{{2000,}}={{0,2}})"
)
_DEEPEST = 3  # texts in files in texts
NAME = "a file in its text"


def every_file(piece: Contents, deeper: int = _DEEPEST) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file in a piece of a file, also of those that are written in its texts."""
    for name, data in [*piece.files, *((NAME, data) for data in encoded_files(piece))]:
        yield name, data
        if deeper and not is_image(data):
            for inner in contents_of(name, data):
                yield from every_file(inner, deeper - 1)


def encoded_files(piece: Contents) -> Iterator[bytes]:
    """The bytes of each file that a piece's texts hold in base64 or as a data URL, each once."""
    texts = [*([] if piece.whole else [piece.text]), *(leaf.text for leaf in piece.leaves)]
    yield from dict.fromkeys(data for text in texts for data in _in_text(text))


def _in_text(text: str) -> Iterator[bytes]:
    readings = (text, html.unescape(text) if "&" in text else text, unquote(text) if "%" in text else text)
    for reading in dict.fromkeys(readings):
        end = 0
        for url in _URL.finditer(reading):
            if url[0].rstrip().lower().endswith(";base64,"):
                body = _BASE64.match(reading, url.end())
                yield from _decoded(unquote(body[0])) if body else ()
            elif url.end() >= end and is_image(unquote_to_bytes(reading[url.end() : url.end() + _HEAD])):
                plain = _PLAIN.match(reading, url.end())
                end = plain.end() if plain else end  # each is read once, however many begin in it
                yield unquote_to_bytes(plain[0]) if plain else b""
        for run in _BARE.finditer(reading):
            yield from _decoded(run[0])


def _decoded(text: str) -> Iterator[bytes]:
    """Base64, as browsers read it: white space, missing padding and what is no letter of it do not matter."""
    letters = re.sub(r"[^A-Za-z0-9+/]", "", text.translate(str.maketrans("-_", "+/")))
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    with suppress(ValueError):
        if data := base64.b64decode(letters + "=" * (-len(letters) % 4)):
            yield data
