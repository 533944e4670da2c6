"""A stranger's folder that `datasets` reads: no link, path or name in it leads to a picture or table elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from t2i_judge.errors import UserError
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.rows import Columns, images_folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of pictures with one empty shard, so that it is no folder of images, beside private files."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "private.png")
    (tmp_path / "private.csv").write_text("prompt\nsecret\n")
    (folder := tmp_path / "theirs").mkdir()
    for name in "abz":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    (folder / "metadata.csv").write_text("file_name,prompt\na.png,x y\nb.png,x y\nz.png,x y\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "empty.arrow").write_bytes(b"")
    return folder


def items(folder: Path) -> list[Any]:
    """The images of a dataset's rows, as a command reads them."""
    columns = Columns(images=images_folder(str(folder)), table=str(folder))
    return [columns.item(row, number)[0] for number, row in enumerate(iter_rows(folder))]


def test_its_own_pictures_are_read(theirs):
    (theirs / "z.png").unlink()
    (theirs / "z.png").symlink_to("a.png")
    assert [load_image(image).size for image in items(theirs)] == [(8, 8)] * 3


@pytest.mark.parametrize("target", ["private.png", "private.csv", "", "nowhere"])
@pytest.mark.parametrize("name", ["z.png", "train.csv", "metadata.csv", "notes/deeper", "README.md"])
def test_a_link_out_of_it_is_one_line(theirs, name, target):
    (theirs / name).unlink(missing_ok=True)
    (theirs / name).symlink_to(theirs.parent / target)
    with pytest.raises(UserError, match=rf"{name} leads out of "):
        list(iter_rows(theirs))


@pytest.mark.parametrize("name", ["z.png", "train.csv", "README.md"])
def test_a_pipe_in_it_is_one_line(theirs, name):
    (theirs / name).unlink(missing_ok=True)
    os.mkfifo(theirs / name)
    with pytest.raises(UserError, match=f"{name} is not a plain file"):
        list(iter_rows(theirs))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_no_path_in_its_tables_leads_out_of_it(theirs, whole, listed):
    for path in theirs.glob("*.*"):
        path.unlink()
    private = str(theirs.parent / "private.png") if whole else "../private.png"
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cell = {"bytes": None, "path": private}
    table = pa.table(
        {"prompt": ["x"], "image": pa.array([[cell] if listed else cell], pa.list_(picture) if listed else picture)}
    )
    feature: Any = {"_type": "Image"}
    features = {"prompt": {"dtype": "string", "_type": "Value"}}
    features["image"] = {"feature": feature, "_type": "List"} if listed else feature
    about = {"info": {"features": features}}
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), theirs / "train.parquet")
    (theirs / "notes" / "empty.arrow").unlink()
    [image] = items(theirs)
    with pytest.raises(ImageError, match=r"private\.png is outside the dataset's folder; name the folder"):
        load_image(image)


@pytest.mark.parametrize("whole", [False, True])
def test_no_name_in_its_metadata_leads_out_of_it(theirs, whole):
    name = str(theirs.parent / "private.png") if whole else "../private.png"
    (theirs / "metadata.csv").write_text(f"file_name,prompt\na.png,x y\n{name},x y\n")
    with pytest.raises((UserError, ImageError)):
        list(map(load_image, items(theirs)))
