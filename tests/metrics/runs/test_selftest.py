"""The sanity battery tells a judge that looks from judges that are blind, gullible, or moody."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageChops

from t2i_judge.cli import main
from t2i_judge.cli import selftest as selftest_command
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, Status, failed
from t2i_judge.runs.selftest import PAINTED, Sample, paint, selftest
from t2i_judge.scoring import aspect_scores

COLORS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 60, 200)}


class ColorJudge:
    """Scores by how near the picture's colours come to the one that the prompt names; `fault` makes it insane."""

    info = JudgeInfo("colors", "test", "none")
    score_range = (0.0, 10.0)

    def __init__(self, fault: str = "") -> None:
        self.fault, self.rng = fault, np.random.default_rng(0)

    def score(self, images, prompts, reference_images=None, *, questions=None, progress=False, **_):
        asked = questions or [None] * len(images)
        return [self._judge(*row) for row in zip(images, prompts, asked, strict=True)]

    def _judge(self, image, prompt, questions):
        pixels = np.asarray(image.convert("RGB"), dtype=float)
        if self.fault == "declines" and pixels.std() == 0:
            return failed("", prompt, self.info, Status.SKIPPED, "out_of_domain")
        wanted = np.array(COLORS[prompt.split()[1]], dtype=float)
        near = (np.abs(pixels - wanted).mean(-1) < 20).mean()
        score = 5.0 if self.fault == "blind" else 10 * min(2 * near, 1)
        if self.fault == "gullible" and (pixels[-8:] > 250).all(-1).mean() > 0.2:
            score = 10.0
        if self.fault == "moody":
            score = self.rng.uniform(0, 10)
        questions = questions or [
            Question("q1", "intrinsic", (), "?", "yes"),
            Question("q2", "intrinsic", (), "??", "yes"),
        ]
        if self.fault == "partial to the first" and questions[0].id == "q2":
            score /= 2
        answers = [Answer(question.id, score=score) for question in questions]
        scores = aspect_scores(questions, answers)
        return Judgement("", prompt, self.info, scores=scores, questions=tuple(questions), answers=tuple(answers))


@pytest.fixture(scope="module")
def items() -> list[Sample]:
    made = []
    for index in range(12):
        name = list(COLORS)[index % 3]
        image = Image.new("RGB", (64, 64), (235, 235, 235))
        image.paste(COLORS[name], (4 + index, 6, 50, 40))
        made.append(Sample(image, f"a {name} box"))
    return made


def verdicts(judge, items) -> dict[str, str]:
    return {probe.name: probe.verdict for probe in selftest(judge, items)}


def test_a_sane_judge_passes(items):
    probes = selftest(ColorJudge(), items)
    assert {probe.name: probe.verdict for probe in probes} == dict.fromkeys(
        ["blank", "black", "painted text", "shuffled prompt", "question order", "repetition"], "pass"
    )
    blank = next(probe for probe in probes if probe.name == "blank")
    assert blank.n == 12 and blank.ci[0] <= blank.shift <= blank.ci[1] < 0 and blank.largest >= -blank.shift


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("blind", {"blank", "black", "shuffled prompt"}),
        ("gullible", {"painted text"}),
        ("partial to the first", {"question order"}),
    ],
)
def test_each_insanity_is_found_by_its_probe(fault, found, items):
    failing = {name for name, verdict in verdicts(ColorJudge(fault), items).items() if verdict == "fail"}
    assert failing - {"blank" if fault == "gullible" else ""} == found


def test_a_moody_judge_fails_repetition(items):
    assert verdicts(ColorJudge("moody"), items)["repetition"] == "fail"


def test_declining_an_empty_picture_is_sane(items):
    probes = {probe.name: probe for probe in selftest(ColorJudge("declines"), items)}
    assert probes["blank"].verdict == "pass" and probes["blank"].n_failed == {"skipped": 12}
    assert probes["blank"].shift is None and "declined" in probes["blank"].reason


def test_probes_that_cannot_apply_say_so(items):
    same = [Sample(item.image, "a red box") for item in items[::3]]
    probes = {probe.name: probe for probe in selftest(ColorJudge(), same)}
    assert probes["shuffled prompt"].verdict == "not applicable"


def test_too_few_items_are_refused(items):
    with pytest.raises(ValueError, match="1 of the items"):
        selftest(ColorJudge(), [items[0], Sample(b"junk", "a red box")])


@pytest.mark.parametrize("size", [(112, 112), (300, 40), (5, 5)])
def test_painting_leaves_most_of_the_picture(size):
    before = Image.new("RGB", size, "teal")
    after = paint(before)
    assert after.size == size and ImageChops.difference(before, after).getbbox() is not None
    assert PAINTED.endswith("10/10") and before.getpixel((0, 0)) == after.getpixel((0, 0))


def test_command(items, tmp_path, monkeypatch, capsys):
    for index, item in enumerate(items):
        item.image.save(tmp_path / f"{index}.png")
    rows = [{"image": f"{index}.png", "prompt": item.prompt} for index, item in enumerate(items)]
    table = tmp_path / "items.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for fault, code in (("", 0), ("blind", 1)):
        monkeypatch.setattr(selftest_command, "load_judge", lambda name, fault=fault: ColorJudge(fault))
        assert main(["selftest", str(table), "--judge", "colors", "--json", str(tmp_path / "out.json")]) == code
        printed = capsys.readouterr().out
        assert "repetition" in printed and ("fail" in printed) == bool(code)
    assert json.loads((tmp_path / "out.json").read_text())["probes"][0]["n"] == 12
    monkeypatch.setattr(selftest_command, "load_judge", lambda name: ColorJudge())
    assert main(["selftest", str(table), "--limit", "1"]) == 2
    assert "need two" in capsys.readouterr().err
