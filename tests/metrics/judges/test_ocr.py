"""`ocr:rapidocr`: what a prompt quotes, what a picture shows, and how near the two come."""

from __future__ import annotations

import csv
import json
import os
import random
import string
from pathlib import Path

import evaluate
import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from rapidfuzz.distance import Levenshtein
from scipy import stats

from recipes.loopback.http import started
from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges.ocr import NOTHING_QUOTED, TOO_MUCH
from t2i_judge.texts.passages import Line, best_passage, reading_order, tokens
from t2i_judge.texts.quoted import quoted_texts
from tests.judge_folders import LIBRARY
from tests.recipes.photographs import PHOTOGRAPHS

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
WORDS = "golden river market summer quiet forest bright harbour winter garden morning castle silver bridge"


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ('a cake with "Happy Birthday, Mia!" on it', ["Happy Birthday, Mia!"]),
        ("a sign “Café Été” and a banner ‘Open’", ["Café Été", "Open"]),
        ("ein Schild „Zum Löwen“ neben «Bar» und »Kino«", ["Zum Löwen", "Bar", "Kino"]),
        ("写着「營業中」的招牌和《红楼梦》", ["營業中", "红楼梦"]),
        ("a dog's ball, the cats' bed", []),
        ("a mug that says 'World's best dad'", ["World's best dad"]),
        ("a shop sign that says OPEN 24 HOURS at night", ["OPEN 24 HOURS"]),
        ("the word STOP painted on a road", ["STOP"]),
        ("the word stop painted on a road", ["stop"]),
        ("the number 42 on a door", ["42"]),
        ("a sign that says something funny", []),
        ("a poster in the style of the BBC", []),
        ('"same" and "same" again, then ""', ["same"]),
        ("a cat on a mat", []),
        ('a 12" record and a 7" single on a table', []),
        ('a 12" record called "Side 1" and a 7" one', ["Side 1"]),
        ("a rock 'n' roll band", []),
        ("the letter 'n'", ["n"]),
        ("the '90s shop with the word 'OPEN'", ["OPEN"]),
        ("get 'em here, a sign 'now' and the year '90s'", ["now", "90s"]),
        ("the letter from her son, the letter carrier, the number plate", []),
        ("the letter R and the number 7b", ["R", "7b"]),
        ("a man reads BMW magazine, a woman reading TIME", []),
        ("a sign reading OPEN, a shirt that reads NASA", ["OPEN", "NASA"]),
    ],
)
def test_the_texts_that_a_prompt_wants(prompt: str, texts: list[str]) -> None:
    assert quoted_texts(prompt) == texts


@pytest.mark.parametrize("said", ["a sign that says {}", "the word {}", '"{}"', "‘{}’", "'{}'"])
def test_no_picture_shows_a_text_of_more_than_300_characters(said: str) -> None:
    words = ["A" * 300] if said == "the word {}" else ["AB " * 99 + "END", "A" * 300]
    for text in words:
        assert quoted_texts(said.format(text)) == [text]
        assert quoted_texts(said.format(text + "Z")) == []


@given(st.text(max_size=200))
def test_any_prompt_is_read(prompt: str) -> None:
    for text in quoted_texts(prompt):
        assert "".join(text.split()) in "".join(prompt.split())


@pytest.mark.parametrize(
    ("wanted", "read", "passage", "similarity"),
    [
        ("Happy Birthday", "Best wishes Happy Birthday Mia", "Happy Birthday", 1.0),
        ("Happy Birthday", "HappyBirthday", "HappyBirthday", 1.0),
        ("STOP", "STOPPED", "STOPPED", 4 / 7),
        ("STOP", "( STOP! )", "STOP!", 1.0),
        ("Stop", "STOP", "STOP", 1 / 4),
        ("營業中", "今日營業中", "營 業 中", 1.0),
        ("gone", "", "", 0.0),
    ],
)
def test_the_best_passage(wanted: str, read: str, passage: str, similarity: float) -> None:
    best = best_passage(wanted, tokens(read))
    assert best.similarity == pytest.approx(similarity) and best.text.strip("( )") == passage
    if wanted == "Stop":
        assert best_passage(wanted, tokens(read), ignore_case=True).similarity == 1.0


def test_lines_of_a_tilted_page_are_read_in_order() -> None:
    angle = 0.2

    def at(x: float, y: float, text: str) -> Line:
        corners = [(x, y), (x + 80, y), (x + 80, y + 20), (x, y + 20)]
        turned = [(a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)) for a, b in corners]
        return Line(text, tuple(turned), 1.0)

    page = [at(0, 0, "one"), at(100, 0, "two"), at(200, 0, "three"), at(0, 30, "four"), at(100, 30, "five")]
    for seed in range(10):
        shuffled = random.Random(seed).sample(page, len(page))
        assert [line.text for line in reading_order(shuffled)] == ["one", "two", "three", "four", "five"]
    assert reading_order([]) == []


def written(text: str, size=30, font="DejaVuSans.ttf", colour="black", tilt=0.0, ground=None) -> Image.Image:
    """A text on a ground, turned by so many degrees."""
    face = ImageFont.truetype(FONTS / font, size)
    width, height = ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), text, face)[2:]
    layer = Image.new("RGBA", (width + 20, height + 20), (255, 255, 255, 200))
    ImageDraw.Draw(layer).text((10, 8), text, fill=colour, font=face)
    layer = layer.rotate(tilt, expand=True, resample=Image.Resampling.BICUBIC)
    ground = ground or Image.new("RGB", (1, 1), "white")
    page = ground.resize((max(layer.width + 40, 200), max(layer.height + 60, 120))).convert("RGB")
    page.paste(layer, (20, 30), layer)
    return page


@pytest.fixture(scope="module")
def judge():
    return load_judge("ocr:rapidocr")


def test_a_picture_is_read_and_the_reading_is_kept(judge) -> None:
    picture = written("Happy Birthday, Mia!", tilt=6)
    prompts = ['a cake with "Happy Birthday, Mia!"', 'a cake with "Happy Birthday, Max!"', "a cake", 'a "Sale" sign']
    right, near, skipped, other = judge.score([picture] * 4, prompts)
    assert right.scores["overall"] == 10 and right.answers[0].matches and right.rationale is None
    assert right.questions[0].text == 'Does the picture show the text "Happy Birthday, Mia!"?'
    assert near.scores["overall"] == pytest.approx(10 * (1 - 2 / 18)) and not near.answers[0].matches
    assert (skipped.status, skipped.reason) == ("skipped", NOTHING_QUOTED)
    assert other.scores["overall"] < 5 and "Happy Birthday" in (other.rationale or "")
    kept = json.loads(right.answers[0].explanation or "")["read"][0]
    assert kept["text"] == "Happy Birthday, Mia!" and kept["confidence"] > 0.5 and len(kept["box"]) == 4


@pytest.mark.parametrize(
    ("texts", "words", "status"),
    [(1, 900, "ok"), (60, 275, "skipped"), (1, 9000, "skipped"), (400, 100, "ok"), (6000, 60, "skipped")],
)
def test_what_would_take_minutes_to_compare_is_skipped(judge, monkeypatch, texts, words, status) -> None:
    """The prompt comes from anybody, and the thread of a judge at work cannot be ended."""
    sure = random.Random(texts)
    spelt = [f'"{n}"' if texts > 99 else f'"{n} {"x" * 290}"' for n in range(texts)]
    corners = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
    shown = [Line("".join(sure.choices(string.ascii_letters, k=8)), corners, 1.0) for _ in range(words)]
    monkeypatch.setattr(judge, "read", lambda image: shown)
    calls = []
    if status == "skipped":
        monkeypatch.setattr("t2i_judge.judges.ocr.best_passage", lambda *some: calls.append(some))
    (judged,) = judge.score([Image.new("RGB", (8, 8))], [" and ".join(spelt)])
    assert (judged.status, judged.reason, calls) == (status, None if status == "ok" else TOO_MUCH, [])


def test_an_empty_picture_scores_nothing_and_no_picture_fails(judge) -> None:
    blank = Image.new("RGB", (200, 200), "white")
    empty, broken = judge.score([blank, b"no image"], ['the word "STOP"'] * 2)
    assert (empty.status, empty.scores["overall"], empty.answers[0].text) == ("ok", 0.0, "no text")
    assert broken.status == "image_error"


def test_case_counts_unless_told_otherwise() -> None:
    picture = written("STOP HERE")
    (strict,) = load_judge("ocr:rapidocr").score([picture], ['a sign "Stop here"'])
    (loose,) = load_judge("ocr:rapidocr", ignore_case=True).score([picture], ['a sign "Stop here"'])
    assert strict.scores["overall"] < 5 and loose.scores["overall"] == 10 and "case ignored" in loose.judge.name


def test_only_one_reader_is_known() -> None:
    with pytest.raises(UserError, match="Use ocr:rapidocr"):
        load_judge("ocr:tesseract")
    with pytest.raises(UserError, match="asks a model"):
        load_judge("direct+ocr:rapidocr")


def edited(text: str, edits: int, rng: random.Random) -> str:
    """So many letters replaced."""
    letters = list(text)
    for place in rng.sample([n for n, sign in enumerate(letters) if sign.isalpha()], edits):
        letters[place] = rng.choice([sign for sign in string.ascii_lowercase if sign != letters[place]])
    return "".join(letters)


TEXTS = int(os.environ.get("OCR_TEXTS", "56"))  # `make coverage` reads all 300, with the same bars


@pytest.mark.slow
def test_texts_with_planted_edits(judge) -> None:
    rng = random.Random(0)
    grounds = [Image.open(path).convert("RGB") for path in PHOTOGRAPHS.values()]
    fonts = ["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"]
    colours = [(10, 10, 10), (150, 0, 0), (0, 60, 140), (90, 0, 90)]
    planted, scores = [], []
    for number in range(TEXTS):
        wanted = " ".join(rng.sample(WORDS.split(), 2)).title()
        shown = edited(wanted, number % 7, rng)
        look = rng.randint(22, 34), rng.choice(fonts), rng.choice(colours), rng.uniform(-6, 6), rng.choice(grounds)
        (judgement,) = judge.score([written(shown, *look)], [f'a poster that says "{wanted}"'])
        squeezed = [text.replace(" ", "") for text in (wanted, shown)]
        planted.append(10 * Levenshtein.normalized_similarity(*squeezed))
        scores.append(judgement.scores["overall"])
    rho = stats.spearmanr(planted, scores).statistic
    exact = np.mean([score == 10 for score, truth in zip(scores, planted) if truth == 10])
    print(f"{TEXTS} texts: Spearman {rho:.4f}, exact ones at 10: {exact:.4f}")
    assert rho >= 0.95 and exact >= 0.97, (rho, exact)


@pytest.mark.parametrize("size", [(1, 1), (3, 700)])
def test_a_strip_of_pixels_neither_fills_memory_nor_ends_the_batch(judge, size) -> None:
    strip, right = judge.score([Image.new("RGB", size, "white"), written("STOP")], ['the word "STOP"'] * 2)
    assert strip.status in ("ok", "skipped") and right.scores["overall"] == 10


def test_a_reader_that_breaks_over_a_picture_skips_that_picture(judge, monkeypatch) -> None:
    def broken(pixels):
        raise ZeroDivisionError("no line\nof text")

    monkeypatch.setattr(judge, "_reader", broken)
    (judgement,) = judge.score([written("STOP")], ['the word "STOP"'])
    assert (judgement.status, judgement.reason) == ("skipped", "rapidocr cannot take it: no line of text")


@pytest.fixture(scope="module")
def posters(tmp_path_factory) -> Path:
    """Two generators' posters of the same prompts; one writes in capitals."""
    folder = tmp_path_factory.mktemp("posters")
    for generator, change in (("plain", str), ("loud", str.upper)):
        for number, word in enumerate(("Harbour", "Garden")):
            (folder / generator).mkdir(exist_ok=True)
            written(change(word), size=40).save(folder / generator / f"{number}.png")
            (folder / generator / f"{number}.txt").write_text(f'a poster that says "{word}"')
    return folder


def test_score_of_a_folder_with_and_without_case(posters, tmp_path, capsys) -> None:
    arguments = ["score", str(posters / "loud"), "--judge", "ocr:rapidocr", "--out"]
    assert main([*arguments, str(tmp_path / "strict")]) == 0
    assert main([*arguments, str(tmp_path / "loose"), "--ignore-case"]) == 0
    for name, right in (("strict", False), ("loose", True)):
        with (tmp_path / name / "scores.csv").open(newline="") as table:
            scores = {row["id"]: float(row["overall"]) for row in csv.DictReader(table)}
        assert scores.keys() == {"0", "1"} and all((score == 10) == right for score in scores.values())
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "strict"), "--ignore-case"]) == 2
    assert "ignore_case was None and is True" in capsys.readouterr().err
    assert main(["score", str(posters), "--judge", "fake", "--ignore-case", "--out", str(tmp_path / "other")]) == 2
    assert "Only ocr: judges support it" in capsys.readouterr().err


def test_leaderboard_beside_a_served_judge_each_with_its_own_options(posters, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    images = [f"--images={name}={posters / name}" for name in ("plain", "loud")]
    with started("tests.recipes.photo_teacher") as url:
        judges = ["--judge", "ocr:rapidocr", "--judge", f"direct+openai:photo-teacher@{url}"]
        options = ["--ignore-case", "--max-tokens", "900", "--concurrency", "2", "--out", str(tmp_path / "run")]
        assert main(["leaderboard", *images, *judges, *options]) == 0
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert board["judge"]["name"] == "ocr:rapidocr (case ignored)"
    assert [generator["overall"]["mean"] for generator in board["generators"]] == [10, 10]
    assert board["boards"][0]["judge"]["model"] == "photo-teacher"


def test_evaluate_takes_the_same_option(posters, tmp_path) -> None:
    metric = evaluate.load(str(LIBRARY), cache_dir=str(tmp_path))
    given = {"predictions": [str(posters / "loud" / "0.png")], "references": ['a poster that says "Harbour"']}
    assert metric.compute(**given, judge="ocr:rapidocr")["overall"] < 5
    result = metric.compute(**given, judge="ocr:rapidocr", ignore_case=True)
    assert result["overall"] == 10 and result["judge"]["backend"] == "ocr"
