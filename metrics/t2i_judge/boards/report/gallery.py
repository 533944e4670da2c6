"""The gallery of a selftest: each attack before and after, with both judgements. One file that needs no network.

Each attack has two cases: the one with the largest effect, and the median one. The page needs no script.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...inputs.images import ImageError, load_image
from ...records import OVERALL, Judgement, Status
from ...runs.selftest.attacks import FALLS, STAYS, Attack
from ...runs.selftest.battery import Case, Sample, Selftest
from ...runs.selftest.probes import LIMIT, Probe
from ...runs.selftest.report import sentence
from .page import render
from .thumbnails import encode

Row = dict[str, Any]
_ROOM = 40_000  # bytes of one picture
_LONGEST = 320  # characters of a prompt, a reason or an answer that are shown
_QUESTIONS = 12
_HEADLINES = {
    "TRUSTED": "{judge} withstands every attack.",
    "UNTRUSTED": "{judge} cannot be trusted.",
    "INCONCLUSIVE": "{judge}: not decided.",
}
_ORDER = ("fail", "inconclusive", "pass", "not applicable")
_ASKS = {FALLS: "The score must fall.", STAYS: "The score must stay."}
_UNDESERVED = "The image has another item's prompt, so its score should be low. The score must not rise."


class Gallery:
    """What was attacked, collected while a selftest runs: `examine(..., watch=gallery.watch)`."""

    def __init__(self) -> None:
        self._attacks: list[tuple[Attack, Probe, list[Row]]] = []

    def watch(self, attack: Attack, probe: Probe, cases: Sequence[Case]) -> None:
        """Keep the cases of an attack that will be shown, with small pictures; without one that is gone meanwhile."""
        rows: list[Row] = []
        for what, case in _telling(attack, cases):
            with suppress(ImageError):
                rows.append(_shown(what, case))
        self._attacks.append((attack, probe, rows))

    def page(self, result: Selftest, score_range: tuple[float, float]) -> str:
        """The gallery as HTML."""
        span = score_range[1] - score_range[0]
        ordered = sorted(self._attacks, key=lambda one: _ORDER.index(one[1].verdict))
        rows = [_attack(*one, span) for one in ordered]
        verdicts = [probe.verdict for _, probe, _ in ordered]
        return render(
            "gallery.html",
            {},
            (),
            title="Can this judge be trusted?",
            headline=_HEADLINES[result.verdict].format(judge=result.judge["name"]),
            about=sentence(result).partition(": ")[2],
            result=result.to_json(),
            score_range=score_range,
            limit=LIMIT * span,
            counts={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
            attacks=rows,
        )


def _telling(attack: Attack, cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """The case whose score moved furthest in the wrong direction, and the median case."""
    scored = [case for case in cases if _score(case.judged_after) is not None]
    if not scored:
        return [("", cases[0])] if cases else []
    ordered = sorted(scored, key=lambda case: -_wrong(attack, case))
    middle = ordered[len(ordered) // 2]
    return [("largest change", ordered[0]), *([("median change", middle)] if middle is not ordered[0] else [])]


def _wrong(attack: Attack, case: Case) -> float:
    shift = _shift(case) or 0.0
    return abs(shift) if attack.expectation == STAYS else shift


def _shift(case: Case) -> float | None:
    before, after = _score(case.judged_before), _score(case.judged_after)
    return None if before is None or after is None else after - before


def _score(judgement: Judgement) -> float | None:
    return judgement.scores.get(OVERALL) if judgement.status is Status.OK else None


def _shown(what: str, case: Case) -> Row:
    before, after = case.before.prompt, case.after.prompt
    added = after[len(before) :] if after != before and after.startswith(before) else ""
    return {
        "what": what,
        "before": _side(case.before, case.judged_before, before, ""),
        "after": _side(case.after, case.judged_after, before if added else after, added),
        "shift": _shift(case),
        "answers": _answers(case.judged_before, case.judged_after),
    }


def _side(sample: Sample, judgement: Judgement, prompt: str, added: str) -> Row:
    failed = judgement.status is not Status.OK
    image = load_image(sample.image)
    return {
        "picture": base64.b64encode(encode(image, _ROOM)).decode(),
        "size": image.size,
        "prompt": _cut(prompt),
        "added": _cut(added),
        "score": _score(judgement),
        "failure": f"{judgement.status.value.replace('_', ' ')}: {_cut(judgement.reason or '')}" if failed else "",
    }


def _answers(before: Judgement, after: Judgement) -> list[Row]:
    """The questions that were asked both times, with both scores and answers; none if the questions differ."""
    later = {question.text: answer for question, answer in zip(after.questions, after.answers)}
    return [
        {
            "question": _cut(question.text),
            "before": {"score": answer.score, "text": _cut(answer.text or "")},
            "after": {"score": later[question.text].score, "text": _cut(later[question.text].text or "")},
        }
        for question, answer in zip(before.questions, before.answers)
        if question.text in later
    ][:_QUESTIONS]


def _attack(attack: Attack, probe: Probe, cases: list[Row], span: float) -> Row:
    asks = _UNDESERVED if attack.undeserved else _ASKS.get(attack.expectation, "The score must not rise.")
    return {
        **probe.to_json(),
        "id": "".join(sign if sign.isalnum() else "-" for sign in probe.name),
        "asks": asks,
        "unscored": sum(probe.n_failed.values()),
        "cases": cases,
        **_strip(probe, span),
    }


def _strip(probe: Probe, span: float) -> Mapping[str, Any]:
    """Positions of dot, whisker and limits, in per cent of a line from the largest fall to the largest rise."""

    def place(shift: float) -> float:
        return round(min(100.0, max(0.0, 50 + 50 * shift / span)), 2)

    limits = {FALLS: (-LIMIT,), STAYS: (-LIMIT, LIMIT)}.get(probe.expectation, (LIMIT,))
    ends = None if probe.ci is None else [place(end) for end in probe.ci]
    return {
        "dot": None if probe.shift is None else place(probe.shift),
        "bar": None if ends is None else (ends[0], round(ends[1] - ends[0], 2)),
        "limits": [place(limit * span) for limit in limits],
    }


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"
