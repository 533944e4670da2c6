"""Computes results.json: how far judges and people agree on held-out images, with intervals clustered by prompt.

Pure functions from judgements and ratings to rows; `recipes.evaluate_judge` makes the judgements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice, product
from typing import Any

import numpy as np

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.items import Item
from t2i_judge.decompose import to_lines
from t2i_judge.files import read_jsonl
from t2i_judge.prompts import score_to_level
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Answer, Judgement, Question, Status
from t2i_judge.stats.agreement import COEFFICIENTS, bootstrap, leave_one_out, paired_bootstrap, percentile_interval
from t2i_judge.stats.coefficients import Coefficient, Floats, as_floats, exact_means

LATENT, HUMANS_MEAN, TEACHER, ANNOTATOR, OTHERS_MEAN = "latent", "humans_mean", "teacher", "annotator", "others_mean"
REPORTED = ("spearman", "kendall_tau_b")
_PAIRS = 64  # of columns, that are resampled at a time

Scores = Mapping[str, float | None]  # image id -> score
ByAspect = Mapping[str, Scores]
Pair = tuple[Floats, Floats]


@dataclass(frozen=True)
class Ratings:
    """What judges are compared with.

    Attributes:
        references: name (`latent`, `humans_mean` or `teacher`) -> aspect -> image id -> value; the first one is the
            one that judges are compared on.
        annotators: annotator -> aspect -> image id -> score.
        simulated: whether none of it comes from people.
    """

    references: Mapping[str, ByAspect]
    annotators: Mapping[str, ByAspect]
    simulated: bool


def read_ratings(build: BuildFolder, teacher: Mapping[str, Judgement], simulated: bool) -> Ratings:
    """Latent quality, people's ratings, or where there are neither the teacher's scores, from a build folder."""
    references: dict[str, ByAspect] = {}
    if build.latent.is_file():
        latent = list(read_jsonl(build.latent))
        aspects = {key for row in latent for key in row if key != "id"}
        references[LATENT] = {aspect: {row["id"]: row.get(aspect) for row in latent} for aspect in aspects}
    people: dict[str, dict[str, dict[str, float]]] = {}
    for row in build.human_scores():
        if row.get("question_id") is None and row["score"] is not None:
            people.setdefault(row["annotator"], {}).setdefault(row["aspect"], {})[row["id"]] = row["score"]
    if people:
        references[HUMANS_MEAN] = _means(people.values())
    if not references:
        references[TEACHER] = scores_by_aspect(teacher)
    return Ratings(references, people, simulated)


def _means(people: Iterable[Mapping[str, Mapping[str, float]]]) -> ByAspect:
    by_item: dict[str, dict[str, list[float]]] = {}
    for ratings in people:
        for aspect, scores in ratings.items():
            for identity, score in scores.items():
                by_item.setdefault(aspect, {}).setdefault(identity, []).append(score)
    return {a: dict(zip(scores, exact_means(scores.values()).tolist(), strict=True)) for a, scores in by_item.items()}


def scores_by_aspect(judgements: Mapping[str, Judgement]) -> ByAspect:
    """Aspect -> image id -> score, of judgements by image id."""
    aspects = {aspect for judgement in judgements.values() for aspect in judgement.scores}
    return {aspect: {i: j.scores.get(aspect) for i, j in judgements.items()} for aspect in aspects}


def judge_rows(
    name: str, judgements: Mapping[str, Judgement], items: Sequence[Item], ratings: Ratings, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """One row per split, aspect and reference for one judge; a failed item counts in `n_failed` and nowhere else."""
    rows = []
    scores = scores_by_aspect(judgements)
    for split, chosen in _splits(items):
        failed = sum(judgements[item.id].status is not Status.OK for item in chosen)
        for against, reference in ratings.references.items():
            for aspect in _shared(scores, reference) if scores else _shared(reference):  # all failed: it has rows, too
                pair = (_column(scores.get(aspect, {}), chosen), _column(reference[aspect], chosen))
                labels = _labels(name, split, aspect, against, ratings)
                rows.append({**labels, **_figures([pair], chosen, failed, resamples, seed)})
    return rows


def annotator_rows(items: Sequence[Item], ratings: Ratings, resamples: int, seed: int) -> list[dict[str, Any]]:
    """People as judges: each against every other, against the mean of the others, and against the latent quality.

    A figure is the mean over annotators (or pairs of them), its interval that of the mean. Of each aspect, whoever
    rated it in that split counts.
    """
    rows = []
    aspects = {aspect for scores in ratings.annotators.values() for aspect in scores}
    for split, chosen in _splits(items):
        for aspect in _in_order(aspects):
            every = [_column(scores.get(aspect, {}), chosen) for scores in ratings.annotators.values()]
            if not (columns := [column for column in every if not np.isnan(column).all()]):
                continue
            pairs: dict[str, Iterable[Pair]] = {
                ANNOTATOR: combinations(columns, 2),
                OTHERS_MEAN: leave_one_out(np.column_stack(columns)),
            }
            if aspect in (latent := ratings.references.get(LATENT, {})):
                pairs[LATENT] = [(column, _column(latent[aspect], chosen)) for column in columns]
            for against, chosen_pairs in pairs.items():
                labels = _labels(ANNOTATOR, split, aspect, against, ratings)
                rows.append({**labels, **_figures(chosen_pairs, chosen, 0, resamples, seed)})
    return rows


def _splits(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    names = dict.fromkeys(item.split for item in items)
    return [(name, [item for item in items if item.split == name]) for name in names]


def _shared(*by_aspect: ByAspect) -> list[str]:
    """Aspects that all have, the overall one first."""
    return _in_order(set.intersection(*(set(scores) for scores in by_aspect)))


def _in_order(aspects: Iterable[str]) -> list[str]:
    return sorted(aspects, key=lambda aspect: (aspect != OVERALL, aspect))


def _column(scores: Scores, items: Sequence[Item]) -> Floats:
    return as_floats([scores.get(item.id) for item in items])


def _labels(judge: str, split: str, aspect: str, against: str, ratings: Ratings) -> dict[str, Any]:
    return {"judge": judge, "split": split, "aspect": aspect, "against": against, "simulated": ratings.simulated}


def _figures(pairs: Iterable[Pair], items: Sequence[Item], failed: int, resamples: int, seed: int) -> dict[str, Any]:
    """n, n_failed, and each coefficient with its 95% interval; None where it is undefined.

    It is the mean over the pairs for which it is defined, as in `agreement.human_ceiling`: somebody who rated two
    images does not take away the others. A few pairs are resampled at a time, all on the same resamples: of many people
    there are too many pairs to hold the draws of each.
    """
    known, prompts = np.zeros(len(items), dtype=bool), [item.prompt for item in items]
    means = {name: _Mean(np.zeros(resamples), np.zeros(resamples)) for name in REPORTED}
    rest = iter(pairs)
    while some := list(islice(rest, _PAIRS)):
        known |= np.any([~np.isnan(x + y) for x, y in some], axis=0)
        for (x, y), draws in zip(some, bootstrap(some, resamples, seed, prompts), strict=True):
            for name, mean in means.items():
                mean.add(COEFFICIENTS[name](x, y), draws[name])
    figures: dict[str, Any] = {"n": int(known.sum()), "n_failed": failed}
    for name, mean in means.items():
        interval = percentile_interval(mean.draws)
        figures[name] = sum(mean.values) / len(mean.values) if mean.values else None
        figures[f"{name}_ci"] = list(interval) if interval else None
        if not mean.values:
            figures["undefined"] = mean.undefined or "nobody to compare with"
    return figures


@dataclass
class _Mean:
    """A coefficient's mean over pairs, and that of each draw over the pairs for which both are defined.

    Attributes:
        totals, counts: of each draw, over the pairs so far.
        values: of the pairs for which it is defined.
        undefined: why it is not for the first other one.
    """

    totals: Floats
    counts: Floats
    values: list[float] = field(default_factory=list)
    undefined: str | None = None

    def add(self, one: Coefficient, draws: Floats) -> None:
        """Take in a pair's coefficient and its draws."""
        if one.value is None:
            self.undefined = self.undefined or one.undefined
            return
        self.values.append(one.value)
        self.totals += np.nan_to_num(draws)
        self.counts += ~np.isnan(draws)

    @property
    def draws(self) -> Floats:
        """The mean of each draw; nan where it is defined for no pair."""
        return np.divide(self.totals, self.counts, out=np.full_like(self.totals, np.nan), where=self.counts > 0)


def headline_aspects(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the figures of results.json are first of all about: the two axes where rows have them, else overall."""
    aspects = {row["aspect"] for row in rows}
    return tuple(aspect for aspect in PERSONALISED_ASPECTS if aspect in aspects) or (OVERALL,)


def compare(
    a: str,
    b: str,
    judgements: Mapping[str, Mapping[str, Judgement]],
    items: Sequence[Item],
    ratings: Ratings,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Judge a's Spearman minus judge b's on the items that both scored, one row per split and aspect (paired
    bootstrap).

    Of the overall score, and of both axes where it stands on two.
    """
    against, reference = next(iter(ratings.references.items()))
    aspects = [aspect for aspect in (OVERALL, *PERSONALISED_ASPECTS) if aspect in reference]
    scores = {judge: scores_by_aspect(judgements[judge]) for judge in (a, b)}
    rows = []
    for (split, chosen), aspect in product(_splits(items), aspects):
        first, second = (_column(scores[judge].get(aspect, {}), chosen) for judge in (a, b))
        clusters = [item.prompt for item in chosen]
        difference = paired_bootstrap(
            first, second, _column(reference[aspect], chosen), draws=resamples, seed=seed, clusters=clusters
        )["spearman"]
        row = {"a": a, "b": b, "split": split, "aspect": aspect, "against": against, "n": difference.n}
        measured = {
            "difference": difference.difference,
            "ci": list(difference.ci) if difference.ci else None,
            "p": difference.p,
        }
        rows.append({**row, **measured, "undefined": difference.undefined})
    return rows


def subtask_scores(
    own: Sequence[Judgement],
    explained: Sequence[Judgement],
    teacher: Mapping[str, Judgement],
    sums_up: bool = True,
) -> dict:
    """How well the student does each sub-task on held-out images, compared with the teacher.

    Args:
        own: the student's judgements, from its own decompositions.
        explained: its judgements with words, of the teacher's questions.
        teacher: the teacher's judgements by image id.
        sums_up: whether the student writes summaries; those that quote its explanations are held against nothing.

    Returns:
        `n_prompts`, `n_images`, and shares in [0, 1] of exact matches by sub-task: whole decompositions, answers,
        explanations, score levels, and the texts and levels of summaries; mean absolute errors in score units. What
        the student did not say is not exact, and has no error.
    """
    judged = [judgement for judgement in own if teacher[judgement.image_id].questions]
    prompts = {judgement.prompt: judgement for judgement in sorted(judged, key=lambda j: len(j.questions))}
    exact = [_same_lines(j.questions, teacher[j.image_id].questions) for j in prompts.values()]
    figures: dict[str, list[float]] = {"decompose_exact": [float(match) for match in exact]}
    for judgement in explained:
        reference = teacher[judgement.image_id]
        said = {answer.question_id: answer for answer in judgement.answers}
        for wanted in reference.answers:  # where the judgement failed, nothing was said, and nothing of it is right
            answer = said.get(wanted.question_id, Answer(wanted.question_id))
            for key, value in _answer_matches(answer, wanted).items():
                figures.setdefault(key, []).append(value)
        for aspect, text in reference.summary_texts.items() if sums_up else ():
            task = "summarise_overall" if aspect == OVERALL else "summarise"
            pair = (judgement.summary_scores.get(aspect), reference.summary_scores.get(aspect))
            figures.setdefault(f"{task}_exact", []).append(float(judgement.summary_texts.get(aspect) == text))
            figures.setdefault(f"{task}_level_exact", []).append(float(_same_level(*pair)))
    shares = {key: round(sum(values) / len(values), 4) for key, values in figures.items() if values}
    return {"n_prompts": len(prompts), "n_images": len(explained), **shares}


def _same_lines(questions: Sequence[Question], wanted: Sequence[Question]) -> bool:
    return bool(questions) and to_lines(questions) == to_lines(wanted)


def _answer_matches(answer: Answer, wanted: Answer) -> dict[str, float]:
    """What of an answer is the teacher's, by sub-task; nothing where the teacher itself said nothing."""
    matches: dict[str, float] = {}
    if wanted.text is not None:
        matches["answer_exact"] = float(answer.text == wanted.text)
    if wanted.explanation is not None:
        matches["explain_exact"] = float(answer.explanation == wanted.explanation)
    if wanted.score is not None:
        matches["score_exact"] = float(_likeliest(answer) == score_to_level(wanted.score))
        if answer.score is not None:
            matches["score_mean_absolute_error"] = abs(answer.score - wanted.score)
    return matches


def _likeliest(answer: Answer) -> str | None:
    """The level that the student would write: the likeliest where its score is an expectation over levels."""
    if answer.probabilities:
        levels = answer.probabilities
        return max(levels, key=lambda level: levels[level])
    return None if answer.score is None else score_to_level(answer.score)


def _same_level(score: float | None, wanted: float | None) -> bool:
    if score is None or wanted is None:
        return score is wanted
    return score_to_level(score) == score_to_level(wanted)
