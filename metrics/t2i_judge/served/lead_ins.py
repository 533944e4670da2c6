"""Tells from the words before a reply's object whether the model gives it as its verdict, or repeats it.

"The sign reads:" quotes what a stranger wrote; "Here is the JSON:" does not. Words that rate the image otherwise than
the object does leave nobody sure which is meant.
"""

from __future__ import annotations

import re

_LONGEST = 400  # characters of a lead-in
_FENCE = re.compile(r"(?:(?:```\w{0,20}|`|<answer>|<\|begin_of_(?:box|solution)\|>)\s{0,9}){1,3}$", re.IGNORECASE)
_QUOTE = re.compile(r"(?:(?:^|[\s:(\[])[\"'>]|[“‘«„「『])\s*$")  # a mark that opens a quotation
_END = re.compile(r"[.!?][*_\"')]*(?:\s|$)|[。！？]")  # of a sentence
_PART = re.compile(r"[,;，；]|\s[-–—]\s")
_VERB = (
    r"reads?|says|said|saying|shows|displays|writes|wrote|states|spells|bears|claims|quotes?|quoted|lautet|steht|liest"
    r"|zeigt|indique|affiche|muestra"
)
_SURFACE = (
    r"signs?|signboard|placard|poster|banner|billboard|plaque|sticker|label|watermark|screen|bubble|blackboard"
    r"|whiteboard|schild|plakat|panneau|affiche|pancarte|letrero|cartel"
)
_WORDS = (
    r"text|texts|note|caption|inscription|lettering|letters|writing|written|words|printed|painted|message|transcri\w+"
    r"|contains|ocr|geschrieben|écrit|escrito"
)
_READS = re.compile(rf"\b(?:{_VERB})\W*$", re.IGNORECASE)
_SHOWN = re.compile(rf"\b(?:{_VERB}|{_SURFACE})\b|写着|寫著|写道|显示|顯示|牌子|招牌|看板|書かれ", re.IGNORECASE)
_TOLD = re.compile(rf"{_SHOWN.pattern}|\b(?:{_WORDS})\b|文字", re.IGNORECASE)
_OWN = re.compile(
    r"\b(?:here|below|my|i|so|thus|therefore|hence|final(?:ly)?|json|verdict|answers?|results?|evaluation|assessment"
    r"|judge?ments?|ratings?|scores?|output|response|questions?|summar\w+|conclusion)\b",
    re.IGNORECASE,
)
_NUMBER = r"(?P<{}>[0-9]{{1,3}}(?:\.[0-9]{{1,3}})?)(?!\.?[0-9])"
_LINK = r"(?:i|it|this|that|the|an?|as|at|of|is|be|would|should|to|with|only|final|overall|image|picture|photo)"
_RATING = re.compile(
    rf"(?<![0-9./]){_NUMBER.format('of_ten')}\s{{0,3}}(?:/|out\s{{1,3}}of)\s{{0,3}}10\b(?!\s?/)"
    rf"|\b(?:scor|rat|grad|giv)(?:e|es|ed|ing|ings)\b(?:\W{{1,6}}{_LINK}\b){{0,8}}\W{{1,6}}{_NUMBER.format('alone')}"
    r"(?!\s{0,3}(?:[-–]|to\b)\s{0,3}[0-9])",  # of a range, as in "scores from 0 to 10"
    re.IGNORECASE,
)


def ratings(text: str) -> set[float]:
    """What a text rates the image, as far as it does: 1.0 for "I would rate it 1 out of 10"."""
    return {float(match["of_ten"] or match["alone"]) for match in _RATING.finditer(text)}


def quotes(before: str) -> bool:
    """Whether the sentence that leads to an object says where it was read, and not whose verdict it is.

    Args:
        before: the text that stands before the object.
    """
    before = _FENCE.sub("", before[-_LONGEST:])
    if _QUOTE.search(before):
        return True
    words = before.rstrip()
    sentence = _END.split(words.rpartition("\n")[2])[-1].rstrip("*_ ")
    if "\n" in before[len(words) :] and not sentence.endswith((":", "：")):  # a list's last line leads to nothing
        return bool(_READS.search(sentence))
    part = _PART.split(re.sub(r"\W+$", "", sentence))[-1]
    return bool(_SHOWN.search(part) or (_TOLD.search(sentence) and not _OWN.search(part)))
