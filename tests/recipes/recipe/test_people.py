"""People's ratings: every layout that people bring gives the same scores, and what does not fit is said at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.items import Item
from recipes.recipe.people import join, on_scale, people_of, require_people, write_people
from recipes.recipe.rating_files import read_scores
from recipes.recipe.sections import RatingsTable
from t2i_judge.errors import UserError

ITEMS = [
    Item("a.png", "a house", "../../data/images/a.png", None, "new_prompts", "items.csv"),
    Item("deep/b.png", "a cat", "../../data/images/deep/b.png", None, "new_prompts", "items.csv"),
    Item("c.png", "a dog", "../../data/images/c.png", None, "train", "items.csv"),
]
WANTED = {("a.png", "ann", 8.0), ("a.png", "bob", 6.0), ("deep/b.png", "ann", 3.0)}
LONG = "image,annotator,score\na.png,ann,8\na.png,bob,6\ndeep/b.png,ann,3\ndeep/b.png,bob,\n"


def label_studio(image: str, who: object, value: dict, kind: str, **more) -> dict:
    result = [{"from_name": "quality", "to_name": "image", "type": kind, "value": value}]
    annotation = {"id": 1, "completed_by": who, "was_cancelled": False, "result": result, **more}
    return {"id": 7, "data": {"image": image}, "annotations": [annotation], "predictions": []}


SPACE = [
    {"id": "a.png", "human_scores": [
        {"annotator": "ann", "aspect": "overall", "question_id": None, "score": 8.0, "explanation": "good"},
        {"annotator": "bob", "aspect": "overall", "question_id": None, "score": 6.0, "explanation": None}]},
    {"id": "deep/b.png", "human_scores": [
        {"annotator": "ann", "aspect": "overall", "question_id": None, "score": 3.0, "explanation": "odd"}]},
]  # fmt: skip
TASKS = [
    label_studio("/data/upload/3/1a2b3c4d-a.png", 1, {"rating": 8}, "rating"),
    label_studio("/data/local-files/?d=images/a.png", {"id": 2, "email": "x@y.z"}, {"choices": ["6"]}, "choices"),
    label_studio("https://example.org/x/deep/b.png?token=1", 1, {"number": 3}, "number"),
    label_studio("a.png", 3, {"rating": 1}, "rating", was_cancelled=True),
]
FLAT = [
    {"id": 1, "image": "/data/upload/3/1a2b3c4d-a.png", "quality": [{"rating": 8}], "annotator": 1, "annotation_id": 5},
    {"id": 1, "image": "a.png", "quality": [{"rating": 6}], "annotator": 2, "annotation_id": 6, "lead_time": 2.5},
    {"id": 2, "image": "b.png", "quality": [{"rating": 3}], "annotator": 1, "annotation_id": 7, "prompt": "a cat"},
]
LAYOUTS = {
    "long.csv": LONG,
    "semicolons.csv": LONG.replace(",", ";"),
    "stems.csv": LONG.replace(".png", ""),
    "people.csv": "file_name,ann,bob\na.png,8,6\nb.png,3,\n",
    "aspects.csv": "id,rater,overall,prompt\na.png,ann,8,a house\na.png,bob,6,A  house\ndeep/b.png,ann,3,a cat\n",
    "space.jsonl": "".join(json.dumps(row) + "\n" for row in SPACE),
    "space.json": json.dumps(SPACE),
    "tasks.json": json.dumps(TASKS),
    "flat.json": json.dumps(FLAT),
    "long.jsonl": "".join(
        json.dumps({"id": i, "annotator": a, "aspect": "Overall", "score": s}) + "\n" for i, a, s in WANTED
    ),
}


FORMS = [
    {"item": "a.png", "annotator": "ann", "saved": saved, "ratings": [{"aspect": "overall", "score": 5}]}
    for saved in ("2025", "2024")
]
ODD = (None, True, 5, 1e308, "x", [], [1], {}, {"a": [1]}, [[]])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in nested data."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def with_odd(value: Any, path: tuple[Any, ...], odd: object) -> Any:
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_odd(value[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize("document", [TASKS, FLAT, SPACE, FORMS], ids=["tasks", "flat", "space", "forms"])
def test_any_value_at_any_place_of_an_export_is_read_or_one_line(tmp_path: Path, document: list) -> None:
    for path in places(document):
        for odd in ODD:
            changed = with_odd(document, path, odd)
            parts = changed if document is FORMS and isinstance(changed, list) else [changed]
            for number, part in enumerate(parts):
                (tmp_path / f"{number}.json").write_text(json.dumps(part))
            source = tmp_path if document is FORMS else tmp_path / "0.json"
            with suppress(UserError):
                read_scores(source, RatingsTable(str(source)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(LAYOUTS[name], encoding="utf-8")
    scores = join(read_scores(path, RatingsTable(str(path))), ITEMS, name).scores
    names = {"annotator_1": "ann", "annotator_2": "bob"}
    assert {(one.item, names.get(one.annotator, one.annotator), one.score) for one in scores} == WANTED
    assert {one.aspect for one in scores} == {"overall"}
    assert "x@y.z" not in repr(scores)


def test_parquet_and_the_folder_of_the_space(tmp_path: Path) -> None:
    import pandas

    rows = [dict(zip(("id", "annotator", "score"), one)) for one in WANTED]
    pandas.DataFrame(rows).to_parquet(tmp_path / "p.parquet")
    nested = pandas.DataFrame(SPACE)
    nested.to_parquet(tmp_path / "n.parquet")
    for number, (item, who, score) in enumerate(sorted(WANTED)):
        rating = {"aspect": "overall", "question_id": None, "score": score, "explanation": "so"}
        form = {"item": item, "annotator": who, "ratings": [rating], "saved": "2026-01-01T00:00:00"}
        place = tmp_path / "kept" / "annotations" / who / f"{number}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(form))
        later = {**form, "ratings": [{**rating, "score": 0.0}], "saved": "2026-01-02T00:00:00"}
        place.with_name(f"{number}-again.json").write_text(json.dumps(later))
    (tmp_path / "kept" / "annotators").mkdir()
    (tmp_path / "kept" / "annotators" / "ann.json").write_text('{"annotator": "ann", "code_sha256": "0"}')
    for path in (tmp_path / "p.parquet", tmp_path / "n.parquet", tmp_path / "kept"):
        found = read_scores(path, RatingsTable(str(path)))
        assert {(one.item, one.annotator, one.score) for one in found} == WANTED, path


def test_the_space_s_folder_as_it_is_published_and_with_what_was_added(tmp_path: Path) -> None:
    """Lines of `.jsonl` were passed over without a word, and of two people of one name the second."""
    kept = tmp_path / "annotations"
    kept.mkdir()

    def form(item: str, who: str, number: str, score: float) -> str:
        rating = {"aspect": "overall", "question_id": None, "score": score, "explanation": "so"}
        said = {"item": item, "annotator": who, "annotator_id": number, "ratings": [rating], "saved": f"2026-{score}"}
        return json.dumps(said) + "\n"

    (kept / "20260101-a.jsonl").write_text(form("a.png", "ann", "1", 1.0) + form("b.png", "ann", "1", 2.0))
    (kept / "imported-b.jsonl").write_text(form("a.png", "bob", "imported-bob", 3.0) + form("a.png", "ann", "2", 4.0))
    (kept / "one.json").write_text(form("b.png", "ann", "1", 2.0))
    found = {(one.item, one.annotator, one.score) for one in read_scores(tmp_path, RatingsTable(str(tmp_path)))}
    other = f"ann-{hashlib.sha256(b'2').hexdigest()[:4]}"
    assert found == {("a.png", "ann", 1.0), ("b.png", "ann", 2.0), ("a.png", "bob", 3.0), ("a.png", other, 4.0)}


def _said(item: str, who: str, score: float, **more: str) -> str:
    rating = {"aspect": "overall", "question_id": None, "score": score, "explanation": "so"}
    return json.dumps({"item": item, "annotator": who, "ratings": [rating], **more}) + "\n"


def test_what_is_left_beside_the_forms_of_the_space_is_no_form(tmp_path: Path) -> None:
    kept = tmp_path / "annotations" / "ann"
    kept.mkdir(parents=True)
    (kept / "one.json").write_text(_said("a.png", "ann", 1.0))
    (kept / "two.jsonl").write_text(_said("b.png", "ann", 2.0))
    (kept / "old.json~").write_text(_said("c.png", "ann", 3.0))
    (kept / "._one.json").write_bytes(b"\0\5\x16\7")
    for name in (".one.json.ab12cd34.part", "two.json.bak", "x.jsonl.gz", ".gone.json"):
        (kept / name).write_text("{")
    found = {(one.item, one.score) for one in read_scores(tmp_path, RatingsTable(str(tmp_path)))}
    assert found == {("a.png", 1.0), ("b.png", 2.0)}


@pytest.mark.parametrize("registered", [True, False])
def test_a_name_stays_with_whom_it_has_in_the_space(tmp_path: Path, registered: bool) -> None:
    """Forms that were added have no time, and took the name of who was published under it before."""
    kept, names = tmp_path / "annotations", tmp_path / "annotators"
    kept.mkdir(), names.mkdir()
    (kept / "imported-b.jsonl").write_text(_said("a.png", "ann", 3.0, annotator_id="imported-ann", saved=""))
    late, soon = "2026-01-09", "2026-01-08"
    (kept / "one.json").write_text(_said("a.png", "ann", 1.0, annotator_id="first", saved=late))
    (kept / "two.json").write_text(_said("a.png", "ann", 2.0, annotator_id="second", saved=soon))
    for ident, when in [("first", "2026-01-01"), ("second", "2026-01-02")] if registered else []:
        person = {"id": ident, "annotator": "ann", "code_sha256": "0", "registered": when}
        (names / f"ann-{ident}.json").write_text(json.dumps(person))
    found = {one.annotator: one.score for one in read_scores(tmp_path, RatingsTable(str(tmp_path)))}
    other, added = (f"ann-{hashlib.sha256(who).hexdigest()[:4]}" for who in (b"second", b"imported-ann"))
    if registered:
        assert found == {"ann": 1.0, other: 2.0, added: 3.0}
    else:
        assert len(found) == 3 and found["ann"] == 2.0 and found[added] == 3.0


def test_what_measures_images_is_no_person(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("id,rater_1,rater_2,cfg,steps,width,glow\na,1,2,7.5,4,9,0.3\n")
    with pytest.raises(UserError, match="column 'glow' beside 'rater_1'"):
        read_scores(path, RatingsTable(str(path)))
    path.write_text("id,ann,bob,cfg,steps,width,CLIP score,VQAScore\na,1,2,7.5,4,9,0.3,0.9\n")
    assert {one.annotator for one in read_scores(path, RatingsTable(str(path)))} == {"ann", "bob"}


def test_initials_are_people_and_words_are_no_measures(tmp_path: Path) -> None:
    """`h` and `r` are usual names of labels: a table of initials seemed to have people's columns and a measure."""
    path = tmp_path / "wide.csv"
    path.write_text("id,a,h,m\na.png,1,2,3\n")
    assert {one.annotator for one in read_scores(path, RatingsTable(str(path)))} == {"a", "h", "m"}
    path.write_text("id,rater_1,notes\na.png,1,blurry\n")
    with pytest.raises(UserError, match="column notes: 'blurry' is not a number"):
        read_scores(path, RatingsTable(str(path)))


def test_what_cannot_be_seen_is_declared(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("picture,who,fit,look,note\na.png,ann,good,2,x\nb.png,ann,bad,4,y\n")
    with pytest.raises(UserError, match="names no image"):
        read_scores(path, RatingsTable(str(path)))
    with pytest.raises(UserError, match="column who: 'ann' is not a number"):
        read_scores(path, RatingsTable(str(path), id="picture"))
    aspects = {"fit": "overall", "look": "appearance"}
    table = RatingsTable(str(path), id="picture", annotator="who", aspects=aspects, values={"good": 5, "bad": 1})
    found = {(one.item, one.aspect, one.score) for one in on_scale(read_scores(path, table), (1, 5))}
    assert found == {
        ("a.png", "overall", 10.0),
        ("b.png", "overall", 0.0),
        ("a.png", "appearance", 2.5),
        ("b.png", "appearance", 7.5),
    }
    with pytest.raises(UserError, match=r"no column 'wo'.*nearest is 'who'"):
        read_scores(path, replace(table, annotator="wo"))


@pytest.mark.parametrize("options", [{"annotators": ("alice",)}, {"aspects": {"alice": "overall"}}])
def test_a_column_that_is_named_counts_more_than_one_called_score(tmp_path: Path, options: Any) -> None:
    (path := tmp_path / "mine.csv").write_text("id,alice,score\na.png,8,1\n")
    assert [one.score for one in read_scores(path, RatingsTable("mine.csv", **options))] == [8.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,annotator,score\na.png,ann,11\n", "row 1: the score 11 of 'a.png' is outside the scale. overall is rated"),
        ("id,annotator,aspect,score\na.png,ann,prompt_following,5\n", "prompt_following is rated from 0 to 4"),
        ("id,annotator,score\na.png,ann,good\n", "row 1, column score: 'good'"),
        ("id,annotator,score\na.png,,3\n", "row 1, column annotator"),
        ("id,annotator,overall\na.png,,3\n", "row 1, column annotator"),
        ("id,annotator,aspect,score\na.png,ann,beauty,3\n", "not an aspect"),
        ("id,annotator,score\na.png,ann,3\na.png,ann,4\n", "ann scored 'a.png' on overall in mine.csv, row 1, too"),
        ("id,annotator,score\na.png,ann,3\ndata/a.png,ann,4\n", "scored it twice"),
        ("id,annotator,score\nx.png,ann,3\nc.png,ann,3\n", "No rating in mine.csv is for a held-out image. Ratings of"),
        ("id,annotator,score\n", "has no scores"),
        ("annotator,score\nann,3\n", "names no image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path: Path, text: str, says: str) -> None:
    recipe = rated(tmp_path, text)
    with pytest.raises(UserError) as error:
        require_people(recipe, ITEMS)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("id,ann,look\na,3,4\n", {"annotators": ("ann",), "aspects": {"look": "appearance"}}, "aspects.* per person"),
        ("id,ann\na,3\n", {"annotators": ("ann",), "explanation": "why"}, "explanation.* per person"),
        ("id,overall,why\na,3,x\n", {"explanation": "why"}, "explanation.* per aspect or person"),
        ("id,score,ann\na,3,4\n", {"annotators": ("ann",), "score": "score"}, "annotators.* a row per score"),
        ('id,human_scores\na,"[]"\n', {"score": "x"}, "score.* an export of the Space"),
    ],
)
def test_an_option_that_says_nothing_of_a_file_is_an_error(tmp_path: Path, text: str, options: Any, says: str) -> None:
    """Scores by aspect were passed over without a word where persons were named, too."""
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=f"no use for ratings.{says}"):
        read_scores(tmp_path / "mine.csv", RatingsTable("mine.csv", **options))


def rated(folder: Path, text: str, **options):
    path = folder / "mine.csv"
    path.write_text(text)
    recipe = load_recipe("smoke")
    ratings = RatingsTable(str(path), **options) if options else str(path)
    return replace(recipe, evaluation=replace(recipe.evaluation, ratings=ratings))


def test_a_misspelt_path_is_an_error_and_no_ratings_are_none(tmp_path: Path) -> None:
    recipe = rated(tmp_path, LONG)
    (tmp_path / "mine.csv").unlink()
    with pytest.raises(UserError, match=r"no ratings at .*mine.csv"):
        people_of(recipe)
    assert people_of(load_recipe("smoke")) is None


def test_a_name_that_could_mean_two_images_is_not_guessed(tmp_path: Path) -> None:
    twins = [replace(ITEMS[0], id=f"{name}/a.png", image=f"images/{name}/a.png", prompt=name) for name in ("x", "y")]
    with pytest.raises(UserError, match=r"'a.png' could mean x/a.png, y/a.png"):
        require_people(rated(tmp_path, "image,annotator,score\na.png,ann,3\n"), twins)
    told = require_people(rated(tmp_path, "image,prompt,annotator,score\na.png,y,ann,3\n"), twins)
    assert told and [one.item for one in told.scores] == ["y/a.png"]


def test_ratings_are_left_in_the_build_folder_and_go_with_the_recipe(tmp_path: Path) -> None:
    build, recipe = BuildFolder(tmp_path), rated(tmp_path, LONG + "c.png,ann,3\nz.png,ann,3\n", scale=(0, 20))
    people = write_people(recipe, build, ITEMS)
    assert str(people) == (
        "mine.csv: 3 scores of 2 held-out images by 2 annotators; 1 of training images left out; "
        "1 name matches no image: z.png"
    )
    assert [(row["id"], row["score"]) for row in build.human_scores()] == [
        ("a.png", 4.0),
        ("a.png", 3.0),
        ("deep/b.png", 1.5),
    ]
    assert write_people(load_recipe("smoke"), build, ITEMS) is None and build.human_scores() == []


def _joined(tmp_path: Path, text: str, items: list[Item] = ITEMS):
    (tmp_path / "r.csv").write_text(text)
    return join(read_scores(tmp_path / "r.csv", RatingsTable(str(tmp_path / "r.csv"))), items, "r.csv")


def test_ratings_of_another_prompt_under_the_same_id_are_no_ratings_of_this_image(tmp_path: Path) -> None:
    """Ids such as 1, 2, 3 are those of many tables: another one's ratings were taken, whatever prompt they named."""
    with pytest.raises(UserError, match="its prompt is 'a tree', and that of the image 'a house'"):
        _joined(tmp_path, "id,prompt,annotator,score\na.png,a tree,ann,9\n")
    assert len(_joined(tmp_path, "ID,Prompt,Annotator,Score\na.png,A house ,ann,9\n").scores) == 1


def test_ratings_of_two_generators_are_not_taken_for_one(tmp_path: Path) -> None:
    items = [Item("x", "a house", "images/ours/001.png", None, "new_prompts", "items.csv")]
    with pytest.raises(UserError, match="different folders"):
        _joined(tmp_path, "image,annotator,score\nflux/001.png,ann,9\nsdxl/001.png,bob,1\n", items)
    ours = _joined(tmp_path, "image,annotator,score\nours/001.png,ann,9\n001.png,bob,1\n", items)
    assert (len(ours.scores), ours.elsewhere) == (2, {})
    moved = _joined(tmp_path, "image,annotator,score\nflux/001.png,ann,9\n", items)
    assert "1 image was matched by file name, from another folder: flux/001.png for x" in str(moved)
    uploads = "image,annotator,score\nflux/1a2b3c4d-001.png,ann,9\n"
    assert "from another folder: flux/1a2b3c4d-001.png for x" in str(_joined(tmp_path, uploads, items))
    with pytest.raises(UserError, match="different folders"):
        _joined(tmp_path, f"{uploads}sdxl/1a2b3c4d-001.png,bob,1\n", items)
    ours = _joined(tmp_path, "image,annotator,score\n/data/upload/3/1a2b3c4d-001.png,ann,9\n", items)
    assert (len(ours.scores), ours.elsewhere) == (1, {})


@pytest.mark.parametrize(
    "header", ["id,Annotator,Score", "Id,ANNOTATOR,Rating", "ID,Rater,score", "Image,Worker_ID,SCORE"]
)  # fmt: skip
def test_the_names_of_columns_are_known_in_any_case(tmp_path: Path, header: str) -> None:
    """`Annotator` and `Score` were two people, the annotators' numbers their ratings."""
    scores = _joined(tmp_path, f"{header}\na.png,1,8\na.png,2,6\n").scores
    assert [(one.annotator, one.score) for one in scores] == [("1", 8.0), ("2", 6.0)]


def test_numbers_of_rows_are_no_person_and_neither_is_a_mean(tmp_path: Path) -> None:
    scores = _joined(tmp_path, "Unnamed: 0,id,ann,bob,Seed\n0,a.png,8,6,7\n").scores
    assert [one.annotator for one in scores] == ["ann", "bob"]
    assert len(_joined(tmp_path, "id,total\na.png,8\n").scores) == 1  # whose it is, only they know
    for name in ("mean", "Average", "median", "Mittelwert"):
        with pytest.raises(UserError, match="one more person"):
            _joined(tmp_path, f"id,ann,bob,{name}\na.png,8,6,7\n")
