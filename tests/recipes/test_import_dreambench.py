"""DreamBench++'s published layout, joined by method, collection and prompt number; and on into the report."""

from __future__ import annotations

import csv
import json
import os

import pytest
from PIL import Image

from recipes.distillation.table_source import read_table, table_items
from recipes.import_dreambench import ITEMS, RATINGS, SCORES, main, write_tables
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.sections import TableData
from t2i_judge.cli import main as t2i_judge
from t2i_judge.cli.methods import read_items, read_judges
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.spreadsheets import IMPORTED_COLUMNS, is_ours

METHODS = {
    "blip_diffusion_gs7_5_step100_seed42_torch_float16": "blip_diffusion",
    "ip_adapter_plus_vit_h_sdxl_scale0_6_gs7_5_step100_seed42_torch_float16": "ip_adapter_plus_vit_h_sdxl",
}
COLLECTIONS = ("live_subject_animal_00_kitten", "object_03_t-shirt_with_stripes")


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        content.save(path)


@pytest.fixture
def published(tmp_path):
    """Two methods, two collections, prompts 0 and 8; one image and one rating are missing."""
    for folder in METHODS:
        for collection in COLLECTIONS:
            for k in (0, 8):
                place = tmp_path / "samples" / folder
                put(place / "text" / collection / f"{k}_0.txt", f"prompt {k} of {collection}\n")
                put(place / "src_image" / collection / f"{k}_0.jpg", Image.new("RGB", (8, 8)))
                put(place / "tgt_image" / collection / f"{k}_0.jpg", Image.new("RGB", (8, 8), "red"))
                put(place / "tgt_image" / collection / f"{k}_1.jpg", Image.new("RGB", (8, 8), "blue"))
    (place / "tgt_image" / collection / "8_0.jpg").unlink()
    for group in ("group1", "group2"):
        for method in METHODS.values():
            scores = {f"{c}-{k}": [k % 5, 4] for c in COLLECTIONS for k in (8, 0)}
            scores[f"{COLLECTIONS[0]}-0"][1] = None if group == "group2" else 3
            put(tmp_path / "human" / group / f"07-{method}.json", json.dumps(scores))
    for setting in ("concept_preservation_full", "concept_preservation_full2", "prompt_following_full"):
        for method in METHODS.values():
            for c in COLLECTIONS:
                record = {"method": "x", "collection_id": c, "prompt_index": 8, "score": 3}
                put(tmp_path / "gpt" / setting / method / f"x-{c}-8.json", json.dumps(record))
    return tmp_path


def run(folder, *more):
    return main(["--samples", str(folder / "samples"), "--out", str(folder / "out"), *more])


def test_what_a_spreadsheet_would_run_is_guarded_and_read_as_it_was(tmp_path):
    for number, columns in enumerate(IMPORTED_COLUMNS):
        table = tmp_path / f"{number}.csv"
        row = {name: f"=1+1 {name}" for name in columns}
        write_tables({table: [row]})
        assert {cell[:2] for cell in table.read_text().splitlines()[1].split(",")} == {"'="}
        assert list(iter_rows(str(table))) == [row]


def test_tables_of_somebody_s_are_not_written_over(published, capsys):
    gpt = ["--gpt-ratings", str(published / "gpt")]
    assert run(published, *gpt) == run(published, *gpt) == 0
    (published / "out" / SCORES).write_text("mine")
    (published / "out" / ITEMS).unlink()
    assert run(published, *gpt) == 2 and "gpt.csv is there already" in capsys.readouterr().err
    assert (published / "out" / SCORES).read_text() == "mine" and not (published / "out" / ITEMS).exists()


def test_the_columns_of_the_tables_are_known_as_ours(published):
    gpt = ["--gpt-ratings", str(published / "gpt")]
    assert run(published, *gpt) == 0
    for name in (ITEMS, SCORES):
        assert is_ours(next(csv.reader((published / "out" / name).open())))


def test_items_are_joined_by_key(published, capsys):
    assert run(published) == 0
    assert (
        "7 images of 2 methods; 1 missing, for instance ip_adapter_plus_vit_h_sdxl-object_03" in capsys.readouterr().out
    )
    rows = {row["id"]: row for row in csv.DictReader((published / "out" / ITEMS).open())}
    row = rows["blip_diffusion-object_03_t-shirt_with_stripes-8"]
    assert row["prompt"] == "prompt 8 of object_03_t-shirt_with_stripes"
    assert (row["generator"], row["family"], row["category"]) == ("blip_diffusion", "tuning-free", "object")
    assert (row["difficulty"], row["keyword"]) == ("imaginative", "t-shirt with stripes")
    assert row["image"].endswith("tgt_image/object_03_t-shirt_with_stripes/8_0.jpg")
    assert row["reference_image"].endswith("src_image/object_03_t-shirt_with_stripes/8_0.jpg")
    other = rows["ip_adapter_plus_vit_h_sdxl-live_subject_animal_00_kitten-0"]
    assert (other["category"], other["difficulty"]) == ("live", "photorealistic")


def test_the_items_are_a_recipe_s_data(published):
    assert run(published) == 0
    names = ("family", "category", "difficulty")
    named = {"reference_image": "reference_image", "id": "id", "attributes": names}
    table = TableData(str(published / "out" / ITEMS), images=str(published / "samples"), held_out=0, **named)
    items = {item.id: item for item in table_items(read_table(table), table, BuildFolder(published / "build"))}
    item = items["blip_diffusion-live_subject_animal_00_kitten-8"]
    assert item.attributes == {"family": "tuning-free", "category": "live", "difficulty": "imaginative"}
    assert (published / "build" / str(item.reference_image)).resolve().is_file()


def test_ratings_and_runs_go_on_into_the_report(published, capsys):
    out = published / "out"
    assert run(published, "--human-ratings", str(published / "human"), "--gpt-ratings", str(published / "gpt")) == 0
    found = published / "report.json"
    tables = [str(out / ITEMS), "--ratings", str(out / RATINGS), "--scores", str(out / SCORES), "--json", str(found)]
    assert t2i_judge(["methods", *tables, "--bootstrap", "0"]) == 0
    report = json.loads(found.read_text())
    whole = {row["aspect"]: row for row in report["agreement"] if row["method"] is None}
    assert whole["concept_preservation"]["human_human"] == 1.0
    assert (whole["concept_preservation"]["judge"], whole["concept_preservation"]["runs"]) == ("gpt-full", 2)
    boards = [row for row in report["leaderboard"] if row["scorer"] == "people" and not row["by"] and row["method"]]
    assert {row["method"]: row["n"] for row in boards} == {"blip_diffusion": 4, "ip_adapter_plus_vit_h_sdxl": 3}
    assert "Left out: 1 rated item not in" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tgt_image", "text", "src_image"])
def test_a_link_that_leads_out_of_the_samples_is_one_line(published, kind, capsys):
    [folder, _] = METHODS
    file = next((published / "samples" / folder / kind / COLLECTIONS[0]).glob("0_0.*"))
    file.rename(published / file.name)
    file.symlink_to(published / file.name)
    assert run(published) == 2
    assert "leads out of" in capsys.readouterr().err and not (published / "out" / ITEMS).exists()


def test_an_incomplete_download_is_one_line(published, capsys):
    [folder, _] = METHODS
    (published / "samples" / folder / "text" / COLLECTIONS[0] / "0_0.txt").unlink()
    assert run(published) == 2
    assert "has no text" in capsys.readouterr().err
    assert main(["--samples", str(published / "human"), "--out", str(published / "out")]) == 2
    assert "no samples in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "file", "content", "says"),
    [
        ("human", "g/x-emu2.json", '{"object_00_clock-0": [1]}', "A rating is a pair"),
        ("human", "g/x-emu2.json", '{"object_00_clock-0": ["good", 2]}', "'good'. It is not a number"),
        ("human", "g/x-emu2.json", "[1]", "should be an object"),
        ("human", "nothing.txt", "", "nothing to write to ratings.jsonl"),
        ("gpt", "concept_preservation_full/emu2/a.json", '{"score": 2}', "should have collection_id"),
    ],
)
def test_ratings_in_another_shape_are_one_line(published, tmp_path, capsys, kind, file, content, says):
    path = tmp_path / "bad" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert run(published, f"--{kind}-ratings", str(tmp_path / "bad")) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00\xd8", "is not text"),
        (b"x" * 200_000, "is no prompt"),
        (None, "not a plain file"),
    ],
    ids=["no UTF-8", "long", "a pipe"],
)
def test_a_hostile_prompt_is_one_line(published, capsys, content, says):
    path = published / "samples" / next(iter(METHODS)) / "text" / COLLECTIONS[0] / "0_0.txt"
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    assert run(published) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not (published / "out").exists()


SCORES_OF_STRANGERS = [
    "1e999",
    '"x"',
    "true",
    "[]",
    "{}",
    '"Infinity"',
    "9" * 400,
    '"' + "9" * 5_000 + '"',
    "[" * 100_000,
]


@pytest.mark.parametrize("score", SCORES_OF_STRANGERS, ids=lambda score: score[:12])
def test_a_hostile_score_is_one_line(tmp_path, capsys, score):
    for kind, file, text in (
        ("human", "g/x-emu2.json", f'{{"object_00_clock-0": [{score}, 1]}}'),
        ("gpt", "prompt_following_full/emu2/a.json", f'{{"collection_id": "a", "prompt_index": 1, "score": {score}}}'),
        ("embedding", "data_dino_rating/emu2.json", f'{{"object_00_clock-0": {score}}}'),
    ):
        put(tmp_path / kind / file, text)
    put(tmp_path / "good" / "g" / "x-emu2.json", '{"object_00_clock-0": [1, 1]}')
    out = ["--out", str(tmp_path / "out")]
    good = ["--human-ratings", str(tmp_path / "good")]
    for arguments in (
        ["--human-ratings", str(tmp_path / "human")],
        [*good, "--gpt-ratings", str(tmp_path / "gpt")],
        [*good, "--embedding-ratings", str(tmp_path / "embedding")],
    ):
        assert main([*arguments, *out]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and len(said) < 1_000


NAMES_OF_STRANGERS = [
    "-",
    "x",
    "a-b-",
    "x-" + "9" * 5_000,
    "x-\u0661",
    "x-²",
    "=1+1-3",
    "\x1b[2J-1",
    "a\nb-0",
    'a,b"-0',
]


def test_hostile_names_are_names(tmp_path, capsys):
    """Nothing is run, split or lost: as many items as names, and read again they are what they were."""
    scores = {name: [1, 2] for name in NAMES_OF_STRANGERS}
    put(tmp_path / "human" / "g" / "x-emu2.json", json.dumps(scores))
    assert main(["--human-ratings", str(tmp_path / "human"), "--out", str(tmp_path / "t")]) == 0
    assert set(read_items(tmp_path / "t" / ITEMS)) == {f"emu2-{name}" for name in NAMES_OF_STRANGERS}
    for name, says in (("\ud800-1", "surrogate"), (" ", "a rating has no name")):
        put(tmp_path / "none" / "g" / "x-emu2.json", json.dumps({name: [1, 2]}))
        assert main(["--human-ratings", str(tmp_path / "none"), "--out", str(tmp_path / "u")]) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1


def test_ratings_and_embedding_scores_need_no_images(tmp_path, capsys):
    human = tmp_path / "human" / "group_a"
    human.mkdir(parents=True)
    (human / "x-emu2.json").write_text(json.dumps({"live_subject_human_00_boy-3": [3, 4], "style_01_oil-5": [1, 2]}))
    (tmp_path / "data_dino_rating").mkdir()
    (tmp_path / "data_dino_rating" / "emu2.json").write_text(json.dumps({"live_subject_human_00_boy-3_0": 61.5}))
    arguments = ["--human-ratings", str(tmp_path / "human"), "--embedding-ratings", str(tmp_path)]
    assert main([*arguments, "--out", str(tmp_path / "t")]) == 0
    assert "2 rated items of 1 method;" in capsys.readouterr().out
    items = read_items(tmp_path / "t" / "items.csv")
    boy = items["emu2-live_subject_human_00_boy-3"]
    assert (boy.category, boy.subject, boy.difficulty) == ("live", "human", "photorealistic")
    assert items["emu2-style_01_oil-5"].subject == "style"
    [dino] = read_judges([str(tmp_path / "t" / "embeddings.csv")], (0, 4))
    assert dino.score_range == (-1, 1)
    assert dino.runs[0]["concept_preservation"] == {"emu2-live_subject_human_00_boy-3": 0.615}
    assert main(["--out", str(tmp_path / "t")]) == 2 and "no items" in capsys.readouterr().err
