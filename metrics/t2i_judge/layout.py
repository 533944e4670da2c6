"""Tables for a terminal, with aligned columns. Cells are wrapped if a line would be too long."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import accumulate

_GAP = "  "
_ESCAPED = re.compile(r"\\([\\`*_\[\]<>|#])")


def terminal_width() -> int:
    """Characters in a line of the terminal; 80 without a terminal."""
    return shutil.get_terminal_size().columns


def plain_table(cells: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Aligned columns under a ruled header, all of them left aligned.

    Args:
        cells: rows of equal length, the header first.
        width: the longest line in characters; None: no limit. Cells are wrapped between words. Columns that do not fit
            go into a second table below, which repeats the columns that name the rows. Only a word that is longer than
            a line exceeds the width.
    """
    rows = [[one_line(cell) for cell in row] for row in cells]
    if width is None:
        return _table(rows, [max(map(len, column)) for column in zip(*rows, strict=True)])
    least = [_longest_word(column) for column in zip(*rows, strict=True)]
    fitting = max(2, sum(end - len(_GAP) <= width for end in accumulate(words + len(_GAP) for words in least)))
    if fitting < len(least):
        names = _naming(rows, least, fitting - 1, width)
        rest = [[*row[:names], *row[fitting:]] for row in rows]
        return f"{plain_table([row[:fitting] for row in rows], width)}\n\n{plain_table(rest, width)}"
    return _table(rows, _narrowed([max(map(len, column)) for column in zip(*rows, strict=True)], least, width))


def one_line(cell: str) -> str:
    """A text as one line. Names from a table are data, so their line breaks and control characters are removed."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(cell.split()))


def from_markdown(text: str, width: int) -> str:
    """This project's Markdown for a terminal: tables aligned, headings without #, escapes removed."""
    parts: list[str] = []
    table: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("| "):
            table.append([_ESCAPED.sub(r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
            continue
        if table:
            parts.append(plain_table([table[0], *table[2:]], width))
            table = []
        parts.append(_ESCAPED.sub(r"\1", line.lstrip("#").strip() if line.startswith("#") else line))
    return "\n".join(parts).rstrip("\n")


def fitted(text: str, width: int) -> str:
    """A text whose long lines are broken between words and indented. A longer word, such as a path, stays whole."""
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())] + "  "
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _longest_word(column: Sequence[str]) -> int:
    return max((len(word) for cell in column for word in cell.split()), default=0)


def _naming(rows: Sequence[Sequence[str]], least: Sequence[int], most: int, width: int) -> int:
    """How many leading columns distinguish the rows; one, if they would take two thirds of a line."""
    for count in range(1, most + 1):
        different = len({tuple(row[:count]) for row in rows}) == len(rows)
        if different and sum(least[:count]) <= width * 2 / 3:
            return count
    return 1


def _narrowed(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Widths that fit, as far as whole words allow. The widest column shrinks first."""
    room = width - len(_GAP) * (len(widths) - 1)

    def below(level: int) -> list[int]:
        return [max(low, min(have, level)) for have, low in zip(widths, least)]

    level, most = 0, max(widths)
    while level < most:
        middle = (level + most + 1) // 2
        level, most = (middle, most) if sum(below(middle)) <= room else (level, middle - 1)
    narrowed = below(level)
    for column, have in enumerate(widths):
        if sum(narrowed) < room and narrowed[column] == level < have:
            narrowed[column] += 1
    return narrowed


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    rule = ["-" * column for column in widths]
    return "\n".join(line for row in (rows[0], rule, *rows[1:]) for line in _lines(row, widths))


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The lines that a row takes, as many as its longest cell."""
    wrapped = [
        textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) if len(cell) > width else [cell]
        for cell, width in zip(row, widths, strict=True)
    ]
    for number in range(max(map(len, wrapped))):
        parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
        yield _GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
