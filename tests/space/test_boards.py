"""Boards of the Space: the report's own page, of runs and of the benchmark's generators."""

from __future__ import annotations

import json
import re

import pytest

from benchmark import BenchItem, Benchmark
from boards import Boards
from t2i_judge.boards.report.run import report_of_run
from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL


def test_a_run_is_the_page_that_the_command_writes(board_run):
    boards = Boards(None, [str(board_run)])
    assert boards.names == ["1. spring run"], "no path"
    assert boards.page("1. spring run") == report_of_run(board_run, links=False)
    assert str(board_run.parent) not in boards.page("1. spring run") and "../images" not in boards.page("1. spring run")


def test_generators_of_the_benchmark_by_judges_and_people(benchmark):
    boards = Boards(benchmark)
    assert boards.names == ["the benchmark by teacher", "the benchmark by direct", "the benchmark by people (mean)"]
    page = boards.page("the benchmark by direct")
    data = json.loads(re.search('id="data-report">(.*?)</script>', page)[1])
    refused = sum((item.baseline("direct", OVERALL) or {}).get("status") == "refused" for item in benchmark.items)
    assert sum(image.get("status") == "refused" for image in data["images"]) == refused > 0
    assert data["carried"]["embedded"] == data["carried"]["images"] == 42, "the personalised ones have no overall score"
    means = {g["name"]: g["overall"]["mean"] for g in data["board"]["generators"]}
    scores = [item.judge_score("direct", OVERALL) for item in benchmark.items if item.generator == "masterly"]
    known = [score for score in scores if score is not None]
    assert means["masterly"] == pytest.approx(sum(known) / len(known))
    assert data["board"]["pairs"][0]["reason"].startswith("0 common prompts")


@pytest.mark.parametrize("declared", [None, [0.0, 1.0], [0.55, 0.65]])
def test_failures_decide_no_pair_where_the_judge_s_range_lets_them_reverse_it(declared):
    def item(generator, number):
        failed = generator == "a" and number < 4
        told = {"judge": "vqa", "revision": "", "aspect": OVERALL, "score_range": declared}
        told |= {"score": None, "status": "refused"} if failed else {"status": "ok"}
        told |= {} if failed else {"score": (0.60 if generator == "a" else 0.57) + 0.01 * (number * 7 % 5)}
        name = f"{generator}{number}"
        return BenchItem(f"t/{name}", "t", number, name, f"p{number}", generator, (), [], [told])

    items = [item(generator, number) for generator in "ab" for number in range(40)]
    datasets = {"t": [{"image": None}] * 40}
    page = Boards(Benchmark("x", items, datasets)).page("the benchmark by vqa")
    [pair] = json.loads(re.search('id="data-report">(.*?)</script>', page)[1])["board"]["pairs"]
    assert pair["decided"] == (declared == [0.55, 0.65])
    assert (pair["bounds"] is None) == (declared is None)
    assert ("not known" in (pair["reason"] or "")) == (declared is None)
    assert ("scores seen from 0.57 to 0.64" in page) == (declared is None)


def test_a_run_s_pictures_are_not_decoded_in_the_process_that_has_the_keys(board_run, monkeypatch):
    def decoded_here(*_, **__):
        raise AssertionError

    plain = Boards(None, [str(board_run)]).page("1. spring run")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded_here)
    assert Boards(None, [str(board_run)]).page("1. spring run") == plain and "thumbnail" in plain


def test_what_is_not_there_is_said(tmp_path, capsys):
    boards = Boards(None, [str(tmp_path)])
    with pytest.raises(UserError, match="holds no finished board") as told:
        boards.page(boards.names[0])
    assert str(tmp_path) not in str(told.value) and "has no leaderboard" in capsys.readouterr().err
    with pytest.raises(UserError, match="not in the list"):
        boards.page("/etc")
    assert Boards(None).names == []
