"""T2I-Eval's published labels become items and judgements; what the file lacks stays missing and is counted."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recipes.build_dataset import build
from recipes.distillation import t2i_eval
from recipes.distillation.distillation import distillation_rows, samples_of, write_distillation
from recipes.distillation.sft_data import load_distillation, read_samples, select
from recipes.distillation.t2i_eval import read_labels, read_record
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.items import Item, read_items
from recipes.recipe.sections import T2IEvalData
from t2i_judge.errors import UserError
from t2i_judge.prompts import told_answer
from t2i_judge.records import Question, Status

LABELS = {
    "Structure Information": {
        "Intrinsic Attributes": {"Apple": ["attribute 1: color: red"]},
        "Relationship Attributes": {"On": ["entities involved: apple, table", "value: on"]},
    },
    "Questions": {
        "Appearance Quality Questions": {"Apple": [{"question": "Is the apple realistic?", "value": None}]},
        "Intrinsic Attribute Consistency Questions": {
            "Apple": [{"question": "What color is the apple?", "value": None}, {"question": "How many?", "value": None}]
        },
        "Relationship Attribute Consistency Questions": [
            {"question": "Is the apple on the table?", "value": {"entities": "apple, table"}}
        ],
    },
    "Evaluation": {
        "Appearance Quality Answers": {
            "Apple": [{"question": "Is the apple realistic?", "value": {"explanation": "It shines.", "score": 8.0}}]
        },
        "Intrinsic Attribute Consistency Answers": {
            "Apple": [
                {"question": "How many?", "value": {"answer": "One.", "explanation": "One is seen.", "score": "N/A"}},
                {
                    "question": "What color is the apple?",
                    "value": {"answer": "Red.", "explanation": "As asked.", "score": 10},
                },
            ]
        },
        "Relationship Attribute Consistency Answers": [
            {
                "question": "Is the apple on the table?",
                "value": {"entities": "apple, table", "answer": "Yes.", "explanation": "It is.", "score": "7.0"},
            }
        ],
        "Overall Evaluation": {
            "Appearance Quality Summary": {"explanation": "Good looks.", "score": 8.0},
            "Relationship Attribute Consistency Summary": "N/A",
            "Overall Score": {"explanation": "Good.", "score": 8.5},
        },
    },
}  # fmt: skip
ITEM = Item("7", "a red apple on a table", "i.png", "sd15", "train", "x")


def published(folder: Path, records: list) -> T2IEvalData:
    (folder / "images").mkdir(exist_ok=True)
    for name in ("gt.png", "ref.png"):
        Image.new("RGB", (20, 20), "red").save(folder / "images" / name)
    (folder / "labels.json").write_text(json.dumps(records))
    return T2IEvalData(str(folder / "labels.json"), str(folder / "images"))


def record(**changes) -> dict:
    return {
        "id": 3, "model_name": "sdxl", "gt_image": "gt.png", "ref_image": None,
        "image_caption": "a red apple on a table", "data": LABELS, **changes,
    }  # fmt: skip


def test_a_record_is_read_whole() -> None:
    judgement = read_record(ITEM, LABELS)
    assert [q.aspect for q in judgement.questions] == ["appearance", "intrinsic", "intrinsic", "relationship"]
    assert judgement.questions[3].entities == ("apple", "table") and judgement.questions[0].expected is None
    assert [answer.score for answer in judgement.answers] == [8.0, 10.0, None, 7.0]
    assert judgement.answers[1].text == "Red." and judgement.answers[2].reason == "no score"
    assert judgement.scores["appearance"] == 8.0 and judgement.scores["intrinsic"] is None
    assert judgement.summary_scores == {"appearance": 8.0, "overall": 8.5} and judgement.rationale == "Good."


def test_samples_leave_out_what_has_no_score() -> None:
    tasks = [sample["task"] for sample in samples_of(read_record(ITEM, LABELS))]
    assert tasks.count("score") == 3 and tasks.count("summarise") == 1 and tasks.count("decompose") == 1


def test_a_student_that_answers_first_learns_from_the_teachers_answers() -> None:
    judgement = read_record(ITEM, LABELS)
    asked = {(sample["task"], sample["answer"]): sample["question"] for sample in samples_of(judgement, True)}
    beside = {(sample["task"], sample["answer"]): sample["question"] for sample in samples_of(judgement)}
    changed = {key for key in asked if asked[key] != beside[key]}
    assert {task for task, _ in changed} == {"explain", "summarise", "summarise_overall"}
    answers = {
        q: told_answer(q, a.text, a.matches) for q, a in zip(judgement.questions, judgement.answers, strict=True)
    }
    for (task, _), text in asked.items():
        if task == "explain":
            [question] = [question for question in answers if text.startswith(question.text)]
            assert f"\nAnswer: {answers[question]}\n" in text
        if task == "summarise_overall":
            assert text.splitlines()[1:-1] == [f"{q.text} {answer}" for q, answer in answers.items()]


@pytest.mark.parametrize(
    ("expected", "answer", "matches", "told"),
    [
        ("red", "blue", False, "blue, not as expected"),
        ("red", "red\nor so", True, "red or so, as expected"),
        ("red", None, False, "-, not as expected"),
        ("red", "red", None, "red"),
        (None, "clearly noisy", None, "clearly noisy"),
    ],
)
def test_an_answer_is_told_with_whether_it_was_expected(expected, answer, matches, told) -> None:
    question = Question("q1", "intrinsic", ("cat",), "What color is the cat?", expected)
    assert told_answer(question, answer, matches) == told


@pytest.mark.parametrize("name", ["../x.png", "{}/x.png", "link.png", "folder/x.png"])
def test_no_record_publishes_an_image_from_outside_the_folder(tmp_path: Path, name: str, capsys) -> None:
    name = name.format(tmp_path)
    data = published(tmp_path, [record(), record(id=4, ref_image=name), record(id=5, gt_image=name)])
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "x.png")
    (tmp_path / "images" / "link.png").symlink_to("../x.png")
    (tmp_path / "images" / "folder").symlink_to(tmp_path)
    items, _ = read_labels(BuildFolder(tmp_path), data)
    assert [(item.id, item.image, item.reference_image) for item in items] == [
        ("3", "images/gt.png", None),
        ("4", "images/gt.png", None),
    ]
    assert "left out 1 x image that is not in data.images" in capsys.readouterr().err


def test_labels_become_training_rows(tmp_path: Path) -> None:
    data = published(tmp_path, [record(), record(id=4, ref_image="ref.png"), record(id=5, gt_image="lost.png"), "torn"])
    items, judgements = read_labels(BuildFolder(tmp_path), data)
    assert [item.id for item in items] == ["3", "4"] and items[1].reference_image == "images/ref.png"
    write_distillation(tmp_path / "distill", distillation_rows(tmp_path, items, judgements), "published")
    samples = read_samples(load_distillation(tmp_path / "distill").select_columns(["prompt", "samples"]))
    assert {sample.aspect for sample in samples if sample.task == "score"} == {
        "appearance",
        "intrinsic",
        "relationship",
    }
    assert select(samples, load_recipe("smoke"))


def test_the_build_step_asks_no_teacher(tmp_path: Path, monkeypatch) -> None:
    recipe = replace(load_recipe("smoke"), name="published", data=published(tmp_path, [record(), record(id=4)]))
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    folder = build(recipe)
    done = json.loads((folder / "BUILT.json").read_text())
    assert (done["distillation_rows"], done["spent"]["calls"]) == (2, 0)
    assert len(load_distillation(folder / "distill")) == len(read_items(folder)) == 2


def test_what_is_left_out_is_said(tmp_path: Path, capsys) -> None:
    data = published(tmp_path, [record(), record(gt_image="lost.png"), record(image_caption="")])
    read_labels(BuildFolder(tmp_path), data)
    said = capsys.readouterr().err
    assert "1 x image that is not" in said and "1 x record without" in said and "1 x answers: no score" in said


@pytest.mark.parametrize("content", ["{}", "[", json.dumps([record(gt_image="lost.png")])])
def test_a_file_of_no_use_is_one_line(tmp_path: Path, content: str) -> None:
    data = published(tmp_path, [])
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(UserError):
        read_labels(BuildFolder(tmp_path), data)
    with pytest.raises(UserError, match="Cannot read"):
        read_labels(BuildFolder(tmp_path), replace(data, path=str(tmp_path / "none.json")))


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["question", "value", "score", "x"]), inner)
    ),
    max_leaves=5,
)


@given(part=st.sampled_from(["Questions", "Evaluation"]), section=st.integers(0, 3), value=junk)
def test_any_damage_gives_a_judgement_with_statuses(part: str, section: int, value) -> None:
    labels = deepcopy(LABELS)
    names = list(labels[part])
    labels[part][names[section % len(names)]] = value
    judgement = read_record(ITEM, labels)
    assert len(judgement.questions) == len(judgement.answers)
    assert all((a.score is None) == (a.status is not Status.OK) for a in judgement.answers)


@pytest.mark.parametrize("value", [10**400, -(10**400), "1e999", "nan", True, None, [5]])
def test_what_is_no_finite_number_is_no_score(value):
    assert t2i_eval._number(value) is None
