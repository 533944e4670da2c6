"""A parquet file is filled by what its footer names, page by page: nothing is hidden between the parts."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from recipes.safety.gate_files import file_findings
from recipes.safety.parquet_pages import OddParquet, parquet_texts

ROWS = pa.table(
    {
        "prompt": [f"a cat, {n}" for n in range(400)],
        "kind": ["one", None] * 200,
        "image": [{"bytes": bytes([n % 256]) * 9, "path": None} for n in range(400)],
        "scores": [[{"judge": "a", "score": n / 3}] * (n % 3) for n in range(400)],
    }
)


def written(table: pa.Table = ROWS, **options) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out, **options)
    return out.getvalue()


def footer_of(data: bytes) -> int:
    return len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]


@pytest.mark.parametrize("table", [ROWS, ROWS.slice(0, 1), ROWS.slice(0, 0), pa.table({})], ids=len)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"write_page_index": True, "data_page_version": "2.0", "compression": "zstd"},
        {"use_dictionary": False, "write_statistics": False, "compression": "none", "data_page_size": 100},
        {"bloom_filter_options": {"prompt": True}, "write_page_index": True, "write_page_checksum": True},
        {"row_group_size": 64, "dictionary_pagesize_limit": 100, "compression": "gzip"},
    ],
    ids=str,
)
def test_what_pyarrow_writes_is_filled(options: dict, table: pa.Table) -> None:
    if not table.column_names:
        options = {name: value for name, value in options.items() if name != "bloom_filter_options"}
    assert set(map(str.encode, table.column_names)) <= set(parquet_texts(written(table, **options)))


def test_what_datasets_writes_is_filled(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict(ROWS.to_pydict()).to_parquet(tmp_path / "a.parquet")
    assert parquet_texts((tmp_path / "a.parquet").read_bytes())


class Attack:
    def __reduce__(self):
        return os.system, ("true",)


HIDDEN = {
    "pickle": pickle.dumps(Attack()),
    "path": b"/home/jane/private/x.png",
    "password": b'password = "hunter2secret9"',
    "picture": b"\xff\xd8\xff\xe0" + b"x" * 5000,
    "token": b"hf" + b"_kTzQwVbXnRjMgYpLsHdCfUeAoIxWqZrEtB",
    "one byte": b"x",
}


@pytest.mark.parametrize("what", HIDDEN)
def test_bytes_that_nothing_refers_to_are_found(tmp_path: Path, what: str) -> None:
    whole, path = written(), tmp_path / "a.parquet"
    at = footer_of(whole)
    path.write_bytes(whole[:at] + HIDDEN[what] + whole[at:])
    assert parquet.read_table(path).num_rows == 400
    assert ("files", "belong to nothing") in {(check, wrong[-17:]) for check, wrong, _ in file_findings(path)}


def test_bytes_behind_the_footers_end_are_found() -> None:
    whole = written()
    longer = whole[:-8] + b"words" + struct.pack("<I", len(whole) - footer_of(whole) - 3) + b"PAR1"
    assert parquet.read_table(io.BytesIO(longer)).num_rows == 400
    with pytest.raises(OddParquet, match="behind the end"):
        parquet_texts(longer)


def test_a_page_behind_the_last_value_is_found() -> None:
    """Two columns become one, twice as long as its values: the reader stops before the second."""
    one = written(pa.table({"a": [1]}), use_dictionary=False, write_statistics=False, compression="none")
    footer = footer_of(one)
    pages = one[4:footer]
    longer = len(pages) * 2
    old, new = bytes([0x16, *varint(len(pages) * 2)]), bytes([0x16, *varint(longer * 2)])  # a field of zigzag i64
    assert one[footer:].count(old) >= 2
    tail = one[footer:-8].replace(old, new)
    data = one[:footer] + pages + tail + struct.pack("<I", len(tail)) + b"PAR1"
    assert parquet.read_table(io.BytesIO(data)).to_pydict() == {"a": [1]}
    with pytest.raises(OddParquet, match="behind the last value"):
        parquet_texts(data)


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, *varint(number >> 7)])


def test_a_text_that_only_the_footer_says_is_looked_at(tmp_path: Path) -> None:
    """The least value of a column, as its statistics tell it, need not be one."""
    secret = "hf" + "_kTzQwVbXnRjMgYp9sHdCfUeAoIxWqZrEtB"
    whole, path = written(pa.table({"a": ["q" * len(secret)]}), compression="gzip"), tmp_path / "a.parquet"
    at = footer_of(whole)
    assert b"q" * len(secret) in whole[at:]
    path.write_bytes(whole[:at] + whole[at:].replace(b"q" * len(secret), secret.encode()))
    assert "secrets" in {check for check, _, _ in file_findings(path)}
    texts = parquet_texts(path.read_bytes())
    assert secret.encode() in texts


def test_any_changed_byte_of_a_footer_is_read_or_refused() -> None:
    whole = written(ROWS.slice(0, 3), write_page_index=True)
    for place in range(footer_of(whole), len(whole)):
        for value in (0, 127, 255):
            odd = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                assert isinstance(parquet_texts(odd), list)
            except OddParquet as error:
                assert "\n" not in str(error)
