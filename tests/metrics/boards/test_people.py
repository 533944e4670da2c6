"""People's labels on a board: whose image a row means, and what they would say of generators."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.leaderboard import leaderboard
from t2i_judge.boards.markdown import markdown
from t2i_judge.boards.people import people, read_labels
from t2i_judge.boards.scores import Scored, Scores
from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL, Status


def board(prompts: int = 400, seeds: int = 1, seed: int = 0) -> tuple[Scores, dict[str, float]]:
    """A judge that prefers a by 1, people that prefer b by .5; and what people say of every image."""
    rng = np.random.default_rng(seed)
    images, said = [], {}
    for prompt in range(prompts):
        for name, judged, liked in (("a", 6.0, 3.0), ("b", 5.0, 3.5)):
            for number in range(seeds):
                quality = rng.normal()
                numbered = str(number) if seeds > 1 else None
                item = BoardItem(
                    f"{name}/{prompt:03}#{number}", name, f"prompt {prompt}", f"{prompt:03}", f"{name}/{prompt:03}.png",
                    f"{name}{prompt}{number}", seed=numbered,
                )  # fmt: skip
                images.append(Scored(item, Status.OK, {OVERALL: judged + quality}, {}))
                said[item.id] = liked + quality + rng.normal() / 2
    return Scores(images, ["a", "b"], (0.0, 10.0)), said


def table(path: Path, scores: Scores, said: dict[str, float], prompts: range, names: str) -> str:
    rows = []
    for image in scores.images:
        item = image.item
        every = {
            "id": item.id, "sha256": item.sha256, "generator": item.generator, "prompt": item.prompt,
            "prompt_id": item.prompt_id, "image": item.image, "seed": item.seed, "human": said[item.id],
        }  # fmt: skip
        if int(item.prompt_id) in prompts:
            rows.append({name: every[name] for name in [*names.split(","), "human"]})
    pandas.DataFrame(rows).to_csv(path / "labels.csv", index=False)
    return str(path / "labels.csv")


def items(scores: Scores) -> list[BoardItem]:
    return [image.item for image in scores.images]


@pytest.mark.parametrize("names", ["id", "sha256", "generator,prompt", "generator,prompt_id", "image"])
def test_a_row_names_its_image_as_people_do(tmp_path, names):
    scores, said = board(40)
    labels = read_labels(table(tmp_path, scores, said, range(40), names), None, items(scores))
    assert labels.means == pytest.approx(said) and (labels.columns, labels.unknown) == (["human"], 0)


def test_people_may_prefer_what_the_judge_does_not(tmp_path):
    scores, said = board()
    labels = read_labels(table(tmp_path, scores, said, range(120), "generator,prompt"), None, items(scores))
    found = people(labels, scores, by_hand=False)
    a, b = found["generators"]
    assert (a["n_labelled"], a["n_unlabelled"], a["note"]) == (120, 280, None)
    assert a["ci"][0] < 3 < a["ci"][1] and b["ci"][0] < 3.5 < b["ci"][1]
    (pair,) = found["pairs"]
    assert pair["decided"] and pair["mean"] < 0 < pair["judge"] and pair["p"] == pair["p_holm"] < 1e-3
    width, alone = (np.diff(pair[name])[0] for name in ("ci", "people_only_ci"))
    assert width < 0.8 * alone
    assert found["notes"] == ["a and b: people prefer b; the judge prefers the other"]
    result = {**leaderboard(scores), "judge": {"name": "j"}, "prompts": {"n": 400, "images": 800}, "people": found}
    text = markdown(json.loads(json.dumps(result)))
    assert "## What people would say" in text and "people prefer b" in text and "a is better" in text


@pytest.mark.parametrize(("count", "note"), [(29, "29 labelled units: at least 30"), (60, "approximate: 60")])
def test_few_labels_are_refused_or_called_approximate(tmp_path, count, note):
    scores, said = board(200)
    labels = read_labels(table(tmp_path, scores, said, range(count), "id"), None, items(scores))
    found = people(labels, scores, by_hand=True)
    assert all(note in row["note"] for row in [*found["generators"], *found["pairs"]])
    assert (found["pairs"][0]["mean"] is None) == (count < 30) and "chosen by hand" in found["notes"][0]
    assert not (count < 30 and found["pairs"][0]["decided"])


def test_a_difference_stands_on_prompts_with_both_images_labelled(tmp_path):
    scores, said = board(200)
    path = table(tmp_path, scores, said, range(100), "generator,prompt")
    frame = pandas.read_csv(path)
    frame[(frame.generator == "a") | frame.prompt.str.endswith("7")].to_csv(path, index=False)
    found = people(read_labels(path, None, items(scores)), scores, by_hand=False)
    assert [g["n_labelled"] for g in found["generators"]] == [100, 10]
    assert found["pairs"][0]["n_labelled"] == 10 and found["pairs"][0]["mean"] is None


def test_long_tables_lists_and_exports_give_the_same_means(tmp_path):
    scores, said = board(5)
    raters = {identity: [value, value + 1, None] for identity, value in said.items()}
    long = [
        {"id": i, "annotator": f"r{n}", "aspect": aspect, "score": v}
        for i, own in raters.items()
        for n, v in enumerate(own)
        for aspect in ("overall", "intrinsic")
        if v is not None
    ]
    people_of = {"question_id": None, "explanation": None, "aspect": "overall"}
    export = [
        {"id": i, "human_scores": [{**people_of, "annotator": f"r{n}", "score": v} for n, v in enumerate(own[:2])]}
        for i, own in raters.items()
    ]
    pandas.DataFrame(long).to_csv(tmp_path / "long.csv", index=False)
    (tmp_path / "export.jsonl").write_text("".join(json.dumps(row) + "\n" for row in export))
    wide = [{"item": i, "note": "x", "h1": own[0], "h2": own[1], "h3": own[2]} for i, own in raters.items()]
    pandas.DataFrame(wide).to_csv(tmp_path / "wide.csv", index=False)
    expected = {identity: value + 0.5 for identity, value in said.items()}
    for name in ("long.csv", "export.jsonl", "wide.csv"):
        assert read_labels(str(tmp_path / name), None, items(scores)).means == pytest.approx(expected), name
    (tmp_path / "twice.csv").write_text("id,annotator,score\n" + "a/000#0,x,1\n" * 2)
    with pytest.raises(UserError, match="row 2: 'x' rated 'a/000#0' twice"):
        read_labels(str(tmp_path / "twice.csv"), None, items(scores))


def test_what_is_not_clear_is_refused_in_a_sentence(tmp_path):
    scores, said = board(4, seeds=2)
    cases = {
        "generator,prompt": "may be 2 images of this board .*its seed",
        "prompt": "has no label for an image of this board",
    }
    for names, message in cases.items():
        with pytest.raises(UserError, match=message):
            read_labels(table(tmp_path, scores, said, range(4), names), None, items(scores))
    path = table(tmp_path, scores, said, range(4), "generator,prompt,seed")
    assert read_labels(path, None, items(scores)).means == pytest.approx(said)
    pandas.read_csv(path).rename(columns={"human": "mos"}).to_csv(path, index=False)
    with pytest.raises(UserError, match="columns of people's labels in"):
        read_labels(path, None, items(scores))
    assert len(read_labels(path, "mos", items(scores)).means) == 16


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": "prompt 1"}, "row 1 names the image 'a/000#0', but its prompt is 'prompt 1'"),
        ({"sha256": "b" * 64}, "its sha256 is that of another file"),
        ({"sha256": "b00"}, "but also 'b/000#0'"),
        ({"seed": "1"}, "its seed is '1', and that of the image '0'"),
        ({"image": "b/000.png"}, "but also 'b/000#0'"),
    ],
)
def test_a_table_of_another_board_is_refused_although_its_ids_are_here(tmp_path, changed, message):
    scores, said = board(3)
    own = [replace(item, seed="0") for item in items(scores)]
    row = {"id": "a/000#0", "prompt": " Prompt  0", "sha256": "a00", "seed": "0.0", "image": "a/000.png", "human": 4}
    pandas.DataFrame([row]).to_csv(tmp_path / "labels.csv", index=False)
    assert read_labels(str(tmp_path / "labels.csv"), None, own).means == {"a/000#0": 4.0}
    pandas.DataFrame([row | changed]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError, match=re.escape(message)):
        read_labels(str(tmp_path / "labels.csv"), None, own)


@pytest.mark.parametrize("written", [("0", "1"), ("0000", "0001"), ("seed_0", "seed_1"), (0.0, 1.0)])
@pytest.mark.parametrize("named", [("0", "1"), ("0000", "0001")])
def test_a_seed_is_the_same_however_it_is_written(tmp_path, written, named):
    """Labels of seed 0 were left out where the file is 0000.png."""
    own = [BoardItem(f"A/2#{s}", "A", "a cat", "2", f"/x/2/{s}.png", seed=s) for s in named]
    rows = [{"generator": "A", "prompt": "a cat", "seed": seed, "rater_1": 4 + n} for n, seed in enumerate(written)]
    pandas.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    labels = read_labels(str(tmp_path / "t.csv"), None, own)
    assert labels.means == {own[0].id: 4, own[1].id: 5} and labels.unknown == 0


def test_the_same_people_label_an_image_once(tmp_path):
    scores, _ = board(3)
    (tmp_path / "wide.csv").write_text("id,h1,h2\na/000#0,9,1\na/000#0,9,1\n")
    with pytest.raises(UserError, match=r"row 2 labels 'a/000#0' again\. h1, h2 are people"):
        read_labels(str(tmp_path / "wide.csv"), None, items(scores))


def test_labels_of_two_tables_go_together_and_no_image_has_two(tmp_path):
    scores, said = board(10)
    first = Path(table(tmp_path, scores, said, range(5), "id")).rename(tmp_path / "first.csv")
    both = f"{first},{table(tmp_path, scores, said, range(5, 10), 'generator,prompt')}"
    assert read_labels(both, None, items(scores)).means == pytest.approx(said)
    (tmp_path / "again.csv").write_text(first.read_text())
    with pytest.raises(UserError, match=r"again.csv labels 'a/000#0' again"):
        read_labels(f"{first},{tmp_path / 'again.csv'}", None, items(scores))


@pytest.mark.filterwarnings("error")
def test_a_label_that_no_sum_can_hold_is_one_line(tmp_path):
    scores, said = board(4)
    said = dict.fromkeys(said, 1.7e308)
    with pytest.raises(UserError, match=r"row 1: a label is larger than 1e\+100"):
        read_labels(table(tmp_path, scores, said, range(4), "id"), None, items(scores))


@pytest.mark.parametrize("who", ["Rater", "Annotator", "WORKER", "raters", "annotators", "Annotator_ID", "User id"])
def test_who_rated_an_image_is_no_label_of_it(tmp_path, who):
    """A column `Rater` of numbers was taken for people's labels: 1.5 for an image that was rated 9 and 8."""
    scores, _ = board(2)
    first = items(scores)[0].id
    (tmp_path / "labels.csv").write_text(f"id,{who},Score\n{first},1,9\n{first},2,8\n")
    found = read_labels(str(tmp_path / "labels.csv"), None, items(scores))
    assert (found.columns, dict(found.means)) == (["Score"], {first: 8.5})


def test_a_person_who_rates_twice_is_found_whatever_the_column_is_called(tmp_path):
    scores, _ = board(2)
    first = items(scores)[0].id
    (tmp_path / "labels.csv").write_text(f"id,Rater,Score\n{first},ann,9\n{first},ann ,8\n")
    with pytest.raises(UserError, match="twice"):
        read_labels(str(tmp_path / "labels.csv"), None, items(scores))


def test_columns_of_numbered_people_are_labels(tmp_path):
    scores, _ = board(2)
    first = items(scores)[0].id
    (tmp_path / "labels.csv").write_text(f"id,rater_1,annotator 2\n{first},9,7\n")
    assert read_labels(str(tmp_path / "labels.csv"), None, items(scores)).means == {first: 8.0}


def one_each(**changed: str | None) -> list[BoardItem]:
    """A board of one image for each of three prompts, whose seed is not known."""
    own = [BoardItem(f"A/{n}", "A", f"prompt {n}", f"{n}", f"/x/A/{n:02}.png", f"{n}" * 64) for n in range(3)]
    return [replace(item, **changed) for item in own]


def rows_of(path: Path, rows: list[dict[str, object]]) -> str:
    (path / "rows.jsonl").write_text("".join(json.dumps({"generator": "A", **row}) + "\n" for row in rows))
    return str(path / "rows.jsonl")


@pytest.mark.parametrize(
    "named",
    [
        {"image": "old_run/A_1_seed7.png"},
        {"file": "https://host/A/other.png?token=1"},
        {"path": "A\\other.png"},
        {"id": "A/1#2"},
        {"image": "B/01.png"},
        {"image": "B/other_seed.png"},
        {"item_id": "B/other", "image": "01.png"},
        {"id": "A/1", "image": "old_run/other.png"},
    ],
)
def test_a_label_of_another_picture_of_the_prompt_is_not_the_board_s(tmp_path, named):
    """Rows that named other files or ids were counted by generator and prompt: they turned what people prefer."""
    rows = [{"prompt": "prompt 0", "human": 5}, {"prompt": "prompt 1", "human": 9, **named}]
    others = [BoardItem(f"B/{n}", "B", f"prompt {n}", f"{n}", f"/x/B/{n}.png") for n in ("01", "other_seed")]
    labels = read_labels(rows_of(tmp_path, rows), None, one_each() + others)
    assert (labels.means, labels.unknown) == ({"A/0": 5.0}, 1)
    with pytest.raises(UserError, match="Rows 1 fit none, by the file and the id if they name one"):
        read_labels(rows_of(tmp_path, rows[1:]), None, one_each() + others)


@pytest.mark.parametrize(
    "named",
    [
        {"image": "/mnt/elsewhere/01.png"},
        {"image": "shown\\01.jpg"},
        {"image": "https://host/A/01.png?token=1"},
        {"image": "data:image/png;base64,AAAA"},
        {"image": {"bytes": None, "path": None}},
        {"id": 17, "image": 3},
        {"id": "1"},
        {"item": "prompt 1"},
        {"sha256": "1" * 64, "image": "upload/8f3a-renamed.png"},
    ],
)
def test_an_image_may_be_named_in_other_words(tmp_path, named):
    rows = [{"prompt": "prompt 1", "human": 9, **named}]
    labels = read_labels(rows_of(tmp_path, rows), None, one_each())
    assert (labels.means, labels.unknown) == ({"A/1": 9.0}, 0)


def test_a_file_that_the_board_named_may_have_any_name(tmp_path):
    own = [replace(item, image=f"run/images/{item.sha256}.img") for item in one_each()]
    path = rows_of(tmp_path, [{"prompt": "prompt 1", "image": "cat.png", "human": 9}])
    assert read_labels(path, None, own).means == {"A/1": 9.0}


def test_a_file_s_name_tells_one_of_a_prompt_s_images(tmp_path):
    own = [BoardItem(f"A/0#{n}", "A", "a cat", "0", f"/x/A/{n}_cat.png") for n in range(2)]
    path = rows_of(tmp_path, [{"prompt": "a cat", "image": "/mnt/1_cat.png", "human": 9}])
    assert read_labels(path, None, own).means == {"A/0#1": 9.0}


@pytest.mark.parametrize("more", [{}, {"rater": "x"}])
def test_labels_of_two_seeds_are_not_of_an_image_whose_seed_is_unknown(tmp_path, more):
    rows = [{"prompt": "prompt 1", "seed": seed, "human": 9, **more} for seed in (0, 1)]
    assert read_labels(rows_of(tmp_path, rows[:1]), None, one_each()).means == {"A/1": 9.0}
    with pytest.raises(UserError, match="row 2 names the image 'A/1' with seed '1', an earlier row with '0'"):
        read_labels(rows_of(tmp_path, rows), None, one_each())
    again = [row | {"rater": n, "seed": seed} for n, (row, seed) in enumerate(zip(rows, ("seed_0", "0.0")))]
    assert read_labels(rows_of(tmp_path, again), None, one_each()).means == {"A/1": 9.0}


def test_labels_of_two_files_are_not_of_one_image(tmp_path):
    rows = [{"prompt": "prompt 1", "image": f"seed_{n}/01.png", "human": 9} for n in range(2)]
    with pytest.raises(UserError, match=r"row 2 names the image 'A/1' by the file 'seed_1/01.png', an earlier row by"):
        read_labels(rows_of(tmp_path, rows), None, one_each())
    raters = [row | {"annotator": n} for n, row in enumerate(rows)]  # each may have had a folder
    same = [rows[0] | {"image": name} for name in ("A/01.png", "01.png", "/x/A/01.png")]
    for honest in (raters, same):
        assert read_labels(rows_of(tmp_path, honest), None, one_each()).means == {"A/1": 9.0}
