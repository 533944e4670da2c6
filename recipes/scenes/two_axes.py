"""DreamBench++'s protocol as the rule-based teacher answers it: each axis of a personalised picture from 0 to 4.

Like a served model at work, it wavers: a quality between two points becomes the upper one as often as it is near it,
by chance that depends on the seed. So runs differ, and their spread can be reported.
"""

from __future__ import annotations

import math
import random
from typing import Any

from t2i_judge.judges.dreambench import PROMPT_FOLLOWING, SCORE_RANGE, TASK
from t2i_judge.scoring import aspect_scores

from . import personalised_rules
from .world import Entity, Scene

PLANNED = "I will compare the two point by point, then weigh the points and score."
_ANY = Entity("circle", "red")  # stands for the reference on the axis that does not look at it


def axis_of(instruction: str) -> str | None:
    """The axis that an instruction of the protocol is about; None for other requests."""
    for aspect, task in TASK.items():
        if instruction.startswith(task.partition("{")[0]):
            return aspect
    return None


def rate(aspect: str, scene: Scene, reference: Entity | None, prompt: str, seed: int) -> dict[str, Any]:
    """Reasoning and a whole score for one axis of a picture.

    Raises:
        ValueError: the prompt is none of this world (prompt following).
    """
    wanted = personalised_rules.decompose(prompt if aspect == PROMPT_FOLLOWING else f"a {personalised_rules.SUBJECT}")
    questions = [question for question in wanted if question.aspect == aspect]
    answers = [personalised_rules.answer(scene, reference or _ANY, question) for question in questions]
    share = (aspect_scores(questions, answers)[aspect] or 0.0) / 10
    exact = SCORE_RANGE[1] * share
    upper = random.Random(f"{seed}/{aspect}/{prompt}/{scene}").random() < exact - math.floor(exact)
    reasons = [answer.explanation for answer in answers if answer.explanation and not answer.matches]
    return {"reasoning": " ".join(reasons) or "Nothing differs.", "score": math.floor(exact) + upper}
