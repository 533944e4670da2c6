"""What a judge of scenes is measured by: pure functions from judgements and scenes to shares and coefficients.

Shares lie in [0, 1] and are None where nothing was there to count; `n` is what they stand on. Words are read by
`reading`; a look may be off by one grade of four, as the bars allow, and `*_exact` counts only what is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes.scenes import rules
from recipes.scenes.world import Scene
from recipes.tiny import reading
from t2i_judge import calibration
from t2i_judge.decompose import to_lines
from t2i_judge.prompts import level_to_score
from t2i_judge.records import OVERALL, Answer, Judgement, Question, Status
from t2i_judge.stats.coefficients import COEFFICIENTS

STEPS = 1  # grades that a look may be off
LEVEL_OFF = level_to_score(1.5)  # a summary's level agrees with a score that is at most so far away
_FACTS = ("existence", "count", "color", "size", "texture")


@dataclass(frozen=True)
class Shown:
    """A rendered scene that a judge is shown: its prompt's text, what is in it, its latent quality by aspect (0-10)."""

    prompt: str
    scene: Scene
    latent: Mapping[str, float | None]


class Tally:
    """Named shares: `count` what was so and what was not, read `shares`."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = defaultdict(list)

    def count(self, name: str, so: bool) -> None:
        """One more case."""
        self._counts[name].append(so)

    def shares(self) -> dict[str, Any]:
        """name -> {"share", "n"}, in order of name."""
        counts = sorted(self._counts.items())
        return {name: {"share": round(sum(cases) / len(cases), 4), "n": len(cases)} for name, cases in counts}


def scores(shown: Sequence[Shown], judgements: Sequence[Judgement], aspects: Sequence[str]) -> dict[str, Any]:
    """Spearman of each aspect's score with the latent quality, how many images failed, and of how many."""
    failed = sum(judgement.status is not Status.OK for judgement in judgements)
    found = {aspect: COEFFICIENTS["spearman"](*_columns(shown, judgements, aspect)).value for aspect in aspects}
    return {"spearman": found, "failed": failed, "n": len(judgements)}


def _columns(shown: Sequence[Shown], judgements: Sequence[Judgement], aspect: str) -> tuple[list[float], list[float]]:
    """Score and latent quality of the images that have both."""
    pairs = [(j.scores.get(aspect), one.latent[aspect]) for one, j in zip(shown, judgements, strict=True)]
    known = [(score, latent) for score, latent in pairs if score is not None and latent is not None]
    return [score for score, _ in known], [latent for _, latent in known]


def calibrated(
    fitted_on: tuple[Sequence[Shown], Sequence[Judgement]], measured_on: tuple[Sequence[Shown], Sequence[Judgement]]
) -> dict[str, Any]:
    """Mean absolute error of the overall score against the latent quality, before and after an isotonic map.

    The map is fitted on other images.
    """
    found, latent = _columns(*measured_on, OVERALL)
    mapped = calibration.fit(*_columns(*fitted_on, OVERALL))
    after = calibration.errors([mapped.apply(score) for score in found], latent)
    return {"before": calibration.errors(found, latent)["mae"], "after": after["mae"], "n": after["n"]}


def decompositions(
    prompts: Sequence[str], written: Sequence[Sequence[Question]], decompose: Callable[[str], list[Question]]
) -> dict[str, Any]:
    """Shares of decompositions that can be read, and that are exact: of all, and by number of groups.

    Args:
        prompts: what was taken apart.
        written: a judge's questions, none where it wrote nothing that can be read.
        decompose: what the teacher asks.
    """
    tally = Tally()
    for prompt, questions in zip(prompts, written, strict=True):
        wanted = decompose(prompt)
        groups = len({entity for question in wanted for entity in question.entities})
        exact = bool(questions) and to_lines(questions) == to_lines(wanted)
        tally.count("readable", bool(questions))
        tally.count("exact", exact)
        tally.count(f"exact_{groups}_group{'s' if groups > 1 else ''}", exact)
    return tally.shares()


def words(shown: Sequence[Shown], judgements: Sequence[Judgement]) -> dict[str, dict[str, Any]]:
    """Shares of answers, explanations and summaries that are right, true of the scene, and agree with each other.

    Args:
        shown: what the images show.
        judgements: of these, with words, of the judge's own questions. Those that failed are left out (see `scores`),
            and so are questions of no kind that the world knows (counted as `answers.known`).
    """
    answers, explanations, summaries = Tally(), Tally(), Tally()
    for one, judgement in zip(shown, judgements, strict=True):
        if judgement.status is not Status.OK:
            continue
        for question, answer in zip(judgement.questions, judgement.answers, strict=True):
            known = reading.subject_of(question) is not None
            answers.count("known", known)
            if known:
                _count_answer(answers, one.scene, question, answer)
                _count_explanation(explanations, one.scene, question, answer)
        _count_summaries(summaries, one, judgement)
    return {"answers": answers.shares(), "explanations": explanations.shares(), "summaries": summaries.shares()}


def _count_answer(tally: Tally, scene: Scene, question: Question, answer: Answer) -> None:
    kind, said, truth = _kind(question), (answer.text or "").strip(), str(rules.answer(scene, question).text)
    if kind != "appearance":
        tally.count(kind, said == truth)
        tally.count("facts" if kind in _FACTS else "relations", said == truth)
        return
    looks = reading.look_of(said), reading.look_of(truth)
    if looks[1] is not None:  # of what is there
        tally.count("flaw", looks[0] is not None and looks[0][0] == looks[1][0])
        tally.count("flaw_or_clean_beside", reading.looks_alike(said, truth, STEPS))
    if looks[0] is not None and looks[1] is not None:
        tally.count("grade_within_one", abs(looks[0][1] - looks[1][1]) <= STEPS)


def _kind(question: Question) -> str:
    subject = reading.subject_of(question)
    assert subject is not None
    return subject[0]


def _count_explanation(tally: Tally, scene: Scene, question: Question, answer: Answer) -> None:
    claims = reading.read(answer.explanation)
    seen, asked = reading.facts_of(scene, [question]), reading.asked_of([question])
    look = _kind(question) == "appearance"
    name = "true_looks" if look else "true"
    tally.count("readable", claims is not None)
    tally.count("agree", reading.explains(claims or (), question, answer, STEPS))
    tally.count(name, _all_hold(claims, seen, asked, STEPS))
    tally.count(f"{name}_exact", _all_hold(claims, seen, asked, 0))


def _all_hold(claims: Sequence[reading.Claim] | None, seen: reading.Facts, asked: reading.Facts, steps: int) -> bool:
    return bool(claims) and all(reading.holds(claim, seen, asked, steps) for claim in claims or ())


def _count_summaries(tally: Tally, one: Shown, judgement: Judgement) -> None:
    wanted = rules.decompose(one.prompt)
    seen, told = reading.facts_of(one.scene, wanted), reading.facts_told(judgement.questions, judgement.answers)
    for aspect, text in judgement.summary_texts.items():
        claims = reading.read(text)
        asked = reading.asked_of(_about(wanted, aspect))
        true = _all_hold(claims, seen, asked, STEPS)
        agree = _all_hold(claims, told, reading.asked_of(_about(judgement.questions, aspect)), STEPS)
        score, level = judgement.scores.get(aspect), judgement.summary_scores.get(aspect)
        near = score is not None and level is not None and abs(score - level) <= LEVEL_OFF
        for name in ("", f"_{aspect}"):
            tally.count(f"readable{name}", claims is not None)
            tally.count(f"true{name}", true)
            tally.count(f"agree{name}", agree)
            if aspect in judgement.summary_scores:  # a summary that quotes has none
                tally.count(f"level_agrees{name}", near)


def _about(questions: Iterable[Question], aspect: str) -> list[Question]:
    return [question for question in questions if aspect in (question.aspect, OVERALL)]


def table(figures: Mapping[str, Any], under: str = "") -> list[tuple[str, float | int | None, int | None]]:
    """(name, figure, n) of everything in nested figures, names joined by dots."""
    rows: list[tuple[str, float | int | None, int | None]] = []
    for name, value in figures.items():
        path = f"{under}.{name}" if under else name
        if isinstance(value, Mapping) and "share" in value:
            rows.append((path, value["share"], value["n"]))
        elif isinstance(value, Mapping):
            rows += table(value, path)
        else:
            rows.append((path, value, None))
    return rows
