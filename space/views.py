"""Judgements as HTML. What comes from a visitor, a model or a dataset passes `Markup.format`, which escapes it."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup
from PIL import Image

from t2i_judge.inputs.domain import REASON as OUT_OF_DOMAIN
from t2i_judge.inputs.spreadsheets import guarded
from t2i_judge.judges.ocr import words_read
from t2i_judge.records import ALL_ASPECTS, OVERALL, SCORE_RANGE, Answer, Judgement, Question, ScoreInterval, Status
from t2i_judge.scoring import question_scores

_BANDS = "0–3 wrong or bad · 4–7 partly · 8–10 right and good"
_ASPECT_NAMES = {
    "appearance": "Appearance",
    "intrinsic": "Things and attributes",
    "relationship": "Relations",
    "overall": "Overall",
    "concept_preservation": "Concept preservation",
    "prompt_following": "Prompt following",
}


def aspect_name(aspect: str) -> str:
    """The aspect as people read it."""
    return _ASPECT_NAMES.get(aspect, aspect)


def join(parts: Iterable[Markup]) -> Markup:
    """Pieces of HTML, one after the other."""
    return Markup("").join(parts)


def notice(text: str, kind: str = "info") -> Markup:
    """One line for the visitor; `kind` is info, good or bad."""
    role = "alert" if kind == "bad" else "status"
    return Markup('<p class="tj-notice tj-{}" role="{}">{}</p>').format(kind, role, text)


def number(score: float | None) -> str:
    """A score as text, one decimal; a dash when there is none."""
    return "–" if score is None else f"{score:.1f}"


def level(score: float, score_range: tuple[float, float] = SCORE_RANGE) -> str:
    """Class of the colour of a score: bad, mid or good thirds of its range."""
    return ("bad", "mid", "good")[min(2, int(3 * _share(score, score_range)))]


def _share(score: float, score_range: tuple[float, float]) -> float:
    """How far up its range a score lies, from 0 to 1; one outside lies at its end."""
    low, high = score_range
    return min(1.0, max(0.0, (score - low) / (high - low)))


def bar(score: float | None, score_range: tuple[float, float] = SCORE_RANGE) -> Markup:
    """A bar from the lowest score to this one; an empty, hatched one when there is none."""
    if score is None:
        return Markup('<span class="tj-bar tj-none"></span>')
    width = 100 * _share(score, score_range)
    return Markup('<span class="tj-bar"><i class="tj-{}" style="width:{:.1f}%"></i></span>').format(
        level(score, score_range), width
    )


def picture(image: Image.Image, alt: str, side: int = 320) -> Markup:
    """The picture inside the page, at most `side` pixels per side, without a file on the server."""
    small, out = image.convert("RGB"), io.BytesIO()
    small.thumbnail((side, side))
    whole = max(image.size) <= side
    small.save(out, "WEBP", quality=90, lossless=whole)  # what is shown whole is shown exactly, not even smoothed
    data = base64.b64encode(out.getvalue()).decode("ascii")
    return Markup('<img class="tj-picture{}" alt="{}" src="data:image/webp;base64,{}">').format(
        " tj-exact" if whole else "", alt, data
    )


def captioned(image: Image.Image, title: str, side: int = 320) -> Markup:
    """The picture above its title."""
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(picture(image, title, side), title)


def download(label: str, name: str, text: str, mime: str) -> Markup:
    """A link that saves `text` as a file, without a file on the server."""
    data = base64.b64encode(text.encode()).decode("ascii")
    link = '<a class="tj-download" download="{}" href="data:{};base64,{}">{}</a>'
    return Markup(link).format(name, mime, data, label)


def judgement(result: Judgement, title: str = "") -> Markup:
    """A whole judgement: overall score on its scale, aspects, questions, downloads; a failure as a failure."""
    if result.status is not Status.OK:
        head = no_score(result)
    else:
        head = _overall(result)
    return Markup('<article class="tj-result">{}{}{}{}{}{}</article>').format(
        Markup("<h3>{}</h3>").format(title) if title else "",
        head,
        aspect_bars(result.scores, result.score_range),
        Markup('<p class="tj-rationale">{}</p>').format(result.rationale) if result.rationale else "",
        question_list(result),
        _footer(result),
    )


def no_score(result: Judgement) -> Markup:
    """What happened to a failed judgement, in a line."""
    declined = "out of domain: the picture is unlike the pictures that this judge was trained on, so it gives no score"
    reason = declined if result.reason == OUT_OF_DOMAIN else result.reason or ""
    return notice(f"No score: {result.status.value.replace('_', ' ')}. {reason}", "bad")


def _overall(result: Judgement) -> Markup:
    low, high = result.score_range
    score = result.scores.get(OVERALL)
    legend = _BANDS if result.score_range == SCORE_RANGE else f"{low:g} is worst, {high:g} is best"
    return Markup(
        '<div class="tj-overall" role="status"><strong class="tj-number">{}</strong><span class="tj-of">of {:g}</span>'
        '<div class="tj-scale">{}<small>{}</small></div></div>{}'
    ).format(number(score), high, bar(score, result.score_range), legend, _interval(result.interval))


_TARGETS = {"human_mean": "people's mean rating", "latent": "the true quality"}


def _interval(interval: ScoreInterval | None) -> Markup:
    """Where the target of the score lies, how often that is so, and for what."""
    if interval is None:
        return Markup("")
    return Markup(
        '<p class="tj-interval" data-low="{low}" data-high="{high}">In {level:.0%} of cases {target} is between '
        "<b>{low:.1f}</b> and <b>{high:.1f}</b> <small>(calibrated on {n} images, for similar prompts)</small></p>"
    ).format(
        low=interval.low,
        high=interval.high,
        level=interval.level,
        target=_TARGETS.get(interval.target, interval.target),
        n=interval.n,
    )


def aspect_bars(scores: Mapping[str, float | None], score_range: tuple[float, float] = SCORE_RANGE) -> Markup:
    """A labelled bar for every aspect the prompt asks about, the overall score left out."""
    rows = [
        Markup('<li><span>{}</span>{}<b class="tj-digits">{}</b></li>').format(
            aspect_name(aspect), bar(scores[aspect], score_range), number(scores[aspect])
        )
        for aspect in ALL_ASPECTS
        if aspect != OVERALL and scores.get(aspect) is not None
    ]
    return Markup('<ul class="tj-aspects">{}</ul>').format(join(rows)) if rows else Markup("")


def question_list(result: Judgement, truth: Mapping[str, Answer] | None = None) -> Markup:
    """Every question with its answer, expectation, score, confidence and explanation; `truth` beside it if known."""
    answers = {answer.question_id: answer for answer in result.answers}
    counted = question_scores(result.questions, result.answers)
    rows = [
        _question(result, question, answers.get(question.id), counted[question.id], truth)
        for question in result.questions
    ]
    return Markup('<ol class="tj-questions">{}</ol>').format(join(rows)) if rows else Markup("")


def _question(
    result: Judgement,
    question: Question,
    answer: Answer | None,
    counted: float | None,
    truth: Mapping[str, Answer] | None,
) -> Markup:
    failed = answer is None or answer.status is not Status.OK
    return Markup(
        '<li class="{}"><div class="tj-asked">{} <b>{}</b><small>{}</small>{}</div>'
        '<div class="tj-scored">{}<b class="tj-digits">{}</b></div>{}{}{}</li>'
    ).format(
        "tj-failed" if failed else "",
        _verdict(answer),
        question.text,
        aspect_name(question.aspect),
        _facts(question, answer, truth),
        bar(counted, result.score_range),
        number(counted),
        _confidence(result, question, answer),
        _why(answer),
        _rule(answer, counted),
    )


def _verdict(answer: Answer | None) -> Markup:
    """A sign for the eye, and what it means for whoever points at it or listens."""
    if answer is None or answer.status is not Status.OK:
        kind, sign, meaning = "tj-bad", "!", "no answer"
    elif answer.matches is None:
        kind, sign, meaning = "", "·", "nothing particular is expected"
    elif answer.matches:
        kind, sign, meaning = "tj-good", "✓", "as asked"
    else:
        kind, sign, meaning = "tj-bad", "✗", "not as asked"
    mark = '<span class="tj-mark {}" role="img" aria-label="{}" title="{}">{}</span>'
    return Markup(mark).format(kind, meaning, meaning, sign)


def _facts(question: Question, answer: Answer | None, truth: Mapping[str, Answer] | None) -> Markup:
    """Answer, expectation and truth, as far as they are known."""
    facts = [("sees", answer.text if answer else None), ("expected", question.expected)]
    if truth is not None and question.id in truth:
        facts.append(("truth", truth[question.id].text))
    known = [Markup("<span>{} <em>{}</em></span>").format(label, text) for label, text in facts if text]
    return Markup('<span class="tj-facts">{}</span>').format(join(known)) if known else Markup("")


def _confidence(result: Judgement, question: Question, answer: Answer | None) -> Markup:
    """The probability of each outcome as a small histogram, with that of the likeliest in words."""
    title, shares = _outcomes(result, question, answer)
    if not shares:
        return Markup("")
    columns = [Markup('<i style="height:{:.0f}%"></i>').format(max(4, 100 * share)) for share in shares]
    return Markup('<div class="tj-confidence" title="{}"><span>{}</span><small>{:.0f}% sure</small></div>').format(
        title, join(columns), 100 * max(shares)
    )


def _outcomes(result: Judgement, question: Question, answer: Answer | None) -> tuple[str, list[float]]:
    """What the outcomes are, and their probabilities; none where the judge told none.

    In mode "likelihood" the score of a question with an expected answer is that answer's probability, times the range.
    """
    if answer is None or answer.score is None:
        return "", []
    if answer.probabilities and "0" in answer.probabilities:  # else they are of words, which the score tells
        levels = answer.probabilities
        return "probability of each level, 0 to 9", [levels[level] for level in sorted(levels)]
    if question.expected is None or not result.judge.backend.endswith("likelihood score"):
        return "", []
    expected = answer.score / result.score_range[1]
    return "probability of another answer, and of the expected one", [1 - expected, expected]


def _why(answer: Answer | None) -> Markup:
    text = None
    if answer is None:
        text = "not answered"
    elif answer.status is not Status.OK:
        text = f"{answer.status.value.replace('_', ' ')}: {answer.reason}"
    else:
        text = words_read(answer) or answer.explanation
    return Markup('<p class="tj-why">{}</p>').format(text) if text else Markup("")


def _rule(answer: Answer | None, counted: float | None) -> Markup:
    """Say so where the dependency rule changed what the judge gave."""
    if answer is None or answer.score is None or number(counted) == number(answer.score):
        return Markup("")
    text = f"Counts as {number(counted)}, not {number(answer.score)}: the thing in question is not there."
    return Markup('<p class="tj-why">{}</p>').format(text)


def _footer(result: Judgement) -> Markup:
    judge, usage = result.judge, result.usage
    revision = f" @ {judge.revision[:12]}" if judge.revision else ""
    money = f" · ${usage.money:.4f}" if usage.money else ""
    record = json.dumps(result.to_json(), ensure_ascii=False, indent=1)
    return Markup('<footer class="tj-foot">{}{}<span>{}{} · {:.2f} s{}</span></footer>').format(
        download("JSON", "judgement.json", record, "application/json"),
        download("CSV", "judgement.csv", to_csv([result]), "text/csv"),
        judge.name,
        revision,
        usage.seconds,
        money,
    )


def to_csv(results: Sequence[Judgement]) -> str:
    """One row per question, after a row for the overall score of each image; formulas are guarded."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["image_id", "prompt", "judge", "revision", "aspect", "question_id", "question", "expected", "answer"]
        + ["matches", "score", "counted_score", "status", "reason", "explanation"]
    )
    for result in results:
        head = [result.image_id, result.prompt, result.judge.name, result.judge.revision]
        overall = result.scores.get(OVERALL)
        outcome = [result.status.value, result.reason, result.rationale]
        table.writerow(map(guarded, [*head, OVERALL, None, None, None, None, None, overall, overall, *outcome]))
        answers, counted = {a.question_id: a for a in result.answers}, question_scores(result.questions, result.answers)
        for q in result.questions:
            a = answers.get(q.id) or Answer(q.id, status=Status.SKIPPED, reason="not answered")
            row = [q.aspect, q.id, q.text, q.expected, a.text, a.matches, a.score, counted[q.id]]
            table.writerow(map(guarded, [*head, *row, a.status.value, a.reason, a.explanation]))
    return out.getvalue()
