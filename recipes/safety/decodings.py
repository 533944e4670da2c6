"""Texts as those read them who open them: without the codes of addresses, HTML, JSON and CSS, and out of base64."""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import unquote

from recipes.safety.contents import text_of

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|u\{0{0,4}([0-9a-fA-F]{1,5})\}|U000([0-9a-fA-F]{5}))")
_CSS = re.compile(r"\\([0-9a-fA-F]{2,6})[ \t\n]?")
_QUOTED = re.compile(r"=(?:\r?\n|([0-9A-F]{2}))")  # as mail writes them, and breaks its lines
_MAIL = re.compile(r"=(?:3D|\r?\n|[0-9A-F]{2}=[0-9A-F]{2}=)")
_NOT_HEX = re.compile(r"0[xX]|[^0-9a-fA-F]")
_LAST = 0x10FFFF  # code point
_DEEPEST = 3  # base64 of base64 of base64, `%25255F`
_RUN = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]{12,}")  # of signs that can be read


def from_base64(text: str) -> bytes:
    """What base64 says, URL-safe or not, padded or not. Raises `ValueError` for what is none."""
    letters = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(letters + "=" * (-len(letters) % 4))


def _from_base32(text: str) -> bytes:
    letters = text.rstrip("=").upper()
    return base64.b32decode(letters + "=" * (-len(letters) % 8))


def _from_pairs(text: str) -> bytes:
    return bytes.fromhex(_NOT_HEX.sub("", text))


def _from_numbers(text: str) -> bytes:
    return bytes(int(number) for number in re.findall(r"\d+", text))


def _from_octal(text: str) -> bytes:
    return bytes(int(code, 8) for code in text.split("\\") if code)


_CODES: tuple[tuple[re.Pattern[str], Callable[[str], bytes]], ...] = (
    (re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,2000}={0,2}(?![A-Za-z0-9+/_=-])"), from_base64),
    (  # in lines, as mail and `base64` write it
        re.compile(
            r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{56,80}\r?\n[ \t]*){1,400}"
            r"[A-Za-z0-9+/_-]{0,80}={0,2}(?![A-Za-z0-9+/_=-])"
        ),
        from_base64,
    ),
    (re.compile(r"(?<![A-Za-z0-9])(?:[0-9a-fA-F]{2}){16,1000}(?![A-Za-z0-9])"), bytes.fromhex),
    (  # letter by letter: pairs of hex apart, lists of numbers, octal escapes
        re.compile(r"(?<![A-Za-z0-9])(?:(?:0[xX])?[0-9a-fA-F]{2}[ :,;-]{1,3}){15,1000}+(?:(?:0[xX])?[0-9a-fA-F]{2})?"),
        _from_pairs,
    ),
    (re.compile(r"(?<![\w.])(?:\d{2,3}[\s,;]{1,40}+){15,1000}+(?:\d{2,3})?"), _from_numbers),
    (re.compile(r"(?:\\[01]?[0-7]{2}){12,1000}+"), _from_octal),
    (re.compile(r"(?<![A-Za-z0-9])(?:[A-Z2-7]{32,2000}|[a-z2-7]{32,2000})={0,6}(?![A-Za-z0-9=])"), _from_base32),
)


def _out_of_addresses(text: str) -> str:
    return unquote(text) if "%" in text else text


def _without_escapes(text: str) -> str:
    return _ESCAPE.sub(_sign, text) if "\\" in text else text


def _out_of_mail(text: str) -> str:
    is_mail = "=" in text and _MAIL.search(text) is not None
    return _QUOTED.sub(lambda match: chr(int(match[1], 16)) if match[1] else "", text) if is_mail else text


def readings(text: str) -> Iterator[str]:
    """A text without codes, where it has any: of addresses, HTML, mail, and escapes of JSON and most languages.

    First without each of them, then without all, and again, for what stands in codes of codes. The last has the fewest.
    """
    known = {text: None}
    for _ in range(_DEEPEST):
        plain = text
        for read in (_out_of_addresses, html.unescape, _without_escapes, _out_of_mail):
            known.setdefault(read(text))
            plain = read(plain)
        if plain == text:
            break
        known.setdefault(text := plain)
    yield from list(known)[1:]


def decodings(text: str, deeper: int = _DEEPEST) -> Iterator[str]:
    """The readings of a text, that of a style sheet, and what can be read in it of base64, base32, hex and the like."""
    said = list(readings(text))
    yield from said
    if "\\" in text and (style := _CSS.sub(_sign, text)) != text:
        yield style
    if not text.isascii() and (narrow := unicodedata.normalize("NFKC", text)) != text:  # wide letters, bold ones
        yield narrow
    for form, decode in _CODES:
        for code in dict.fromkeys(match[0] for one in (text, *said[-1:]) for match in form.finditer(one)):
            with suppress(ValueError):  # binascii.Error is one
                for run in _runs(decode(code)):
                    yield run
                    yield from decodings(run, deeper - 1) if deeper else ()


def _runs(data: bytes) -> Iterator[str]:
    """What can be read in bytes, between others: in UTF-8, UTF-16 or UTF-32, with or without a mark."""
    as_they_stand = data.decode(errors="replace").replace("\0", "")
    yield from dict.fromkeys(run for said in (text_of(data), as_they_stand) for run in _RUN.findall(said))


def _sign(match: re.Match[str]) -> str:
    code = int(next(part for part in match.groups() if part), 16)
    return chr(code) if code <= _LAST and not 0xD800 <= code < 0xE000 else match[0]
