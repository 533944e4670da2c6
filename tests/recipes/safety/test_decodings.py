"""Tokens in codes of codes, and in bytes that are a text only in part; other bytes say nothing."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.safety.decodings import decodings, readings
from recipes.safety.gate_files import file_findings

TOKEN = "hf_" + "rHgVWErYOTOiAgaXJLhFzKjAYrMNhabcde"
LOGIN = json.dumps({"user": "Ren\u00e9", "hub": TOKEN}, ensure_ascii=False)
BYTES = {
    "UTF-8": LOGIN.encode(),
    "UTF-8 with a mark": f"\ufeff{LOGIN}".encode(),
    "Latin-1": LOGIN.encode("latin-1"),
    "UTF-16": f'$env:HF="{TOKEN}"; python train.py'.encode("utf-16-le"),
    "UTF-16 with a mark": LOGIN.encode("utf-16"),
    "UTF-16, wrong end first": LOGIN.encode("utf-16-be"),
    "UTF-32": TOKEN.encode("utf-32-le"),
    "a null at the end": f"{TOKEN}\0".encode(),
    "behind bytes": b"\x00\xff\x01" + TOKEN.encode(),
    "behind bytes that look like a mark": b"\xff\xfe" + TOKEN.encode(),
}
CODES: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "hex": bytes.hex,
    "pairs": lambda data: data.hex(" "),
}
TWICE = {
    "addresses": f"https://a.co/?u=https%3A%2F%2Fb.co%2F%3Ft%3Dhf%255F{TOKEN[3:]}",
    "addresses, each letter": "".join(f"%25{ord(sign):02x}" for sign in TOKEN),
    "HTML": f"hf&amp;#95;{TOKEN[3:]}",
    "HTML in JSON": rf"hf\u0026#95;{TOKEN[3:]}",
    "JSON in an address": f"hf%5Cu005F{TOKEN[3:]}",
    "three times": f"hf%25255F{TOKEN[3:]}",
    "base64 in an address": base64.b64encode(f"a {TOKEN}?>?>".encode()).decode().replace("/", "%2F"),
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("data", BYTES.values(), ids=BYTES)
def test_a_token_in_encoded_bytes_that_are_a_text_in_part(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "README.md").write_text(f"words\n\n{CODES[code](data)}\n")
    (tmp_path / "config.json").write_text(json.dumps({"a": CODES[code](data)}))
    assert all({check for check, *_ in file_findings(path)} == {"secrets"} for path in tmp_path.iterdir())


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE)
def test_a_token_in_codes_of_codes(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(f"see {text} there\n")
    assert {check for check, *_ in file_findings(tmp_path / "README.md")} == {"secrets"}


def test_a_path_in_codes_of_codes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("see %252Fhome%252Fme%252Fpictures there\n")
    assert {check for check, *_ in file_findings(tmp_path / "README.md")} == {"local_paths"}


def test_readings_are_few_however_deep_codes_go() -> None:
    assert [*readings("100 % of it, R&D, C:\\x, a=b")] == []
    assert len([*readings(f"%{'25' * 9}5F &{'amp;' * 9}#95; \\u005cu005cu005f =3D=3D3D")]) <= 15


def test_other_bytes_say_nothing() -> None:
    some = random.Random(0)
    texts = [base64.b64encode(some.randbytes(300)).decode() for _ in range(200)]
    assert [*decodings(" ".join(texts))] == []
