"""What a page is made of: nothing that it carries can act, and nothing outside is asked for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from t2i_judge.boards.report.board import headline
from t2i_judge.boards.report.page import in_script, text_only
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
    board["comparisons"] = {"n": 7, "ties": 0, "flips": 0, "failed": 0}
    first, second = headline(board)
    assert first == "b is ahead in direct comparisons." and "7 direct comparisons" in second


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
    ],
)
def test_the_answer_in_a_sentence(tmp_path, means, said):
    count = next(iter(means.values()))[1]

    def say(generator: str, prompt: int, seed: int):
        score = means[generator][0] + 0.1 * (prompt % 2)
        return questions_of(prompt), answers_of(score, score)

    prompts = [f"prompt {number}" for number in range(count)]
    board = write_run(tmp_path / "run", list(means), prompts, say, pictures(tmp_path, 1))
    assert headline(board)[0].startswith(said)
