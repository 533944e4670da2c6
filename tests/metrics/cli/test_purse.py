"""One purse pays for whatever a command asks: judges, decomposers, comparisons, workers, a server's judges."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from t2i_judge.cli import main, score, serve
from t2i_judge.judges.loading import load_judge
from t2i_judge.runs.ray import ShardWorker, _with_budget
from t2i_judge.runs.shards import Run
from t2i_judge.served.cache import paid_in
from t2i_judge.served.concurrency import Budget
from tests.families import picture
from tests.metrics.judges.test_teacher import QUESTIONS, decomposition, has_image, verdict
from tests.metrics.judges.test_vqa import told

PROMPTS = ["a cat on a mat", "a dog on a log", "a hen in a pen"]
A_CALL = 0.03  # dollars of a reply at these prices


@pytest.fixture
def paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Any) -> list[str]:
    """Options of a command that pays the server of this test."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    (tmp_path / "prices.yaml").write_text("m: {input: 100, output: 1000}\n")
    served.respond = lambda request, n: answer(served, request)
    return ["--prices", str(tmp_path / "prices.yaml"), "--concurrency", "1"]


@pytest.fixture
def board(tmp_path: Path, paid: list[str]) -> list[str]:
    """A leaderboard of two generators, and three prompts."""
    for number, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        for image in range(len(PROMPTS)):
            picture(40 + 10 * number, 40, image + 7 * number).save(tmp_path / name / f"{image}.png")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    images = [f"--images={name}={tmp_path / name}" for name in ("first", "second")]
    return ["leaderboard", *images, f"--prompts={tmp_path / 'prompts.txt'}", f"--out={tmp_path / 'run'}", *paid]


def answer(served: Any, request: dict[str, Any]) -> Any:
    if not has_image(request):
        return served.completion(decomposition())
    return told(served, {"yes": 0.9}) if request.get("logprobs") else served.completion(verdict())


def decompositions(served: Any) -> int:
    return sum(not has_image(call) for call in served.calls)


def judges(*names: str) -> list[str]:
    return [word for name in names for word in ("--judge", name)]


def test_two_judges_and_their_decomposer_pay_for_a_prompt_once(
    board: list[str], served: Any, vlm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each judge on this machine had a ledger of its own beside the board's, and the same prompts were paid again."""
    server = f"openai:m@{served.url}"
    asked = judges(f"hf:{vlm('qwen3_vl')}", f"vqa+hf:{vlm('qwen3_vl')}", f"vqa+{server}")
    main([*board, *asked, "--decomposer", server, "--max-cost", "9"])
    assert decompositions(served) == len(PROMPTS)
    assert len(served.calls) == len(PROMPTS) + 2 * len(PROMPTS) * len(QUESTIONS)
    error = capsys.readouterr().err
    assert error.count("3 prompts, 3 decompositions, about ") == 3 and "at most $9.00" in error
    assert "6 images, 48 calls, about " in error  # eight questions are usual; one call each


@pytest.mark.parametrize(("first", "limit", "most"), [("openai", 9, 9), ("hf", 2.3, 0.3)])
def test_a_decomposer_of_one_of_several_judges_takes_what_the_server_is_told(
    board: list[str], served: Any, vlm: Any, first: str, limit: float, most: float
) -> None:
    """It had neither cap nor prices nor --max-tokens where the judge that it belongs to asks no server itself."""
    here, there = f"hf:{vlm('qwen3_vl')}", f"direct+openai:m@{served.url}"
    named = judges(there, here) if first == "openai" else judges(here, there)
    told = ["--decomposer", f"openai:m@{served.url}", "--max-tokens", "2000", f"--max-cost={limit}"]
    main([*board, *named, *told])  # a call may cost 2.05 dollars before its reply is there
    assert decompositions(served) == len(PROMPTS) and len(served.calls) * A_CALL < most
    assert all(call["max_completion_tokens"] == 2000 for call in served.calls)


def test_a_judge_and_its_decomposer_have_one_cap(
    tmp_path: Path, paid: list[str], served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """There were two caps: as many calls again for the judge as for its decomposer."""
    for number in range(12):
        picture(50, 50, number).save(tmp_path / f"{number}.png")
    rows = "".join(f"a cat with {number} kittens,{number}.png\n" for number in range(12))
    (tmp_path / "t.csv").write_text(f"prompt,image\n{rows}")
    server = f"openai:m@{served.url}"
    command = ["score", str(tmp_path / "t.csv"), "--judge", f"vqa+{server}", "--decomposer", server, *paid]
    limit = 12 * A_CALL + 0.4
    assert main([*command, "--out", str(tmp_path / "out"), "--max-tokens", "100", f"--max-cost={limit}"]) == 2
    assert "Stopped at $" in capsys.readouterr().err
    assert decompositions(served) == 12 and 12 < len(served.calls) <= limit / A_CALL


def test_the_judges_of_a_server_have_one_cap(tmp_path: Path, paid: list[str], served: Any) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    named = judges(f"openai:m@{served.url}", f"direct+openai:m@{served.url}")
    made = serve._judges(parser.parse_args([*paid, *named, "--max-cost", "1"]), tmp_path / "calls.sqlite")
    one, other = (judge.backend.budget for judge in made.values())
    assert one is other and one.limit == 1.0
    for judge in made.values():
        judge.close()


def options(arguments: Sequence[str], out: Path) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.judge_options(parser.parse_args(["t.csv", "--out", str(out), *arguments]), out / score.CACHE)


@pytest.mark.parametrize("judge", ["vqa+openai:m@http://127.0.0.1:9/v1", "vqa+hf:somewhere/model"])
def test_a_worker_has_one_budget_for_judge_and_decomposer(tmp_path: Path, paid: list[str], judge: str) -> None:
    """Only the judge's cap was divided, and each of eight workers had the whole for its decomposer."""
    decomposer = ["--decomposer", "openai:m@http://127.0.0.1:9/v1", "--max-cost", "4"]
    told = options(["--judge", judge, *paid, *decomposer], tmp_path)
    whole = told["decomposer_options"]["max_cost"]
    assert whole.left == 4.0 and told.get("max_cost", whole) is whole
    run = _with_budget(Run("t.csv", None, judge, told, tmp_path), whole)
    worker = ShardWorker(pickle.loads(pickle.dumps(run)))
    sent = worker.run.options
    assert sent["decomposer_options"]["max_cost"] is worker.budget and worker.budget is not whole
    assert sent.get("max_cost", worker.budget) is worker.budget and ("max_cost" in sent or "hf" in judge)


def test_a_run_without_a_cap_has_none_on_a_cluster_either(tmp_path: Path) -> None:
    told = options(["--judge", "openai:m@http://127.0.0.1:9/v1"], tmp_path)
    run = Run("t.csv", None, "openai:m", told, tmp_path)
    assert ShardWorker(_with_budget(run, Budget())).budget.left is None
    assert paid_in(tmp_path / "none.sqlite") == 0.0 and not (tmp_path / "none.sqlite").exists()


def test_backends_share_a_budget_while_their_calls_are_under_way(paid: list[str], served: Any) -> None:
    """Each has an event loop of its own: one that waits hears of a refund in another."""
    from threading import Thread

    from t2i_judge.served.prices import Price

    budget = Budget(0.12)  # one call at a time: it may cost 0.07 dollars, and does 0.003
    made = [
        load_judge(f"vqa+openai:m@{served.url}", max_cost=budget, prices={"m": Price(10, 100)}, max_tokens=600)
        for _ in range(3)
    ]
    done: list[Any] = []
    threads = [
        Thread(target=lambda judge=judge, n=n: done.extend(judge.score([picture(30 + n, 30, n)] * 2, PROMPTS[:2])))
        for n, judge in enumerate(made)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(done) == 6 and served.most == 1
    assert budget.spent == pytest.approx(0.003 * len(served.calls))
    for judge in made:
        judge.close()


def test_a_cap_below_nothing_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["score", "t.csv", "--out", str(tmp_path), "--judge", "openai:m", "--max-cost"]
    assert main([*command, "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        main([*command, "much"])


def test_a_decomposer_that_is_not_there_is_told_before_anything_is_paid(
    tmp_path: Path, paid: list[str], served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(50, 50).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("prompt,image\na cat,a.png\n")
    command = ["score", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), *paid]
    named = ["--judge", f"vqa+openai:m@{served.url}", "--decomposer", "openai:m@http://127.0.0.1:9/v1"]
    assert main([*command, *named]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err and not served.calls
