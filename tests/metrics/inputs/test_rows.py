"""Rows as items: which paths a table may name, and what counts as a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.rows import Columns


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "./../secret.png", ".."])
def test_a_relative_path_leaves_the_tables_folder_only_where_a_person_named_one(tmp_path, path):
    row = {"image": path, "prompt": "a cat"}
    refused = Columns(images=tmp_path).item(row, 0)[0]
    with pytest.raises(ImageError, match="is outside the table's folder; name the folder of images with --images"):
        load_image(refused)
    assert Columns(images=tmp_path, named=True).item(row, 0)[0] == str(tmp_path / path)


@pytest.mark.parametrize("path", ["a/../b.png", "..b.png/c.png", "/elsewhere/c.png"])
def test_other_paths_stay(tmp_path, path):
    expected = "/elsewhere/c.png" if path.startswith("/") else str(tmp_path / Path(path))
    assert Columns(images=tmp_path).item({"image": path}, 0)[0] == expected


@pytest.mark.parametrize("prompt", [5, 1.5, True, ["a"], {"a": 1}, None, b"x"])
def test_what_is_no_text_is_no_prompt(prompt):
    assert Columns().item({"prompt": prompt, "image": "a.png"}, 3)[1:] == ("", None, "00000003")
