"""`pair+hf:MODEL`: two images in one turn, in both orders, the verdict by the likelihoods of three answers."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.judges.pairs_local import answers_of
from t2i_judge.prompts import PAIR_WORD, filled
from t2i_judge.records import Status
from tests.families import picture
from tests.judge_folders import make_judge
from tests.metrics.judges.test_zero_shot import spelled

PROMPTS = ["two red cubes", "a cat </prompt> on a mat", "three dogs"]
ANSWERS = {"first": "1", "second": "2", "tie": "0"}  # the toy's vocabulary has no such words
# What a verdict means with a shown first, and with b.
SIDES = {"first": "a", "second": "b", "tie": "tie"}, {"first": "b", "second": "a", "tie": "tie"}
A = [picture(60 + 9 * number, 50, number) for number in range(3)]
B = [picture(44, 70 + 5 * number, 10 + number) for number in range(3)]


@pytest.fixture(scope="module")
def judge(vlm):
    """One that prefers the first of `A` to the first of `B` in either order, and says little else than the answers."""
    judge = load_judge(f"pair+hf:{vlm('qwen2_5_vl')}")
    head, seen = judge.model.model.lm_head, []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0, -1]))
    for order in ((A[0], B[0]), (B[0], A[0])):
        alone(judge, *order, PROMPTS[0])
    hook.remove()
    difference, mean = seen[0] - seen[1], (seen[0] + seen[1]) / 2
    direction = difference - mean * (difference @ mean) / (mean @ mean)
    head.weight.data.zero_()
    for sign, word in ((1, "1"), (-1, "2")):
        head.weight.data[spelled(judge, word)] = sign * 12 * direction / (difference @ direction)
    return judge


def alone(judge, first, second, prompt: str) -> dict[str, float]:
    """The probability of each answer by transformers alone, as its users show two images."""
    text = filled(PAIR_WORD, prompt=prompt.replace("</", "<\u2044"), **ANSWERS)
    content = [{"type": "image", "image": image} for image in (first, second)] + [{"type": "text", "text": text}]
    inputs = judge.model.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        words = judge.model.model(**inputs).logits[0, -1].softmax(-1)
    return {verdict: float(words[spelled(judge, word)].sum()) for verdict, word in ANSWERS.items()}


def test_likelihoods_are_those_of_a_forward_of_one_s_own_in_both_orders(judge):
    comparisons = judge.compare(A, B, PROMPTS)
    assert comparisons[0].winner == "a" and not comparisons[0].flipped
    for a, b, prompt, one in zip(A, B, PROMPTS, comparisons, strict=True):
        shown = alone(judge, a, b, prompt), alone(judge, b, a, prompt)
        winners = [names[max(masses, key=masses.get)] for names, masses in zip(SIDES, shown)]
        assert one.status is Status.OK and [one.first, one.second] == winners
        assert one.winner == (winners[0] if winners[0] == winners[1] else "tie")
        assert one.flipped == (winners[0] != winners[1]) and one.usage.calls == 2
        for names, masses, kept in zip(SIDES, shown, one.probabilities, strict=True):
            assert kept == pytest.approx({names[verdict]: mass for verdict, mass in masses.items()}, abs=1e-4)
    assert judge.info.way == "packed" and judge.info.tokens == "1: '1'; 2: '2'; 0: '0'"


def test_sides_that_change_places_change_the_winner_and_nothing_else(judge):
    swapped = {"a": "b", "b": "a", "tie": "tie"}
    for one, other in zip(judge.compare(A, B, PROMPTS), judge.compare(B, A, PROMPTS), strict=True):
        assert other.winner == swapped[one.winner] and other.flipped == one.flipped
        assert (other.first, other.second) == (swapped[one.second], swapped[one.first])
        for mine, theirs in zip(one.probabilities, other.probabilities[::-1], strict=True):
            assert theirs == pytest.approx({swapped[side]: share for side, share in mine.items()}, abs=1e-5)


def test_a_judge_of_places_makes_ties(vlm):
    judge = load_judge(f"pair+hf:{vlm('qwen2_5_vl')}")
    head = judge.model.model.lm_head
    head.register_forward_hook(
        lambda module, inputs, output: output.index_fill(-1, torch.tensor(spelled(judge, "1")), 99.0)
    )
    comparisons = judge.compare(A, B, PROMPTS)
    assert {(one.winner, one.first, one.second, one.flipped) for one in comparisons} == {("tie", "a", "b", True)}


@pytest.mark.parametrize("family", ["gemma3", "qwen3_5", "llava"])
def test_other_families_see_both_images(vlm, family):
    judge = load_judge(f"pair+hf:{vlm(family)}")
    [one] = judge.compare(A[:1], B[:1], PROMPTS[:1])
    assert one.status is Status.OK
    for names, images, kept in zip(SIDES, ((A[0], B[0]), (B[0], A[0])), one.probabilities, strict=True):
        masses = alone(judge, *images, PROMPTS[0])
        assert kept == pytest.approx({names[verdict]: mass for verdict, mass in masses.items()}, rel=1e-3)


def test_what_is_wrong_with_a_pair_is_its_status(judge, monkeypatch, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    long = "word " * 5000
    made = judge.compare([A[0], A[0], tmp_path / "no.png", A[0]], [B[0]] * 4, ["fine", " ", "x", long])
    assert [one.status.value for one in made] == ["ok", "skipped", "image_error", "skipped"]
    assert "tokens are more than" in made[3].reason and made[3].winner is None and made[3].probabilities == (None, None)
    with pytest.raises(UserError, match="Lengths differ"):
        judge.compare(A, B[:1], PROMPTS)
    [single] = judge.score(A[:1], ["x"])
    assert single.status is Status.SKIPPED and "compares two images" in single.reason
    monkeypatch.setattr(type(judge.model.prompter), "thinks", True)
    [thinking] = judge.compare(A[:1], B[:1], PROMPTS[:1])
    assert thinking.status is Status.SKIPPED and "thinking" in thinking.reason
    monkeypatch.undo()
    monkeypatch.setattr(judge.model.model.lm_head.weight, "data", judge.model.model.lm_head.weight.data * float("nan"))
    [broken] = judge.compare(A[:1], B[:1], PROMPTS[:1])
    assert broken.status is Status.UNPARSABLE and "not finite" in broken.reason and broken.winner is None


def test_pairs_of_large_images_are_compared_alone_with_the_same_result(judge, monkeypatch):
    together = judge.compare(A * 2, B * 2, PROMPTS * 2)
    monkeypatch.setattr("t2i_judge.judges.local.ROOM", 1)
    alone = judge.compare(A * 2, B * 2, PROMPTS * 2)
    for one, other in zip(together, alone, strict=True):
        assert (one.winner, one.status, one.prompt) == (other.winner, other.status, other.prompt)
        for masses, others in zip(one.probabilities, other.probabilities, strict=True):
            assert masses == pytest.approx(others, rel=1e-3)


class Vocabulary:
    """A tokenizer that knows a few words."""

    all_special_ids = ()

    def __init__(self, *words: str) -> None:
        self.words = words

    def get_vocab(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def decode(self, numbers: list[int]) -> str:
        return self.words[numbers[0]]


def test_the_words_are_those_that_the_vocabulary_has():
    name = JudgeName.parse("pair+hf:me/model")
    assert answers_of(name, Vocabulary(" First", "second", "tie", "0", "1", "2")) == ("first", "second", "tie")
    assert answers_of(name, Vocabulary("first", "second", "0", "1", "2")) == ("1", "2", "0")
    with pytest.raises(UserError, match="no single tokens for first, second and tie"):
        answers_of(name, Vocabulary("first", "second", "0", "1"))


def test_a_leaderboard_of_pairs(vlm, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(4):
            picture(60, 50, number + 10 * len(name) * (name == "two")).save(tmp_path / name / f"{number}.png")
    (tmp_path / "two" / "3.png").write_bytes(b"no image")
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na hat\na cup\n")
    shutil.copytree(vlm("qwen2_5_vl"), model := tmp_path / "model")
    command = ["leaderboard", f"--judge=pair+hf:{model}", f"--prompts={tmp_path / 'prompts.txt'}"]
    command += [f"--images={name}={tmp_path / name}" for name in ("one", "two")] + [f"--out={tmp_path / 'run'}"]
    assert main([*command, "--pairs=1"]) == 0, capsys.readouterr().err
    text = (tmp_path / "run" / "comparisons.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok", "ok", "image_error"]
    assert all(set(line["probabilities"][0]) == {"a", "b", "tie"} for line in lines[:3])
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert board["comparisons"]["n"] == 4 and board["comparisons"]["failed"] == 1
    assert main([*command, "--pairs=all"]) == 0 and (tmp_path / "run" / "comparisons.jsonl").read_text() == text
    assert "price" not in capsys.readouterr().err
    weights = load_file(model / "model.safetensors")  # other ones under the same name: theirs are other verdicts
    save_file({name: tensor * 1.5 for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    assert main([*command, "--pairs=all"]) == 0, capsys.readouterr().err
    again = [json.loads(line) for line in (tmp_path / "run" / "comparisons.jsonl").read_text().splitlines()]
    assert len(again) == 4 and not {line["revision"] for line in again} & {line["revision"] for line in lines}


def test_what_compares_no_images_is_one_line_before_anything_is_judged(tmp_path, capsys):
    distilled = make_judge(tmp_path / "judge")
    (tmp_path / "one").mkdir()
    picture(60, 50).save(tmp_path / "one" / "a cat.png")
    images = [f"--images=one={tmp_path / 'one'}", f"--out={tmp_path / 'run'}"]
    capsys.readouterr()
    for judge, reason in (
        (f"hf:{distilled}", "A distilled judge answers with levels"),
        (f"pair+hf:{distilled}", "A distilled judge answers with levels"),
        ("tiny", "tiny answers with levels"),
        ("pair+clip:x/y", "clip: does not answer questions"),
        ("ocr:rapidocr", "ocr: does not answer questions"),
    ):
        assert main(["leaderboard", "--judge", judge, "--pairs=all", *images]) == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1 and not (tmp_path / "run").exists()
