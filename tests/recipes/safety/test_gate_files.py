"""Every kind of thing that must not go out, in every place that a file has for it; and what is harmless stays."""

from __future__ import annotations

import base64
import bz2
import collections
import gzip
import io
import json
import lzma
import os
import pickle
import random
import sqlite3
import string
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from importlib import _bootstrap_external
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from pyarrow import parquet

from recipes.distillation.image_metadata import private_metadata, without_metadata
from recipes.safety.contents import Contents
from recipes.safety.encoded_files import encoded_files
from recipes.safety.gate_files import file_findings


def checks(path: Path) -> set[str]:
    return {check for check, _, _ in file_findings(path)}


def drawn(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """As random as a key, and the same in every run."""
    rng = random.Random(f"{length} {alphabet}")
    return "".join(rng.choice(alphabet) for _ in range(length))


HEX, UPPER = "0123456789abcdef", string.ascii_uppercase + "234567"
SECRETS = {  # made here, so that nobody's scanner finds them in this file
    "AWS access key": "AK" + "IA" + drawn(16, UPPER),
    "AWS secret key, unquoted": "aws_secret_access_key" + "=" + drawn(40),
    "Google API key": "AI" + "za" + drawn(35),
    "Google service account": '"private_key_id": "' + drawn(40, HEX) + '"',
    "GitHub, fine-grained": "github" + "_pat_" + drawn(22) + "_" + drawn(59),
    "GitHub, classic": "gh" + "p_" + drawn(36),
    "npm": "np" + "m_" + drawn(36),
    "Replicate": "r" + "8_" + drawn(37),
    "Weights & Biases": "WANDB_API_KEY" + "=" + drawn(40, HEX),
    "bearer": "Authorization: Bear" + "er " + drawn(40),
    "Groq": "gs" + "k_" + drawn(52),
    "xAI": "xa" + "i-" + drawn(80),
    "Hugging Face": "hf" + "_" + drawn(34, string.ascii_letters),
    "OpenAI, project": "sk-" + "proj-" + drawn(48),
    "OpenAI": "sk" + "-" + drawn(48),
    "Anthropic": "sk-" + "ant-api03-" + drawn(93) + "AA",
    "OpenRouter": "sk-" + "or-v1-" + drawn(64, HEX),
    "Slack": "xox" + "b-" + drawn(12, string.digits) + "-" + drawn(24),
    "Stripe": "sk" + "_live_" + drawn(24),
    "GitLab": "glp" + "at-" + drawn(20),
    "NVIDIA": "nva" + "pi-" + drawn(64),
    "JSON web token": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + drawn(43),
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "password, quoted": "pass" + "word: 'hunter2hunter2'",
    "Jina": "ji" + "na_" + drawn(60),
    "Supabase": "sb" + "_secret_" + drawn(22) + "_" + drawn(8),
    "Vercel": "vercel" + "_blob_rw_" + drawn(16) + "_" + drawn(30),
    "Netlify": "nf" + "p_" + drawn(36),
    "Pinecone": "pc" + "sk_" + drawn(6) + "_" + drawn(60),
    "Scale": "li" + "ve_" + drawn(32, HEX),
    "Baidu": "bce-v3" + "/ALTAK-" + drawn(21) + "/" + drawn(40, HEX),
    "ModelScope": "m" + "s-" + "-".join(drawn(length, HEX) for length in (8, 4, 4, 4, 12)),
    "Langfuse": "sk-" + "lf-" + "-".join(drawn(length, HEX) for length in (8, 4, 4, 4, 12)),
    "Tailscale": "ts" + "key-auth-" + drawn(12) + "-" + drawn(32),
    "Gemini, new": "AQ." + "Ab8" + drawn(50),
    "Mapbox": "sk." + "eyJ1IjoiYWJjIiwiYSI6ImNsZXhhbXBsZSJ9." + drawn(22),
    "Bitbucket": "AT" + "BB1" + drawn(31),
    "API key, in words": "api" + "_key = " + drawn(32),
    "password in an address": "postgres://admin" + ":" + drawn(14) + "@db.example.com:5432/app",
}


def png(**options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(out, "PNG", **options)
    return out.getvalue()


def png_with(kind: str, secret: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("prompt", secret, zip=True)
    else:
        info.add_text("parameters", secret, zip=kind == "zTXt")
    return png(pnginfo=info)


def saved(kind: str, **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png_and(kind: bytes, body: bytes) -> bytes:
    """A PNG with a chunk behind its header."""
    return png()[:33] + chunk(kind, body) + png()[33:]


def jpeg_and(marker: int, body: bytes) -> bytes:
    """A JPEG with a segment behind its first one."""
    whole = saved("JPEG")
    return whole[:20] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + whole[20:]


def profile(text: str, tag: bytes = b"desc", encoding: str = "ascii") -> bytes:
    """A colour profile of one tag."""
    body = b"text" + bytes(4) + text.encode(encoding)
    size = 144 + len(body)
    head = size.to_bytes(4, "big") + bytes(8) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(88)
    places = b"".join(number.to_bytes(4, "big") for number in (144, len(body)))
    return head + (1).to_bytes(4, "big") + tag + places + body


def exif(tag: int, value: str | bytes) -> Image.Exif:
    made = Image.Exif()
    made[tag] = value
    return made


def in_parquet(column: pa.Array | pa.ChunkedArray, name: str = "text", **metadata: str) -> bytes:
    field = pa.field(name, column.type, metadata={"note": metadata["field"]} if "field" in metadata else None)
    schema = pa.schema([field], metadata={"note": metadata["table"]} if "table" in metadata else None)
    out = io.BytesIO()
    parquet.write_table(pa.table([column], schema=schema), out, compression="gzip")
    return out.getvalue()


NESTED = {
    "a structure": lambda field: pa.struct([field]),
    "a list": lambda field: pa.list_(field),
    "a list of structures": lambda field: pa.large_list(pa.struct([field])),
    "a map": lambda field: pa.map_(pa.string(), pa.struct([field])),
}


def in_nested_metadata(secret: str, kind: str) -> bytes:
    """A parquet file of two columns; what the first is made of, and the second, say something under the same name."""
    inner = pa.field("a", pa.int64(), metadata={"note": secret})
    schema = pa.schema([("one", NESTED[kind](inner)), pa.field("two", pa.int64(), metadata={"note": "words"})])
    out = io.BytesIO()
    parquet.write_table(schema.empty_table(), out)
    return out.getvalue()


def safetensors(metadata: dict[str, str], data: bytes = bytes(64)) -> bytes:
    header = json.dumps({"__metadata__": metadata, "w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}})
    return struct.pack("<Q", len(header)) + header.encode() + data


def image_cell(data: bytes, path: str = "0.png") -> pa.Array:
    return pa.array([{"bytes": data, "path": path}])


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


def hexed(text: str) -> str:
    return "".join(f"\\x{ord(char):02x}" for char in text)


NAMES_OF_SIGNS = str.maketrans({"_": "&lowbar;", ".": "&period;", ":": "&colon;", "=": "&equals;"})
PLACES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "Markdown": ("README.md", lambda s: f"one\n{s}\n".encode()),
    "text of 3 million bytes": ("requirements.txt", lambda s: b"torch==2.0.0\n" * 230_000 + s.encode()),
    "a bad byte": ("README.md", lambda s: b"caf\xe9\n" + s.encode() + b"\n"),
    "UTF-16": ("README.md", lambda s: f"words {s}\n".encode("utf-16")),
    "UTF-16 without a mark": ("README.md", lambda s: f"words {s}\n".encode("utf-16-be")),
    "UTF-32": ("README.md", lambda s: f"words {s}\n".encode("utf-32")),
    "JSON value": ("config.json", lambda s: json.dumps({"a": [{"b": s}]}).encode()),
    "JSON key": ("config.json", lambda s: json.dumps({"a": {s: 1}}).encode()),
    "base64": ("README.md", lambda s: b"one " + base64.b64encode(s.encode()) + b"\n"),
    "base64 of addresses, in JSON": ("config.json", lambda s: b'{"a": "%s"}' % base64.urlsafe_b64encode(s.encode())),
    "base64 in parquet": ("a.parquet", lambda s: in_parquet(pa.array([base64.b64encode(s.encode()).decode()]))),
    "an address's codes": ("README.md", lambda s: "".join(f"%{ord(char):02X}" for char in s).encode()),
    "HTML's codes": ("index.html", lambda s: "".join(f"&#{ord(char)};" for char in s).encode()),
    "HTML's names": ("README.md", lambda s: s.translate(NAMES_OF_SIGNS).encode()),
    "escapes in a block": ("README.md", lambda s: f"```json\n{escaped(s)}\n```\n".encode()),
    "escapes of a script": ("script.js", lambda s: "".join(f"\\u{{{ord(char):x}}}" for char in s).encode()),
    "escapes of a style": ("style.css", lambda s: "".join(f"\\{ord(char):06x}" for char in s).encode()),
    "escapes of a template": ("chat_template.jinja", lambda s: f"{{{{ '{hexed(s)}' }}}}".encode()),
    "hex": ("config.json", lambda s: json.dumps({"a": s.encode().hex()}).encode()),
    "base32": ("README.md", lambda s: base64.b32encode(s.encode())),
    "base64 of base64": ("README.md", lambda s: base64.b64encode(base64.b64encode(s.encode()))),
    "escaped JSON": ("config.json", lambda s: f'{{"a": "{escaped(s)}"}}'.encode()),
    "JSON in JSON": ("config.json", lambda s: json.dumps({"a": json.dumps({"b": s})}).encode()),
    "YAML": ("recipe.yaml", lambda s: f"a:\n  - {json.dumps(s)}\n".encode()),
    "front matter": ("README.md", lambda s: f"---\na: {json.dumps(s)}\n---\n".encode()),
    "Python string": ("app.py", lambda s: f'A = "{escaped(s)}"\n'.encode()),
    "Python comment": ("app.py", lambda s: f"A = 1  # {s}\n".encode()),
    "template": ("chat_template.jinja", lambda s: f"{{# {s} #}}".encode()),
    "page": ("index.html", lambda s: f"<!-- {s} -->".encode()),
    "weights' metadata": ("model.safetensors", lambda s: safetensors({"note": s})),
    "PNG tEXt": ("a.png", lambda s: png_with("tEXt", s)),
    "PNG zTXt": ("a.png", lambda s: png_with("zTXt", s)),
    "PNG iTXt": ("a.png", lambda s: png_with("iTXt", s)),
    "PNG, after its end": ("a.png", lambda s: png() + s.encode()),
    "JPEG comment": ("a.jpg", lambda s: saved("JPEG", comment=s.encode())),
    "EXIF description": ("a.jpg", lambda s: saved("JPEG", exif=exif(0x010E, s))),
    "EXIF of Windows": ("a.jpg", lambda s: saved("JPEG", exif=exif(0x9C9C, s.encode("utf-16-le")))),
    "WebP EXIF": ("a.webp", lambda s: saved("WEBP", exif=exif(0x010E, s))),
    "WebP XMP": ("a.webp", lambda s: saved("WEBP", xmp=f"<x>{s}</x>".encode())),
    "PNG palette's name": ("a.png", lambda s: png_and(b"sPLT", s.encode()[:79] + b"\0\x08")),
    "profile's name": ("b.png", lambda s: png_and(b"iCCP", s.encode() + b"\0\0" + zlib.compress(profile("sRGB")))),
    "profile": ("b.png", lambda s: png(icc_profile=profile(s))),
    "profile in two bytes": ("b.webp", lambda s: saved("WEBP", icc_profile=profile(s, b"cprt", "utf-16-be"))),
    "profile, padded": ("b.jpg", lambda s: saved("JPEG", icc_profile=profile(s + "\0" * 9 * len(s)))),
    "profile's own tag": ("a.jpg", lambda s: saved("JPEG", icc_profile=profile(s, b"mine"))),
    "TIFF profile's own tag": ("a.tif", lambda s: saved("TIFF", icc_profile=profile(s, b"mine"))),
    "JPEG thumbnail": ("a.jpg", lambda s: jpeg_and(0xE0, b"JFXX\0\x13" + s.encode())),
    "JPEG, behind Adobe's": ("a.jpg", lambda s: jpeg_and(0xEE, b"Adobe\0\x64\0\0\0\0\1" + s.encode())),
    "GIF comment": ("a.gif", lambda s: saved("GIF", comment=s.encode())),
    "TIFF description": ("a.tif", lambda s: saved("TIFF", description=s)),
    "parquet value": ("a.parquet", lambda s: in_parquet(pa.array([s]))),
    "parquet, of 2 million bytes": ("a.parquet", lambda s: in_parquet(pa.array(["words " * 400_000 + s]))),
    "parquet list": ("a.parquet", lambda s: in_parquet(pa.array([[{"content": s}]]))),
    "parquet map value": ("a.parquet", lambda s: in_parquet(pa.array([[("a", s)]], pa.map_(pa.string(), pa.string())))),
    "parquet map key": ("a.parquet", lambda s: in_parquet(pa.array([[(s, "a")]], pa.map_(pa.string(), pa.string())))),
    "parquet dictionary": ("a.parquet", lambda s: in_parquet(pa.array([s]).dictionary_encode())),
    "parquet bytes": ("a.parquet", lambda s: in_parquet(pa.array([f"words {s}\n".encode()]))),
    "parquet bytes in UTF-16": ("a.parquet", lambda s: in_parquet(pa.array([f"words {s}\n".encode("utf-16")]))),
    "parquet column name": ("a.parquet", lambda s: in_parquet(pa.array([1]), name=s)),
    "parquet field name": ("a.parquet", lambda s: in_parquet(pa.array([{s: 1}]))),
    "parquet metadata": ("a.parquet", lambda s: in_parquet(pa.array([1]), table=s)),
    "parquet column's metadata": ("a.parquet", lambda s: in_parquet(pa.array([1]), field=s)),
    **{
        f"parquet metadata of {kind}": ("a.parquet", lambda s, kind=kind: in_nested_metadata(s, kind))
        for kind in NESTED
    },
    "image's text in parquet": ("a.parquet", lambda s: in_parquet(image_cell(png_with("zTXt", s)), name="image")),
    "image's name in parquet": ("a.parquet", lambda s: in_parquet(image_cell(png(), s), name="image")),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_kind_of_secret_is_found_in_every_place(tmp_path: Path, place: str) -> None:
    name, write = PLACES[place]
    missed = []
    kinds = SECRETS if "million" not in place else dict(list(SECRETS.items())[::8])
    for kind, secret in kinds.items():
        path = tmp_path / name
        path.write_bytes(write(secret))
        findings = list(file_findings(path))
        if not any(check == "secrets" for check, _, _ in findings):
            missed.append(kind)
        assert secret[-12:] not in " ".join(wrong for _, wrong, _ in findings)
    assert missed == []


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "%s", "password": null}',
        '{"a": "{\\"password\\": \\"%s\\", \\"password\\": 1}"}',
        '[{"name": "DB_PASSWORD", "value": "%s"}]',
    ],
)
def test_a_secret_that_only_its_name_gives_away_is_found_under_every_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text % "horse-staple-9")
    assert checks(tmp_path / "config.json") == {"secrets"}


def test_data_in_texts_hides_nothing_however_many_there_are(tmp_path: Path) -> None:
    texts = [json.dumps({"note": f"words {n}"}) for n in range(50)]
    hidden = f'{{"{escaped("password")}": "horse-staple-9"}}'
    (tmp_path / "config.json").write_text(json.dumps([*texts, hidden, *texts]))
    assert checks(tmp_path / "config.json") == {"secrets"}


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def escaped_for(url: str, code: str) -> str:
    """A data URL whose base64 has no letters that somebody could mean otherwise."""
    head, _, body = url.partition(",")
    return f"{head}," + "".join(char if char.isalnum() else code.format(ord(char)) for char in body)


def wrapped(data: bytes) -> str:
    return base64.encodebytes(data).decode()


HOLDERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "Markdown": ("README.md", lambda d: f"a picture ![]({data_url(d)}) of a cat".encode()),
    "Markdown, wrapped": ("README.md", lambda d: f"![](data:image/png;base64,{wrapped(d)})".encode()),
    "page": ("index.html", lambda d: f'<img src="{data_url(d)}">'.encode()),
    "page, escaped": ("index.html", lambda d: f'<img src="{escaped_for(data_url(d), "&#{};")}">'.encode()),
    "style": ("style.css", lambda d: f".a {{ background: url({escaped_for(data_url(d), '%{:02X}')}) }}".encode()),
    "script": ("a.js", lambda d: f'const a = "{data_url(d)}";'.replace("/", "\\/").encode()),
    "percent": ("index.html", lambda d: f'<img src="data:image/png,{quote_from_bytes(d)}">'.encode()),
    "JSON": ("config.json", lambda d: json.dumps({"a": [data_url(d)]}).encode()),
    "JSON, bare": ("config.json", lambda d: json.dumps({"a": base64.b64encode(d).decode()}).encode()),
    "JSON, bare and wrapped": ("config.json", lambda d: json.dumps({"a": wrapped(d)}).encode()),
    "YAML": ("recipe.yaml", lambda d: f"a: {data_url(d)}\n".encode()),
    "Python": ("app.py", lambda d: f"A = {base64.urlsafe_b64encode(d)!r}\n".encode()),
    "template": ("chat_template.jinja", lambda d: f"{{# {data_url(d)} #}}".encode()),
    "parquet": ("a.parquet", lambda d: in_parquet(pa.array([[{"content": f"see {data_url(d)}"}]]))),
    "parquet, bare": ("a.parquet", lambda d: in_parquet(pa.array([base64.b64encode(d).decode()]))),
    "parquet metadata": ("a.parquet", lambda d: in_parquet(pa.array([1]), table=data_url(d))),
    "drawing": ("README.md", lambda d: data_url(f'<svg>{data_url(d)}</svg>'.encode(), "image/svg+xml").encode()),
}  # fmt: skip
HELD = {
    "PNG": lambda: png(),
    "JPEG": lambda: saved("JPEG"),
    "GIF": lambda: saved("GIF"),
    "WebP": lambda: saved("WEBP"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_picture_in_a_text_is_looked_at_as_a_file_is(tmp_path: Path, holder: str) -> None:
    name, write = HOLDERS[holder]
    path = tmp_path / name
    secret = SECRETS["password, quoted"]
    for kind, data in HELD.items():
        path.write_bytes(write(data()))
        assert checks(path) == set(), kind
    for data, found in {
        png_with("zTXt", "a house at the sea"): {"image_metadata"},
        png_with("zTXt", secret): {"image_metadata", "secrets"},
        png() + b"words": {"image_metadata"},
        saved("JPEG", exif=exif(0x010E, "words")): {"image_metadata"},
        saved("WEBP", xmp=f"<x>{secret}</x>".encode()): {"image_metadata", "secrets"},
    }.items():
        path.write_bytes(write(data))
        assert checks(path) == found


@pytest.mark.parametrize(
    "text", ["data:,", "data:,%89PNG%0D%0A%1A%0A", "data:;base64,QUJD", "iVBORw0KGgo" + "A" * 60 + "\n"]
)
def test_a_text_full_of_beginnings_takes_no_longer(text: str) -> None:
    started = time.process_time()
    list(encoded_files(Contents(text=text * (500_000 // len(text)))))
    assert time.process_time() - started < 5


def test_other_files_in_a_text_are_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    for data, check in (
        (ATTACK, "pickles"),
        (gzip.compress(ATTACK), "pickles"),
        (SECRETS["password, quoted"].encode(), "secrets"),
        (b'{"base": "/home/me/base"}', "local_paths"),
    ):
        path.write_text(f"see {data_url(data, 'application/octet-stream')} here")
        assert check in checks(path)
    path.write_text(base64.b64encode(b"words " * 999 + SECRETS["password, quoted"].encode()).decode())
    assert checks(path) == {"secrets"}


class Attack:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("true",)


PICKLED = (Attack(), {"weights": [1.0, 2.0]}, collections.OrderedDict(a=1), [0.5] * 10)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "weights"])
def test_pickles_of_every_protocol_are_found_under_any_name(tmp_path: Path, name: str, protocol: int) -> None:
    for thing in PICKLED:
        (tmp_path / name).write_bytes(pickle.dumps(thing, protocol))
        assert {"pickles"} <= checks(tmp_path / name)


def zipped(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("padding", bytes(9000))
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return out.getvalue()


def numpy_objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Attack()], dtype=object), allow_pickle=True)
    return out.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "made.db") as connection:
        connection.execute("create table t (a)")
    return (folder / "made.db").read_bytes()


ATTACK = pickle.dumps(Attack(), 0)


def by_name(part: str | bytes | None) -> str:
    """A test's id; not its bytes, since gzip and zip put the time into theirs: every worker would have other tests."""
    return part if isinstance(part, str) else "data"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("objects.dat", numpy_objects()),
        ("objects.json", numpy_objects()),
        *(("model.safetensors", pack(ATTACK)) for pack in (gzip.compress, zlib.compress, bz2.compress, lzma.compress)),
        ("weights.pkl.gz", gzip.compress(b"x")),
        ("model.safetensors", zipped(data_pkl=ATTACK)),
        ("README.md", b"# Words\n" * 2000 + zipped(archive__data_pkl=ATTACK)),
        ("module.pyc", b""),
        ("module.json", bytes(_bootstrap_external._code_to_timestamp_pyc(compile("1", "a", "exec")))),
        ("lib.so", b""),
        ("lib.so.1", b""),
        ("lib.json", b"\x7fELF\x02\x01\x01" + bytes(64)),
        ("a.dll", b"MZ"),
        ("a.parquet", in_parquet(pa.array([ATTACK]))),
        ("a.parquet", in_parquet(pa.array([gzip.compress(ATTACK)]))),
    ],
    ids=by_name,
)
def test_what_runs_code_when_it_is_loaded_is_found(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert "pickles" in checks(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("README.md", pack(b"words " * 99)) for pack in (gzip.compress, zlib.compress, bz2.compress, lzma.compress)),
        ("a.zip", zipped(a=b"1")),
        ("README.md", b"words\n" + zipped(a=b"1")),
        ("a.dat", b"words"),
        ("words", b"words"),
        ("notes.ipynb", b"{}"),
        ("rows.jsonl", b"{}"),
        ("a.json", b"{"),
        ("a.json", b"[" * 100_000),
        ("a.md", b"\xff"),
        ("a.md", "words".encode("utf-16")),
        ("a.png", b"words"),
        ("a.png", saved("JPEG")),
        ("a.parquet", b"PAR1"),
        ("a.safetensors", safetensors({}, bytes(65))),
        ("a.safetensors", b"words"),
        ("py.typed", b"words"),
        ("a.py", b"#" * 1_000_001),
        (".gitattributes", b""),
        ("a.db", None),
        ("a.json", None),
    ],
    ids=by_name,
)
def test_what_is_of_no_kind_that_a_release_holds_is_found(tmp_path: Path, name: str, data: bytes | None) -> None:
    (tmp_path / name).write_bytes(database(tmp_path) if data is None else data)
    assert "files" in checks(tmp_path / name)


BAD_TEXT = pa.array([b"caf\xe9"]).cast(pa.binary()).view(pa.string())
UNREADABLE = {
    "text": BAD_TEXT,
    "texts of a list": pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), BAD_TEXT),
    "text of a structure": pa.StructArray.from_arrays([BAD_TEXT], ["a"]),
    "text of a dictionary": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), BAD_TEXT),
    "date": pa.array([2**30], pa.int32()).view(pa.date32()),
    "time": pa.array([2**62]).view(pa.timestamp("ms")),
    "duration": pa.array([2**62]).view(pa.duration("ms")),
    "time zone": pa.array([0]).view(pa.timestamp("ms", "Nowhere/Never")),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_row_that_cannot_be_read_is_found_and_hides_nothing(tmp_path: Path, kind: str) -> None:
    secret = SECRETS["GitHub, classic"]
    columns = {
        "odd": UNREADABLE[kind],
        "image": image_cell(saved("JPEG", exif=exif(0x010E, "words"))),
        "pickle": pa.array([ATTACK]),
        "text": pa.array([secret]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet", compression="gzip")
    findings = list(file_findings(tmp_path / "a.parquet"))
    assert {check for check, _, _ in findings} == {"files", "image_metadata", "pickles", "secrets"}
    assert any("column 1" in wrong for check, wrong, _ in findings if check == "files")


def test_a_secret_beside_a_bad_byte_is_found(tmp_path: Path) -> None:
    bad = pa.array([b"caf\xe9 " + SECRETS["GitHub, classic"].encode()]).view(pa.string())
    for column in (bad, pa.StructArray.from_arrays([bad], ["a"])):
        (tmp_path / "a.parquet").write_bytes(in_parquet(column))
        assert checks(tmp_path / "a.parquet") == {"files", "secrets"}


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    whole = bytearray(in_parquet(pa.array([f"words {n}" for n in range(999)])))
    whole[40:80] = bytes(40)
    (tmp_path / "a.parquet").write_bytes(whole)
    assert checks(tmp_path / "a.parquet") == {"files"}


def test_a_link_is_found_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text(SECRETS["GitHub, classic"])
    for target, directory in ((outside, False), (tmp_path, True), (tmp_path / "nowhere", False)):
        link = tmp_path / f"{target.name}-link.md"
        link.symlink_to(target, target_is_directory=directory)
        assert checks(link) == {"files"}


TRUST = "trust_remote_code"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"\\u0061uto_map": {"AutoModel": "m.M"}}'),
        ("config.json", '{"a": [{"auto_map": {}}]}'),
        ("config.json", f'{{"{TRUST}": 1}}'),
        ("config.json", f'{{"{TRUST}": "yes"}}'),
        ("config.json", f'{{"{TRUST}": true}}'),
        ("config.json", '{"custom_pipelines": {"x": {"impl": "p.P"}}}'),
        ("config.json", '{"_attn_implementation": "kernels-community/flash-attn"}'),
        ("config.json", '{"attn_implementation": {"": "evil/kernel"}}'),
        ("config.json", '{"experts_implementation": "evil/kernel"}'),
        ("adapter_config.json", '{"auto_mapping": {"parent_library": "evil.module", "base_model_class": "A"}}'),
        ("recipe.yaml", f"{TRUST}: on"),
        ("recipe.yml", "a:\n  auto_map: {AutoModel: m.M}"),
        ("recipe.yml", f"{TRUST}: True"),
        ("rows.jsonl", '{"a": 1}\n{"auto_map": {}}'),
        ("README.md", f"---\n{TRUST}: true\n---\n"),
        ("notes.ipynb", json.dumps({"cells": [{"source": [f"load(x, {TRUST}=True)"]}]})),
        ("app.py", f"load(x, {TRUST}=1)"),
        ("app.py", f"load(x, **{{'{TRUST}': True}})"),
        ("app.py", f"{TRUST} = not 0"),
        ("app.py", f"options['{TRUST}'] = 'yes'"),
        ("README.md", f"from_pretrained(x, {TRUST} = True)"),
        ("index.html", f"from_pretrained(x, {TRUST}=1)"),
        ("modeling_x.py", "A = 1"),
        ("configuration_mine.py", "A = 1"),
        ("tokenization_a.py", ""),
        ("image_processing_b.py", ""),
    ],
)
def test_every_form_of_remote_code_is_found(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert "remote_code" in checks(tmp_path / name)


PATHS = (
    "/home/me/base",
    "/root/base",
    "/Users/me/base",
    "/mnt/disk/base",
    "/media/me/disk",
    "/scratch/me/base",
    "/pscratch/sd/m/me/base",
    "/ocean/projects/abc/me",
    "/u/me/base",
    "/workspace/base",
    "/work/base",
    "/tmp/base",
    "/private/var/base",
    "/data/models/base",
    "/data2/base",
    "/opt/ml/model",
    "/var/lib/models",
    "/srv/models",
    "/nfs/home/me",
    "/gpfs/me/base",
    "/lustre/me/base",
    "/kaggle/working/base",
    "/content/drive/base",
    "/Volumes/Disk/base",
    "/usr/local/models",
    "/storage/base",
    "/etc/models/base",
    "/dev/shm/base",
    "/run/user/1000/base",
    "/app/models/base",
    "/cluster/home/me",
    "file:///home/me/base",
    "file://localhost/home/me",
    "file:/home/me/base",
    "C:\\Users\\me\\base",
    "D:\\models\\base",
    "C:/Users/me/base",
    "\\\\server\\share\\base",
    "/c/Users/me/base",
    "/cygdrive/c/base",
    "file:///C:/Users/me",
    "me@host:/home/me/base",
)


@pytest.mark.parametrize("name", ["config.json", "README.md", "app.py", "recipe.yaml", "a.parquet"])
def test_every_form_of_a_path_is_found(tmp_path: Path, name: str) -> None:
    missed = []
    for path in PATHS:
        value = json.dumps(f"base {path}, step 3" if name != "README.md" else path)
        text = {"config.json": f'{{"a": {value}}}', "app.py": f"A = {value}", "recipe.yaml": f"a: {value}"}
        written = in_parquet(pa.array([path])) if name == "a.parquet" else text.get(name, f"in `{path}`").encode()
        (tmp_path / name).write_bytes(written)
        if "local_paths" not in checks(tmp_path / name):
            missed.append(path)
    assert missed == []


@pytest.mark.parametrize(
    "value",
    [
        "~/models/base",
        "$HOME/base",
        "${HOME}/base",
        "%USERPROFILE%\\base",
        "/anything/models/base",
        "\\/home\\/me\\/base",
        "%2Fhome%2Fme%2Fbase",
        "&sol;home&sol;me&sol;base",
    ],
)
def test_a_value_that_is_a_path_is_found_from_any_root(tmp_path: Path, value: str) -> None:
    text = value if "\\/" in value else value.replace("\\", "\\\\")
    (tmp_path / "config.json").write_text(f'{{"base_model_name_or_path": "{text}"}}')
    assert checks(tmp_path / "config.json") == {"local_paths"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", "Give `OPENAI_API_KEY=...`, or api_key=None; a password: none, a token: any."),
        ("README.md", "The key task-specific-metrics-of-one-two-three and sk-learn-like-things-are-no-secrets-here"),
        ("README.md", "see https://huggingface.co/datasets/me/bench and hf://datasets/me/data/train.parquet"),
        ("README.md", "and/or, 3/4, TV/home/garden, ./data/items.csv, ../data/items.csv, GET /api/models/me/x, A:B"),
        ("tokenizer_config.json", '{"bos_token": "<s>", "additional_special_tokens": ["<|image|>"]}'),
        ("tokenizer.json", '{"added_tokens": [], "model": {"vocab": {"password": 1, "/usr/local": 2, "C:\\\\": 3}}}'),
        (
            "config.json",
            '{"auto_mapping": {"parent_library": "transformers.models.x"}, "_attn_implementation": "sdpa"}',
        ),
        ("config.json", f'{{"{TRUST}": false}}'),
        ("app.py", f"load(x, {TRUST}=False)"),
        ("recipe.yaml", f"{TRUST}: no"),
        ("app.py", "api_key = os.environ['OPENAI_API_KEY']\npassword: str | None = None\ntoken = get_token()"),
        (
            "results.json",
            json.dumps({"sha256": drawn(64, HEX), "revision": drawn(40, HEX), "template": drawn(12, HEX)}),
        ),
        ("README.md", "Git v2.31 and\ncontents.\nN."),
        ("chat_template.jinja", "{{ messages[0]['content'] }}"),
    ],
)
def test_what_is_harmless_passes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(file_findings(tmp_path / name)) == []


def test_a_file_of_four_times_the_words_takes_four_times_as_long(tmp_path: Path) -> None:
    """Not sixteen times: a release's largest text has millions of words."""

    def seconds(lines: int) -> float:
        (tmp_path / "notes.md").write_text("a word of a text that could be a token; password is a word\n" * lines)
        started = time.process_time()
        assert checks(tmp_path / "notes.md") == set()
        return time.process_time() - started

    assert seconds(20_000) < 8 * seconds(5_000)


@pytest.mark.parametrize(
    "place", [place for place, (name, _) in PLACES.items() if name.startswith("a.") and "parquet" not in place]
)
def test_what_an_image_says_is_refused_and_can_be_stripped(tmp_path: Path, place: str) -> None:
    name, write = PLACES[place]
    path = tmp_path / name
    path.write_bytes(write("a house at the sea, 35 mm"))
    assert "image_metadata" in checks(path)
    clean = without_metadata(path)
    assert isinstance(clean, bytes) and private_metadata(clean) is None and b"35 mm" not in clean
    assert Image.open(io.BytesIO(clean)).size == Image.open(path).size


@pytest.mark.parametrize(
    "data",
    [
        *(png_and(kind, body) for kind, body in (
            (b"sPLT", b"words\0\x08"), (b"hIST", b"words of mine"), (b"PLTE", b"words of mine!!"),
            (b"pHYs", b"my words\1"),
            (b"pHYs", bytes(9) + b"words"), (b"gAMA", b"word"), (b"cHRM", b"words of" * 4), (b"sRGB", b"\0words"),
            (b"iCCP", b"name\0\0" + zlib.compress(profile("sRGB") + b"words")),
            (b"iCCP", b"name\0\0" + zlib.compress(profile("sRGB")) + b"words"), (b"iCCP", b"name\0\0words"),
        )),
        png_and(b"gAMA", bytes(4)).replace(chunk(b"gAMA", bytes(4)), 2 * chunk(b"gAMA", bytes(4))),
        *(jpeg_and(marker, body) for marker, body in (
            (0xE0, b"JFXX\0words"), (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0words"), (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            (0xEE, b"Adobe" + b"words" * 9), (0xDC, b"words"), (0xE2, b"ICC_PROFILE\0\1\1words"),
            (0xE2, b"ICC_PROFILE\0\2\2" + profile("sRGB")), (0xE2, b"ICC_PROFILE\0\1\2" + profile("sRGB")),
        )),
    ],
    ids=lambda data: "data",
)  # fmt: skip
def test_a_part_that_pixels_need_holds_nothing_else(data: bytes) -> None:
    assert Image.open(io.BytesIO(data)).size == (8, 8)
    assert private_metadata(data) is not None
    clean = without_metadata(data)
    assert isinstance(clean, bytes) and private_metadata(clean) is None and b"words" not in clean


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_plain_colour_profile_stays(kind: str) -> None:
    colours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(kind, icc_profile=colours, **({"dpi": (72, 72)} if kind in ("PNG", "JPEG", "TIFF") else {}))
    assert private_metadata(data) is None and without_metadata(data) is data
    clean = without_metadata(saved(kind, icc_profile=colours, exif=exif(0x010E, "words")))
    assert isinstance(clean, bytes) and Image.open(io.BytesIO(clean)).info["icc_profile"] == colours


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_a_plain_image_has_nothing_to_strip(kind: str) -> None:
    data = saved(kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert private_metadata(data) is None and without_metadata(data) is data
