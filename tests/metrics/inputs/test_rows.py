"""Rows as items: which paths a table may name, and what counts as a prompt."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from t2i_judge.errors import UserError
from t2i_judge.inputs import shared
from t2i_judge.inputs.cells import REASON, is_file
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.places import is_below
from t2i_judge.inputs.rows import Columns, images_folder, read_decompositions
from t2i_judge.inputs.shared import SharedImages


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A stranger's folder, with a picture and links, beside a private picture."""
    (tmp_path / "private.png").write_bytes(b"private")
    (folder := tmp_path / "theirs" / "a").mkdir(parents=True)
    (folder / "b.png").write_bytes(b"theirs")
    (folder / "same.png").symlink_to("b.png")
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "loop.png").symlink_to("loop.png")
    return folder.parent


OUT = ["../private.png", "a/../../private.png", "./../private.png", "..", "a/link.png", "a/folder/private.png"]


@pytest.mark.parametrize("cell", [str, lambda p: {"path": p}, lambda p: {"bytes": p}, lambda p: f"{{'path': '{p}'}}"])
@pytest.mark.parametrize("path", OUT)
def test_no_relative_path_leads_out_of_the_folder(theirs, path, cell):
    row = {"image": cell(path), "prompt": "a cat"}
    image, _, reference, _ = Columns(images=theirs, reference_image="image").item(row, 0)
    for found in (image, reference):
        with pytest.raises(ImageError, match="is outside the table's folder; name the folder of images with --images"):
            load_image(found)
    with pytest.raises(ImageError, match="is outside the folder of --images; name the folder that has it"):
        load_image(Columns(images=theirs, named=True).item(row, 0)[0])


def test_a_folder_that_a_person_names_may_be_elsewhere_and_is_the_only_one(theirs):
    private = theirs.parent / "private.png"
    wider = Columns(images=theirs.parent, named=True)
    assert wider.item({"image": "private.png"}, 0)[0] == wider.item({"image": str(private)}, 0)[0] == str(private)
    assert Columns(images=theirs).item({"image": str(private)}, 0)[0] == str(private)
    with pytest.raises(ImageError, match="is outside the folder of --images"):
        load_image(Columns(images=theirs, named=True).item({"image": str(private)}, 0)[0])


def test_what_looks_like_base64_or_a_list_is_still_a_path_where_it_is_one(tmp_path, monkeypatch):
    """Such a folder in the working directory would lead anywhere."""
    monkeypatch.chdir(tmp_path)
    for folder in ("b'", f"iVBORw0KGgo{'A' * 60}"):
        Path("theirs", folder).mkdir(parents=True)
        Path("private.png").write_bytes(b"private")
        monkeypatch.chdir("theirs")
        image = Columns(images=Path()).item({"image": f"{folder}/../../private.png"}, 0)[0]
        with pytest.raises(ImageError, match="is outside the table's folder"):
            load_image(image)
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "cell", [str, lambda p: {"path": p, "bytes": None}, lambda p: [{"bytes": p}], lambda p: f'["{p}"]']
)
@pytest.mark.parametrize(
    "place", ["private.png", "./private.png", "{here}/private.png", "~/private.png", "b'/private.png"]
)
def test_a_dataset_of_the_hub_names_no_file_here(tmp_path, monkeypatch, place, cell):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("b'").mkdir()
    for folder in (".", "b'"):
        Image.new("RGB", (8, 8)).save(f"{folder}/private.png")
    row = {"image": cell(place.format(here=tmp_path)), "prompt": "a cat"}
    for table in ("them/pictures", "them/pictures:default:test"):
        image, _, reference, _ = Columns(table=table, reference_image="image").item(row, 0)
        for found in (image, reference):
            with pytest.raises(ImageError, match=r"private\.png is a path; name the folder of images with --images"):
                load_image(found)
    named = Columns(images=tmp_path, named=True, table="them/pictures")
    if "~" not in place:
        assert load_image(named.item(row, 0)[0]).size == (8, 8)


@pytest.mark.parametrize("place", ["file:{here}/private.png", "file://{here}/private.png", "FILE:private.png"])
def test_a_dataset_of_the_hub_has_no_address_of_a_file_here(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("private.png")
    with pytest.raises(ImageError, match="URLs are not fetched"):
        load_image(Columns(table="them/pictures").item({"image": place.format(here=tmp_path)}, 0)[0])


def test_pictures_that_a_dataset_of_the_hub_stores_are_read():
    Image.new("RGB", (8, 8)).save(stored := BytesIO(), "PNG")
    picture = {"bytes": stored.getvalue(), "path": "/elsewhere/a.png"}
    row = {"index": "1", "image": base64.b64encode(stored.getvalue()).decode()}
    for cell in (picture, [picture], stored.getvalue(), row["image"]):
        assert load_image(Columns(table="them/pictures").item({"image": cell}, 0)[0]).size == (8, 8)


def test_no_file_here_changes_how_a_dataset_of_the_hub_is_read(tmp_path, monkeypatch):
    """A file called as a row is would be that row's picture."""
    monkeypatch.chdir(tmp_path)
    Path("1").write_bytes(b"private")
    rows = [{"index": "1", "image": b"one"}, {"index": "2", "image": "1"}]
    monkeypatch.setattr(shared, "iter_rows", lambda *_: iter(rows))
    assert Columns(table="them/pictures").item(rows[1], 1)[0] == b"one"


def test_a_dataset_of_the_hub_has_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("private.png").touch()
    assert images_folder("them/pictures") is None and images_folder("private.png") == Path()
    assert images_folder(f"{tmp_path}:default:test") == tmp_path


def test_a_snapshot_of_the_hub_has_its_files_in_blobs(tmp_path):
    cache = tmp_path / "datasets--me--cats"
    (snapshot := cache / "snapshots" / "c").mkdir(parents=True)
    for place in (cache, tmp_path):
        (place / "blobs").mkdir()
        (place / "blobs" / "1").write_bytes(b"x")
    (snapshot / "a.png").symlink_to("../../blobs/1")
    (snapshot / "b.png").symlink_to("../../../blobs/1")
    assert is_below(snapshot / "a.png", snapshot) and not is_below(snapshot / "b.png", snapshot)
    (cache / "mine").mkdir()
    (cache / "mine" / "a.png").symlink_to("../blobs/1")
    assert not is_below(cache / "mine" / "a.png", cache / "mine")


@pytest.mark.parametrize("path", ["a/same.png", "a/../a/b.png", "a/loop.png", "gone.png", "nul\0.png", "x" * 300])
def test_what_is_inside_or_nowhere_stays(theirs, path):
    assert Columns(images=theirs).item({"image": path}, 0)[0] == str(theirs / path)


@pytest.mark.parametrize("path", ["a/../b.png", "..b.png/c.png", "/elsewhere/c.png"])
def test_other_paths_stay(tmp_path, path):
    expected = "/elsewhere/c.png" if path.startswith("/") else str(tmp_path / Path(path))
    assert Columns(images=tmp_path).item({"image": path}, 0)[0] == expected


@pytest.mark.parametrize("prompt", [5, 1.5, True, ["a"], {"a": 1}, None, b"x"])
def test_what_is_no_text_is_no_prompt(prompt):
    assert Columns().item({"prompt": prompt, "image": "a.png"}, 3)[1:] == ("", None, "00000003")


def test_rows_that_refer_to_each_other_in_a_long_chain_cost_a_few_steps_each(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(shared, "is_file", lambda path: looks.append(path) or is_file(path))
    rows = [{"index": str(n), "image": str(n + 1) if n < 1999 else "x" * 99, "prompt": "a cat"} for n in range(2000)]
    lines = "".join(f"{row['index']},{row['image']},a cat\n" for row in rows)
    (tmp_path / "t.csv").write_text(f"index,image,prompt\n{lines}")
    cells = SharedImages(str(tmp_path / "t.csv"), "image", tmp_path)
    found = [cells.cell(row) for row in rows]
    assert found[-11:] == ["x" * 99] * 11
    assert {str(cell[REASON])[:33] for cell in found[:-11]} == {"its image is more than 10 rows aw"}
    assert len(looks) <= 12 * len(rows)


def test_a_prompt_has_the_same_questions_in_all_lines(tmp_path):
    """The last line won, without a word."""
    one = {"id": "q1", "aspect": "intrinsic", "entities": ["cat"], "text": "Is there a cat?", "expected": "yes"}
    lines = [{"prompt": "a cat", "questions": [one]}, {"prompt": "a dog", "questions": []}]
    (path := tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))
    assert [question.text for question in read_decompositions(path)["a cat"]] == ["Is there a cat?"]
    for change, fact in (({"text": "Is it red?"}, "different questions for 'a cat'"), ({"entities": "cat"}, "a list")):
        other = {"prompt": "a cat", "questions": [one | change]}
        path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, other]))
        with pytest.raises(UserError, match=fact):
            read_decompositions(path)
