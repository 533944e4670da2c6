"""How the images of a table are called: by their path, by a column, never by a row or a place on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from recipes.distillation.table_source import read_table, table_items
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.items import Item
from recipes.recipe.sections import TableData
from recipes.safety.alterations import photographs
from t2i_judge.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """data/images/{a,deep/b}.png, and other/c.png beside it."""
    for number, name in enumerate(("data/images/a.png", "data/images/deep/b.png", "other/c.png")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path


def items(folder: Path, text: str, **options) -> list[Item]:
    table = folder / "data" / "items.csv"
    table.write_text(text, encoding="utf-8")
    data = TableData(str(table), **{"held_out": 0, **options})
    return table_items(read_table(data), data, BuildFolder(folder / "build"))


def ids(folder: Path, text: str, **options) -> list[str]:
    return [item.id for item in items(folder, text, **options)]


def test_an_image_is_called_by_its_path_below_its_folder(folder: Path) -> None:
    rows = "prompt,image\nx,images/a.png\ny,images/../images/deep/b.png\n"
    assert ids(folder, rows) == ["images/a.png", "images/deep/b.png"]
    below = {"images": str(folder / "data" / "images")}
    assert ids(folder, "prompt,image\nx,a.png\ny,deep/b.png\n", **below) == ["a.png", "deep/b.png"]
    inside = folder / "data" / "images" / "a.png"
    assert ids(folder, f"prompt,image\nx,{inside}\n") == ["images/a.png"]
    assert ids(folder, "prompt,image,name\nx,images/a.png,7\n", id="name") == ["7"]


@pytest.mark.parametrize("column", ["image", "reference"])
@pytest.mark.parametrize("name", ["../other/c.png", "{}/other/c.png", "images/link.png", "images/folder/c.png"])
def test_no_row_publishes_an_image_from_outside_the_folder(folder: Path, name: str, column: str) -> None:
    (folder / "data" / "images" / "link.png").symlink_to(folder / "other" / "c.png")
    (folder / "data" / "images" / "folder").symlink_to(folder / "other")
    cells = {"image": "images/a.png", "reference": "images/deep/b.png"} | {column: name.format(folder)}
    text = f"prompt,image,reference\nx,{cells['image']},{cells['reference']}\n"
    with pytest.raises(UserError, match=rf"row 1, column {column}: .* leads out of .* folder that has it in data.imag"):
        items(folder, text, reference_image="reference")
    everything = {"images": str(folder)}
    assert ids(folder, f"prompt,image\nx,{folder}/other/c.png\n", **everything) == ["other/c.png"]


def test_several_prompts_of_an_image_are_told_apart_wherever_they_stand(folder: Path) -> None:
    rows = ["x,images/a.png", "y,images/a.png", "z,images/deep/b.png"]
    first, second, third = ids(folder, "\n".join(["prompt,image", *rows]) + "\n")
    assert first != second and first.startswith("images/a.png-") and third == "images/deep/b.png"
    assert ids(folder, "\n".join(["prompt,image", *reversed(rows)]) + "\n") == [third, second, first]
    with pytest.raises(UserError, match=r"rows 1 and 3 have the same id .* the same image and the same prompt"):
        items(folder, "prompt,image\nx,images/a.png\ny,images/a.png\nx,images/a.png\n")


def test_missing_and_broken_images_are_all_listed_or_left_out(folder: Path) -> None:
    broken = folder / "data" / "images" / "a.png"
    broken.write_bytes(broken.read_bytes()[:200])
    rows = "prompt,image\nx,images/a.png\ny,images/none.png\nz,images/deep/b.png\n"
    with pytest.raises(UserError, match=r"2 images cannot be used. .*a.png \(broken or truncated.*none.png \(cannot"):
        items(folder, rows)
    assert ids(folder, rows, broken_images="skip") == ["images/deep/b.png"]
    with pytest.raises(UserError, match="1 image cannot be used"):
        items(folder, "prompt,image\nx,images/a.png\n", broken_images="skip")


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("where", "items.csv has no column 'where'"),
        ("image", "row 1: image is 'images/a.png'"),
        ("split", "no row of the split train"),
    ],
)
def test_a_column_of_splits_is_checked(folder: Path, column: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        items(folder, "prompt,image,split\nx,images/a.png,test\n", split=column)
    rows = "prompt,image,split\nx,images/a.png,test\ny,images/deep/b.png,train\n"
    assert [item.split for item in items(folder, rows, split="split")] == ["test", "train"]
    with pytest.raises(UserError, match="the same prompt: train 'X!', benchmark 'x'"):
        items(folder, rows.replace("y,", "X!,"), split="split")


def test_an_altered_copy_of_a_photograph_goes_where_it_goes(folder: Path) -> None:
    photograph, other = photographs()[:2]
    place = folder / "data" / "images"
    photograph.crop((0, 0, 384, 384)).save(place / "whole.png")
    ImageOps.mirror(photograph).crop((200, 40, 500, 340)).save(place / "part.jpg")
    other.save(place / "other.png")
    names = ["whole.png", "part.jpg", "other.png", "a.png", "deep/b.png"]
    for prompts in ("abcde", "vwxyz", "klmno"):
        rows = [f"{prompt} thing,images/{name}" for prompt, name in zip(prompts, names)]
        splits = {item.id: item.split for item in items(folder, "\n".join(["prompt,image", *rows]), held_out=0.5)}
        assert splits["images/whole.png"] == splits["images/part.jpg"]
        assert set(splits.values()) == {"train", "new_prompts"}
    sides = [f"{row},{split}" for row, split in zip(rows, ("train", "test"))]
    with pytest.raises(UserError, match=r"an altered copy of the same image: train 'whole.png', benchmark 'part.jpg'"):
        items(folder, "\n".join(["prompt,image,split", *sides]), split="split")
