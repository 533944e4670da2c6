"""Three ways to learn a judge from the same labelled images: what each is shown, and how what it learnt is read.

`decomposed` is the recipe's own judge. `direct` learns the level of the teacher's overall score, one per image.
`rationale` learns the teacher's overall explanation and then the level, as VIEScore (arXiv 2312.14867) has a judge
reason before it rates; its score is the expected level after its own explanation: no side is the worse for ties.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distillation.sft_data import Sample, direct_samples, pack, read_samples, select, select_direct
from recipes.evaluation.judging import score_items
from recipes.evaluation.own_judges import judge_settings, trained_as
from recipes.recipe.config import Recipe
from recipes.recipe.items import Item
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.base import Judge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.local import Failure, LevelJudge, Loaded, chunks, level_score, read_safely
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.model import Asked, Readings, Turn
from t2i_judge.local.weights import find_weights, load
from t2i_judge.prompts import DIRECT_STUDENT_HASH, LEVELS, SUMMARY_SCORE, student_hash, student_prompt
from t2i_judge.records import OVERALL, JudgeInfo, Judgement, Status, Usage, failed

if TYPE_CHECKING:
    from datasets import Dataset

DECOMPOSED, DIRECT, RATIONALE = SIDES = ("decomposed", "direct", "rationale")
Rows = list[list[Sample]]


def rows_of(side: str, recipe: Recipe, data: Dataset, teacher: Mapping[str, Judgement]) -> Rows:
    """The training rows of a side. Raises `UserError` where the teacher left it nothing to learn.

    Args:
        side: one of `SIDES`.
        recipe: its mixture, packing and seeds are used.
        data: distillation data.
        teacher: its judgements by image id.
    """
    texts = data.select_columns(["prompt", "samples"])
    if side == DECOMPOSED:
        rows = select(read_samples(texts), recipe)
    elif side == DIRECT:
        rows = select_direct(direct_samples(data["prompt"], teacher, data["id"]), recipe)
    else:
        prompts = data["prompt"]  # it is asked without answers, whatever else the students of the recipe are told
        samples = [
            replace(sample, question=_question(prompts[sample.row]))
            for sample in read_samples(texts)
            if sample.task == "summarise_overall"
        ]
        rows = pack(samples, 1, recipe.seeds.mixture)
    if not rows:
        raise UserError(
            f"There is nothing for {side} to learn", "The teacher scored none of the images", "Build the data again"
        )
    return rows


def labels_in(rows: Rows) -> int:
    """How many different things that the teacher said are learnt: answers, scores, explanations, decompositions."""
    return len({sample for row in rows for sample in row})


def open_learnt(side: str, recipe: Recipe, adapter: Path) -> Judge:
    """The judge that a side's training left in `adapter`, which gets its judge.json."""
    base = {"model": recipe.base.hub_id or recipe.base.model, "revision": recipe.base.revision}
    protocol = "one_forward" if side == DECOMPOSED else DIRECT
    template = {DIRECT: DIRECT_STUDENT_HASH, RATIONALE: student_hash(recipe.personalised)}.get(
        side, recipe.student_hash
    )
    card: dict[str, Any] = {
        "name": side,
        "protocol": protocol,
        "mode": recipe.mode,
        "template_hash": template,
        "base": base,
    }
    card |= {"revision": None, **judge_settings(recipe), **trained_as(recipe)}
    write_atomic(adapter / "judge.json", json.dumps(card, indent=1) + "\n")
    if side == DECOMPOSED:
        return load_judge(JudgeName.parse(f"hf:{adapter}").called(side), mode=recipe.mode)
    if side == DIRECT:
        return load_judge(JudgeName.parse(f"direct+hf:{adapter}").called(side))
    weights = find_weights(str(adapter))
    return RationaleJudge(load(weights), JudgeInfo(side, "rationale", weights.name, template_hash=template))


class RationaleJudge(LevelJudge):
    """Writes what it thinks of the whole, then gives it a level."""

    def _prepare(self, batch: list[Loaded]) -> list[Loaded]:
        """Each item with its explanation, under `OVERALL` of what is wanted."""
        asked = [item for item in batch if item.outcome is None]
        written: list[Any] = []
        for some in chunks(asked, self.batch_size):
            turns = [
                Asked(item.images, [Turn("explain", OVERALL, _question(item.prompt), write=True)]) for item in some
            ]
            written += read_safely(self.model, turns)
        explained = {id(item): _explained(item, read) for item, read in zip(asked, written, strict=True)}
        return [explained.get(id(item), item) for item in batch]

    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        del explain
        return [
            Turn("level", level, _question(item.prompt), says=f"{item.wanted[OVERALL]}{SUMMARY_SCORE}{level}")
            for level in LEVELS
        ]

    def _judgement(self, item: Loaded, readings: Readings, usage: Usage) -> Judgement:
        shares = {level: readings["level", level].likelihood or 0.0 for level in LEVELS}
        total = math.fsum(shares.values())
        if not (math.isfinite(total) and total > 0):
            reason = "no level is likely after its explanation"
            return failed(item.image_id, item.prompt, self.info, Status.UNPARSABLE, reason, usage=usage)
        score = level_score({level: share / total for level, share in shares.items()}, "expected")
        said = str(item.wanted[OVERALL])
        return Judgement(item.image_id, item.prompt, self.info, scores={OVERALL: score}, rationale=said, usage=usage)


def _question(prompt: str) -> str:
    return student_prompt("summarise_overall", prompt=prompt)


def _explained(item: Loaded, read: Any) -> Loaded:
    if isinstance(read, Failure):
        return item.ended(read)
    reading = read["explain", OVERALL]
    if not reading.finished or not reading.text:
        return item.ended(Failure(Status.UNPARSABLE, f"no end after {reading.tokens} tokens"))
    return replace(item, wanted={OVERALL: reading.text.rpartition(SUMMARY_SCORE)[0] or reading.text})


def scored(judge: Judge, folder: Path, items: Sequence[Item]) -> dict[str, float | None]:
    """Overall score of items of a build folder by id; None for what failed."""
    judged = score_items(judge, folder, items)
    return {each.image_id: each.scores.get(OVERALL) if each.status is Status.OK else None for each in judged}
