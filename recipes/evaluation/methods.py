"""A personalised build's report on its methods: what `t2i_judge.methods.results` is given from items and judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.evaluation.results import Ratings, scores_by_aspect
from recipes.recipe.items import Item
from t2i_judge.methods.report import MethodItem, Rating
from t2i_judge.methods.results import Judged, method_results
from t2i_judge.records import PERSONALISED_ASPECTS, Judgement

_ATTRIBUTES = ("family", "category", "difficulty")


def report(
    items: Sequence[Item],
    judgements: Mapping[str, Sequence[Mapping[str, Judgement]]],
    ratings: Ratings,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """DreamBench++'s report over held-out images of methods that are named.

    Args:
        items: the images; those without a generator are left out.
        judgements: judge -> judgements by image id, once per run. Judges that score other aspects only are left out.
        ratings: people's ratings, on the axes' scale.
        resamples, seed: of the bootstrap.

    Raises:
        UserError: a rating is off the axes' scale of 0 to 4.
    """
    known = {item.id: _method_item(item, item.generator) for item in items if item.generator}
    rated = [
        Rating(identity, person, aspect, score)
        for person, by_aspect in ratings.annotators.items()
        for aspect in PERSONALISED_ASPECTS
        for identity, score in by_aspect.get(aspect, {}).items()
        if identity in known
    ]
    judged = [_judged(name, runs) for name, runs in judgements.items()]
    judging = [judge for judge in judged if not judge.runs[0] or judge.runs[0].keys() & set(PERSONALISED_ASPECTS)]
    return method_results(known, rated, judging, draws=resamples, seed=seed)


def _method_item(item: Item, method: str) -> MethodItem:
    attributes = item.attributes or {}
    return MethodItem(method, item.prompt, **{name: attributes.get(name) for name in _ATTRIBUTES})


def _judged(name: str, runs: Sequence[Mapping[str, Judgement]]) -> Judged:
    score_range = next(iter(runs[0].values())).score_range
    return Judged(name, [scores_by_aspect(run) for run in runs], score_range)
