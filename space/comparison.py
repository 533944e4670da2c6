"""Several pictures of one prompt: ranked, and compared question by question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from t2i_judge.records import OVERALL, Judgement, Question, Status
from t2i_judge.scoring import question_scores
from views import aspect_bars, bar, download, join, level, no_score, number, to_csv


@dataclass(frozen=True)
class Contestant:
    """A picture, as it is shown, with its judgement; `label` is the visitor's name for it."""

    label: str
    shown: Markup
    result: Judgement


def rank(contestants: Sequence[Contestant]) -> list[tuple[int | None, Contestant]]:
    """Best overall score first, equal scores on the same rank; pictures without a score last, without a rank."""
    scored = [each for each in contestants if each.result.scores.get(OVERALL) is not None]
    ordered = sorted(scored, key=_overall, reverse=True)
    ranks: list[tuple[int | None, Contestant]] = []
    for place, each in enumerate(ordered, 1):
        tied = ranks and _overall(ranks[-1][1]) == _overall(each)
        ranks.append((ranks[-1][0] if tied else place, each))
    return ranks + [(None, each) for each in contestants if each not in scored]


def _overall(contestant: Contestant) -> float:
    score = contestant.result.scores.get(OVERALL)
    return -1.0 if score is None else score


def comparison(contestants: Sequence[Contestant]) -> Markup:
    """The ranking as cards, then the questions on which the pictures differ most."""
    ranking = rank(contestants)
    results = [each.result for each in contestants]
    lines = "".join(_json_line(result) for result in results)
    return Markup(
        '<article class="tj-result"><ol class="tj-podium">{}</ol>{}'
        '<footer class="tj-foot">{}{}<span>{}</span></footer></article>'
    ).format(
        join(_card(place, each) for place, each in ranking),
        _differences([each for _, each in ranking]),
        download("JSON Lines", "comparison.jsonl", lines, "application/jsonl"),
        download("CSV", "comparison.csv", to_csv(results), "text/csv"),
        results[0].judge.name if results else "",
    )


def _json_line(result: Judgement) -> str:
    return json.dumps(result.to_json(), ensure_ascii=False) + "\n"


def _card(place: int | None, contestant: Contestant) -> Markup:
    result = contestant.result
    if result.status is not Status.OK:
        body = no_score(result)
    else:
        score = result.scores.get(OVERALL)
        body = Markup('<p><strong class="tj-number">{}</strong><span class="tj-of">of {:g}</span></p>{}{}').format(
            number(score),
            result.score_range[1],
            bar(score, result.score_range),
            aspect_bars(result.scores, result.score_range),
        )
    return Markup('<li><b class="tj-rank">{}</b>{}<span class="tj-label">{}</span>{}</li>').format(
        place or "–", contestant.shown, contestant.label, body
    )


def _differences(ranked: Sequence[Contestant]) -> Markup:
    """A row per question, those with the widest spread of scores first; a column per picture, in rank order."""
    counted = {id(each): question_scores(each.result.questions, each.result.answers) for each in ranked}
    questions: dict[str, Question] = {q.id: q for each in ranked for q in each.result.questions}
    if not questions:
        return Markup("")

    def spread(question: Question) -> float:
        scores = [score for each in ranked if (score := counted[id(each)].get(question.id)) is not None]
        return max(scores) - min(scores) if scores else -1.0

    rows = [
        Markup('<tr class="{}"><th scope="row">{}</th>{}</tr>').format(
            "tj-differs" if spread(question) >= 2 else "",
            question.text,
            join(_cell(each, question.id, counted[id(each)].get(question.id)) for each in ranked),
        )
        for question in sorted(questions.values(), key=spread, reverse=True)
    ]
    heads = join(Markup('<th scope="col">{}</th>').format(each.label) for each in ranked)
    return Markup(
        '<div class="tj-table"><table><caption>Questions, most different first</caption>'
        '<thead><tr><th scope="col">Question</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(heads, join(rows))


def _cell(contestant: Contestant, question_id: str, score: float | None) -> Markup:
    answer = next((each for each in contestant.result.answers if each.question_id == question_id), None)
    if answer is None or answer.status is not Status.OK or score is None:
        return Markup('<td class="tj-none" title="{}">–</td>').format(answer.reason if answer else "not asked")
    words = Markup("<small>{}</small>").format(answer.text) if answer.text else Markup("")
    return Markup('<td class="tj-{}"><b>{}</b>{}</td>').format(
        level(score, contestant.result.score_range), number(score), words
    )
