"""Rows for large runs: any stretch of a table, streamed; only a few rows are in memory at a time.

A row keeps its images as they are stored (paths, or `{"bytes", "path"}`), so that a broken one becomes the status of
its item later on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records import Question, question_from_json, read_jsonl
from .tables import Row, iter_rows, unknown_column

_BATCH = 32  # rows of a parquet file decoded at once: few, they may hold images


def rows_from(source: str, start: int = 0, count: int | None = None) -> Iterator[Row]:
    """Rows number `start` (from 0) and on, at most `count`.

    Args:
        source: a .csv, .tsv, .jsonl, .json or .parquet file; a dataset folder or Hub dataset as NAME, NAME:CONFIG or
            NAME:CONFIG:SPLIT (streamed, not downloaded).

    Raises:
        UserError: it does not exist, is of no known kind, or cannot be read.
    """
    stop = None if count is None else start + count
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".parquet":
        yield from islice(_parquet_rows(path, start), count)
    elif path.is_dir() or (not path.suffix and not path.exists()):
        yield from islice(_streamed_rows(source, start), count)
    else:
        yield from islice(iter_rows(source), start, stop)


def _parquet_rows(path: Path, start: int) -> Iterator[Row]:
    """Row groups before `start` are not read at all."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
            first = 0
            while first < len(sizes) and start >= sizes[first]:
                start -= sizes[first]
                first += 1
            if first < len(sizes):
                batches = file.iter_batches(_BATCH, list(range(first, len(sizes))))
                yield from islice((row for batch in batches for row in batch.to_pylist()), start, None)
    except ArrowException as error:
        raise UserError(f"{path} is not parquet", str(error), "write it anew") from error


def _streamed_rows(source: str, start: int) -> Iterator[Row]:
    from datasets import Image, load_dataset

    name, config, split = (*source.split(":"), None, None)[:3]
    try:
        splits = load_dataset(name, config, streaming=True)
        chosen = split or (next(iter(splits)) if len(splits) == 1 else "test")
        if chosen not in splits:
            raise UserError(f"{source} has no split {chosen!r}", f"it has {', '.join(splits)}", "say NAME:CONFIG:SPLIT")
        data = splits[chosen]
        for column, feature in (data.features or {}).items():
            if isinstance(feature, Image):
                data = data.cast_column(column, Image(decode=False))
        yield from data.skip(start)
    except (OSError, ValueError, LookupError, RuntimeError) as error:  # what builders and the Hub client raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot load the dataset {source}", reason, "check its name, config and HF_TOKEN") from error


def count_rows(source: str) -> int:
    """Number of rows; read off a parquet file's footer, counted elsewhere. Raises `UserError` as `rows_from`."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".parquet":
        from pyarrow import ArrowException, parquet

        try:
            return int(parquet.read_metadata(path).num_rows)
        except ArrowException as error:
            raise UserError(f"{path} is not parquet", str(error), "write it anew") from error
    return sum(1 for _ in rows_from(source))


def read_decompositions(path: str | Path) -> dict[str, list[Question]]:
    """Prompt -> questions from JSON Lines of {prompt, questions}; prompts without questions are left out.

    Raises:
        UserError: the file cannot be read, or a line has another shape.
    """
    try:
        rows = [row for row in read_jsonl(path) if row["questions"]]
        return {row["prompt"]: [question_from_json(record) for record in row["questions"]] for row in rows}
    except (OSError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read decompositions from {path}", repr(error), "lines need prompt and questions"
        ) from error


def identity(source: str) -> Row:
    """What tells a source from another of the same name: its size, where it is a file."""
    path = Path(source)
    return {"name": source, "size": path.stat().st_size if path.is_file() else None}


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; `images` is the folder that relative image paths start from."""

    prompt: str = "prompt"
    image: str = "image"
    id: str | None = None
    reference_image: str | None = None
    images: Path | None = None

    def check(self, row: Row, source: str) -> None:
        """Raise `UserError`, naming the nearest, when a row lacks a column."""
        for column in (self.prompt, self.image, self.id, self.reference_image):
            if column is not None and column not in row:
                raise unknown_column(source, column, row)

    def item(self, row: Row, number: int) -> tuple[Any, str, Any, str]:
        """(image, prompt, reference image, id) of row `number`; the id is the number where there is no such column."""
        name = row.get(self.id) if self.id else None
        reference = self._image(row.get(self.reference_image)) if self.reference_image else None
        return self._image(row.get(self.image)), row.get(self.prompt) or "", reference, str(name or f"{number:08d}")

    def _image(self, value: Any) -> Any:
        """An image cell; a relative path is taken from the folder of images."""
        if isinstance(value, dict) and not value.get("bytes"):
            value = value.get("path")
        if isinstance(value, str) and value and self.images is not None:
            return str(self.images / value)
        return value or None
