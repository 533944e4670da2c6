"""What a file says, decoded: every string in it, by the names that it stands under, and every file inside it.

JSON, YAML and Python strings lose their escapes, parquet files their pages, pictures their chunks; a text in UTF-16 or
with bad bytes is read as well as it can be. Nothing is skipped for its size.
"""

from __future__ import annotations

import codecs
import json
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recipes.safety.image_texts import image_texts, is_image
from recipes.safety.parquet_pages import OddParquet, parquet_texts
from recipes.safety.python_strings import python_strings

TEXTS = (
    ".py", ".json", ".jsonl", ".ipynb", ".yaml", ".yml", ".toml", ".md", ".txt", ".css", ".js", ".html", ".jinja",
    ".csv", ".typed", ".cfg", ".ini", ".sh",
)  # fmt: skip
_ROWS = 256  # of a parquet file at a time
_HEAD = 4096  # bytes by which an encoding is told
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_OWN_SCHEMA = b"/////"  # how pyarrow's schema in base64 begins, which is read by pyarrow
_WIDE = 0.2  # share of null bytes from which a text without a mark is taken for UTF-16
_READABLE = 0.7  # share of characters that can be read from which bytes are taken for a text
TRUST = "trust_remote_code"  # the one switch whose value matters, whatever its type
_NAMES = ("name", "key", "variable")  # of an entry that has a `value` beside it
_TOKENIZERS = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Leaf:
    """A string, and the names that it stands under, outermost first.

    `a_name`: whether it is itself a name in the data; `row`: of its table, from 1.
    """

    keys: tuple[str, ...]
    text: str
    a_name: bool = False
    row: int | None = None

    @property
    def line(self) -> str:
        """As an assignment, for what is known by its name: `wandb.api_key = "..."`."""
        return f'{".".join(self.keys[-3:])} = "{self.text}"' if self.keys else self.text

    @property
    def place(self) -> str | None:
        """The cell of a table that it stands in, in words."""
        return f"row {self.row}, column {self.keys[0][:40]!r}" if self.row and self.keys else None


@dataclass
class Contents:
    """A piece of a file.

    Attributes:
        text: as it stands there, where it is a text.
        leaves: the strings in it.
        whole: whether its leaves say all that the text says.
        files: name and bytes of each file inside it.
        code: whether it is source.
        vocabulary: whether its leaves are a tokenizer's tokens, which are pieces of everything.
        unread: what of it cannot be read, and why.
    """

    text: str = ""
    leaves: list[Leaf] = field(default_factory=list)
    whole: bool = False
    files: list[tuple[str, bytes]] = field(default_factory=list)
    code: bool = False
    vocabulary: bool = False
    unread: list[str] = field(default_factory=list)


def contents(path: Path, data: bytes) -> Iterator[Contents]:
    """The pieces of a file; a parquet file comes in many, so that one of any size fits."""
    if path.suffix.lower() == ".parquet" and (file := _opened(path)):
        known: set[tuple[str, ...]] = set()
        yield from _parquet(file, known)
        yield _beside_rows(data, {text for *_, text in known})
    else:
        yield from contents_of(path.name, data)


def contents_of(name: str, data: bytes) -> Iterator[Contents]:
    """The pieces of a file by its name and bytes."""
    suffix = Path(name).suffix.lower()
    if suffix == ".safetensors":
        header = data[8 : 8 + int.from_bytes(data[:8], "little")]
        yield _structured(header.decode(errors="replace"), ".json")
    elif is_image(data):
        yield Contents(leaves=[Leaf((key,), text) for key, text in image_texts(data)])
    elif suffix in TEXTS or _is_text(data):
        yield from _text(name, text_of(data))


def text_of(data: bytes) -> str:
    """Bytes as text, by their mark or the look of them; what fits no encoding becomes a replacement character."""
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    head = data[:_HEAD]
    if head.count(0) > _WIDE * len(head):
        big = head[::2].count(0) > head[1::2].count(0)
        return data.decode("utf-16-be" if big else "utf-16-le", errors="replace")
    return data.decode(errors="replace")


def _is_text(data: bytes) -> bool:
    """Whether most of the beginning can be read: a file with a bad byte is a text, too."""
    head = text_of(data[:_HEAD])
    return sum(char.isprintable() or char.isspace() for char in head) > _READABLE * len(head)


def _text(name: str, text: str) -> Iterator[Contents]:
    """A text; what a tokenizer adds to its vocabulary comes first, the vocabulary apart."""
    piece = _structured(text, Path(name).suffix.lower())
    if name in _TOKENIZERS and piece.whole:
        yield Contents(leaves=[leaf for leaf in piece.leaves if leaf.keys[:1] == ("added_tokens",)], whole=True)
        piece.vocabulary = True
    yield piece


def _structured(text: str, suffix: str) -> Contents:
    """A text with the strings in it, where its structure is one that is known here and sound."""
    import yaml

    try:
        match suffix:
            case ".json" | ".ipynb":
                return Contents(text, list(leaves(json.loads(text, object_pairs_hook=_every))), whole=True)
            case ".jsonl":
                lines = (json.loads(line, object_pairs_hook=_every) for line in text.splitlines() if line.strip())
                return Contents(text, [leaf for line in lines for leaf in leaves(line)], whole=True)
            case ".yaml" | ".yml":
                return Contents(text, list(leaves(yaml.safe_load(text))))
            case ".md" if text.startswith("---\n"):
                return Contents(text, list(leaves(yaml.safe_load(text[4:].split("\n---", 1)[0]))))
            case ".py":
                return Contents(text, [Leaf(*string) for string in python_strings(text)], whole=True, code=True)
    except (ValueError, SyntaxError, RecursionError, MemoryError, yaml.YAMLError, tokenize.TokenError):
        pass  # not what its name says: `recipes.safety.kinds` says so
    return Contents(text)


def _every(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with every value that it gives, also where a later one takes a name's place."""
    record: dict[str, Any] = {}
    for name, value in pairs:
        record[name] = [record[name], value] if name in record else value
    return record


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every string in nested data, each name among them; JSON in a string is data, too."""
    known: dict[tuple[int, tuple[str, ...]], Any] = {}  # a YAML file may hold one list a million times over
    stack: list[tuple[tuple[str, ...], Any]] = [(keys, value)]
    while stack:
        keys, value = stack.pop()
        if isinstance(value, dict | list | tuple | set):
            if (place := (id(value), keys[-1:])) not in known:
                known[place] = value  # kept: what is made after it would have the same id
                yield from (Leaf(keys, str(key), a_name=True) for key in (value if isinstance(value, dict) else ()))
                stack += [(inner_keys, inner) for inner_keys, inner in _inner(value, keys)]
        elif isinstance(value, bool | int | float) and value and keys[-1:] == (TRUST,):
            yield Leaf(keys, str(value))
        elif isinstance(value, str) and value:
            yield Leaf(keys, value)
            if value[0] in "{[":
                try:
                    stack.append((keys, json.loads(value, object_pairs_hook=_every)))
                except (ValueError, RecursionError):
                    continue


def _inner(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a container holds; a pair of a map column is a name and its value."""
    if isinstance(value, dict):
        yield from (((*keys, str(key)), inner) for key, inner in value.items())
        for name in _NAMES:  # {"name": "password", "value": ...}, as environments are listed
            if isinstance(value.get(name), str) and "value" in value:
                yield (*keys, value[name]), value["value"]
        if isinstance(value.get("kty"), str):  # a JSON Web Key (RFC 7517): its private parts have names of one letter
            yield from (((*keys, "private_key"), value[part]) for part in ("d", "k") if part in value)
        return
    for inner in value:
        if isinstance(inner, tuple) and len(inner) == 2 and isinstance(inner[0], str):
            yield keys, inner[0]
            yield (*keys, inner[0]), inner[1]
        else:
            yield keys, inner


def _opened(path: Path) -> Any:
    """A parquet file; None where it is none, as `recipes.safety.kinds` says."""
    from pyarrow import lib, parquet

    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError, lib.ArrowException):
        return None


def _beside_rows(data: bytes, known: set[str]) -> Contents:
    """What a parquet file's footer, indexes and headers say that no row does, such as false bounds of a column."""
    try:
        said = [text for text in dict.fromkeys(parquet_texts(data)) if not text.startswith(_OWN_SCHEMA)]
    except OddParquet:  # `recipes.safety.kinds` says so
        return Contents()
    texts = [text_of(text) for text in said if _is_text(text) and not is_image(text)]
    return Contents(leaves=[Leaf((), text) for text in texts if text not in known], whole=True)


def _parquet(file: Any, known: set[tuple[str, ...]]) -> Iterator[Contents]:
    """Schema, metadata and columns of a parquet file, each string once, and the files in its binary columns."""
    try:
        schema = file.schema_arrow
        yield Contents(leaves=[Leaf((), one.name) for one in _fields(schema)], whole=True)
        marks = [schema.metadata or {}, *(one.metadata or {} for one in _fields(schema)), file.metadata.metadata or {}]
        texts = [
            (text_of(key), text_of(value)) for mark in marks for key, value in mark.items() if key != b"ARROW:schema"
        ]
        yield Contents(leaves=list(leaves(texts)), whole=True)
        first = 1
        for batch in file.iter_batches(_ROWS):
            yield _rows(batch, known, first)
            first += batch.num_rows
    except Exception as error:  # damaged pages, odd types: pyarrow and what it calls raise errors of many kinds
        yield Contents(unread=[f"its rows cannot be read ({_first_line(error)})"])


def _rows(batch: Any, known: set[tuple[str, ...]], first: int) -> Contents:
    """The strings in some rows that are not known yet, and the files in them."""
    piece = Contents(whole=True)
    columns = []
    odd = False
    for number, column in enumerate(batch.columns, 1):
        read, wrong = _values(column)
        columns.append(read)
        odd = odd or wrong is not None
        if wrong is not None and ("unread", str(number)) not in known:  # once a column
            known.add(("unread", str(number)))
            piece.unread.append(f"its rows cannot be read as they are: column {number} ({wrong})")
    for number, values in enumerate(zip(*columns, strict=True), first):
        row = _every(list(zip(batch.schema.names, values, strict=True)))
        piece.files += _binaries(row)
        for leaf in leaves(_texts(row) if odd else row):
            if (key := (*leaf.keys, leaf.text)) not in known:
                known.add(key)
                piece.leaves.append(replace(leaf, row=number))
    return piece


def _values(column: Any) -> tuple[list[Any], str | None]:
    """A column's values and what is wrong with them: text that is none, dates that Python's calendar does not have."""
    try:
        return column.to_pylist(), None
    except Exception as error:  # Python's, pyarrow's, a time zone library's
        wrong = _first_line(error)
    try:
        plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
        return plain.cast(_plain_type(plain.type)).to_pylist(), wrong
    except Exception:  # told already
        return [None] * len(column), wrong


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _plain_type(kind: Any) -> Any:
    """Bytes for texts and numbers for times, which can be read whatever they are."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_string(kind) or types.is_large_string(kind):
        return pa.large_binary()
    if types.is_temporal(kind) and kind != pa.month_day_nano_interval():
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if types.is_struct(kind):
        return pa.struct([inner.with_type(_plain_type(inner.type)) for inner in kind])
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    return kind


def _texts(value: Any) -> Any:
    """Nested data with texts in the place of bytes that can be read as such."""
    if isinstance(value, bytes):
        return text_of(value) if _is_text(value) else None
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    return type(value)(map(_texts, value)) if isinstance(value, list | tuple) else value


def _fields(fields: Iterable[Any]) -> Iterator[Any]:
    """Columns, and the fields of what they are made of: lists, structures, maps."""
    for one in fields:
        yield one
        yield from _fields([one.type.field(n) for n in range(one.type.num_fields)])


def _binaries(value: Any, name: str = "bytes") -> Iterator[tuple[str, bytes]]:
    """Every binary value in a row, an image by the name beside it."""
    if isinstance(value, bytes):
        yield name, value
    elif isinstance(value, dict):
        beside = value.get("path")
        for inner in value.values():
            yield from _binaries(inner, beside if isinstance(beside, str) else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _binaries(inner, name)
