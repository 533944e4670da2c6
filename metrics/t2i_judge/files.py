"""Writes files whole, and reads JSON and YAML that may be torn, wrong or malicious: each fault is one `UserError`.

What is written in a folder that somebody else may have made goes through `write_atomic`, `open_new` or
`open_to_append`: none of them follows a link. What is read there goes through `open_plain`: it waits for no pipe.

Valid files are refused, too, if they can do harm: nesting that exhausts the stack, numbers of thousands of digits,
halves of surrogate pairs (no text can hold them), and YAML aliases, with which a kilobyte can stand for a terabyte.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from io import BufferedReader, BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    import yaml

_YAML_BYTES = 1_000_000  # a second for every 100 kB
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_DIGITS = 100
_WHOLE = 19  # characters of a number that is a cell
_NAME = 15  # characters of a number that is a name in YAML: any more may have the hash of others
_OBJECT_BYTES = 100_000_000  # of a JSON file that describes others
_LINE_BYTES = 100_000_000  # of a line of JSON
_DEVICES = ("/dev", "/dev/fd", "/proc/self/fd")  # folders without a file of anybody's own
PART = ".part"  # ends the name of a file that is being written
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.part", re.DOTALL)
_SETTLED = 2_000_000_000  # nanoseconds after which another writing of a file has another time
_NODES = 100_000  # of a YAML document, its aliases written out


class NotPlain(OSError):
    """The file is a pipe or a device, which may have no end, or a link where a file is to be written."""


@contextmanager
def open_plain(path: str | Path) -> Iterator[BufferedReader]:
    """Open a file to read. Raises `OSError`, also for a pipe, a socket, a device or a folder."""
    with open(path, "rb", opener=_no_wait) as file:
        _require_plain(file.fileno(), path)
        yield file


def write_atomic(path: str | Path, data: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed, then renamed over `path`.

    Who may read it is as it was, or as for every new file (the umask). What stands there as a pipe or a device, or
    leads to one (/dev/null, /dev/stdout), is no file to be replaced: `OSError`.
    """
    path, temporary = Path(path), beside(path)
    try:
        with temporary.open("xb") as out:
            if path.is_file() and not path.is_symlink():
                temporary.chmod(path.stat().st_mode & 0o777)
            out.write(data.encode() if isinstance(data, str) else data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_atomic(path: str | Path) -> None:
    """Raise `OSError` where `write_atomic` would, and leave what stands there as it is."""
    temporary = beside(path)
    try:
        temporary.open("xb").close()
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: str | Path) -> Path:
    """The temporary file of a file to be written, which nothing else is called, in a folder that is made if necessary.

    Raises `OSError` where no plain file may stand.
    """
    path = Path(path)
    if str(path.absolute().parent) in _DEVICES or (path.exists() and not path.is_file() and not path.is_dir()):
        raise NotPlain(errno.EINVAL, "It is not a plain file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.{secrets.token_hex(4)}{PART}"  # `.` has no name: not `with_name`


def is_temporary(name: str) -> bool:
    """Whether a file has a name that `beside` gives."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def open_new(path: str | Path) -> Iterator[BufferedWriter]:
    """Open an empty file to write. Whatever has its name, a link too, is removed first. Raises `OSError`."""
    Path(path).unlink(missing_ok=True)
    with Path(path).open("xb") as file:
        yield file


@contextmanager
def open_to_append(path: str | Path) -> Iterator[BufferedWriter]:
    """Open a file, made if necessary, to write at its end. Raises `OSError`, also for a link, a pipe or a device."""
    with open(path, "ab", opener=_no_link) as file:
        _require_plain(file.fileno(), path)
        yield file


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes. Raises `OSError`, as `open_plain`."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: str | Path) -> str:
    """The same of a file that this process has read already, if it is the same file, of the same size and time."""
    status = Path(path).stat()
    if time.time_ns() - status.st_mtime_ns < _SETTLED:
        return sha256(path)
    version = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return _sha256_of(Path(path).absolute(), version)


@lru_cache(maxsize=100_000)
def _sha256_of(path: Path, version: tuple[int, ...]) -> str:
    del version
    return sha256(path)


def _no_wait(path: str, flags: int) -> int:
    """Open without waiting for somebody to write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _no_link(path: str, flags: int) -> int:
    """Open the file itself, with a new file's usual rights, without waiting for somebody to read from a pipe."""
    try:
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotPlain(error.errno, "It is not a plain file", path) from error
        raise


def _require_plain(handle: int, path: str | Path) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise NotPlain(errno.EINVAL, "It is not a plain file", str(path))


def parse_json(
    text: str | bytes,
    where: str,
    fix: str = "Write the file again",
    parse_int: Callable[[str], Any] | None = None,
    once: bool = False,
) -> Any:
    """The JSON value of a text. Raises `UserError` saying that `where` is not JSON, with the reason and this fix.

    `parse_int` is that of `json.loads`; `once`: no object may have a name twice, of which Python keeps the last value.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        value = json.loads(text, parse_int=parse_int, object_pairs_hook=_each_once if once else None)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} is not text", "It has half of a surrogate pair", fix) from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deep", "Reading it would exhaust the stack", fix) from error
    except ValueError as error:  # no JSON, no UTF-8, a number of thousands of digits
        raise UserError(f"{where} is not JSON", str(error), fix) from error
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name '{twice[:50]}' stands twice in one object")
    return record


def whole_number(digits: str) -> int | str:
    """A whole number of JSON as a cell of a table: one that 64 bits do not hold stays text.

    Python's hash of a whole number repeats every 2**61 - 1: a dictionary of such numbers, all multiples of that, takes
    time that grows with the square of their number (a megabyte takes minutes). 64 bits hold four of them.
    """
    return int(digits) if len(digits) <= _WHOLE else digits


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """A file's bytes. Raises `OSError`, as `open_plain`, and where it has more than `most`."""
    with open_plain(path) as file:
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise OSError(errno.EFBIG, f"It has more than {most} bytes", str(path))
    return data


@contextmanager
def open_text(path: str | Path, newline: str | None = None) -> Iterator[TextIOWrapper]:
    """Open a file to read its text, in the encoding that `encoding_of` finds. Raises `OSError`, as `open_plain`."""
    encoding = encoding_of(path)
    with open_plain(path) as file, TextIOWrapper(file, encoding=encoding, newline=newline) as text:
        yield text


def encoding_of(path: str | Path) -> str:
    """UTF-16 if the file's byte order mark says so (Excel's "Unicode text", PowerShell's `>`), else UTF-8.

    Raises:
        OSError: as `open_plain`.
    """
    with open_plain(path) as file:
        return _encoding(file.read(4))


def decoded(data: bytes) -> str:
    """The text of a whole file, in the encoding that `encoding_of` finds. Raises `UnicodeDecodeError`."""
    return data.decode(_encoding(data))


def _encoding(start: bytes) -> str:
    is_wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and start[:4] != codecs.BOM_UTF32_LE
    return "utf-16" if is_wide else "utf-8-sig"


def read_text(
    path: str | Path, fix: str = "Save it as UTF-8, in a place that you can read", most: int | None = None
) -> str:
    """A file's text, without a byte order mark. Raises `UserError` with this fix, also for more than `most` letters."""
    try:
        with open_text(path) as file:
            text = file.read(-1 if most is None else most + 1)
        if most is not None and len(text) > most:
            raise OSError(errno.EFBIG, f"It has more than {most} characters", str(path))
        return text
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a null byte in its name
        raise UserError(f"Cannot read {path}", getattr(error, "strerror", None) or str(error), fix) from error


def read_json(path: str | Path, fix: str = "Write the file again", most: int | None = None) -> Any:
    """The value in a JSON file. Raises `UserError` with this fix, also for more than `most` letters."""
    return parse_json(read_text(path, fix, most), str(path), fix)


def read_object(path: str | Path, fix: str = "Write the file again") -> dict[str, Any]:
    """The object in a JSON file. Raises `UserError` with this fix, also if the file holds something else."""
    value = read_json(path, fix, _OBJECT_BYTES)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not an object", "Its values must have names", fix)
    return value


def read_jsonl(path: str | Path, whole: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, in the encoding that `encoding_of` finds.

    A torn last line (a killed writer) is left out, unless it is to be `whole`.

    Raises:
        UserError: a line is not JSON, not an object, or has more than 100 MB.
        OSError: as `open_plain`.
    """
    with open_plain(path) as file:
        for number, line in enumerate(_lines(file, path), 1):
            if len(line) > _LINE_BYTES:
                reason = f"It has more than {_LINE_BYTES} bytes"
                raise UserError(f"{path}, line {number} is too long", reason, "Correct or remove this line")
            if not line.strip():
                continue
            try:
                record = parse_json(line, f"{path}, line {number}", "Correct or remove this line")
            except UserError:
                if not (whole or line.endswith(b"\n")):
                    return
                raise
            if not isinstance(record, dict):
                raise UserError(
                    f"{path}, line {number} is not an object", "A record has named fields", "Write one object per line"
                )
            yield record


def _lines(file: BufferedReader, path: str | Path) -> Iterator[bytes]:
    """Lines in UTF-8 without a byte order mark, each cut where it is too long."""
    if _encoding(file.peek(4)) == "utf-16":
        with TextIOWrapper(file, "utf-16", newline="\n") as text:
            try:
                yield from (line.encode() for line in iter(partial(text.readline, _LINE_BYTES + 1), ""))
            except UnicodeDecodeError as error:
                raise UserError(f"Cannot read {path}", str(error), "Save it as UTF-8") from error
        return
    if file.peek(3).startswith(codecs.BOM_UTF8):
        file.read(3)
    yield from iter(partial(file.readline, _LINE_BYTES + 1), b"")


def append_jsonl(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append objects, one per line, flushed to disk before returning, so that nothing paid for is lost by a crash.

    Raises:
        OSError: as `open_to_append`.
    """
    with open_to_append(path) as out:
        for record in records:
            out.write(f"{json.dumps(record, ensure_ascii=False, allow_nan=False)}\n".encode())
        out.flush()
        os.fsync(out.fileno())


def read_yaml(path: str | Path, fix: str = "Correct it") -> Any:
    """The plain values in a YAML file. Raises `UserError` with this fix."""
    return parse_yaml(read_text(path, fix, _YAML_BYTES), str(path), fix)


def parse_yaml(text: str, where: str, fix: str = "Correct it") -> Any:
    """The plain values of a YAML text. Raises `UserError` saying that `where` is not YAML, with this fix."""
    import yaml

    if len(text) > _YAML_BYTES:
        raise UserError(f"{where} is too long", f"It has {len(text)} characters; at most {_YAML_BYTES} are read", fix)
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        _check_names(node, set())
        return loader.construct_document(node)
    except RecursionError as error:
        raise UserError(f"{where} is nested too deep", "Reading it would exhaust the stack", fix) from error
    except Exception as error:  # YAMLError, and whatever its constructors trip over: KeyError for `!!bool maybe`
        words = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} is not YAML", words, fix) from error
    finally:
        loader.dispose()


def _check_names(node: yaml.Node, seen: set[int]) -> None:
    """Raise `ValueError` for a name that a mapping has twice: of two values YAML takes the last, without a word."""
    import yaml

    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    parts = [part for child in node.value for part in (child if isinstance(child, tuple) else (child,))]
    if isinstance(node, yaml.MappingNode):
        names = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := next((name for (_, name), count in names.items() if count > 1), None):
            raise ValueError(f"the name '{twice[:50]}' stands twice in one mapping")
    for part in parts:
        _check_names(part, seen)


def _check_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of nodes below one, with aliases expanded. Raises `ValueError` if there are too many."""
    import yaml

    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("an alias contains itself")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if node.tag in _NUMBERS and len(node.value) > _DIGITS:  # 1:1:1:... is read in base 60, in quadratic time
        raise ValueError(f"a number has more than {_DIGITS} characters")
    if isinstance(node, yaml.MappingNode) and any(
        key.tag == _NUMBERS[0] and len(key.value) > _NAME for key, _ in node.value
    ):
        raise ValueError(f"a number that is a name has more than {_NAME} characters")
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        size += sum(_check_size(part, sizes) for part in (child if isinstance(child, tuple) else (child,)))
    if size > _NODES:
        raise ValueError(f"with its aliases written out it has more than {_NODES} values")
    sizes[id(node)] = size
    return size
