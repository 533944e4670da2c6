"""A tokenizer.json makes a text no more than 200 times as long, whatever rule it does it by."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from t2i_judge.local.lengthening import check_lengthening
from tests.judge_folders import BASE


def replaced(content: str, **pattern: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def mapped(longest: int) -> dict[str, str]:
    trie = bytes(8)
    return {
        "type": "Precompiled",
        "precompiled_charsmap": b64encode(len(trie).to_bytes(4, "little") + trie + b"a\0" + b"b" * longest).decode(),
    }


def sequence(kind: str, *rules: object) -> dict[str, object]:
    return {"type": "Sequence", kind: rules}


PIECE = {"Sequence": {"id": "A", "type_id": 0}}
LONG = [
    {"normalizer": sequence("normalizers", *[replaced("zz", String="z")] * 8)},
    {"normalizer": sequence("normalizers", *[sequence("normalizers", replaced("aa", String="a"))] * 8)},
    {"normalizer": replaced("x" * 300, Regex="(?=z)")},
    {"normalizer": replaced("x" * 300, Regex="")},
    {"normalizer": mapped(100_000)},
    {"post_processor": {"type": "TemplateProcessing", "single": [PIECE] * 201, "pair": []}},
    {"normalizer": mapped(50), "pre_tokenizer": sequence("pretokenizers", replaced("y" * 50, String="z"))},
    {"decoder": sequence("decoders", *[replaced("zz", String="z")] * 8)},
]
FINE = [
    json.loads((BASE / "tokenizer.json").read_text()),
    {},
    {"normalizer": None, "decoder": {"type": "ByteLevel"}},
    {"normalizer": sequence("normalizers", mapped(33), replaced("▁", Regex=" {2,}"), replaced("▁", String=" "))},
    {"post_processor": {"type": "TemplateProcessing", "single": [PIECE], "pair": [PIECE, PIECE]}},
]


@pytest.mark.parametrize("record", LONG)
def test_rules_without_measure_are_refused(record, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"tokenizer\.json may make a text \S+ times as long"):
        check_lengthening(tmp_path)


@pytest.mark.parametrize("record", FINE)
def test_rules_that_people_publish_are_taken(record, tmp_path):
    check_lengthening(tmp_path)  # there is none
    (tmp_path / "tokenizer.json").write_text(json.dumps(record))
    check_lengthening(tmp_path)
