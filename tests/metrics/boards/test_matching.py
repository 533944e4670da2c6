"""An image has the prompt it was made for, however its folders and files are named; or nobody is told one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from t2i_judge.boards.items import items_of_folders, items_of_table
from t2i_judge.boards.matching import rows_of
from t2i_judge.boards.prompts import Prompts, read_prompts
from t2i_judge.errors import UserError
from t2i_judge.inputs.rows import Columns

LAYOUTS = (
    "{id}.png",
    "{id}_{seed}.png",
    "{id}-seed{seed}.png",
    "{id}/{seed}.png",
    "{id}/seed_{seed}.png",
    "{id}/samples/{seed}.png",
    "{id}/{id}.png",
    "{id}/{id}_{seed}.png",
    "{seed}/{id}.png",
    "{seed}/images/{id}.png",
    "seed_{seed}/{id}.png",
)


def table(ids: Sequence[str]) -> Prompts:
    return Prompts("prompts.csv", tuple({"id": one, "prompt": f"prompt {int(one)}"} for one in ids), False)


def of_prompts(layout: str, ids: Sequence[int], seeds: Sequence[int], widths: tuple[int, int]) -> dict[Path, int]:
    """Path of each image -> the number of its prompt."""
    write = "{:0{}}".format
    return {
        Path(layout.format(id=write(one, widths[0]), seed=write(seed, widths[1]))): one for one in ids for seed in seeds
    }


def numbers(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=1, max_size=most, unique=True)


WIDTHS = st.tuples(st.sampled_from([1, 5]), st.sampled_from([1, 4, 5]))


@given(st.sampled_from(LAYOUTS), numbers(9), numbers(9), numbers(9), WIDTHS, st.sampled_from([1, 5]))
def test_no_image_has_another_ones_prompt(layout, known, made, seeds, widths, width):
    """The table may lack prompts of the images, and the images prompts of the table."""
    images = of_prompts(layout, made, seeds, widths)
    assume(set(known) & set(made))  # else it is the table of another folder, which nobody can see
    assume(set(known) != set(seeds))  # else the seeds are all of the prompts, too, and the images some of them
    try:
        rows, _ = rows_of(list(images), table([f"{one:0{width}}" for one in known]), "ours")
    except UserError as error:
        assert "may be of prompt" in error.fact and "seed_" in error.fix
        return
    for row, one in zip(rows, images.values()):
        assert row is None or int(row["id"]) == one
    assert {one for row, one in zip(rows, images.values()) if row is None}.isdisjoint(known)


@given(st.sampled_from(LAYOUTS), numbers(9), numbers(9), WIDTHS)
def test_all_images_of_all_prompts_are_told_apart_from_their_seeds(layout, ids, seeds, widths):
    images = of_prompts(layout, ids, seeds, widths)
    assume(2 * len(set(ids) & set(seeds)) <= len(ids))
    rows, _ = rows_of(list(images), table([str(one) for one in ids]), "ours")
    assert [int(row["id"]) for row in rows if row] == list(images.values())


@given(st.sampled_from(["prompt_{id}/{seed}.png", "p{id}/{seed}.png", "{id}-red/{seed}.png", "{id}-red/{seed}_7.png"]),
       numbers(9), numbers(9), numbers(9), WIDTHS)  # fmt: skip
def test_seeds_are_no_ids_where_folders_are_called_after_prompts(layout, known, made, seeds, widths):
    """Seed k had the prompt k, without a word."""
    assume(len(made) > 1 and len(made) > len(known) / 2)
    assume(set(known) & set(seeds))
    with pytest.raises(UserError, match=r"may be of prompt '\d'.*is called after.*seed_0/2.png"):
        rows_of(list(of_prompts(layout, made, seeds, widths)), table([str(one) for one in known]), "ours")


@pytest.mark.parametrize("layout", ["step_{seed}/{id}.png", "run {seed}/images/{id}_7.png"])
def test_names_that_are_all_prompts_count_in_a_few_folders_of_any_name(layout):
    images = of_prompts(layout, range(4), [10, 20], (1, 1))
    rows, decided = rows_of(list(images), table(["0", "1", "2", "3"]), "ours")
    assert [int(row["id"]) for row in rows if row] == list(images.values())
    assert decided is not None and "file names alone name all prompts" in decided


def test_an_id_of_letters_is_no_seed_in_whatever_folder():
    names = [Path(f"{folder}/{one}.png") for folder in ("day", "night") for one in ("cat", "dog")]
    rows, _ = rows_of(names, Prompts("p.csv", ({"id": "cat", "prompt": "a"}, {"id": "dog", "prompt": "b"}), False), "")
    assert [row and row["id"] for row in rows] == ["cat", "dog"] * 2


def write(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return str(folder)


def made(folder: Path, prompts: Path) -> dict[str, tuple[str, str, str | None]]:
    """Image -> its prompt, the prompt's id and the seed, as a board has them."""
    items, _ = items_of_folders({"ours": str(folder)}, read_prompts(str(prompts)), folder.parent / "run")
    return {Path(item.image).relative_to(folder).as_posix(): (item.prompt, item.prompt_id, item.seed) for item in items}


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_folder_per_prompt_and_a_file_per_seed_as_geneval_writes_them(tmp_path: Path) -> None:
    """Each image had the prompt whose number its seed was."""
    prompts = csv(tmp_path / "p.csv", "id,prompt\n" + "".join(f"{n:05},prompt {n}\n" for n in range(4)))
    folder = tmp_path / "ours"
    write(folder, *(f"{n:05}/samples/{seed:05}.png" for n in range(4) for seed in range(2)))
    assert made(folder, prompts)["00002/samples/00001.png"] == ("prompt 2", "00002", "00001")
    items, warnings = items_of_folders({"ours": str(folder)}, read_prompts(str(prompts)), tmp_path)
    assert len(items) == 8 and "folders alone name all prompts" in warnings[0]
    for path in [folder / "00002", folder / "00003"]:
        for image in (path / "samples").iterdir():
            image.unlink()
    with pytest.raises(UserError, match=r"may be of prompt '0000[01]' or '0000[01]'"):
        made(folder, prompts)
    for n in range(2):
        (folder / f"{n:05}/metadata.jsonl").write_text(json.dumps({"prompt": f"prompt {n}"}))
    assert {image: prompt for image, (prompt, _, _) in made(folder, prompts).items()} == {
        f"{n:05}/samples/{seed:05}.png": f"prompt {n}" for n in range(2) for seed in range(2)
    }


def test_as_many_seeds_as_prompts_are_not_told_apart(tmp_path: Path) -> None:
    prompts = csv(tmp_path / "p.csv", "id,prompt\n0,a cat\n1,a dog\n")
    write(tmp_path / "ours", "0/0.png", "0/1.png", "1/0.png", "1/1.png")
    with pytest.raises(UserError, match=r"'0/1.png' may be of prompt '1' or '0'.*seed_0.png"):
        made(tmp_path / "ours", prompts)
    write(tmp_path / "named", *(f"{n}/seed_{seed}.png" for n in range(2) for seed in range(2)))
    assert made(tmp_path / "named", prompts)["0/seed_1.png"] == ("a cat", "0", "seed_1")


def test_images_that_are_not_made_yet_make_no_ids_of_seeds():
    """Four prompts with four seeds each, the last of which lacked: each image had the prompt of its seed's number."""
    for layout in ("{id}/{seed}.png", "{id}/{seed}_7.png"):
        names = list(of_prompts(layout, range(3), range(4), (1, 1)))
        with pytest.raises(UserError, match=r"may be of prompt '\d' or '\d'.*seed_0.png"):
            rows_of(names, table(["0", "1", "2", "3"]), "ours")
    with pytest.raises(UserError, match="may be of prompt '3', or of one that"):
        rows_of([Path("3/00003_0.png"), Path("3/00004_0.png")], table(["3"]), "ours")


def test_geneval_s_folders_are_the_ids_in_a_table_of_some(tmp_path: Path) -> None:
    """It was refused: the number of a seed might have been a prompt's."""
    prompts = csv(tmp_path / "p.csv", "id,prompt\n" + "".join(f"{n:05},prompt {n}\n" for n in range(4)))
    for n in range(6):
        write(tmp_path / "ours", *(f"{n:05}/samples/{seed:04}.png" for seed in range(2)))
        (tmp_path / f"ours/{n:05}/metadata.jsonl").write_text(json.dumps({"prompt": f"prompt {n}"}))
    assert {image: prompt for image, (prompt, _, _) in made(tmp_path / "ours", prompts).items()} == {
        f"{n:05}/samples/{seed:04}.png": f"prompt {n}" for n in range(4) for seed in range(2)
    }


@pytest.mark.parametrize(
    ("name", "identity", "seed"),
    [
        ("mcdonald_s_0", "mcdonald_s", "0"),
        ("letter_s_0", "letter_s", "0"),
        ("letter_s1", "letter", "1"),
        ("cat_s_0", "cat", "0"),
        ("cat_seed_0", "cat", "0"),
        ("iphone_12", "iphone", "12"),
    ],
)
def test_an_id_may_end_in_an_s(name, identity, seed):
    """The image of a letter S was one of any letter."""
    ids = ("mcdonald_s", "letter", "letter_s", "cat", "iphone", "iphone_13")
    prompts = Prompts("p.csv", tuple({"id": one, "prompt": f"a {one}"} for one in ids), False)
    [row], _ = rows_of([Path(f"{name}.png")], prompts, "ours")
    assert row and (row["id"], row["seed"]) == (identity, seed)
    with pytest.raises(UserError, match="may be of prompt 'iphone_13' or 'iphone'"):
        rows_of([Path("iphone_13.png")], prompts, "ours")


def test_images_in_the_order_of_lines_may_differ_in_their_ending_only(tmp_path: Path) -> None:
    """'a' is image 1 of A and image 2 of A, it said."""
    lines = tmp_path / "p.txt"
    lines.write_text("one\ntwo\nthree\n")
    write(tmp_path / "ours", "a.jpg", "a.png", "b.png")
    assert [prompt for prompt, _, _ in made(tmp_path / "ours", lines).values()] == ["one", "two", "three"]
    write(tmp_path / "theirs", "0.png", "b.jpg", "c.png")
    both = {name: str(tmp_path / name) for name in ("ours", "theirs")}
    with pytest.raises(UserError, match="'b' is image 3 of ours and image 2 of theirs"):
        items_of_folders(both, read_prompts(str(lines)), tmp_path)


def test_an_image_of_a_prompt_that_the_table_lacks_is_left_out(tmp_path: Path) -> None:
    prompts = csv(tmp_path / "p.csv", "id,prompt\n0,a cat\n1,a dog\n2,a cow\n3,a hen\n")
    write(tmp_path / "ours", *(f"{n}/{seed}.png" for n in range(4) for seed in range(2)), "x/0/a.png", "9/b.png")
    found = made(tmp_path / "ours", prompts)
    assert len(found) == 9 and found["2/0.png"][0] == "a cow" and "9/b.png" not in found
    write(tmp_path / "ours", "9/1.png")  # of prompt 9, or seed 9 of prompt 1
    with pytest.raises(UserError, match=r"'0/1.png' may be of prompt '1' or '0'"):
        made(tmp_path / "ours", prompts)


def test_names_of_images_in_the_table_are_ids_too(tmp_path: Path) -> None:
    """Of another generator, in a table without ids: each image had the prompt of the file called as its seed is."""
    prompts = csv(tmp_path / "p.csv", "image,prompt\n0.png,a cat\n1.png,a dog\n2.png,a cow\n3.png,a hen\n")
    write(tmp_path / "ours", *(f"{n}/{seed}.png" for n in range(4) for seed in range(2)))
    assert made(tmp_path / "ours", prompts)["2/0.png"] == ("a cow", "2", "0")
    write(tmp_path / "flat", "0.png", "1.jpg", "2_7.png")
    assert made(tmp_path / "flat", prompts) == {
        "0.png": ("a cat", "0", None), "1.jpg": ("a dog", "1", None), "2_7.png": ("a cow", "2", "7")
    }  # fmt: skip


def test_a_name_without_its_folder_is_one_files_only(tmp_path: Path) -> None:
    """A dog's first image had the prompt of a cat's: only their folders tell them apart."""
    prompts = csv(tmp_path / "p.csv", "image,prompt\nA/cat/0.png,a cat\nA/dog/1.png,a dog\n")
    write(tmp_path / "ours", "cat/0.png", "dog/0.png", "dog/1.png")
    assert made(tmp_path / "ours", prompts) == {"dog/1.png": ("a dog", "1", None)}


def test_zeros_in_front_may_lack_but_tell_ids_apart(tmp_path: Path) -> None:
    prompts = csv(tmp_path / "p.csv", "id,prompt\n00007,a cat\n8,a dog\n08,a cow\n")
    write(tmp_path / "ours", "7.png", "8.png", "08.png", "008.png")
    assert made(tmp_path / "ours", prompts) == {
        "7.png": ("a cat", "00007", None), "8.png": ("a dog", "8", None), "08.png": ("a cow", "08", None)
    }  # fmt: skip


def test_rows_of_one_id_are_those_of_its_seeds(tmp_path: Path) -> None:
    """Every image had the seed and the rewritten prompt of the first row."""
    prompts = csv(tmp_path / "p.csv", "id,prompt,seed,prompt_sent\n7,a cat,1,one cat\n7,a cat,2,two cats\n")
    write(tmp_path / "ours", "7_0002.png", "7_1.png", "7_3.png", "7.png")
    items, _ = items_of_folders({"ours": str(tmp_path / "ours")}, read_prompts(str(prompts)), tmp_path)
    assert [(Path(item.image).name, item.seed, item.prompt_sent) for item in items] == [
        ("7.png", None, None), ("7_0002.png", "2", "two cats"), ("7_1.png", "1", "one cat"), ("7_3.png", "3", None)
    ]  # fmt: skip


def test_a_gap_in_a_column_is_no_text(tmp_path: Path) -> None:
    """An image had the seed and the category "nan", and a row without a prompt that word as its prompt."""
    nan, path = float("nan"), tmp_path / "t.parquet"
    rows = {"id": ["0", "1"], "generator": ["a", "b"], "image": ["0.png", "1.png"], "prompt": ["a cat", "a cat"]}
    parquet.write_table(pa.table({**rows, "seed": [nan, 1.0], "category": [nan, nan]}), path)
    write(tmp_path, "0.png", "1.png")
    [first, second], _ = items_of_table(str(path), Columns(images=tmp_path), "generator", tmp_path / "run")
    assert (first.seed, first.category) == (None, None) and second.seed == "1.0"
    parquet.write_table(pa.table({"id": [0.5, nan], "image": ["0.png", "1.png"], "prompt": ["a cat", None]}), path)
    write(tmp_path / "ours", "0.png", "1.png")
    assert [prompt for prompt, _, _ in made(tmp_path / "ours", path).values()] == ["a cat"]
