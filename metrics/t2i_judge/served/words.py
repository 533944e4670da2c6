"""Makes texts of models and servers fit for a line, a file or a table."""

from __future__ import annotations

LONGEST = 300  # characters of a text that is shown in a reason


def shorten(text: str, limit: int = LONGEST) -> str:
    """The text in one line, without control characters, cut to `limit` characters between two words."""
    printable = "".join(letter if letter.isprintable() else " " for letter in clean(text[: 20 * limit]))
    line = " ".join(printable.split())
    if len(line) <= limit:
        return line
    head, _, last = line[: limit - 3].rpartition(" ")
    return f"{head if len(last) < limit // 2 else line[: limit - 3]}..."


def clean(text: str) -> str:
    """The text with halves of characters (lone surrogates), which no file can hold, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
