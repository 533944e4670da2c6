"""Files that run code when they are loaded: pickles of every protocol, what holds them, and compiled code."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from recipes.safety.kinds import Found, container, zip_names

NAMES = (
    ".bin", ".pth", ".pt", ".pt2", ".pkl", ".pickle", ".joblib", ".ckpt", ".npy", ".npz", ".dill", ".sav", ".h5",
    ".keras", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe", ".jar", ".whl", ".egg", ".wasm",
)  # fmt: skip
_CODE = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm")  # how it begins
_COMPILED = re.compile(rb"..\r\n.{12}\xe3", re.DOTALL)  # Python's: version, mark, flags, time, size, a code object
_RUNNING = {
    "GLOBAL",
    "STACK_GLOBAL",
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "REDUCE",
    "BUILD",
    "EXT1",
    "EXT2",
    "EXT4",
    "PERSID",
}
_NUMPY = b"\x93NUMPY"
_MAGIC = re.compile(rb"\x80[\x02-\x05][\x8a\x95}\]cq(]")  # \x8a: torch's own, before zip archives
_HEAD = 64_000_000  # bytes in which a pickle shows itself
_OPCODES = 100_000  # of a pickle that never ends
_UNPACKED = 10_000_000  # bytes of compressed data that are looked at
_FIX = "save weights as safetensors, data as parquet"


def pickles(path: Path, data: bytes) -> Iterator[Found]:
    """Why loading a file could run code, by its name or by its content."""
    whole, data = data, bytes(data[:_HEAD])
    names = [name.suffix.lower() for name in (path, Path(path.stem))]  # weights.pkl.gz is one, too
    if any(name in NAMES or re.fullmatch(r"\.so\.\d+|\.pkl\d+", name) for name in names):
        yield f"a pickle, or a format that may contain code ({''.join(path.suffixes[-2:])})", _FIX
    elif is_pickle(data):
        yield "a pickle", _FIX
    elif data.startswith(_NUMPY):
        yield "a NumPy array, which may contain pickled objects", _FIX
    elif data.startswith(_CODE) or _COMPILED.match(data) or (data[:2] == b"MZ" and not data[:64].isascii()):
        yield "compiled code", "release its source, or name the package that it comes from"
    elif (kind := container(whole)) and holds_pickle(kind, whole):
        yield f"a pickle in a container ({kind})", _FIX


def is_pickle(data: bytes) -> bool:
    """Whether bytes are a pickle: by the mark of protocols 2 to 5, or because they run to a stop as 0 and 1 do.

    Text and weights stop making sense after a few opcodes. The few that do not ("Git v2.3" is a number and a stop) name
    nothing to be imported, and go on after the stop.
    """
    if _MAGIC.match(data):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in what is no pickle
        return _runs(data)


def _runs(data: bytes) -> bool:
    names: set[str] = set()
    stream = io.BytesIO(data)
    try:
        for count, (opcode, _, _) in enumerate(pickletools.genops(stream)):
            names.add(opcode.name)
            if count == _OPCODES:
                return True
        end = stream.tell()
        pickletools.dis(data, io.StringIO())
    except Exception:  # every kind of error, by what the opcode is not
        return False
    return bool(names & _RUNNING) or not data[end:].strip()


def holds_pickle(kind: str, data: bytes) -> bool:
    """Whether a container has a pickle in it, under a name or, unpacked, at its beginning."""
    if kind == "zip":
        return any(Path(name).suffix.lower() in NAMES for name in zip_names(data) or ())
    unpack = {
        "gzip": lambda: gzip.GzipFile(fileobj=io.BytesIO(data)).read(_UNPACKED),
        "bzip2": lambda: bz2.BZ2Decompressor().decompress(data, _UNPACKED),
        "xz": lambda: lzma.LZMADecompressor().decompress(data, _UNPACKED),
        "lzma": lambda: lzma.LZMADecompressor().decompress(data, _UNPACKED),
        "zlib": lambda: zlib.decompressobj().decompress(data, _UNPACKED),
    }.get(kind)
    try:
        return unpack is not None and is_pickle(unpack())
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return False
