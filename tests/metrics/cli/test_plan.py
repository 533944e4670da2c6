"""`t2i-judge plan`: what it promises is what a run then does, counted by the server."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from t2i_judge.boards.comparisons import Pairing
from t2i_judge.boards.items import BoardItem
from t2i_judge.cli import main
from t2i_judge.cli.costs import announce_comparing, announce_judging
from t2i_judge.cli.plan import plan_questions, plan_run, t2i_eval_calls
from t2i_judge.judges.names import JudgeName
from t2i_judge.records import Question
from t2i_judge.served.concurrency import Budget
from t2i_judge.served.prices import DATED, Price
from tests.metrics.judges.test_teacher import QUESTIONS, decomposition, has_image, text_of, verdict


@pytest.fixture
def table(tmp_path):
    """Nine images of three prompts; one is missing and one has no prompt."""
    for number in range(8):
        Image.new("RGB", (600, 400), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [f"cat {number % 3},{number}.png" for number in range(9)] + [",0.png"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["prompt,image", *rows]) + "\n")
    return path


def respond(served):
    def answer(request, n):
        text = text_of(request)
        if "<results>" in text:
            return served.completion('{"explanation": "so so", "score": 6}')
        if not has_image(request):
            return served.completion(decomposition())
        return served.completion(verdict() if "<questions>" in text else "8")

    return answer


@pytest.mark.parametrize("protocol", ["structured", "staged"])
def test_the_plan_is_what_the_run_does(table, served, tmp_path, protocol, capsys):
    served.respond = respond(served)
    judge, out = f"openai:m@{served.url}", str(tmp_path / "out")
    command = ["plan", str(table), "--judge", judge, "--protocol", protocol, "--json", str(tmp_path / "plan.json")]
    assert main(command) == 0
    before = json.loads((tmp_path / "plan.json").read_text())
    assert before["calls_exact"] == (protocol == "structured")
    assert before["calls"]["decompose"] == 3
    assert main([*command, "--decompose", "--out", out]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert len(served.calls) == 3
    assert plan["calls_exact"]
    assert (plan["items"], plan["unreadable"], plan["prompts"]) == (10, 2, 3)
    assert plan["calls"] == {
        "decompose": 0,
        "judge": 8 * (1 if protocol == "structured" else 11),
        "total": 8 * (1 if protocol == "structured" else 11),
    }
    assert main(["score", str(table), "--judge", judge, "--protocol", protocol, "--out", out]) == 1
    assert len(served.calls) - 3 == plan["calls"]["total"]
    if protocol == "structured":
        assert before["calls"]["total"] == len(served.calls)
    assert f"T2I-Eval {8 * 17} calls" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "calls"), [("direct", 8 * 2), ("dreambench", 8 * 2 + 2), ("vqa", 8)])
def test_judges_without_questions_have_a_plan_too(table, served, tmp_path, kind, calls, capsys):
    """DreamBench++'s two plans are made once per run."""
    scores = {"direct": {"explanation": "so", "score": 3}, "dreambench": {"reasoning": "so", "score": 3}}.get(kind)

    def respond(request, n):
        if kind == "vqa":
            response = served.completion("yes")
            response.body["choices"][0]["logprobs"] = {"content": [{"token": "yes", "logprob": 0.0, "top_logprobs": [
                {"token": "yes", "logprob": -0.1}]}]}  # fmt: skip
            return response
        quality = {"explanation": "so", "naturalness": 3, "artifacts": 3}
        return served.completion(json.dumps(quality if "naturalness" in json.dumps(request) else scores))

    served.respond = respond
    judge = ["--judge", f"{kind}+openai:gpt-4o@{served.url}", "--reference-column", "image"]
    assert main(["plan", str(table), *judge, "--json", str(tmp_path / "plan.json")]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["calls"] == {"decompose": 0, "judge": calls, "total": calls}
    assert plan["calls_exact"] and plan["money"] > 0
    assert (plan["items"], plan["unreadable"]) == (10, 2)
    assert "T2I-Eval" not in capsys.readouterr().out
    assert main(["score", str(table), *judge, "--out", str(tmp_path / "out")]) == 1
    assert len(served.calls) == calls
    assert main(["plan", str(table), *judge, "--protocol", "staged"]) == 2
    assert "asks no questions" in capsys.readouterr().err


def test_t2i_evals_formula():
    # The paper's black cat on a white car: 2 entities, 2 attributes, 1 relation = 34 calls.
    questions = [Question(f"a{n}", "appearance", (), "?") for n in range(2)]
    questions += [Question(f"i{n}", "intrinsic", (), "?", "yes") for n in range(6)]
    questions += [Question("r", "relationship", (), "?", "on")]
    assert t2i_eval_calls(questions) == 34
    assert t2i_eval_calls(QUESTIONS) == 9 + 2 * 1 + 3 * 2


def test_money_follows_the_price_and_the_images(table, tmp_path):
    price = Price(1.0, 10.0)
    small = plan_run([("a cat", [(512, 512)])] * 10, "structured", price, {"a cat": QUESTIONS})
    large = plan_run([("a cat", [(1024, 1024)])] * 10, "structured", price, {"a cat": QUESTIONS})
    assert large.input_tokens - small.input_tokens == 10 * (765 - 255)
    assert large.money() - small.money() == pytest.approx(10 * 510 / 1e6)
    assert large.money(batch=True) == pytest.approx(large.money() / 2)


@pytest.mark.parametrize("protocol", ["", "direct+", "dreambench+", "vqa+"])
def test_images_that_are_scaled_down_are_planned_at_the_size_that_is_sent(table, tmp_path, protocol):
    def tokens(*options: str) -> int:
        options = ("--judge", f"{protocol}openai:gpt-4o", *options)
        assert main(["plan", str(table), *options, "--json", str(tmp_path / "plan.json")]) == 0
        return json.loads((tmp_path / "plan.json").read_text())["input_tokens"]

    whole = tokens()  # 600 x 400: two tiles
    assert tokens("--max-image-side", "600") == whole
    assert whole - tokens("--max-image-side", "512") >= 8 * 170  # of eight readable images
    assert main(["plan", str(table), "--judge", "openai:gpt-4o", "--max-image-side", "0"]) == 2


def test_what_is_announced_is_of_images_as_they_are_sent(tmp_path, capsys) -> None:
    judge, items = JudgeName.parse("openai:gpt-4o"), [("a cat", [(2048, 1024)])] * 10
    Image.new("RGB", (2048, 1024)).save(tmp_path / "wide.png")
    a, b = (BoardItem(name, name, "a cat", "1", str(tmp_path / "wide.png")) for name in "ab")

    def said(side: int | None) -> list[int]:
        announce_judging(judge, {"max_image_side": side}, "10 images", items, {})
        announce_comparing(replace(judge, protocol="pair"), [Pairing(a, b)], {"max_image_side": side})
        return [int(number.replace(",", "")) for number in re.findall(r"about ([\d,]+) \+", capsys.readouterr().err)]

    (judging, comparing), (less, fewer) = said(None), said(512)  # 6 tiles and 1
    assert (judging - less, comparing - fewer) == (10 * 5 * 170, 2 * 2 * 5 * 170)


def test_a_run_in_batches_is_announced_at_their_price(capsys) -> None:
    judge, items = JudgeName.parse("openai:gpt-4o"), [(f"a cat {n}", [(512, 512)]) for n in range(1000)]
    said = []
    for batch in (False, True):
        announce_judging(judge, {"max_cost": Budget(10.0)}, "1000 images", items, {}, batch)
        said.append(capsys.readouterr().err)
    whole, half = (float(re.search(r"about \$([\d.,]+)", line)[1]) for line in said)
    assert half == pytest.approx(whole / 2, abs=0.01) and half < 10 < whole
    assert "may not be enough" in said[0] and "as batches; at most $10.00" in said[1]
    assert plan_run([("a cat", [(512, 512)])], "staged", None, {}).money() is None


def test_the_price_table_can_be_overridden_and_is_dated(table, tmp_path, capsys):
    prices = tmp_path / "prices.yaml"
    prices.write_text("m: {input: 1, output: 1}\n")
    assert main(["plan", str(table), "--judge", "openai:m"]) == 0
    assert "no price for m" in capsys.readouterr().out
    assert main(["plan", str(table), "--judge", "openai:m", "--prices", str(prices)]) == 0
    assert "about $0.0" in capsys.readouterr().out
    assert main(["plan", str(table), "--judge", "openai:gpt-4o"]) == 0
    assert f"prices of {DATED}" in capsys.readouterr().out


def test_wrong_calls_are_one_line(table, tmp_path, capsys):
    for arguments in (
        ["--judge", "tiny"],
        ["--judge", "dreambench+tiny"],
        ["--judge", "pair+openai:m"],
        ["--decompose"],
        ["--decompositions", str(tmp_path / "no.jsonl")],
    ):
        assert main(["plan", str(table), *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_soft_tifa_takes_a_call_for_each_question_and_its_decomposer_one_for_each_prompt():
    """A leaderboard by `vqa+openai:` with a set's questions was said to take one call an image."""
    items = [("a cat", [(512, 512)])] * 3 + [("a dog", [(512, 512)]), ("a hen", None), (" ", [(8, 8)])]
    price = Price(1.0, 10.0)
    known = plan_run(items[:3], "vqa", price, {"a cat": QUESTIONS}, soft_tifa=True)
    assert (known.judge_calls, known.decompositions, known.estimated) == (3 * len(QUESTIONS), 0, False)
    assert known.input_tokens > 3 * len(QUESTIONS) * 255
    assert plan_run(items[:3], "vqa", price, {"a cat": QUESTIONS}).judge_calls == 3
    guessed = plan_run(items, "vqa", price, {}, soft_tifa=True)
    assert guessed.judge_calls == 4 * 8 and guessed.decompositions == 0 and guessed.estimated
    asked = plan_questions(items, price, {})
    assert (asked.decompositions, asked.calls, asked.prompts) == (2, 2, {"a cat", "a dog"})
    assert plan_questions(items, price, {"a cat": QUESTIONS}).decompositions == 1
