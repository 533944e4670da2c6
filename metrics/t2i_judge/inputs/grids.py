"""How many cells the sheets of a workbook span, and how much text stands in them, told before anything lays them out.

A file of a kilobyte may name a cell in row 1,048,576 of column XFD; a reader that lays out a sheet from its first cell
to its last then asks for half a terabyte. A text of a megabyte stands in the file once, and in all cells that name it.
The sheets are read as a stream, without entities, and only counted.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.parsers import expat

from ..files import open_plain

_CHUNK = 1 << 20  # bytes
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DIGITS = 12  # of a text's number
_MOST_TEXTS = 5_000_000
_CELL = re.compile(r"([A-Za-z]{0,6})([0-9]{1,9})")  # AB12, or the number of a row


class NoGrid(ValueError):
    """A sheet cannot be read; the message says why."""


@dataclass(frozen=True)
class Span:
    """Cells from the first to the last one that holds something, and letters of text that stand in them."""

    cells: int
    letters: int


class _Strings:
    """How long the texts are that cells of Excel's sheets name by their numbers (section 18.4)."""

    mark = b"sst"

    def __init__(self) -> None:
        self.lengths = array("Q")
        self._length: int | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name.rpartition(":")[2] == "si":
            self._length = 0

    def data(self, text: str) -> None:
        if self._length is not None:
            self._length += len(text)

    def end(self, name: str) -> None:
        if name.rpartition(":")[2] == "si" and self._length is not None:
            self.lengths.append(self._length)
            self._length = None
            if len(self.lengths) > _MOST_TEXTS:
                raise NoGrid(f"it has more than {_MOST_TEXTS:,} texts")


class _ExcelSheet:
    """The last row and column that hold something (ECMA-376, part 1, section 18.3.1); places left out follow."""

    mark = b"sheetData"

    def __init__(self, lengths: Sequence[int]) -> None:
        self._row = self._column = 1
        self._place: tuple[int, int] | None = None  # of the cell that is open
        self._rows = self._columns = 0
        self._lengths, self._shared, self._value = lengths, False, ""
        self.letters = 0

    @property
    def cells(self) -> int:
        return self._rows * self._columns

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        element, reference = name.rpartition(":")[2], attributes.get("r")
        if self._place:  # a cell without anything in it is a format only
            self._rows, self._columns = max(self._rows, self._place[0]), max(self._columns, self._place[1])
        elif element == "row" and reference is not None:
            self._row, _ = _row_and_column(reference)
        elif element == "c":
            row, self._column = (self._row, self._column) if reference is None else _row_and_column(reference)
            self._place = row, self._column
            self._shared, self._value = attributes.get("t") == "s", ""

    def data(self, text: str) -> None:
        if self._place is None:
            return
        if self._shared:
            self._value = (self._value + text)[:_DIGITS]
        else:
            self.letters += len(text)

    def end(self, name: str) -> None:
        element = name.rpartition(":")[2]
        if element == "c":
            if self._shared and self._lengths:
                self.letters += self._named(self._value)
            self._place = None
            self._column += 1
        elif element == "row":
            self._row += 1
            self._column = 1

    def _named(self, number: str) -> int:
        """How long the text of this number is; where it is written in an odd way, the longest of all."""
        if len(number) == _DIGITS or not (number.isascii() and number.isdigit()):
            return max(self._lengths)
        return self._lengths[int(number)] if int(number) < len(self._lengths) else 0


class _OpenDocument:
    """The same of every table (OpenDocument 1.3, part 3, section 9.1), whose rows and cells may be repeated."""

    mark = b"table:table"

    def __init__(self) -> None:
        self.cells = self.letters = 0  # cells: of the tables that have ended
        self._row = self._column = self._rows = self._columns = 0
        self._times = self._repeated = 1  # the row that is open, and its cell
        self._open = False  # whether a cell is

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "table:table-row":
            self._column = 0
            self._times = _times(attributes.get("table:number-rows-repeated"))
            self._row += self._times
        elif name in ("table:table-cell", "table:covered-table-cell"):
            self._repeated = _times(attributes.get("table:number-columns-repeated"))
            self._column += self._repeated
            self._open = True
            if any(key.startswith("office:") or key == "table:formula" for key in attributes):
                self._hold()
        elif self._open:
            self._hold()
            if name == "text:s":
                self._add(_times(attributes.get("text:c")))

    def data(self, text: str) -> None:
        if self._open:
            self._add(len(text))

    def _add(self, letters: int) -> None:
        self.letters += letters * self._repeated * self._times

    def end(self, name: str) -> None:
        if name in ("table:table-cell", "table:covered-table-cell"):
            self._open = False
        elif name == "table:table":
            self.cells += self._rows * self._columns
            self._row = self._rows = self._columns = 0

    def _hold(self) -> None:
        self._rows, self._columns = max(self._rows, self._row), max(self._columns, self._column)


def span(path: Path) -> Span:
    """What all sheets of an .xlsx or .ods file span.

    Raises:
        NoGrid: the file is neither, or a sheet in it is not sound XML, or has a document type, which no program writes.
        OSError: it cannot be read.
    """
    with _archive(path) as archive:
        lengths = _lengths(archive)
        sheets = [
            _read(archive, member, sheet)
            for member in archive.infolist()
            for sheet in (_ExcelSheet(lengths), _OpenDocument())
            if _has(archive, member, sheet.mark)
        ]
    return Span(sum(sheet.cells for sheet in sheets), sum(sheet.letters for sheet in sheets))


def unpacked_bytes(path: Path) -> int:
    """Bytes that a workbook unpacks to. Raises as `span`."""
    with _archive(path) as archive:
        return sum(member.file_size for member in archive.infolist())


_Part = TypeVar("_Part", bound=_Strings | _ExcelSheet | _OpenDocument)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive that an .xlsx or .ods file is, from its first byte on."""
    try:
        with open_plain(path) as file, zipfile.ZipFile(file) as archive:
            file.seek(0)
            if file.read(2) != b"PK":  # a reader would take it for what stands there
                raise NoGrid("something else stands before its zip archive")
            if any(name.lower().endswith("workbook.bin") for name in archive.namelist()):
                raise NoGrid("it is a binary workbook (.xlsb)")
            if any(member.compress_type not in _PACKED for member in archive.infolist()):
                raise NoGrid("it is packed in a way that no workbook is")
            yield archive
    except expat.ExpatError as error:
        raise NoGrid(f"a sheet is not XML: {error}") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise NoGrid(str(error)) from error


def _has(archive: zipfile.ZipFile, member: zipfile.ZipInfo, mark: bytes) -> bool:
    """Whether bytes stand in a member: by its content, since a workbook may name any of them as a sheet."""
    before = b""
    with archive.open(member) as file:
        while chunk := file.read(_CHUNK):
            if mark in before + chunk:
                return True
            before = chunk[-len(mark) :]
    return False


def _lengths(archive: zipfile.ZipFile) -> Sequence[int]:
    """The longest that the texts of each number can be: a workbook may name any member as that of its texts."""
    known = array("Q")
    for member in archive.infolist():
        if _has(archive, member, _Strings.mark):
            lengths = _read(archive, member, _Strings()).lengths
            longer, shorter = sorted((known, lengths), key=len, reverse=True)
            known = array("Q", map(max, longer, [*shorter, *[0] * (len(longer) - len(shorter))]))
    return known


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, part: _Part) -> _Part:
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = part.start, part.end
    parser.CharacterDataHandler, parser.buffer_text = part.data, True
    parser.StartDoctypeDeclHandler = _refuse_type
    with archive.open(member) as file:
        parser.ParseFile(file)
    return part


def _refuse_type(*_: object) -> None:
    raise NoGrid("a sheet has a document type")


def _row_and_column(reference: str) -> tuple[int, int]:
    """Row and column of AB12, counted from 1; column 0 where it has no letters."""
    if not (match := _CELL.fullmatch(reference)):
        raise NoGrid(f"'{reference[:20]}' is not the place of a cell")
    column = 0
    for letter in match[1].upper():
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(match[2]), column


def _times(number: str | None) -> int:
    """How often something is repeated."""
    if number is None:
        return 1
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise NoGrid(f"'{number[:20]}' is not how often a cell is repeated")
    return int(number)
