"""Reads parquet files of strangers: a kilobyte may expand to gigabytes, and some broken files abort the process.

Therefore the statistics of columns are not read. If a file says that a group of rows is large, only a few rows are
decoded at a time, and no text is copied before its length is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_LONGEST = 1 << 26  # bytes of a text, as of a row of a CSV file
_IMAGES = 32  # rows decoded at a time: few, they may hold images
_FEW, _LARGE = 4, 1 << 24  # rows decoded at a time where a group of rows has more than so many bytes
_MANY = 10_000  # rows of a table that is held at once from which on none is looked at by itself


def parquet_columns(path: Path) -> list[str]:
    """The names of its columns."""
    from pyarrow import parquet

    return list(parquet.read_schema(path).names)


def parquet_rows(path: Path, columns: Sequence[str] | None, start: int) -> Iterator[dict[str, Any]]:
    """Rows from number `start` on; row groups before it are not read at all."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
        first = 0
        while first < len(sizes) and start >= sizes[first]:
            start -= sizes[first]
            first += 1
        if first < len(sizes):
            groups, names = list(range(first, len(sizes))), None if columns is None else list(columns)
            batches = file.iter_batches(_rows_at_a_time(file.metadata), groups, columns=names)
            rows = (row for batch in batches if _is_short(path, batch) for row in batch.to_pylist())
            yield from islice(rows, start, None)


def parquet_table(path: Path, columns: list[str] | None) -> pa.Table:
    """All rows at once. Large rows are read a few at a time and checked first."""
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        at_a_time, names = _rows_at_a_time(file.metadata), columns or file.schema_arrow.names
        if at_a_time == _IMAGES or not 0 < file.metadata.num_rows <= _MANY:
            return parquet.read_table(path, columns=columns)
        batches = [batch for batch in file.iter_batches(at_a_time, columns=columns) if _is_short(path, batch)]
        return pa.Table.from_batches(batches).select(names)


def _rows_at_a_time(about: parquet.FileMetaData) -> int:
    """Few where a group of rows is large by what the file says of itself: a kilobyte may say gigabytes.

    What it says of a column is not looked at: Arrow aborts the process over some broken files.
    """
    groups = (about.row_group(index) for index in range(about.num_row_groups))
    return _FEW if any(group.total_byte_size > _LARGE for group in groups) else _IMAGES


def _is_short(path: Path, batch: pa.RecordBatch) -> bool:
    """True. Raises `UserError` for a text that is longer than `_LONGEST`, before it is copied any further."""
    from pyarrow import compute, types

    for name, column in zip(batch.schema.names, batch.columns):
        is_text = types.is_string(column.type) or types.is_large_string(column.type)
        if is_text and (compute.max(compute.binary_length(column)).as_py() or 0) > _LONGEST:
            raise _too_long(path, name)
    return True


def _too_long(path: Path, column: str) -> UserError:
    reason = f"A text in column '{column}' has more than {_LONGEST >> 20} MB"
    return UserError(f"Cannot read {path}", reason, "Leave it out")
