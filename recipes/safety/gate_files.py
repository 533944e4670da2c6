"""What no file of a release may hold: secrets, paths of this machine, pickles, remote code, photographs' metadata."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.distillation.image_metadata import private_metadata
from recipes.recipe.config import ROOT

Found = tuple[str, str]  # what is wrong, and how to mend it
PICKLES = (".bin", ".pth", ".pt", ".pkl", ".pickle", ".joblib", ".ckpt", ".npy", ".npz")
_TEXTS = (".py", ".json", ".md", ".yaml", ".txt")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")
_SCANNED_BYTES = 2_000_000  # a longer text is a tokenizer or data: tokens are still looked for, line by line
# What detect-secrets 1.5 does not know. Written in two parts so that this file does not match itself.
_TOKENS = re.compile(r"\b(hf" + r"_[A-Za-z0-9]{30,}|sk" + r"-(?:proj-|ant-)?[A-Za-z0-9_-]{40,})\b")
_SECRET_VARIABLE = re.compile(r"(?:TOKEN|API_KEY|SECRET|SECRET_KEY|ACCESS_KEY|PASSWORD)$")
_QUIET_PLUGINS = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")  # hashes are no secrets
_LOCAL_PATH = re.compile(
    r"(?<![\w.:/<>~-])(?:/(?:home|root|Users|mnt|scratch|workspace|work|tmp|private)/[\w.-]+|[A-Za-z]:\\\\?Users\\)[\w./\\-]*"
)
_REMOTE_CODE = re.compile(r"trust_remote_code[\"']?\s*[=:]\s*(?:True|true)|[\"']auto_map[\"']\s*:")
_PICKLE_MAGIC = re.compile(rb"\x80[\x02-\x05][\x8a\x95}\]cq(]")  # \x8a: torch's own, before zip archives


def file_findings(path: Path) -> Iterator[tuple[str, str, str]]:
    """(check, what is wrong, fix) for everything that is wrong with one file."""
    data = path.read_bytes()
    for check, findings in (
        ("secrets", secrets(path, data)),
        ("local_paths", local_paths(path, data)),
        ("pickles", pickles(path, data)),
        ("remote_code", remote_code(path, data)),
        ("image_metadata", image_metadata(path, data)),
    ):
        for wrong, fix in findings:
            yield check, wrong, fix


def text_of(path: Path, data: bytes) -> str | None:
    """The file as text: its own, or the text columns of a parquet file and the header of a safetensors file."""
    if path.suffix == ".parquet":
        return "\n".join(_parquet_texts(path))
    if path.suffix == ".safetensors":
        return data[8 : 8 + int.from_bytes(data[:8], "little")].decode(errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _parquet_texts(path: Path) -> Iterator[str]:
    """Every text in a parquet file, image file names included, each once; image bytes are left aside."""
    from pyarrow import parquet

    seen: set[str] = set()

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for inner in value.values():
                yield from texts(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from texts(inner)

    for batch in parquet.ParquetFile(path).iter_batches(256):
        for row in batch.to_pylist():
            for text in texts(row):
                if text not in seen:
                    seen.add(text)
                    yield text


def secrets(path: Path, data: bytes) -> Iterator[Found]:
    """Tokens, keys, passwords; `.env` files; the values of this shell's own tokens. The secret itself is not shown."""
    if path.name == ".env" or path.name.startswith(".env."):
        yield "an environment file", "keep it out of the folders that are released"
    text = text_of(path, data)
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) > 7 and (value.encode() in data or value in (text or "")):
            yield f"the value of {name}", "remove it, and revoke the token"
    if text is None:
        return
    for match in _TOKENS.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"line {line}: a token that begins with {match[0][:3]}", "remove it, and revoke the token"
    if len(text) <= _SCANNED_BYTES:
        yield from _scanned(text, path.suffix)


def _scanned(text: str, suffix: str) -> Iterator[Found]:
    """What detect-secrets sees in a text."""
    from detect_secrets import SecretsCollection
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.settings import transient_settings

    classes: Any = get_mapping_from_secret_type_to_class().values()
    wanted = [{"name": plugin.__name__} for plugin in classes if plugin.__name__ not in _QUIET_PLUGINS]
    with tempfile.NamedTemporaryFile("w", suffix=suffix if suffix != ".parquet" else ".txt", encoding="utf-8") as copy:
        copy.write(text)
        copy.flush()
        with transient_settings({"plugins_used": wanted}):
            collection = SecretsCollection()
            collection.scan_file(copy.name)
            for _, secret in collection:
                yield f"line {secret.line_number}: {secret.type}", "remove it, and revoke what it opens"


def local_paths(path: Path, data: bytes) -> Iterator[Found]:
    """Absolute paths of the machine that built the release."""
    for place in {str(ROOT), str(Path.home())} - {"/", "/root"}:
        if place.encode() in data:
            yield f"names the folder {place}", "write relative paths or Hub ids"
            return
    if match := _LOCAL_PATH.search(text_of(path, data) or ""):
        yield f"names the path {match[0][:80]}", "write relative paths or Hub ids"


def pickles(path: Path, data: bytes) -> Iterator[Found]:
    """Files that run code when they are loaded, by name or by content."""
    zipped = data[:2] == b"PK" and b"data.pkl" in data[:4096]
    if path.suffix.lower() in PICKLES or _PICKLE_MAGIC.match(data) or zipped:
        yield "a pickle, or a format that may hold one", "save weights as safetensors, data as parquet"


def remote_code(path: Path, data: bytes) -> Iterator[Found]:
    """What would run code from a repository while a model loads."""
    text = data.decode(errors="replace") if path.suffix in _TEXTS else ""
    if match := _REMOTE_CODE.search(text):
        yield f"uses {match[0].split('=')[0].strip(' :')}", "use classes that transformers or t2i_judge know"


_STRIP = "strip it (data.strip_metadata: true in the recipe, or build_benchmark --strip-metadata)"


def image_metadata(path: Path, data: bytes) -> Iterator[Found]:
    """Images that carry EXIF, GPS or XMP: place, camera and owner."""
    if path.suffix.lower() in IMAGES:
        if kind := private_metadata(data):
            yield f"an image with {kind}", _STRIP
    elif path.suffix == ".parquet":
        names = [name for name, picture in _parquet_images(path) if private_metadata(picture)]
        if names:
            listed = ", ".join(names[:5])
            yield f"{len(names)} images with EXIF, GPS or XMP ({listed})", _STRIP


def _parquet_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every image in a parquet file with the columns `image`, `reference_image` or `images`."""
    from pyarrow import parquet

    columns = [c for c in parquet.read_schema(path).names if c in ("image", "reference_image", "images")]
    if not columns:
        return
    for batch in parquet.ParquetFile(path).iter_batches(64, columns=columns):
        for row in batch.to_pylist():
            for value in row.values():
                for cell in value if isinstance(value, list) else [value]:
                    if cell and cell["bytes"]:
                        yield cell["path"] or "image", cell["bytes"]
