"""Spreadsheets as Excel, LibreOffice and Numbers save them: the one sheet of a workbook, row by row."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError

ENDINGS = (".xlsx", ".ods", ".xls")

_LARGEST = 1 << 30  # bytes of an unpacked workbook: it is read whole
_NO_VALUE = "#N/A"  # how a spreadsheet writes a gap


def workbook_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the only sheet with cells; its first row that is not empty names the columns, others are left out.

    Numbers are numbers, whole ones int; empty cells and #N/A are None; dates are text as ISO 8601 has it.

    Raises:
        UserError: without python-calamine; no workbook; several sheets with cells; a column named twice; above 1 GiB.
    """
    rows = _only_sheet(path)
    header = [str(_plain(cell) or "").strip() for cell in next(rows, [])]
    twice = next((name for name, count in Counter(filter(None, header)).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path} has the column '{twice}' twice", "a name must mean one column", "rename one of them")
    for row in rows:
        yield {name: _plain(cell) for name, cell in zip(header, row, strict=True) if name}


def _only_sheet(path: Path) -> Iterator[list[Any]]:
    """Its rows that are not empty, all of one length."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        fix = "pip install 't2i-judge[excel]', or save the sheet as CSV"
        raise UserError(f"{path} is a workbook", "python-calamine reads those", fix) from error

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise UserError(f"{path} unpacks to {size >> 20} MB", "a workbook is read whole", "save the sheet as CSV")
    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except CalamineError as error:
        raise UserError(f"{path} is no workbook", str(error), "save it anew, or the sheet as CSV") from error
    filled = {
        name: cells for name, rows in sheets.items() if (cells := [row for row in rows if any(map(_is_cell, row))])
    }
    if len(filled) > 1:
        fix = "save the one that is meant as a workbook of its own, or as CSV"
        raise UserError(f"{path} has {len(filled)} sheets with cells", f"they are called {', '.join(filled)}", fix)
    yield from next(iter(filled.values()), [])


def _is_cell(cell: Any) -> bool:
    return not (isinstance(cell, str) and cell == "")


def _plain(cell: Any) -> Any:
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell
    if isinstance(cell, str):
        return None if cell in ("", _NO_VALUE) else cell
    return cell if isinstance(cell, bool) else str(cell)
