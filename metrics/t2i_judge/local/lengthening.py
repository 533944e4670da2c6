"""How much longer a tokenizer.json makes a text: forty lines that each write a letter twice fill any memory.

Its patterns end by themselves: the engine that tokenizers uses gives up after ten million steps.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import read_object

_MOST = 200.0  # times; those that people publish write 33 bytes for one letter at most, and a mark for each space
_PARTS = ("normalizer", "pre_tokenizer", "post_processor")
_LISTS = ("normalizers", "pretokenizers", "processors", "decoders")


def check_lengthening(folder: Path) -> None:
    """Raise `ValueError` for a tokenizer.json whose rules may make a text more than `_MOST` times as long."""
    path = folder / "tokenizer.json"
    record = read_object(path) if path.is_file() else {}
    times = max(math.prod(_times(record.get(name)) for name in _PARTS), _times(record.get("decoder")))
    if times > _MOST:
        raise ValueError(f"the rules of its tokenizer.json may make a text {times:.3g} times as long")


def _times(rule: Any) -> float:
    """How many times as long a rule may make a text."""
    if not isinstance(rule, Mapping):
        return 1.0
    kind, pattern = rule.get("type"), rule.get("pattern")
    if kind == "Replace" and isinstance(pattern, Mapping):
        content = len(str(rule.get("content")))
        plain = pattern.get("String")
        return max(1.0, content / len(plain) if plain else 1.0 + content)  # other patterns fit between two letters, too
    if kind == "Precompiled":
        return float(_longest(str(rule.get("precompiled_charsmap") or "")))
    if kind == "TemplateProcessing":
        return float(len(rule.get("single") or ()) or 1)  # pairs of texts are not read
    return math.prod(_times(each) for name in _LISTS for each in rule.get(name) or ())


def _longest(charsmap: str) -> int:
    """Bytes of the longest text that a letter may become.

    Layout: bytes of a trie, as four bytes little-endian; the trie; the texts, each ended by a zero byte. Source:
    sentencepiece's own description, github.com/google/sentencepiece.
    """
    table = b64decode(charsmap)
    trie = int.from_bytes(table[:4], "little")
    return max(1, *map(len, table[4 + trie :].split(b"\0")))
