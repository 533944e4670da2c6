"""Arguments that only some judges take, and the questions that a user gives them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from PIL import Image

from t2i_judge.cli import judge_arguments as arguments
from t2i_judge.cli import main
from t2i_judge.cli.served_arguments import CLIENT
from t2i_judge.errors import UserError

OF_EVERY_JUDGE = {"help", "shard_size", "retry_failed", "isolate_images", "intervals", "engine", "workers"}
QUESTION = {"id": "q1", "aspect": "intrinsic", "entities": ["cat"], "text": "Is there a cat?", "expected": "yes"}
PROMPTS = [f"a cat and {number} dogs" for number in range(10)]


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--judge", action="append")
    arguments.add_judging(parser)
    return parser.parse_args(words)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of ten prompts, and questions about these prompts."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"{prompt},a.png\n" for prompt in PROMPTS))
    write(tmp_path / "known.jsonl", PROMPTS)
    return tmp_path


def write(path: Path, prompts: list[str], questions: list[dict] | None = None) -> None:
    records = [{"prompt": prompt, "questions": [QUESTION] if questions is None else questions} for prompt in prompts]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def test_of_every_argument_it_is_known_which_judges_take_it() -> None:
    parser = argparse.ArgumentParser()
    arguments.add_judging(parser)
    known = {rule.name for rule in arguments._RULES} | {*CLIENT} | OF_EVERY_JUDGE
    assert {action.dest for action in parser._actions} == known


@pytest.mark.parametrize(
    ("judge", "option"),
    [
        ("hf:X", ["--distilled"]),
        ("hf:X", ["--template", "Is there {question} {expected}?"]),
        ("vqa+hf:X", ["--normalised"]),
        ("vqa+hf:X", ["--mean", "geometric"]),
        ("openai:m", ["--batch"]),
        ("openai:m", ["--protocol", "staged"]),
        ("openai:m", ["--secret-ids"]),
        ("dreambench+openai:m", ["--kind", "style"]),
        ("dreambench+openai:m", ["--without", "scale"]),
        ("ocr:rapidocr", ["--ignore-case"]),
        ("clip:X", ["--reward"]),
        ("dino:X", ["--processor", "Y"]),
        ("openai:m", ["--decompositions", "known.jsonl"]),
        ("openai:m", ["--explain"]),
        ("hf:X", ["--quantization", "nf4"]),
        ("openai:m", ["--max-tokens", "9"]),
    ],
)
def test_what_one_of_several_judges_takes_is_not_refused_for_the_others(judge: str, option: list[str]) -> None:
    args = parsed("--judge", judge, *option)
    others = ["clip:Z"] if "Y" in option or option[0] == "--quantization" else ["direct+tiny", "dino:Z"]
    for name in (judge, *others):
        arguments.judge_options(arguments.for_judge(args, name, [judge, *others]))
    alone = {"judge": "direct+tiny" if judge.startswith("ocr") else "ocr:rapidocr"}
    with pytest.raises(UserError, match="cannot be used with"):
        arguments.judge_options(argparse.Namespace(**vars(args) | alone))


@pytest.mark.parametrize("option", [["--decompositions", "known.jsonl"], ["--explain"]])
@pytest.mark.parametrize("judge", ["direct+tiny", "clip:X", "ocr:rapidocr"])
def test_a_judge_that_asks_nothing_takes_no_questions(pictures: Path, capsys, judge: str, option: list[str]) -> None:
    assert main(["score", "t.csv", "--judge", judge, "--out", "out", *option]) == 2
    assert f"{option[0]} cannot be used with '{judge}'" in capsys.readouterr().err
    assert not (pictures / "out").exists()


def test_intervals_are_of_one_judge(pictures: Path, capsys) -> None:
    command = ["leaderboard", "t.csv", "--generator", "image", "--out", "out", "--intervals", "iv.json"]
    assert main([*command, "--judge", "tiny", "--judge", "direct+tiny"]) == 2
    assert "--intervals cannot be used with several judges" in capsys.readouterr().err


BOARD = ["leaderboard", "t.csv", "--generator", "image"]


@pytest.mark.parametrize("command", [["score", "t.csv"], BOARD])
def test_it_is_said_how_many_prompts_have_questions(pictures: Path, capsys, command: list[str]) -> None:
    command = [*command, "--judge", "fake", "--out", "out", "--decompositions", "known.jsonl"]
    assert main(command) == 0
    assert "known.jsonl: questions for 10 of 10 prompts.\n" in capsys.readouterr().err
    write(pictures / "known.jsonl", PROMPTS[:4])
    assert main([*command[:-3], "other", *command[-2:]]) == 0
    assert (
        "known.jsonl: questions for 4 of 10 prompts; for others the judge makes its own.\n" in capsys.readouterr().err
    )


@pytest.mark.parametrize("command", [["score", "t.csv", "--out", "out"], [*BOARD, "--out", "out"], ["plan", "t.csv"]])
def test_questions_that_fit_no_prompt_or_are_cut_off_are_refused(pictures: Path, capsys, command: list[str]) -> None:
    judge = "openai:m@http://127.0.0.1:9"
    command = [*command, "--judge", judge, "--decompositions", "known.jsonl"]
    write(pictures / "known.jsonl", ["something else"])
    assert main(command) == 2
    assert "known.jsonl has questions for none of 10 prompts" in capsys.readouterr().err
    write(pictures / "known.jsonl", PROMPTS)
    whole = (pictures / "known.jsonl").read_text()
    (pictures / "known.jsonl").write_text(whole[:-9])
    assert main(command) == 2
    assert "known.jsonl, line 10" in capsys.readouterr().err
    assert not [*pictures.glob("out/shards/*")]
