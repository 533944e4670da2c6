"""Names of files as text."""

from __future__ import annotations

import ntpath
import os

import pytest

from t2i_judge.inputs.places import as_text, dataset_parts, is_text


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_is_itself_in_every_locale_and_odd_bytes_are_told(encoding, monkeypatch):
    """Under a Latin-1 locale a kept cell "café" became "caf\\xe9", and one in Japanese ended the run."""
    monkeypatch.setattr(os, "fsencode", lambda name: os.fspath(name).encode(encoding, "surrogateescape"))
    for text in ("café", "日本", "cat"):
        assert as_text(text) == text and is_text(text)
    assert as_text("caf\udce9") == "caf\\xe9" and not is_text("caf\udce9")


def test_the_colon_of_a_drive_parts_no_dataset(monkeypatch):
    assert dataset_parts("OWNER/NAME:config:test") == ("OWNER/NAME", "config", "test")
    assert dataset_parts("folder") == ("folder", None, None)
    monkeypatch.setattr(os.path, "splitdrive", ntpath.splitdrive)
    assert dataset_parts(r"C:\folder:config") == (r"C:\folder", "config", None)
    assert dataset_parts("OWNER/NAME:config") == ("OWNER/NAME", "config", None)
