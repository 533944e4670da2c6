"""Which pictures a page carries and how large they are; which questions decide."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.report.pictures import EMBEDDED, Source, pictures
from t2i_judge.boards.report.run import write_report
from t2i_judge.boards.report.thumbnails import LARGEST, encode, thumbnails

from ..boards_on_disk import answers_of, questions_of, write_run
from ..boards_on_disk import pictures as files


def embedded(path) -> dict:
    return json.loads(re.search('id="data-report">(.*?)</script>', path.read_text(encoding="utf-8"))[1])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """12 generators on 100 prompts: 1,200 pictures."""
    folder = tmp_path_factory.mktemp("large")

    def say(generator: str, prompt: int, seed: int):
        score = 5 + (prompt % 5 if generator == "g07" and prompt < 40 else 0)
        return questions_of(prompt), answers_of(score, score)

    prompts = [f"prompt {number}" for number in range(100)]
    names = [f"g{number:02d}" for number in range(12)]
    write_run(folder / "run", names, prompts, say, files(folder / "images", side=64, noise=True))
    return write_report(folder / "run")


def test_a_large_board_carries_the_extremes_and_a_sample(large):
    data = embedded(large)
    carried = [image for image in data["images"] if "thumbnail" in image]
    assert len(data["images"]) == 1200 and len(carried) == data["carried"]["embedded"] == 996 <= EMBEDDED
    assert data["carried"]["largest"] == 41
    apart = {number for number in range(40) if number % 5}
    assert apart < {image["prompt"] for image in carried}
    assert all("link" in image for image in data["images"])
    assert "the 41 prompts with the largest differences, and of 42 prompts drawn at random" in large.read_text()


def test_a_small_board_carries_everything(tmp_path):
    def say(generator: str, prompt: int, seed: int):
        return "no" if prompt == 1 else (questions_of(prompt), answers_of(5, 5))

    images = files(tmp_path)
    images[0].write_bytes(b"no image")
    write_run(tmp_path / "run", ["a", "b"], ["x", "y", "z"], say, images, seeds=2)
    data = embedded(write_report(tmp_path / "run"))
    assert len(data["images"]) == data["carried"]["images"] == 12 and data["carried"]["largest"] is None
    assert sum("unreadable" in image for image in data["images"]) == 2
    failures = [image for image in data["images"] if image.get("status")]
    assert len(failures) == 4 and all(f["reason"] == "no" and "score" not in f for f in failures)


def test_one_prompt_with_more_images_than_there_is_room_for():
    judgement = {"status": "ok", "scores": {"overall": 5.0}, "questions": [], "answers": []}
    items = [BoardItem(str(n), "a", "x", "x", "") for n in range(EMBEDDED + 5)]
    source = Source(lambda: ((item, judgement) for item in items), lambda item: Image.new("RGB", (8, 8)))
    assert pictures(source, ["a"])["carried"]["embedded"] == EMBEDDED


def test_thumbnails_are_as_large_as_there_is_room_for():
    photograph = Image.effect_mandelbrot((900, 600), (-2, -1, 1, 1), 90).convert("RGB")
    noise = Image.effect_noise((900, 600), 120).convert("RGB")
    for image in (photograph, noise):
        assert len(encode(image, 10_000)) <= 10_000
    import io

    assert Image.open(io.BytesIO(encode(photograph, LARGEST))).size == (512, 341)
    assert thumbnails(["lost"], lambda name: None) == [None]


def test_the_question_that_makes_the_difference_is_named_with_examples(tmp_path):
    """Both are equally clean; a counts better, most of all in prompt 4."""

    def say(generator: str, prompt: int, seed: int):
        count = (9 if prompt == 4 else 7) if generator == "a" else 6
        return questions_of(prompt), answers_of(8, count)

    write_run(tmp_path / "run", ["b", "a"], [f"p{number}" for number in range(12)], say, files(tmp_path))
    data = embedded(write_report(tmp_path / "run"))
    (pair,) = data["deciding"]
    first = pair["questions"][0]
    assert data["generators"][pair["a"]] == "a" and first["text"] == "How many things of kind 4 are there?"
    assert (first["kind"], first["n"], first["difference"]) == ("count", 1, 3.0)
    assert [data["prompts"][prompt]["text"] for prompt in first["examples"]] == ["p4"]
    assert all("clean" not in question["text"] for question in pair["questions"])


def test_a_question_counts_as_in_its_judgement(tmp_path):
    """What a thing is like counts nothing where the thing is not there."""
    from t2i_judge.records import Answer, Question

    asked = [
        Question("q1", "intrinsic", (), "Is there a cat?", "yes"),
        Question("q2", "intrinsic", (), "What colour is the cat?", "red", ("q1",)),
    ]

    def say(generator: str, prompt: int, seed: int):
        there = generator == "a"
        return asked, [Answer("q1", "x", there, 9.0 if there else 1.0), Answer("q2", "red", True, 9.0)]

    write_run(tmp_path / "run", ["a", "b"], [f"p{number}" for number in range(12)], say, files(tmp_path))
    data = embedded(write_report(tmp_path / "run"))
    by_text = {question["text"]: question["difference"] for question in data["deciding"][0]["questions"]}
    assert by_text == {"Is there a cat?": 8.0, "What colour is the cat?": 9.0}
    b = next(image for image in data["images"] if data["generators"][image["generator"]] == "b")
    assert (b["answers"][1].get("score"), b["answers"][1]["raw"]) == (0.0, 9.0)
