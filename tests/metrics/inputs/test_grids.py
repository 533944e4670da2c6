"""A workbook whose sheets would fill the memory is refused before anything lays them out."""

from __future__ import annotations

import zipfile

import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.inputs.grids import span
from t2i_judge.inputs.readers import iter_rows
from tests.metrics.inputs.workbook_files import write_workbook

pytest.importorskip("python_calamine", reason="the extra [excel]")

SHEET = "xl/worksheets/s0.xml"
FAR = {  # rows of a sheet
    "a place": '<row><c r="A1"><v>1</v></c></row><row><c r="XFD1048576"><v>1</v></c></row>',
    "one column": '<row><c r="A1"><v>1</v></c><c r="ALL60000"><v>1</v></c></row>',
    "a row's number": '<row r="1048576"><c r="XFD1"><v>1</v></c><c><v>1</v></c></row>',
    "a prefix": '<x:row xmlns:x="urn:x"><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row>',
    "small letters": '<row><c r="xfd1048576"><v>1</v></c></row>',
    "text": '<row><c r="XFD1048576" t="inlineStr"><is><t>a</t></is></c></row>',
}
ODS = (
    '<?xml version="1.0"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    '<table:table table:name="a">%s</table:table></office:spreadsheet></office:body></office:document-content>'
)
MANIFEST = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
ODS_CELL = '<table:table-cell office:value-type="string"%s><text:p>%s</text:p></table:table-cell>'


def rewritten(path, name: str, change, new_name: str | None = None):
    """The workbook with one part changed, and the links to it if it gets another name."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part).decode() for part in archive.namelist()}
    parts[new_name or name] = change(parts.pop(name))
    if new_name:
        links = "xl/_rels/workbook.xml.rels"
        parts[links] = parts[links].replace(name.removeprefix("xl/"), new_name.removeprefix("xl/"))
    with zipfile.ZipFile(path, "w") as archive:
        for part, text in parts.items():
            archive.writestr(part, text)
    return path


def book(path, rows: str | None = None, new_name: str | None = None):
    write_workbook(path, {"a": [["item", "h1"], ["x", 1]]})
    if rows is None:
        return path
    return rewritten(path, SHEET, lambda text: text.replace("</sheetData>", f"{rows}</sheetData>"), new_name)


def ods(path, rows: str):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        archive.writestr("content.xml", ODS % rows)
    return path


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("name", ["a.xlsx", "a.XLSX"])
def test_a_cell_far_away_is_one_line(tmp_path, capsys, kind, name):
    path = book(tmp_path / name, FAR[kind])
    assert main(["meta-eval", str(path), "--ratings", "h1"]) == 2
    shown = capsys.readouterr().err
    assert "20,000,000 cells are the most" in shown and len(shown.splitlines()) == 1


def test_a_sheet_may_stand_anywhere_and_sheets_add_up(tmp_path):
    with pytest.raises(UserError, match="are the most"):
        list(iter_rows(book(tmp_path / "a.xlsx", FAR["a place"], "xl/media/picture.png")))
    half = '<row r="1000"><c r="OJV1000"><v>1</v></c></row>'  # 10,562 columns
    write_workbook(tmp_path / "b.xlsx", {"a": [["item"]], "b": [["item"]]})
    for number in range(2):
        part = f"xl/worksheets/s{number}.xml"
        rewritten(tmp_path / "b.xlsx", part, lambda text: text.replace("</sheetData>", f"{half}</sheetData>"))
    with pytest.raises(UserError, match="are the most"):
        list(iter_rows(tmp_path / "b.xlsx"))


def test_one_sheet_that_is_named_many_times_counts_as_often(tmp_path, monkeypatch):
    monkeypatch.setattr("t2i_judge.inputs.workbooks._MOST_CELLS", 20)
    path = book(tmp_path / "a.xlsx")
    more = "".join(f'<sheet name="b{n}" sheetId="{n + 9}" r:id="r0"/>' for n in range(9))
    rewritten(path, "xl/workbook.xml", lambda text: text.replace("</sheets>", f"{more}</sheets>"))
    with pytest.raises(UserError, match="20 cells are the most"):
        list(iter_rows(path))


def test_formats_far_away_do_no_harm(tmp_path):
    path = book(tmp_path / "a.xlsx", '<row r="1048576"><c r="XFD1048576" s="1"/></row>')
    assert span(path).cells == 4
    assert list(iter_rows(path)) == [{"item": "x", "h1": 1}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("<sheetData>", "<b></c><sheetData>"), "a sheet is not XML"),
        (lambda text: f'<!DOCTYPE a [<!ENTITY b "c">]>{text}', "a sheet has a document type"),
        (lambda text: text.replace('r="A1"', 'r="A1;"'), "is not the place of a cell"),
    ],
)
def test_a_sheet_that_no_program_writes_is_no_workbook(tmp_path, change, words):
    path = rewritten(book(tmp_path / "a.xlsx"), SHEET, change)
    with pytest.raises(UserError, match=words):
        list(iter_rows(path))


def test_what_would_be_read_as_another_kind_is_no_workbook(tmp_path):
    path = book(tmp_path / "a.XLSX")
    path.write_bytes(bytes.fromhex("D0CF11E0A1B11AE1") + path.read_bytes())
    with pytest.raises(UserError, match="is not a workbook"):
        list(iter_rows(path))
    path = book(tmp_path / "b.XLSX")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/workbook.bin", b"")
    with pytest.raises(UserError, match="binary workbook"):
        list(iter_rows(path))
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(SHEET, "<sheetData/>")
    with pytest.raises(UserError, match="packed in a way"):
        list(iter_rows(tmp_path / "c.xlsx"))
    (tmp_path / "a.xls").write_bytes(b"")
    with pytest.raises(UserError, match=r"Use one of .*\.xlsx"):
        list(iter_rows(tmp_path / "a.xls"))


def test_repeated_rows_and_columns_of_an_ods_file(tmp_path):
    head = f"<table:table-row>{ODS_CELL % ('', 'item')}</table:table-row>"
    row = f"<table:table-row>{ODS_CELL % ('', 'x')}</table:table-row>"
    empty = (
        '<table:table-row table:number-rows-repeated="1048570">'
        '<table:table-cell table:style-name="s" table:number-columns-repeated="16384"/></table:table-row>'
    )
    path = ods(tmp_path / "a.ods", head + row + empty)
    assert span(path).cells == 2
    assert list(iter_rows(path)) == [{"item": "x"}]
    wide = ODS_CELL % (' table:number-columns-repeated="16384"', "x")
    for rows in (
        f'{head}<table:table-row table:number-rows-repeated="6000">{wide}</table:table-row>',
        f"{head}{empty}<table:table-row>{wide}</table:table-row>",
    ):
        with pytest.raises(UserError, match="are the most"):
            list(iter_rows(ods(tmp_path / "b.ods", rows)))


def shared(path, rows: str, texts: str):
    """A workbook whose cells name its texts by their numbers."""
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
    link = f'<Relationship Id="t" Type="{kind}" Target="texts.xml"/></Relationships>'
    rewritten(book(path, rows), "xl/_rels/workbook.xml.rels", lambda text: text.replace("</Relationships>", link))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        main_space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        archive.writestr("xl/texts.xml", f'<sst xmlns="{main_space}">{texts}</sst>')
    return path


@pytest.mark.parametrize("number", ["1", "+1", "0000000000000001"])
def test_a_long_text_that_many_cells_name_is_one_line(tmp_path, capsys, number):
    """138 kB held a text of a megabyte that 40,000 cells named: 40 GB, or an abort in a library."""
    cells = "".join(f'<row><c t="s"><v>{number}</v></c></row>' for _ in range(300))
    path = shared(tmp_path / "a.xlsx", cells, f"<si><t>a</t></si><si><r><t>{'a' * 999_999}</t></r></si>")
    assert main(["meta-eval", str(path), "--ratings", "h1"]) == 2
    assert "299,999,7" in (shown := capsys.readouterr().err) and len(shown.splitlines()) == 1


def test_texts_are_counted_where_cells_name_them(tmp_path):
    cells = '<row><c t="s"><v>1</v></c><c t="s"><v>9</v></c></row><row><c t="inlineStr"><is><t>abc</t></is></c></row>'
    path = shared(tmp_path / "a.xlsx", cells, "<si><t>long</t></si><si><t>longer</t></si>")
    written = len("item" + "h1" + "x" + "1")
    assert span(path).letters == written + len("longer") + len("abc")


@pytest.mark.parametrize(
    ("row", "letters"),
    [
        (' table:number-rows-repeated="1000"', 3_000_000),
        ("", 3_000),
    ],
)
def test_a_repeated_text_counts_as_often(tmp_path, row, letters):
    cell = ODS_CELL % (' table:number-columns-repeated="1000"', "abc")
    rows = f"<table:table-row{row}>{cell}</table:table-row>"
    assert span(ods(tmp_path / "a.ods", rows)).letters == letters
    many = ODS_CELL % ("", '<text:s text:c="900000000"/>')
    with pytest.raises(UserError, match="letters are the most"):
        list(iter_rows(ods(tmp_path / "b.ods", f"<table:table-row>{many}</table:table-row>")))


def test_a_workbook_that_is_packed_too_densely_is_refused(tmp_path):
    """366 kB held 50 million empty texts: 20 seconds, and more than a gigabyte."""
    path = shared(tmp_path / "a.xlsx", "", "<si/>" * 11_000_000)
    with pytest.raises(UserError, match="unpacks to 52 MB"):
        list(iter_rows(path))
