"""Reads CSV with comma, semicolon or tab, in UTF-8 or UTF-16, as Arrow's batches of text.

Arrow reads and parses in threads of its own, one of which may hold the last reference to what it was given. A Python
object there (a handler of odd rows, a codec) needs the interpreter as it goes, and a process that ends just then aborts
or hangs. So Arrow is given paths and plain settings, and nothing else.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import encoding_of, open_new, open_text
from ..wording import counted
from .headers import LINES, Remarks, header_place, passed_over
from .quotation import require_closed
from .spreadsheets import is_ours, unguarded

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = {".csv": ",", ".tsv": "\t"}  # what separates cells where the lines do not tell
LONGEST = 1 << 26  # bytes of the longest row, and of a block of a file with long ones
_SEPARATORS = (",", ";", "\t")
_HINT = re.compile(r"sep=.?", re.IGNORECASE)
_BATCH = 1000  # rows made at a time
_BLOCK = 1 << 16  # bytes read at a time
_COPIED = 1 << 20  # characters recoded at a time
_SAMPLE = 20  # records that show what separates cells
_UNEVEN = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)")


def separated_rows(path: Path, wanted: Sequence[str], remarks: Remarks) -> Iterator[dict[str, Any]]:
    """Rows of a CSV file, read in small blocks for as long as every row fits into one."""
    from pyarrow import ArrowInvalid

    count = 0
    for block in (_BLOCK, LONGEST):
        try:
            for row in islice(_rows_in_blocks(path, block, wanted, remarks), count, None):
                count += 1
                yield row
            return
        except ArrowInvalid as error:
            if "straddling" not in str(error) or block == LONGEST:
                raise


def _rows_in_blocks(path: Path, block: int, wanted: Sequence[str], remarks: Remarks) -> Iterator[dict[str, Any]]:
    with separated(path, block, wanted, remarks) as batches:
        ours = is_ours(batches.schema.names)
        require_closed_quotes(path, wanted)
        for batch in batches:
            for first in range(0, len(batch), _BATCH):
                for row in batch.slice(first, _BATCH).to_pylist():
                    yield {name: unguarded(cell) for name, cell in row.items()} if ours else row


def require_closed_quotes(path: Path, wanted: Sequence[str]) -> None:
    """Raise `UserError` as `quotation.require_closed`."""
    require_closed(path, _header(path, wanted).separator)


@contextmanager
def separated(path: Path, block: int, wanted: Sequence[str], remarks: Remarks) -> Iterator[pa.RecordBatchReader]:
    """The named columns of a CSV file as Arrow batches of text, closed at the end; for `wanted` see `header_place`."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    header = _header(path, wanted)
    named = [name for name in header.names if name]
    if header.above:
        remarks.above = passed_over(path, header.above)
    twice = next((name for name, count in Counter(named).items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"{path} has the column '{twice}' twice", "Each column needs its own name", "Rename one of them"
        )
    read = arrow_csv.ReadOptions(
        use_threads=False,  # rows are numbered for errors then, and nothing is read ahead
        block_size=block,
        skip_rows=header.line,
        column_names=[name or f"\0{number}" for number, name in enumerate(header.names)],
        encoding="utf8",  # Arrow recodes "utf-8"
    )
    parse = arrow_csv.ParseOptions(delimiter=header.separator, newlines_in_values=True)
    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(named, pa.string()), include_columns=named)
    try:
        with (
            _as_utf8(path) as file,
            _nothing(named) if _ends(path, header.line) else arrow_csv.open_csv(file, read, parse, convert) as batches,
        ):
            yield batches
    except pa.ArrowInvalid as error:
        if not (uneven := _UNEVEN.match(str(error))):
            raise
        row, expected, cells = map(int, uneven.groups())
        fix = "Quote cells that contain separators or line breaks"
        title = "Remove the lines above the header. " if expected == 1 else ""
        raise UserError(
            f"{path}, row {row - header.line} has {counted(cells, 'cell')}",
            f"The header has {expected}",
            f"{title}{fix}",
        ) from error


@contextmanager
def _as_utf8(path: Path) -> Iterator[Path]:
    """The file itself, or a copy where it is UTF-16, which is removed at the end."""
    if encoding_of(path) != "utf-16":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with open_new(copy) as out, open_text(path, newline="") as text:  # closed: Windows opens no file twice
            for part in iter(partial(text.read, _COPIED), ""):
                out.write(part.encode())
        yield copy


def _nothing(named: Sequence[str]) -> pa.RecordBatchReader:
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(pa.schema([(name, pa.string()) for name in named]), [])


def _ends(path: Path, lines: int) -> bool:
    """Whether there is nothing but blank lines behind the first ones."""
    with open_text(path, newline="") as text:  # lines as the header's reader counts them
        return not any(line.strip() for line in islice(text, lines, None))


@dataclass(frozen=True)
class _Header:
    """Names of the columns, the line they end on, what separates cells, and the cells of lines above."""

    names: list[str]
    line: int
    separator: str
    above: list[list[str]]
    even: bool  # whether the next records have as many cells


def _header(path: Path, wanted: Sequence[str] = ()) -> _Header:
    """The header of a CSV file.

    The separator is the one by which it has the wanted names, and the first records all have the same number of cells,
    and the most. Blank lines, lines of nothing but separators, and Excel's line `sep=;` may stand before the header.
    """
    csv.field_size_limit(LONGEST)
    headers = [_header_by(path, separator, wanted) for separator in _SEPARATORS]
    even = [header for header in headers if header.even]
    usual = next(header for header in headers if header.separator == ENDINGS[path.suffix.lower()])
    return max(even, key=lambda header: (set(wanted) <= set(header.names), len(header.names)), default=usual)


def _header_by(path: Path, separator: str, wanted: Sequence[str]) -> _Header:
    with open_text(path, newline="") as text:
        reader = csv.reader(text, delimiter=separator)
        filled = ((reader.line_num, cells) for cells in reader if any(cells))
        first = islice(filled, LINES + _SAMPLE)
        records = [(line, cells) for line, cells in first if not _HINT.fullmatch("".join(cells))]
    named = [_names(cells) for _, cells in records]
    place = header_place(named, wanted)
    line, names = (records[place][0], named[place]) if records else (0, [])
    widths = {len(cells) for cells in named[place + 1 : place + 1 + _SAMPLE]}
    return _Header(names, line, separator, named[:place], len(names) > 1 and widths <= {len(names)})


def _names(cells: Sequence[str]) -> list[str]:
    names = [name.strip() for name in cells]
    return [*map(unguarded, names)] if is_ours(names) else names
