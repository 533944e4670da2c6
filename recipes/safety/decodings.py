"""Texts as those read them who open them: without the codes of addresses, HTML, JSON and CSS, and out of base64."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import unquote

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|u\{0{0,4}([0-9a-fA-F]{1,5})\}|U000([0-9a-fA-F]{5}))")
_CSS = re.compile(r"\\([0-9a-fA-F]{2,6})[ \t\n]?")
_LAST = 0x10FFFF  # code point
_DEEPEST = 3  # base64 of base64 of base64


def _from_base64(text: str) -> bytes:
    letters = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(letters + "=" * (-len(letters) % 4))


def _from_base32(text: str) -> bytes:
    letters = text.rstrip("=").upper()
    return base64.b32decode(letters + "=" * (-len(letters) % 8))


_CODES: tuple[tuple[re.Pattern[str], Callable[[str], bytes]], ...] = (
    (re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,2000}={0,2}(?![A-Za-z0-9+/_=-])"), _from_base64),
    (  # in lines, as mail and `base64` write it
        re.compile(
            r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{56,80}\r?\n[ \t]*){1,400}"
            r"[A-Za-z0-9+/_-]{0,80}={0,2}(?![A-Za-z0-9+/_=-])"
        ),
        _from_base64,
    ),
    (re.compile(r"(?<![A-Za-z0-9])(?:[0-9a-fA-F]{2}){16,1000}(?![A-Za-z0-9])"), bytes.fromhex),
    (re.compile(r"(?<![A-Za-z0-9])(?:[A-Z2-7]{32,2000}|[a-z2-7]{32,2000})={0,6}(?![A-Za-z0-9=])"), _from_base32),
)


def readings(text: str) -> Iterator[str]:
    """A text without codes, where it has any: those of addresses, of HTML, and escapes of JSON and most languages."""
    said = (
        unquote(text) if "%" in text else text,
        html.unescape(text) if "&" in text else text,
        _ESCAPE.sub(_sign, text) if "\\" in text else text,
    )
    yield from (reading for reading in dict.fromkeys(said) if reading != text)


def decodings(text: str, deeper: int = _DEEPEST) -> Iterator[str]:
    """The readings of a text, that of a style sheet, and each text in it that stands in base64, base32 or hex."""
    yield from readings(text)
    if "\\" in text and (said := _CSS.sub(_sign, text)) != text:
        yield said
    for form, decode in _CODES:
        for match in form.finditer(text):
            with suppress(ValueError):  # UnicodeDecodeError and binascii.Error are such: no text
                said = decode(match[0]).decode("ascii")
                if all(sign.isprintable() or sign.isspace() for sign in said):
                    yield said
                    yield from decodings(said, deeper - 1) if deeper else ()


def _sign(match: re.Match[str]) -> str:
    code = int(next(part for part in match.groups() if part), 16)
    return chr(code) if code <= _LAST and not 0xD800 <= code < 0xE000 else match[0]
