"""Every protocol against a server that garbles, fails and refuses: nothing is invented, little is lost, ok stays ok."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from t2i_judge.cli import main
from tests.metrics.oracle import Faulty, reply_of

IMAGES = 60
JUDGES = {
    "structured": ["--judge", "openai:m"],
    "staged": ["--judge", "openai:m", "--protocol", "staged"],
    "direct": ["--judge", "direct+openai:m"],
    "dreambench": ["--judge", "dreambench+openai:m", "--reference-column", "image"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        Image.new("RGB", (8, 8), (number, 200 - number, 3 * number)).save(folder / f"{number}.png")
    rows = "".join(f"a black cat in box {number},{number}.png\n" for number in range(IMAGES))
    (folder / "table.csv").write_text(f"prompt,image\n{rows}")
    return folder / "table.csv"


@pytest.fixture
def run(served, table, tmp_path, monkeypatch):
    """Scores of the table's rows, and what of them is not OK, after `t2i-judge score`."""
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def score(respond, out, protocol, *options):
        served.respond, served.calls = respond, []
        main(["score", str(table), *JUDGES[protocol], "--out", str(tmp_path / out), *options])
        with (tmp_path / out / "scores.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        keys = ("appearance", "intrinsic", "overall", "concept_preservation", "prompt_following")
        return {int(row["id"]): (row["status"], [row[key] for key in keys]) for row in rows}

    return score


@pytest.mark.parametrize("protocol", JUDGES)
def test_on_a_bad_line_nothing_is_invented_and_what_is_ok_stays(run, served, protocol):
    truth = run(lambda request, n: served.completion(reply_of(request)), "truth", protocol)
    assert all(status == "ok" for status, _ in truth.values())
    for seed in range(3):
        line = Faulty(seed)
        first = run(line, f"faulty-{seed}", protocol)
        lost = [number for number, (status, _) in first.items() if status not in ("ok", "refused")]
        assert [n for n, (status, scores) in first.items() if status == "ok" and scores != truth[n][1]] == []
        assert len(lost) <= 3
        again = run(line, f"faulty-{seed}", protocol, "--retry-failed")
        failed = [number for number, (status, _) in first.items() if status != "ok"]
        assert len({pictures(call)[0] for call in served.calls if pictures(call)}) <= len(failed)
        assert {n: s for n, s in again.items() if n not in failed} == {n: s for n, s in first.items() if s[0] == "ok"}
        assert [n for n, (status, scores) in again.items() if status == "ok" and scores != truth[n][1]] == []
        assert {status for status, _ in again.values()} <= {"ok", "refused"}


def pictures(call) -> tuple[str, ...]:
    contents = [message["content"] for message in call["messages"] if isinstance(message["content"], list)]
    return tuple(part["image_url"]["url"] for content in contents for part in content if part["type"] == "image_url")
