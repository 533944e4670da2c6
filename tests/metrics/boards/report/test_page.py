"""What a page is made of: nothing that it carries can act, and nothing outside is asked for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re

import pytest

from t2i_judge.boards.comparisons import counts, current
from t2i_judge.boards.items import BoardItem, read_items
from t2i_judge.boards.leaderboard import ranked
from t2i_judge.boards.report.board import headline
from t2i_judge.boards.report.page import in_script, text_only
from t2i_judge.boards.report.pictures import cut
from t2i_judge.boards.report.run import report_of_run
from t2i_judge.errors import UserError

from ..boards_on_disk import answers_of, pictures, questions_of, write_run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


def test_data_cannot_end_its_script_and_stays_what_it_was():
    value = {"</script>": ["<!--<script>", "\u2028", "&amp;"]}
    text = in_script(value)
    assert not re.search("[<>&\u2028]", text) and json.loads(text) == value


def test_characters_that_act_are_shown_and_line_breaks_stay():
    acts = "\x1b[31mred\x1b[0m \u202eevil\u202c \ud800 \x00"
    assert re.findall("[\x00-\x08\x0b\x1b\u202a-\u202e\ud800-\udfff]", text_only({"a": [acts]})["a"][0]) == []
    assert text_only("one\n\ttwo é 漢字 مرحبا") == "one\n\ttwo é 漢字 مرحبا"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hostile")

    def say(generator: str, prompt: int, seed: int):
        if prompt == 3:
            return f"refused with {HOSTILE}"
        answers = answers_of(7, 8 if generator == "plain" else 2)
        return questions_of(prompt), answers

    prompts = [f"prompt {number} {HOSTILE}" for number in range(12)]
    write_run(folder / "run", [f"bad {HOSTILE} \u202e", "plain"], prompts, say, pictures(folder / "images"))
    return report_of_run(folder / "run")


def test_every_script_is_named_in_a_policy_that_allows_no_address(page):
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "img-src data:;" in policy
    assert "unsafe-inline'; img" in policy and "unsafe-eval" not in policy and "http" not in policy
    scripts = re.findall("<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 4
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    markup = re.sub("<(script|style).*?</\\1>", "", page, flags=re.S)
    assert re.findall(r'(?:src|href|action)="(?!#)([^"]*)', markup) == []


def test_hostile_names_and_prompts_are_text(page):
    assert "alert(1)</script>" not in page and "<img src=x" not in page and "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page, "the name is shown"


def test_plotly_rides_along_and_the_page_stays_small(page):
    assert 'id="plotly"' in page and len(page) < 3_500_000


def test_links_lead_from_the_page_to_the_images(tmp_path):
    images = pictures(tmp_path / "a b#?" / "javascript:x")
    say = lambda generator, prompt, seed: (questions_of(prompt), answers_of(5, 5))  # noqa: E731
    write_run(tmp_path / "run", ["one"], ["x", "y"], say, images)
    data = json.loads(re.search('id="data-report">(.*?)</script>', report_of_run(tmp_path / "run"))[1])
    assert data["images"][0]["link"] == "../a%20b%23%3F/javascript%3Ax/0.png"


def test_what_is_no_finished_board_is_said(tmp_path):
    with pytest.raises(UserError, match=r"has no leaderboard\.json"):
        report_of_run(tmp_path)
    say = lambda generator, prompt, seed: (questions_of(prompt), answers_of(5, 5))  # noqa: E731
    write_run(tmp_path / "run", ["one"], ["x", "y"], say, pictures(tmp_path))
    (tmp_path / "run" / "shards" / "000000.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        report_of_run(tmp_path / "run")


def test_the_answer_of_a_judge_that_only_compares(tmp_path):
    board = write_run(tmp_path / "run", ["a", "b"], ["x"], lambda *of: "it compares", pictures(tmp_path, 1))
    board["bradley_terry"] = [{"name": name, "strength": s, "ci": None} for name, s in (("a", -1.0), ("b", 1.0))]
    board["comparisons"] = {"n": 9, "ties": 0, "flips": 0, "failed": 2}
    first, second = headline(board)
    assert first == "b is ahead in direct comparisons." and "7 direct comparisons" in second


def compared(first: BoardItem, second: BoardItem, **more) -> dict:
    sides = {"a": first.generator, "b": second.generator, "image_a": first.image, "image_b": second.image}
    said = {"status": "ok", "winner": "a", "first": "a", "second": "a", "reason": None}
    hashes = {"sha256_a": first.sha256, "sha256_b": second.sha256}
    return {"prompt": first.prompt, **sides, **hashes, **said, **more}


def data_of(page: str) -> dict:
    return json.loads(re.search('id="data-report">(.*?)</script>', page)[1])


@pytest.mark.parametrize("long", ["", " and so on" * 300])
def test_a_page_shows_the_comparisons_that_its_board_counts(tmp_path, monkeypatch, long):
    """Those of a replaced picture stood beside the new one, and the first 2,000 of the file were shown."""
    say = lambda generator, prompt, seed: (questions_of(prompt), answers_of(5, 5))  # noqa: E731
    board = write_run(tmp_path, ["a", "b"], [f"x{long}", f"y{long}"], say, pictures(tmp_path / "images"))
    items = read_items(tmp_path / "items.jsonl")
    (ax, ay, bx, by) = items
    fine, other = compared(ax, bx), compared(ay, by)
    lines = [
        compared(ax, bx, sha256_a="1" * 64),  # of a picture that was replaced since
        compared(ax, bx, b="gone"),
        compared(ax, bx, prompt="gone"),
        other,
        fine,
    ]
    (tmp_path / "comparisons.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert data_of(report_of_run(tmp_path))["compared"] == []  # the board was made without --pairs
    assert counts(current(lines, items))["n"] == 2
    board["comparisons"] = counts(current(lines, items))
    (tmp_path / "leaderboard.json").write_text(json.dumps(board))
    short = {line["prompt"]: cut(line["prompt"]) for line in (fine, other)}
    assert data_of(report_of_run(tmp_path))["compared"] == [
        {name: value for name, value in {**line, "prompt": short[line["prompt"]]}.items() if "image_" not in name}
        for line in (other, fine)
    ]

    monkeypatch.setattr("t2i_judge.boards.report.run._COMPARISONS", 1)
    page = data_of(report_of_run(tmp_path, most=2))  # pictures: those of one prompt
    (carried,) = {image["prompt"] for image in page["images"] if "thumbnail" in image}
    assert [line["prompt"] for line in page["compared"]] == [page["prompts"][carried]["text"]]
    with (tmp_path / "comparisons.jsonl").open("a") as file:
        file.write('{"winner": "c"}\n')
    with pytest.raises(UserError, match="line 6 is not a comparison"):
        report_of_run(tmp_path)


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({"a": (8, 12)}, "One generator, a"),
        ({"a": (8, 12), "b": (3, 12)}, "a is better than b."),
        ({"a": (3, 12), "b": (8, 12)}, "b is better than a."),
        ({"a": (8, 5), "b": (3, 5)}, "a or b? Not decided."),
        ({"a": (8, 12), "b": (3, 12), "c": (5, 12)}, "a is the best of 3."),
        ({"a": (8, 12), "b": (8, 12), "c": (5, 12)}, "No single winner: a and b may each be the best."),
        ({"a": (8, 12), "b": (8, 12), "c": (8, 12)}, "No winner among 3 generators."),
        ({"dead": None, "a": (8, 12)}, "Only a has scores"),
        ({"dead": None, "a": (8, 12), "b": (3, 12)}, "a is better than b."),
        ({"dead": None, "a": (8, 12), "b": (3, 12), "c": (5, 12)}, "a is the best of 3."),
        ({"dead": None, "a": (8, 12), "b": (8, 12), "c": (5, 12)}, "No single winner: a and b may each be the best."),
    ],
)
def test_the_answer_in_a_sentence(tmp_path, means, said):
    """One without any score was among those that may be the best."""
    count = max(mean[1] for mean in means.values() if mean)

    def say(generator: str, prompt: int, seed: int):
        if means[generator] is None:
            return "It is broken."
        score = means[generator][0] + 0.1 * (prompt % 2)
        return questions_of(prompt), answers_of(score, score)

    prompts = [f"prompt {number}" for number in range(count)]
    board = write_run(tmp_path / "run", list(means), prompts, say, pictures(tmp_path, 1))
    assert headline(board)[0].startswith(said)
    assert [row["name"] for row in ranked(board)][-1] == "dead" or "dead" not in means


def odd(value, chance: random.Random):
    """The same JSON with another value somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        return {**value, name: odd(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], odd(value[place], chance), *value[place + 1 :]]
    return chance.choice([None, [], {}, "x", 5, True, float("inf"), "\x1b<script>", [[]] * 3])


@pytest.mark.parametrize("name", ["leaderboard.json", "items.jsonl"])
def test_a_board_that_somebody_edited_is_shown_or_said_to_be_none(tmp_path, name):
    say = lambda generator, prompt, seed: (questions_of(prompt), answers_of(5, 5))  # noqa: E731
    write_run(tmp_path, ["a", "b"], ["x", "y"], say, pictures(tmp_path / "images"))
    whole, chance, refused = (tmp_path / name).read_text(), random.Random(1), 0
    first, *rest = whole.splitlines() if name == "items.jsonl" else [whole]
    for _ in range(40):
        (tmp_path / name).write_text("\n".join([json.dumps(odd(json.loads(first), chance)), *rest]) + "\n")
        try:
            report_of_run(tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 0 < refused < 40


def test_a_picture_that_the_list_names_and_nobody_judged_is_not_shown(tmp_path):
    """The list of a stranger's run may name any file of whoever opens it."""
    say = lambda generator, prompt, seed: (questions_of(prompt), answers_of(5, 5))  # noqa: E731
    write_run(tmp_path / "run", ["a"], ["x", "y"], say, pictures(tmp_path / "images", 2))
    (private,) = pictures(tmp_path / "private", 1)
    listed = tmp_path / "run" / "items.jsonl"
    first, second = map(json.loads, listed.read_text().splitlines())
    for digest in ("0" * 64, None, first["sha256"][:-1], 5):
        named = {**first, "image": str(private), "sha256": digest}
        listed.write_text(f"{json.dumps(named)}\n{json.dumps(second)}\n")
        shown, other = data_of(report_of_run(tmp_path / "run"))["images"]
        assert shown["unreadable"] and "thumbnail" not in shown and "thumbnail" in other
