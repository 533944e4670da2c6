"""Own tables and published layouts become the benchmark; what does not fit is told with row, column, value and fix."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path

import pytest
from PIL import Image

from recipes.benchmarks.graded_prompts import COUNTS
from recipes.benchmarks.importers import read_layout
from recipes.benchmarks.importers.common import find_image
from recipes.benchmarks.own_tables import OwnTables, read_own
from recipes.build_benchmark import build, main
from recipes.distillation.image_metadata import private_metadata, without_metadata
from t2i_judge.errors import UserError


def picture(path: Path, color: int = 0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (color, 10, 10)).save(path, **options)
    return path


def table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0110] = "A camera"
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own: images, items.csv, annotations.csv."""
    for number in range(3):
        picture(tmp_path / "own" / "images" / f"{number}.png", number)
    questions = json.dumps([{"id": "q1", "aspect": "intrinsic", "entities": ["cat"], "text": "Is there a cat?"}])
    table(
        tmp_path / "own" / "items.csv",
        [
            {
                "id": f"i{n}",
                "prompt": f'a "cat", {n}',
                "image": f"images/{n}.png",
                "h1": n,
                "topic": "t",
                "questions": q,
            }
            for n, q in enumerate([questions, "", ""])
        ],
    )
    table(
        tmp_path / "own" / "annotations.csv",
        [
            {"item": "i0", "annotator": "ann", "aspect": "intrinsic", "question": "q1", "score": 1},
            {"item": "i0", "annotator": "ann", "aspect": "", "question": "", "score": 7.5},
            {"item": "i1", "annotator": "ann", "aspect": "", "question": "", "score": ""},
        ],
    )
    table(tmp_path / "own" / "baselines.csv", [{"item": "i2", "judge": "j", "score": "", "status": "refused"}])
    return tmp_path / "own"


def test_a_folder_of_ones_own_loads_in_one_line(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from datasets import load_dataset

    out = tmp_path / "bench"
    assert main([str(own), "--out", str(out), "--ratings", "h1", "--attributes", "topic", "--license", "mit"]) == 0
    assert "3 rows in test" in capsys.readouterr().out
    rows = load_dataset(str(out), split="test")
    assert rows["prompt"] == ['a "cat", 0', 'a "cat", 1', 'a "cat", 2'] and rows["topic"] == ["t"] * 3
    assert rows[2]["image"].getpixel((0, 0)) == (2, 10, 10) and rows[0]["questions"][0]["id"] == "q1"
    assert [score["annotator"] for score in rows[0]["human_scores"]] == ["h1", "ann", "ann"]
    assert rows[2]["baselines"][0]["status"] == "refused" and rows[2]["baselines"][0]["score"] is None
    long = load_dataset(str(out), "ratings", split="test").to_list()
    assert {"item": "i0", "annotator": "ann", "aspect": "intrinsic", "question": "q1", "score": 1.0} in long
    assert len(long) == 5  # the gap of i1 is left out
    assert main([str(out), "--check"]) == 0


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("annotations.csv", "i9,ann,,,3", "annotations.csv, row 4, column item: 'i9'. No image has this id"),
        ("annotations.csv", "i1,ann,,,good", "annotations.csv, row 4, column score: 'good'. is not a number"),
        ("annotations.csv", "i1,,,,3", "annotations.csv, row 4, column annotator: ''"),
        (
            "annotations.csv",
            "i1,ann,beauty,,3",
            "annotations.csv, row 4, column aspect: 'beauty'. This is not an aspect",
        ),
        ("annotations.csv", "i1,ann,,q7,3", "Row 2 (id 'i1'), column question_id: 'q7'"),
        ("annotations.csv", "i0,ann,,,3", "The same annotator scored it twice"),
        ("items.csv", "i0,again,images/0.png,1,t,", "items.csv, row 4, column id: 'i0'. It appears twice"),
        ("items.csv", "i3,,images/0.png,1,t,", "items.csv, row 4, column prompt: ''"),
        ("items.csv", "i3,a cat,images/9.png,1,t,", "column image"),
        ("items.csv", "i3,a cat,images/broken.png,1,t,", "broken.png"),
        ("items.csv", "i3,a cat,images/0.png,1,t,[1", "column questions: '[1'. This is not JSON"),
        ("baselines.csv", "i0,j,,ok", "column status: 'ok'. There is no score"),
        ("baselines.csv", "i2,j,4,ok", "column judge: 'j'. The same judge scored it twice"),
    ],
)
def test_what_does_not_fit_is_told(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, line: str, told: str
) -> None:
    (own / "images" / "broken.png").write_bytes(b"no image")
    with (own / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert main([str(own), "--out", str(tmp_path / "bench")]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "bench").exists()


def test_peoples_ratings_are_read_in_any_layout_and_images_called_by_their_paths(tmp_path: Path, capsys) -> None:
    from datasets import load_dataset

    for number in range(2):
        picture(tmp_path / "own" / "images" / f"{number}.png", number)
    rows = [{"prompt": f"cat {n}", "image": f"images/{n}.png"} for n in (0, 1)]
    items = table(tmp_path / "own" / "items.csv", rows)
    task = {"from_name": "overall", "type": "rating", "value": {"rating": 4}}
    tasks = [{"id": 1, "data": {"image": "x/1.png"}, "annotations": [{"completed_by": 3, "result": [task]}]}]
    write_json(tmp_path / "tasks.json", tasks)
    table(tmp_path / "wide.csv", [{"file_name": "0.png", "ann": 3, "bob": 4}, {"file_name": "1", "ann": 5, "bob": ""}])
    for name, wanted in (("tasks.json", [0, 1]), ("wide.csv", [2, 1])):
        out = tmp_path / f"bench-{name}"
        assert main([str(items), "--annotations", str(tmp_path / name), "--out", str(out)]) == 0
        made = load_dataset(str(out), split="test")
        assert made["id"] == ["images/0.png", "images/1.png"]
        assert [len(scores) for scores in made["human_scores"]] == wanted


def test_all_broken_images_are_listed_or_skipped(own: Path, tmp_path: Path, capsys) -> None:
    for number in (0, 2):
        path = own / "images" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:40])
    assert main([str(own), "--out", str(tmp_path / "bench")]) == 2
    error = capsys.readouterr().err
    assert "2 images cannot be used" in error and "0.png" in error and "2.png" in error and "--skip-broken" in error
    for table_of_others in ("annotations.csv", "baselines.csv"):
        (own / table_of_others).unlink()
    assert main([str(own), "--out", str(tmp_path / "bench"), "--skip-broken"]) == 0
    told = capsys.readouterr()
    assert "1 row in test" in told.out and "Left out: 2 x row whose image is broken" in told.err


@pytest.mark.parametrize("cell", [str, lambda name: {"path": name}, lambda name: {"bytes": name}])
@pytest.mark.parametrize("column", ["image", "reference_image"])
@pytest.mark.parametrize("name", ["../x.png", "{}/x.png", "images/link.png", "images/folder/x.png"])
def test_no_table_publishes_an_image_from_outside_its_folder(own: Path, tmp_path: Path, name, column, cell) -> None:
    picture(tmp_path / "x.png")
    (own / "images" / "link.png").symlink_to("../../x.png")
    (own / "images" / "folder").symlink_to(tmp_path)
    row = {"prompt": "a cat", "image": "images/0.png", column: cell(name.format(tmp_path))}
    (own / "items.jsonl").write_text(json.dumps(row) + "\n")
    wanted = rf"items.jsonl, row 1, column {column}: .*(would be published|Bytes are no text)"
    with pytest.raises(UserError, match=wanted):
        read_own(OwnTables(own / "items.jsonl"))


def test_a_folder_that_a_person_names_may_be_elsewhere(own: Path, tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "x.png")
    for name in ("x.png", f"{tmp_path}/pictures/x.png"):
        (own / "items.jsonl").write_text(json.dumps({"prompt": "a cat", "image": name}) + "\n")
        (row,) = read_own(OwnTables(own / "items.jsonl", images=tmp_path / "pictures"))
        assert row["image"] == tmp_path / "pictures" / "x.png" and row["id"] == "x.png"


@pytest.mark.parametrize("name", ["items.csv", "annotations.csv", "baselines.csv"])
def test_a_table_that_is_a_link_out_of_the_folder_is_named_by_a_person(own: Path, tmp_path: Path, name: str) -> None:
    (own / name).rename(tmp_path / name)
    (own / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} leads out of the folder"):
        read_own(OwnTables(own))


def test_what_lies_in_the_folder_stays_there(own: Path, tmp_path: Path, capsys) -> None:
    kept = picture(tmp_path / "bench" / "data" / "mine.png")
    for split in ("train", "test"):
        assert main([str(own), "--out", str(tmp_path / "bench"), "--split", split]) == 0
    assert kept.is_file() and len(list(kept.parent.glob("*.parquet"))) == 1
    capsys.readouterr()
    for options, told in (
        (["--out", str(own)], "would write over"),
        (["--out", str(own / "items.csv")], "items.csv is a file"),
        (["--out", str(tmp_path / "x"), "--split", "a b"], "The split is named 'a b'"),
        (["--out", str(tmp_path / "x"), "--attributes", "prompt"], "An attribute has the name 'prompt'"),
    ):
        assert main([str(own), *options]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["data/test-00000-of-00001.parquet", "ratings/train-00000-of-00002.parquet", "README.md"]
)
def test_a_file_that_no_build_wrote_is_not_replaced(own: Path, tmp_path: Path, capsys, name: str) -> None:
    (mine := tmp_path / "bench" / name).parent.mkdir(parents=True)
    mine.write_text("mine")
    for _ in range(2):
        assert main([str(own), "--out", str(tmp_path / "bench")]) == 2
        assert f"{mine} is there already. No build wrote it" in capsys.readouterr().err
    assert [path for path in (tmp_path / "bench").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_file_that_was_changed_since_is_not_replaced(own: Path, tmp_path: Path, capsys) -> None:
    arguments = [str(own), "--out", str(tmp_path / "bench")]
    assert main(arguments) == 0
    (card := tmp_path / "bench" / "README.md").write_text("by hand")
    assert main(arguments) == 2 and card.read_text() == "by hand"
    assert list((tmp_path / "bench" / "data").glob("*.parquet"))
    card.unlink()
    assert main(arguments) == 0


CARD, SIGN = "recipes.build_benchmark._card", "recipes.distillation.own_files._sign"


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("moment", [CARD, SIGN, "unlink", "replace"])
def test_a_killed_build_knows_its_own_files_and_no_others(own, tmp_path, monkeypatch, capsys, moment, before) -> None:
    bench = tmp_path / "bench"
    arguments, card = [str(own), "--out", str(bench)], bench / "README.md"
    if before:
        assert main([*arguments, "--license", "mit"]) == 0

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def at_the_card(method: Callable, path: Path, *to: Path, **options: bool) -> object:
        return killed() if card in (path, *to) else method(path, *to, **options)

    with monkeypatch.context() as patch:
        if moment in ("unlink", "replace"):
            patch.setattr(Path, moment, partialmethod(partial(at_the_card, getattr(Path, moment))))
        else:
            patch.setattr(moment, killed)
        assert main(arguments) == (0 if moment == "unlink" and not before else 130)
    assert not (bench / ".part").exists()
    if moment in (CARD, SIGN):
        assert card.exists() is before, "the build before is whole until the next one is"
    card.write_text("mine")
    (shard := bench / "data" / "mine-00000-of-00001.parquet").parent.mkdir(exist_ok=True)
    shard.write_text("mine")
    for mine in (shard, card):
        assert main(arguments) == 2 and mine.read_text() == "mine"
        mine.unlink()
    assert main(arguments) == 0 and "unknown" in card.read_text()


def test_two_builds_do_not_share_a_folder(own: Path, tmp_path: Path, capsys) -> None:
    (bench := tmp_path / "bench").mkdir()
    code = f"import time, pathlib; from t2i_judge.runs.locks import held\nwith held(pathlib.Path({str(bench)!r})):"
    code += "\n print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        try:
            assert main([str(own), "--out", str(bench)]) == 2
        finally:
            other.kill()
    assert f"{bench} is in use" in capsys.readouterr().err
    assert main([str(own), "--out", str(bench)]) == 0


def test_images_without_human_scores_are_a_benchmark_without_ratings(own: Path, tmp_path: Path, capsys) -> None:
    from datasets import load_dataset

    (own / "annotations.csv").unlink()
    assert main([str(own), "--out", str(tmp_path / "bench")]) == 0
    card = (tmp_path / "bench" / "README.md").read_text()
    assert "No human scores." in card and '"ratings"' not in card and "alpha" not in card
    assert main([str(tmp_path / "bench"), "--check"]) == 0
    assert load_dataset(str(tmp_path / "bench"), split="test")["human_scores"][0] == []
    rows = [
        {
            "id": split,
            "prompt": "p",
            "source": "s",
            "split": split,
            "questions": [],
            "baselines": [],
            "human_scores": said,
        }
        for split, said in (("train", []), ("test", [{"annotator": "a", "aspect": "overall", "score": 1.0}]))
    ]
    assert build(rows, tmp_path / "half") == {"train": 1, "test": 1}
    assert 'ratings", split="test"' in (tmp_path / "half" / "README.md").read_text()
    assert main([str(tmp_path / "half"), "--check"]) == 0


def test_check_finds_a_long_table_that_says_something_else(own: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "bench"
    main([str(own), "--out", str(out)])
    other = tmp_path / "other"
    annotations = (own / "annotations.csv").read_text()
    (own / "annotations.csv").write_text(annotations.replace("7.5", "9"))
    main([str(own), "--out", str(other)])
    for path in (other / "ratings").glob("*"):
        (out / "ratings" / path.name).write_bytes(path.read_bytes())
    assert main([str(out), "--check"]) == 2
    assert "differs from human_scores" in capsys.readouterr().err


def test_metadata_is_stripped_and_pixels_are_kept(own: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    picture(own / "images" / "0.png", 200, exif=exif())
    assert private_metadata((own / "images" / "0.png").read_bytes())
    main([str(own), "--out", str(tmp_path / "bench"), "--strip-metadata"])
    row = load_dataset(str(tmp_path / "bench"), split="test").with_format("arrow")[0].to_pylist()[0]
    assert private_metadata(row["image"]["bytes"]) is None
    assert Image.open(io.BytesIO(row["image"]["bytes"])).getpixel((0, 0)) == (200, 10, 10)
    for ending in ("jpg", "webp", "png"):
        path = picture(tmp_path / f"p.{ending}", 90, exif=exif())
        clean = without_metadata(path)
        assert isinstance(clean, bytes) and private_metadata(clean) is None and private_metadata(path.read_bytes())
        assert Image.open(io.BytesIO(clean)).size == (12, 8)
        assert without_metadata(clean) is clean
    turned = exif()
    turned[0x0112] = 6
    assert Image.open(io.BytesIO(without_metadata(picture(tmp_path / "turned.jpg", exif=turned)))).size == (8, 12)


def test_t2i_eval_bench_keeps_question_ratings(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "b.png", 5)
    questions = {
        "appearance_questions": [{"question": "Is the cat real?", "entity": "cat"}],
        "intrinsic_questions": [{"question": "Is there a cat?", "entity": "cat"}, {"question": "Is it black?"}],
    }
    sample = {"gt_image": "images/a.png", "ref_image": None, "image_caption": "a black cat", **questions}
    write_json(tmp_path / "t2i-eval-bench.json", [{"id": 7, **sample}, {**sample, "id": 8, "gt_image": "images/b.png"}])
    entry = {"score": 8, "manual_score": [7, "N/A", 9, 8.0]}
    overall = dict.fromkeys(("appearance", "intrinsic", "relationship", "overall"), entry)
    rated = [{"id": "0-1", "manual_score": [1, 2, 3, 2]}, {"id": "0-9", "manual_score": [0, 0, 0, 0]}]
    write_json(tmp_path / "scores.json", [{"id": "0", "overall": overall, "intrinsic_questions": rated}])
    found = read_layout("t2i-eval-bench", tmp_path)
    first, second = found.rows
    assert (first["id"], second["id"]) == ("7", "8") and second["human_scores"] == []
    assert [q["id"] for q in first["questions"]] == ["appearance-0", "intrinsic-0", "intrinsic-1"]
    of_question = [s for s in first["human_scores"] if s["question_id"] == "intrinsic-1"]
    assert [(s["annotator"], s["score"]) for s in of_question] == [
        ("annotator_1", 1.0), ("annotator_2", 2.0), ("annotator_3", 3.0),
    ]  # fmt: skip
    whole = [s["score"] for s in first["human_scores"] if s["aspect"] == "overall"]
    assert whole == [7.0, None, 9.0]  # the average that stands fourth is no annotator
    assert {b["judge"] for b in first["baselines"]} == {"openai_score"} and len(first["baselines"]) == 4
    assert found.left_out["ratings of a question that the sample does not have"] == 1
    assert build(found.rows, tmp_path / "bench") == {"test": 2}
    write_json(tmp_path / "scores.json", [{"id": "5", "overall": overall}])
    with pytest.raises(UserError, match="id 5"):
        read_layout("t2i-eval-bench", tmp_path)


@pytest.mark.parametrize("name", ["../x.png", "{}/x.png", "link.png", "folder/x"])
def test_no_layout_publishes_an_image_from_outside_its_folder(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "x.png")
    picture(tmp_path / "theirs" / "y.png")
    (tmp_path / "theirs" / "link.png").symlink_to("../x.png")
    (tmp_path / "theirs" / "folder").symlink_to(tmp_path)
    with pytest.raises(UserError, match="There is no image"):
        find_image(tmp_path / "theirs", [name.format(tmp_path)])
    assert find_image(tmp_path / "theirs", [name.format(tmp_path), "y"]) == tmp_path / "theirs" / "y.png"


def test_tifa_and_dsg(tmp_path: Path) -> None:
    record = {"text_id": "coco_1", "image_path": "coco_1_mini_dalle.jpg", "text": "A tree", "human_scores": [5, 4]}
    record |= {"human_avg": 4.5, "bleu": 0.25, "tifa_vilt": float("nan")}
    write_json(tmp_path / "human_annotations_with_scores.json", {"coco_1_mini_dalle": record})
    picture(tmp_path / "images" / "coco_1_mini_dalle.jpg")
    (row,) = read_layout("tifa", tmp_path, tmp_path / "images").rows
    assert row["generator"] == "mini_dalle" and [s["score"] for s in row["human_scores"]] == [5, 4]
    assert [(b["judge"], b["score"], b["status"]) for b in row["baselines"]] == [
        ("bleu", 0.25, "ok"), ("tifa_vilt", None, "unparsable"),
    ]  # fmt: skip
    line = {"t2i_model": "mini-dalle", "item_id": "tifa160_0", "source_id": "coco_1", "question": "How consistent?"}
    answers = [("4375", "5"), ("9999", "3"), ("4389", "")]
    lines = [{**line, "worker_id": worker, "answer": answer} for worker, answer in answers]
    table(tmp_path / "tifa160-likert-anns.csv", lines)
    question = {"item_id": "coco_1", "text": "A tree", "keywords": "tree, old", "category_broad": "attribute"}
    asked = [("1", "0", "Is there a tree?", "entity"), ("2", "1", "Is it old?", "relation")]
    table(
        tmp_path / "tifa160-dev-anns.csv",
        [
            {**question, "proposition_id": i, "dependency": d, "question_natural_language": t, "category_broad": c}
            for i, d, t, c in asked
        ],
    )
    (row,) = read_layout("dsg", tmp_path, tmp_path / "images").rows
    assert row["image"].name == "coco_1_mini_dalle.jpg" and row["prompt"] == "A tree"
    assert {(s["annotator"], s["score"]) for s in row["human_scores"]} == {("w1", 5.0), ("w3", 3.0), ("w2", None)}
    assert [(q["aspect"], q["depends_on"]) for q in row["questions"]] == [("intrinsic", []), ("relationship", ["1"])]
    assert build([row], tmp_path / "bench") == {"test": 1}


def test_genai_bench_ratings_and_votes(tmp_path: Path) -> None:
    ratings = {"00001": {"prompt": "two cats", "models": {"DALLE_3": [4, 5, 3], "SDXL": [1, None, 2]}}}
    write_json(tmp_path / "rated" / "genai_image.json", ratings)
    rows = read_layout("genai-bench", tmp_path / "rated").rows
    assert [row["id"] for row in rows] == ["00001_DALLE_3", "00001_SDXL"]
    assert [s["score"] for s in rows[1]["human_scores"]] == [1.0, None, 2.0]
    votes = ["leftvote", "rightvote", "tievote", "bothbad_vote"]
    verdicts = ["[[A>>B]]", "[[A=B]]", None, "[[A=B=Bad]]"]
    folder = tmp_path / "results" / "image_generation" / "gpt4o"
    folder.mkdir(parents=True)
    with (folder / "pairwise.jsonl").open("w") as file:
        for idx, (vote, verdict) in enumerate(zip(votes, verdicts, strict=True)):
            file.write(json.dumps({"idx": idx, "prompt": "p", "model_vote": verdict, "human_vote": vote}) + "\n")
    rows = read_layout("genai-bench", tmp_path / "results").rows
    assert [row["human_scores"][0]["score"] for row in rows] == [1, 0, 0, 1, 1, 1, 0, 0]
    said = [(row["baselines"][0]["score"], row["baselines"][0]["status"]) for row in rows]
    assert said == [(1, "ok"), (0, "ok"), *[(None, "unparsable")] * 4, (0, "ok"), (0, "ok")]
    other = tmp_path / "results" / "image_edition" / "gpt4o"
    other.mkdir(parents=True)
    (other / "pairwise.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="image_edition, image_generation"):
        read_layout("genai-bench", tmp_path / "results")


def test_dreambench(tmp_path: Path) -> None:
    for name in ("dreambooth_sd", "emu2"):
        sample = tmp_path / "samples" / name
        picture(sample / "tgt_image" / "object_00_mug" / "0_0.png")
        picture(sample / "src_image" / "object_00_mug" / "0_0.png")
        (sample / "text" / "object_00_mug").mkdir(parents=True)
        (sample / "text" / "object_00_mug" / "0_0.txt").write_text("a mug on a table")
    human = tmp_path / "data_human_rating" / "raw_data" / "group_a"
    write_json(human / "x-dreambooth_sd.json", {"object_00_mug-0": [3, 4]})
    gpt = tmp_path / "data_gpt_rating" / "prompt_following_full2" / "dreambooth_sd"
    write_json(gpt / "1.json", {"collection_id": "object_00_mug", "prompt_index": 0, "score": 2})
    found = read_layout("dreambench", tmp_path)
    (row,) = [row for row in found.rows if row["generator"] == "dreambooth_sd"]
    assert [(s["aspect"], s["score"]) for s in row["human_scores"]] == [
        ("concept_preservation", 3.0), ("prompt_following", 4.0),
    ]  # fmt: skip
    assert row["baselines"][0]["judge"] == "gpt-full" and row["baselines"][0]["score"] == 2.0
    assert row["attributes"] == {"family": "tuned", "category": "object", "difficulty": next(iter(COUNTS))}
    assert build(found.rows, tmp_path / "bench") == {"test": 2}


@pytest.mark.parametrize(
    ("layout", "files", "told"),
    [
        ("tifa", {"human_annotations.json": {"a": [1]}}, "human_annotations.json, a: [1]"),
        ("tifa", {"human_annotations.json": {"a": {"text": "t", "human_scores": 3}}}, "a, human_scores: 3"),
        ("genai-bench", {"genai_image.json": {"1": {"prompt": "p"}}}, "genai_image.json, 1, models: None"),
        ("genai-bench", {"genai_image.json": {"1": {"prompt": "p", "models": {"m": 4}}}}, "1, m: 4"),
        ("genai-bench", {"generation/gpt/pairwise.jsonl": {"prompt": "p"}}, "line 1, idx: None"),
        ("t2i-eval-bench", {"scores.json": [3]}, "scores.json, entry 0: 3"),
        ("t2i-eval-bench", {"scores.json": [{"id": "0", "overall": {"overall": 4}}]}, "id 0, overall, overall: 4"),
        ("t2i-eval-bench", {"t2i-eval-bench.json": [{"intrinsic_questions": ["Is it?"]}]}, "intrinsic_questions 0"),
        ("t2i-eval-bench", {"t2i-eval-bench.json": [{"ref_image": 3}]}, "sample 0, ref_image: 3"),
    ],
)
def test_a_published_file_in_another_shape_is_told_by_place_and_value(
    tmp_path: Path, layout: str, files: dict, told: str
) -> None:
    picture(tmp_path / "a.png")
    sample = {"gt_image": "a.png", "image_caption": "a cat"}
    for name, content in {"t2i-eval-bench.json": [{}], "scores.json": [], **files}.items():
        write_json(tmp_path / name, [sample | s for s in content] if name.startswith("t2i") else content)
    with pytest.raises(UserError) as error:
        read_layout(layout, tmp_path)
    assert told in str(error.value)


def test_wrong_calls_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, told in (
        (["nowhere", "--out", "x"], "no file or folder nowhere"),
        ([str(tmp_path), "--out", "x"], "no table in"),
        ([str(tmp_path), "--layout", "tifa", "--out", "x"], "Cannot read"),
        ([str(tmp_path), "--layout", "genai-bench", "--out", "x"], "no pairs in"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1


def test_check_of_a_dataset_whose_images_are_paths_is_one_line(tmp_path: Path, capsys) -> None:
    from datasets import Dataset

    (tmp_path / "paths").mkdir()
    Dataset.from_list([{"prompt": "a cup", "image": "cup.png"}]).to_parquet(tmp_path / "paths" / "test.parquet")
    capsys.readouterr()
    assert main([str(tmp_path / "paths"), "--check"]) == 2
    said = capsys.readouterr().err
    assert "The column image holds 'cup.png'" in said and said.count("\n") == 1
