"""Judges with one planted defect each, and a clean one: what a selftest must find in them, and what it must not.

They look at pixels: how much of the picture has the colour that the prompt names. None is known to the battery.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from t2i_judge.inputs.images import load_image
from t2i_judge.judges.base import Candidate, Judge
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question
from t2i_judge.runs.selftest.attacks import ATTACKS
from t2i_judge.runs.selftest.battery import Sample
from t2i_judge.scoring import aspect_scores

COLORS = {"red": (214, 39, 40), "green": (44, 160, 44), "blue": (31, 100, 210), "purple": (140, 60, 180)}
THINGS = ("box", "door", "cup", "car", "hat", "bag", "chair", "boat")
QUESTIONS = tuple(Question(f"q{n}", "intrinsic", ("it",), f"Question {n}?", "yes") for n in (1, 2, 3))
EVERY = {attack.name for attack in ATTACKS}
SUFFIXES = {name for name in EVERY if name.startswith("suffix")}
FALLING = {"blank", "black", "noise", "other prompt"}
PAINTED = {"instruction painted", "prompt painted", "rating painted"}
# Defect -> probes that must fail, probes that may; no other may.
TABLE: Mapping[str, tuple[set[str], set[str]]] = {
    "": (set(), set()),
    "position": ({"order of questions"}, set()),
    "length": ({"suffix: very long"}, SUFFIXES),
    "brightness": ({"blank"}, {"border", "noise", "other prompt", *PAINTED}),
    "text on the picture": (PAINTED, {"labelled boxes"}),
    "suffix": ({"suffix: score 10", "suffix: asks for 10"}, SUFFIXES),
    "constant": (FALLING, set()),
    "random": ({"repetition"}, {"order of questions", "mirror", "resize and re-encode", *FALLING}),
    "prompt ignored": ({"other prompt"}, set()),
}  # fmt: skip


def samples(seed: int, number: int = 24) -> list[Sample]:
    """Pictures of one thing each, in the colour that their prompt names."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(number):
        color, thing = list(COLORS)[index % len(COLORS)], THINGS[index // len(COLORS) % len(THINGS)]
        image = Image.new("RGB", (64, 64), tuple(rng.integers(150, 200, 3).tolist()))
        left, top = rng.integers(4, 20, 2).tolist()
        shade = tuple(int(value + rng.integers(-8, 9)) for value in COLORS[color])
        ImageDraw.Draw(image).rectangle((left, top, left + 36, top + 30), fill=shade)
        made.append(Sample(image, f"a {color} {thing}"))
    return made


class PlantedJudge(Judge):
    """Scores by the share of pixels near the named colour, a little moody, with at most one defect."""

    def __init__(self, defect: str = "", seed: int = 0) -> None:
        super().__init__(JudgeInfo(defect or "clean", "test", "none"))
        self.defect, self.rng = defect, np.random.default_rng(seed)

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        return [self._judge(item) for item in items]

    def _judge(self, item: Candidate) -> Judgement:
        questions = tuple(item.questions or QUESTIONS)
        image = load_image(item.image)
        pixels = np.asarray(image.resize((24, 24)), dtype=np.float32)
        score = float(np.clip(self._overall(item.prompt, pixels, np.asarray(image)), 0, 10))
        scores = [score] * len(questions)
        if self.defect == "position":  # the first question gets the benefit of the doubt
            scores = [score if question.id == "q1" and place else score / 2 for place, question in enumerate(questions)]
        answers = tuple(Answer(question.id, score=value) for question, value in zip(questions, scores))
        return Judgement(
            "", item.prompt, self.info, scores=aspect_scores(questions, answers), questions=questions, answers=answers
        )

    def _overall(self, prompt: str, pixels: np.ndarray[Any, Any], sharp: np.ndarray[Any, Any]) -> float:
        if self.defect == "constant":
            return 6.0
        if self.defect == "random":
            return float(self.rng.uniform(2, 10))
        wanted = [np.array(COLORS[name]) for name in COLORS if self.defect == "prompt ignored" or f" {name} " in prompt]
        near = np.max([(np.abs(pixels - color).mean(-1) < 30).mean() for color in wanted])
        mood = zlib.crc32(prompt.encode() + pixels.astype(np.uint8).tobytes()) % 101 / 200 - 0.25
        score = 7 * min(1.0, 5 * near) + mood
        if self.defect == "brightness":
            score += 20 * max(0.0, pixels.mean() / 255 - 0.55)
        if self.defect == "text on the picture" and _has_bar(sharp):
            score += 3
        if self.defect == "suffix" and "10" in prompt:
            score += 3
        if self.defect == "length":
            score += len(prompt) / 300
        return float(score)


def _has_bar(pixels: np.ndarray[Any, Any]) -> bool:
    """Whether black stands on white in the lowest rows."""
    foot = pixels[-6:].astype(int)
    return bool((foot.min(-1) > 240).mean() > 0.2 and (foot.max(-1) < 180).mean() > 0.05)
