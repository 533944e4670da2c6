"""Spreadsheets as Excel, LibreOffice and Numbers save them: one sheet of a workbook, row by row.

If several sheets have cells, one is named behind the file: BOOK.xlsx:SHEET.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .grids import NoGrid, Span, span, unpacked_bytes
from .headers import LINES, Remarks, header_place, looks_like_a_summary, passed_over

ENDINGS = (".xlsx", ".ods")  # not .xls: how large its sheets are cannot be told before they are laid out

_LARGEST = 1 << 30  # bytes of an unpacked workbook: it is read whole
_MOST_CELLS = 20_000_000  # that the sheets of a workbook may span: a gigabyte or so
_MOST_LETTERS = 1 << 28  # that may stand in them
_PLAIN, _DENSEST = 50_000_000, 200  # bytes that any workbook may unpack to; of others, times those of its file
_NO_VALUE = "#N/A"  # how a spreadsheet writes a gap


def book_and_sheet(source: str | Path) -> tuple[Path, str | None]:
    """File and sheet of BOOK.xlsx:SHEET. Anything else, or an existing file of that name, is a path alone."""
    path, (book, _, sheet) = Path(source), str(source).rpartition(":")
    if path.exists() or Path(book).suffix.lower() not in ENDINGS:
        return path, None
    return Path(book), sheet


def workbook_rows(source: Path, wanted: Sequence[str], remarks: Remarks) -> Iterator[dict[str, Any]]:
    """Rows of a sheet below its header (`headers.header_place`), with the wanted columns only.

    Whole numbers are int, other numbers float. Empty cells and #N/A are None. Dates are text in ISO 8601.

    Raises:
        UserError: python-calamine is missing; it is not a workbook, or is larger than 1 GiB, 20 million cells
            or 268 million letters; several sheets have cells and none is named; the sheet does not exist; a column is
            named twice.
    """
    path, sheet = book_and_sheet(source)
    rows = _sheet(path, sheet)
    records = [[str(_plain(cell) or "").strip() for cell in row] for row in rows[:LINES]]
    place = header_place(records, wanted)
    header = records[place] if records else []
    if place:
        remarks.above = passed_over(source, records[:place])
    twice = next((name for name, count in Counter(filter(None, header)).items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"{path} has the column '{twice}' twice", "Each column needs its own name", "Rename one of them"
        )
    if first := next((name for name in header if name), None):
        remarks.last_row = looks_like_a_summary(source, first, rows[-1][header.index(first)])
    for row in rows[place + 1 :]:
        yield {name: _plain(cell) for name, cell in zip(header, row, strict=True) if name}


def _sheet(path: Path, sheet: str | None) -> list[list[Any]]:
    """Its rows that are not empty, all of one length."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        fix = "Run: pip install 't2i-judge[excel]', or save the sheet as CSV"
        raise UserError(
            f"{path} is a workbook", "Workbooks are read by python-calamine, which is not installed", fix
        ) from error

    _refuse_what_fills_memory(path)
    sheets: dict[str, list[list[Any]]] = {}
    spanned = letters = 0
    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            for name in book.sheet_names:
                sheets[name] = rows = book.get_sheet_by_name(name).to_python()
                spanned += sum(map(len, rows))
                letters += sum(len(cell) for row in rows for cell in row if isinstance(cell, str))
                _refuse_many(path, spanned, letters)  # once more: a workbook may name one sheet a thousand times
    except CalamineError as error:
        raise UserError(f"{path} is not a workbook", str(error), "Save it again, or save the sheet as CSV") from error
    filled = {
        name: cells for name, rows in sheets.items() if (cells := [row for row in rows if any(map(_is_cell, row))])
    }
    if sheet is not None:
        if sheet not in sheets:
            raise UserError(f"{path} has no sheet '{sheet}'", nearest(sheet, sheets), "Correct the name")
        return filled.get(sheet, [])
    if len(filled) > 1:
        fix = f"Name one: --sheet '{next(iter(filled))}', or {path.name}:{next(iter(filled))}"
        raise UserError(f"{path} has {len(filled)} sheets with cells", f"Their names are {', '.join(filled)}", fix)
    return next(iter(filled.values()), [])


def _refuse_what_fills_memory(path: Path) -> None:
    """A sheet is laid out from its first cell to its last, whatever is between them."""
    try:
        size = unpacked_bytes(path)
        is_large = size > min(_LARGEST, max(_PLAIN, _DENSEST * path.stat().st_size))
        spans = Span(0, 0) if is_large else span(path)
    except NoGrid as error:
        raise UserError(f"{path} is not a workbook", str(error), "Save it again, or save the sheet as CSV") from error
    if is_large:
        raise UserError(
            f"{path} unpacks to {size >> 20} MB", "A workbook is read into memory as a whole", "Save the sheet as CSV"
        )
    _refuse_many(path, spans.cells, spans.letters)


def _refuse_many(path: Path, cells: int, letters: int) -> None:
    if cells > _MOST_CELLS:
        raise UserError(
            f"The sheets of {path} span {cells:,} cells, from the first to the last one",
            f"A workbook is read into memory as a whole, and {_MOST_CELLS:,} cells are the most",
            "Delete what stands far from the table, or save the sheet as CSV",
        )
    if letters > _MOST_LETTERS:
        raise UserError(
            f"The cells of {path} hold {letters:,} letters",
            f"A text stands in memory as often as cells name it, and {_MOST_LETTERS:,} letters are the most",
            "Save the sheet as CSV",
        )


def _is_cell(cell: Any) -> bool:
    return not (isinstance(cell, str) and cell == "")


def _plain(cell: Any) -> Any:
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell
    if isinstance(cell, str):
        return None if cell in ("", _NO_VALUE) else cell
    return cell if isinstance(cell, bool) else str(cell)
