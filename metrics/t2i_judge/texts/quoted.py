"""Finds the texts that a prompt wants in the image: what it quotes, and what it clearly names."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Opening and closing marks; the straight single quote is an apostrophe too, and has a rule of its own.
_PAIRS = (
    ('"', '"'), ("“", "”"), ("„", "“"), ("„", "”"), ("”", "”"), ("‘", "’"), ("‚", "‘"), ("«", "»"), ("»", "«"),
    ("‹", "›"), ("「", "」"), ("『", "』"), ("《", "》"), ("〈", "〉"), ("〝", "〞"), ("＂", "＂"), ("``", "''"),
)  # fmt: skip
_LONGEST = 300  # characters of a wanted text: no picture shows more
_OPENS = {'"': r'(?<!\d)"'}  # behind a digit it is inches
_QUOTED = [
    re.compile(
        f"{_OPENS.get(left, re.escape(left))}([^{re.escape(left[0] + right[0])}\n]{{1,{_LONGEST}}}){re.escape(right)}"
    )
    for left, right in _PAIRS
]
_SHORT = r"(?:n'|(?:\d0s|em|til|tis|twas)\b(?!'))"  # rock 'n' roll, the '90s; but the letter 'n'
_SINGLE = re.compile(rf"(?<!\w)'(?:(?<=letter ')|(?!{_SHORT}))(?=\S)([^\n]{{1,{_LONGEST}}}?)(?<=\S)'(?!\w)")
_NAMES = r"(?:the )?(?:word|words|text|letters?|phrase|slogan|caption|title|number|numbers|digits|initials)"
_READ = (
    r"(?:that|signs?|labels?|banner|poster|placard|plaque|board|billboard|screen|sticker|shirt|mug|card) read(?:s|ing)?"
)
_SAYS = rf"(?:(?:that )?(?:says?|saying|spells?|spelling|labell?ed|titled)|{_READ})"  # people read, too
_CAPITALS = r"[A-Z0-9][A-Z0-9&.'!?-]*(?:\s+[A-Z0-9&][A-Z0-9&.'!?-]*)*"
_UPPER = re.compile(rf"\b(?:{_NAMES}|{_SAYS})\s+({_CAPITALS})(?![\w'])")
_ONE_WORD = re.compile(r"\bthe (?:word (?=[^\W_])|number (?=\d))([\w'’-]+)")
_MEANS_NOTHING = {"on", "in", "is", "are", "of", "and", "or", "written", "printed", "painted", "above", "below", "at"}


def quoted_texts(prompt: str) -> list[str]:
    """The wanted texts in the order of the prompt, each once, white space in them made single spaces.

    Straight, curly, angled and CJK quotation marks; `the word STOP`, `that says OPEN 24 HOURS`, where capitals or a
    single word leave no doubt where the text ends. An apostrophe quotes nothing, and what is longer than 300 characters
    is no text for a picture.
    """
    spans = sorted(_spans(prompt))
    texts: list[str] = []
    end = 0
    for start, stop, text in spans:
        clean = " ".join(text.split())
        if start >= end and len(clean) <= _LONGEST and any(sign.isalnum() for sign in clean):
            end = stop
            texts.append(clean)
    return list(dict.fromkeys(texts))


def _spans(prompt: str) -> Iterator[tuple[int, int, str]]:
    for pattern in (*_QUOTED, _SINGLE):
        for match in pattern.finditer(prompt):
            yield match.start(), match.end(), match[1]
    for match in _UPPER.finditer(prompt):
        text = match[1].rstrip(".,;:")
        if len(re.sub(r"\W", "", text)) > 1 or match[0].split()[-2] in ("letter", "number", "digit"):
            yield match.start(1), match.end(1), text
    for match in _ONE_WORD.finditer(prompt):
        if match[1].casefold() not in _MEANS_NOTHING:
            yield match.start(1), match.end(1), match[1]
