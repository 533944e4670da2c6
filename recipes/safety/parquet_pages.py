"""Whether the pages and the footer of a parquet file fill it: bytes that nothing refers to are read by no reader.

Places are in the footer (parquet.thrift, https://github.com/apache/parquet-format), which pyarrow does not show in
full: so the compact form of Thrift is read here. A chunk of a column is a row of pages, each of which says how long it
is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

# Numbers of the fields that are read, by structure.
_ROW_GROUPS, _CHUNKS, _METADATA, _FILE_OFFSET = 4, 1, 3, 2  # of the footer, a row group, a column chunk
_OFFSET_INDEX, _COLUMN_INDEX = (4, 5), (6, 7)  # of a column chunk: place and length
_VALUES, _LENGTH, _DATA, _DICTIONARY, _BLOOM, _BLOOM_LENGTH = 5, 7, 9, 11, 14, 15  # of a chunk's metadata
_BLOOM_SIZE = 1  # of a Bloom filter's header
_PAGE, _PAGE_LENGTH, _COUNT = 1, 3, 1  # of a page's header: kind, length; of the header of its kind
_KINDS = {0: 5, 2: 7, 3: 8}  # pages of data, of a dictionary, of data in the second form -> field of their header
_DICTIONARY_PAGE = 2
_DEEPEST = 32  # structures in structures

Place = tuple[int, int]  # first byte, and the one behind the last


class OddParquet(ValueError):
    """A parquet file with bytes that belong to nothing, or whose places are wrong."""


def parquet_texts(data: bytes) -> list[bytes]:
    """The texts in footer, indexes and headers of pages of a parquet file that its parts fill, as bytes.

    Raises:
        OddParquet: bytes that nothing refers to, or that two things refer to; a structure that cannot be read.
    """
    texts: list[bytes] = []
    try:
        footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
        record = _whole(data, (footer, len(data) - 8), texts)
        chunks = [chunk for group in record.get(_ROW_GROUPS, []) for chunk in group[_CHUNKS]]
        _require_covered([(0, 4), (footer, len(data)), *(p for chunk in chunks for p in _places(data, chunk, texts))])
        for chunk in chunks:
            _require_pages(data, _pages(chunk), chunk[_METADATA][_VALUES], texts)
    except (struct.error, IndexError, KeyError, TypeError, AttributeError) as error:
        raise OddParquet("its structures cannot be read") from error
    return texts


def _require_covered(places: list[Place]) -> None:
    end = 0
    for start, stop in sorted(places):
        if start > end:
            raise OddParquet(f"{start - end:,} bytes from byte {end:,} on belong to nothing")
        if start < end or stop < start:
            raise OddParquet(f"its parts overlap (byte {start:,})")
        end = stop


def _pages(chunk: dict[int, Any]) -> Place:
    metadata = chunk[_METADATA]
    first, dictionary = metadata[_DATA], metadata.get(_DICTIONARY) or metadata[_DATA]
    start = min(first, dictionary) if first or metadata[_VALUES] else dictionary  # without values there is no page
    return start, start + metadata[_LENGTH]


def _places(data: bytes, chunk: dict[int, Any], texts: list[bytes]) -> Iterator[Place]:
    """Where a chunk of a column, its indexes and its Bloom filter are."""
    metadata, pages = chunk[_METADATA], _pages(chunk)
    yield pages
    for at, length in (_OFFSET_INDEX, _COLUMN_INDEX):
        if length in chunk:
            index = (chunk[at], chunk[at] + chunk[length])
            _whole(data, index, texts)
            yield index
    if _BLOOM in metadata:
        reader = _Reader(data, metadata[_BLOOM], texts)
        size = reader.structure()[_BLOOM_SIZE]
        end = reader.at + size  # its header says how many bytes follow
        if metadata.get(_BLOOM_LENGTH, end - metadata[_BLOOM]) != end - metadata[_BLOOM]:
            raise OddParquet("a Bloom filter has another length than the footer says")
        yield metadata[_BLOOM], end
    if chunk.get(_FILE_OFFSET) == pages[1] > 0:  # older writers repeat the chunk's metadata behind it
        reader = _Reader(data, pages[1], texts)
        reader.structure()
        yield pages[1], reader.at


def _require_pages(data: bytes, place: Place, values: int, texts: list[bytes]) -> None:
    """Pages follow each other to the end of a chunk, and have the values that it should have."""
    at, end = place
    first, count = at, 0
    while at < end:
        reader = _Reader(data, at, texts)
        header = reader.structure()
        kind = header[_PAGE]
        if kind not in _KINDS or (kind == _DICTIONARY_PAGE and at != first):
            raise OddParquet(f"a page of a kind that no reader needs (byte {at:,})")
        count += header[_KINDS[kind]][_COUNT] if kind != _DICTIONARY_PAGE else 0
        at = reader.at + header[_PAGE_LENGTH]
        if header[_PAGE_LENGTH] < 0 or (count >= values and at < end):
            raise OddParquet(f"a page behind the last value of its column (byte {at:,})")
    if at != end or count != values:
        raise OddParquet(f"the pages of a column do not fill its place (byte {first:,})")


def _whole(data: bytes, place: Place, texts: list[bytes]) -> dict[int, Any]:
    """A structure that has to fill its place."""
    reader = _Reader(data, place[0], texts)
    record = reader.structure()
    if reader.at != place[1]:
        raise OddParquet(f"bytes behind the end of what is said at byte {place[0]:,}")
    return record


class _Reader:
    """The compact form of Thrift: structures as field number -> value, from a place in some bytes on.

    Every text goes to `texts`, also of fields that no reader knows.
    """

    def __init__(self, data: bytes, at: int, texts: list[bytes]) -> None:
        if not 0 <= at < len(data):
            raise OddParquet(f"a place outside the file (byte {at:,})")
        self._data, self.at, self._texts = data, at, texts

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a structure; `at` is behind it then."""
        if depth > _DEEPEST:
            raise OddParquet("structures nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # of a field, the kind is the value
            return kind == 1
        if kind == 3:
            return self._take(1)
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            value = self._take(self._number())
            self._texts.append(value)
            return value
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.structure(depth + 1)
        raise OddParquet(f"a value of an unknown kind ({kind})")  # maps: the format has none

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        kind = head & 15
        if count > len(self._data):
            raise OddParquet("a list longer than the file")
        return [self._take(1) if kind in (1, 2) else self._value(kind, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise OddParquet("a value longer than the file")
        self.at += count
        return self._data[self.at - count : self.at]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 63:
                return value

    def _signed(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)
