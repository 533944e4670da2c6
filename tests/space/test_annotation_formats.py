"""Ratings and votes leave and come back without loss, in every format, a thousand rows of them."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest

from annotation_formats import FORMATS, convert, ratings_from_label_studio, votes_from_csv, votes_to_csv
from t2i_judge.errors import UserError


def rows_of(count: int) -> list[dict]:
    """Rows with gaps, decimals, line breaks, quotes, other scripts and names that look like syntax."""
    rng = random.Random(0)
    words = [None, 'two "apples", not three', "зелёный\nстол", "=1+1", "a;b|c", " spaces ", "🙂", "[1, 2]"]
    rows = []
    for number in range(count):
        ratings = [
            {
                "annotator": name, "aspect": aspect, "question_id": question,
                "score": rng.choice([0.0, 3.0, 6.25, 10.0, 1 / 3]), "explanation": rng.choice(words),
            }
            for aspect, question in (("intrinsic", "q1"), ("intrinsic", "q2.b"), ("overall", None))
            for name in ("ann", "ben", "c_3")
            if rng.random() < 0.8
        ]  # fmt: skip
        rows.append({"id": f"item-{number}/é", "human_scores": ratings or [
            {"annotator": "ann", "aspect": "overall", "question_id": None, "score": 1.0, "explanation": None}
        ]})  # fmt: skip
    return rows


@pytest.mark.parametrize("ending", FORMATS)
def test_a_thousand_rows_come_back_as_they_were(ending):
    rows = rows_of(1000)
    to, back = FORMATS[ending]
    assert back(to(rows)) == rows


def test_files_are_converted_by_their_endings(tmp_path):
    rows = rows_of(50)
    names = ["a.jsonl", "b.csv", "c.json", "d.jsonl"]
    (tmp_path / "a.jsonl").write_text(FORMATS[".jsonl"][0](rows))
    for source, out in pairwise(names):
        assert convert(tmp_path / source, tmp_path / out) == sum(len(row["human_scores"]) for row in rows)
    assert (tmp_path / "d.jsonl").read_text() == (tmp_path / "a.jsonl").read_text()
    with pytest.raises(UserError, match="an unknown extension"):
        convert(tmp_path / "a.jsonl", tmp_path / "e.xlsx")


def test_imported_ratings_are_annotations_once(tmp_path):
    from annotation_store import AnnotationStore, FolderShelf

    rows = rows_of(30)
    (tmp_path / "a.json").write_text(FORMATS[".json"][0](rows))
    (tmp_path / "kept").mkdir()
    for _ in range(2):
        convert(tmp_path / "a.json", tmp_path / "kept")
    by_annotator = {row["id"]: sorted(row["human_scores"], key=lambda rating: rating["annotator"]) for row in rows}
    store = AnnotationStore(FolderShelf(tmp_path / "kept"))
    exported = {row["id"]: row["human_scores"] for row in store.export()}
    assert (
        not store.unreadable
        and {k: sorted(v, key=lambda r: r["annotator"]) for k, v in exported.items()} == by_annotator
    )
    (tmp_path / "bad.csv").write_text("item,annotator,aspect,question_id,score,explanation\na,bob,overall,,11,\n")
    with pytest.raises(UserError, match="less than or equal to 10"):
        convert(tmp_path / "bad.csv", tmp_path / "kept")


HEAD = "item,annotator,aspect,question_id,score,explanation\n"


def test_an_export_that_is_added_to_its_own_annotations_adds_nothing(tmp_path):
    from annotation_store import AnnotationStore, FolderShelf
    from annotations import VisitorRating

    store = AnnotationStore(FolderShelf(tmp_path / "kept"))
    for name in ("anna", "ben"):
        annotator, _ = store.enter(name, None)
        for number, why in enumerate(("well made", "", None)):
            store.save(f"item-{number}", annotator, (VisitorRating("overall", None, float(number), why),))
    before = store.export()
    (tmp_path / "out.csv").write_text(FORMATS[".csv"][0](before) + "item-9,anna,overall,,5,\n")
    assert convert(tmp_path / "out.csv", tmp_path / "kept") == 1
    after = AnnotationStore(FolderShelf(tmp_path / "kept"))
    assert after.export()[:-1] == before
    assert len({form.annotator_id for form in after.all()}) == 2, "anna of the file is who has that name here"
    assert {rating["annotator"] for row in after.export() for rating in row["human_scores"]} == {"anna", "ben"}


@pytest.mark.parametrize("second", ["i1,zoe,overall,,9,\n", "i1,zoe,intrinsic,,5,\n", "i1,zoe,overall,,1,so\n"])
def test_imports_that_say_otherwise_are_refused_instead_of_drawn_lots_for(tmp_path, second):
    (tmp_path / "kept").mkdir()
    first = HEAD + "i1,zoe,overall,,1,\n"
    for text in (first, first):
        (tmp_path / "a.csv").write_text(text)
        convert(tmp_path / "a.csv", tmp_path / "kept")
    kept = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    (tmp_path / "a.csv").write_text(HEAD + "i2,zoe,overall,,1,\n" + second)
    with pytest.raises(UserError, match="'zoe' has rated 'i1' before, and not so"):
        convert(tmp_path / "a.csv", tmp_path / "kept")
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == kept
    (tmp_path / "a.csv").write_text(HEAD + "i3,zoe,overall,,1,\ni3,zoe,overall,,2,\n")
    with pytest.raises(UserError, match="Keep one of its scores"):
        convert(tmp_path / "a.csv", tmp_path / "kept")


def test_what_label_studio_nests_otherwise_is_read_or_told():
    def read(**result):
        task = {"data": {"id": "x"}, "annotations": [{"completed_by": 7, "result": [result]}]}
        return ratings_from_label_studio(json.dumps([task]))[0]["human_scores"][0]

    for part in ("value", "meta"):
        with pytest.raises(UserError, match=f"task 1: '7' is not a {part}"):
            read(**{"type": "number", "from_name": "overall", part: "7"})
    found = read(type="textarea", from_name="overall_why", value={"text": "too dark"})
    assert found["explanation"] == "too dark"
    odd = read(type="number", from_name="overall", value={"number": 7}, meta={"place": "first", "question_id": []})
    assert odd["score"] == 7.0


def test_meta_eval_reads_the_csv(tmp_path, capsys):
    from t2i_judge.cli import main

    (tmp_path / "r.csv").write_text(FORMATS[".csv"][0](rows_of(40)))
    out = tmp_path / "m.json"
    assert main(["meta-eval", str(tmp_path / "r.csv"), "--bootstrap", "0", "--json", str(out)]) == 0
    (agreement,) = json.loads(out.read_text())["agreement"]
    assert agreement["n_items"] > 20 and "overall" in capsys.readouterr().out


def test_another_label_studio_export_is_read_and_bad_ones_are_told():
    result = [
        {"from_name": "overall", "type": "rating", "value": {"rating": 4}},
        {"from_name": "overall_why", "type": "textarea", "value": {"text": ["well", "made"]}},
    ]
    task = {"data": {"id": "x"}, "annotations": [{"completed_by": 7, "result": result}, {"was_cancelled": True}]}
    [row] = ratings_from_label_studio(json.dumps([task]))
    [rating] = row["human_scores"]
    assert rating == {
        "annotator": "annotator_7", "aspect": "overall", "question_id": None, "score": 4.0, "explanation": "well made",
    }  # fmt: skip
    for text, message in (("{", "not JSON"), ("{}", "not an export"), ('[{"data": {}}]', "task 1 names no item")):
        with pytest.raises(UserError, match=message):
            ratings_from_label_studio(text)
    with pytest.raises(UserError, match="line 2: 'x' is not a score"):
        FORMATS[".csv"][1]("item,annotator,aspect,question_id,score,explanation\na,b,overall,,x,\n")


def test_votes_come_back_and_are_the_words_of_meta_eval():
    from t2i_judge.stats.preferences import parse_vote

    kinds = ("a", "b", "both_good", "both_bad")
    votes = [
        {"item_a": f"a{n}", "item_b": f"b{n}", "annotator": "ann", "vote": kinds[n % 4], "shown_first": "ab"[n % 2]}
        for n in range(1000)
    ]
    text = votes_to_csv(votes)
    assert votes_from_csv(text) == votes
    words = {line.split(",")[3] for line in text.splitlines()[1:]}
    assert {parse_vote(word) for word in words} == {"A>B", "B>A", "A=B=Good", "A=B=Bad"}
    with pytest.raises(UserError, match="is not a vote"):
        votes_from_csv(text.replace("both good", "meh"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("deep.json", "[" * 100_000, "nested too deep"),
        ("deep.jsonl", "[" * 100_000, "nested too deep"),
        ("odd.csv", b"\xff\xfe\x00", "Cannot read"),
        ("half.jsonl", '{"id": "\\ud800", "human_scores": []}', "half of a surrogate pair"),
        ("more.jsonl", '{"id": 1, "human_scores": [{"annotator": 1, "aspect": "a", "score": 1e999}]}', "is not finite"),
    ],
)
def test_what_is_no_export_is_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=says):
        convert(tmp_path / name, tmp_path / "out.csv")
