"""Texts of models and servers, made fit for a line, a file and a table."""

from __future__ import annotations


def shorten(text: str, limit: int = 80) -> str:
    """The text in one line, cut to `limit` characters."""
    line = " ".join(clean(text[: 20 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def clean(text: str) -> str:
    """The text with halves of characters (lone surrogates), which no file can hold, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
