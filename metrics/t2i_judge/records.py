"""The records: questions, answers, judgements. JSON Lines on disk, with the same fields as `datasets.Features`.

Scores are floats in [0, 10] (higher is better) unless the judge declares another `score_range`. `None` means that there
is no score; `status` and `reason` then say why. Nothing in this project fills, guesses or clips a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from .errors import UserError, printable, quoted

if TYPE_CHECKING:
    from datasets import Features

ASPECTS = ("appearance", "intrinsic", "relationship")
PERSONALISED_ASPECTS = ("concept_preservation", "prompt_following")
OVERALL = "overall"
ALL_ASPECTS = (*ASPECTS, OVERALL, *PERSONALISED_ASPECTS)
SCORE_RANGE = (0.0, 10.0)
WORDS = YES, NO, EXPECTED = ("yes", "no", "expected")  # what `Answer.probabilities` holds beside levels


class Status(StrEnum):
    """Outcome of an item or an answer. Means and coefficients use `OK` only and report the others by count."""

    OK = "ok"
    REFUSED = "refused"
    FILTERED = "filtered"
    UNPARSABLE = "unparsable"
    OUT_OF_RANGE = "out_of_range"
    TRANSPORT = "transport"
    IMAGE_ERROR = "image_error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Question:
    """One small question about an image.

    Attributes:
        id: the question's id, unique within its prompt ("q1", "q2", ...).
        aspect: the aspect it counts for, one of `ASPECTS` or `PERSONALISED_ASPECTS`.
        entities: the things it is about, as the prompt names them.
        text: the question as the judge reads it.
        expected: the answer that the prompt implies; None for appearance.
        depends_on: ids of the questions that must match for this one to count (DSG, arXiv 2310.18235).
    """

    id: str
    aspect: str
    entities: tuple[str, ...]
    text: str
    expected: str | None = None
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A judge's answer to one `Question`.

    Attributes:
        question_id: the question's id.
        text: the answer in words, if the judge wrote one.
        matches: whether the image shows what is expected; None if that is not known.
        score: the score in the judge's range, before the dependency rule; None unless the status is OK.
        explanation: the reason in the judge's words; for questions about a reference, what the judge sees there.
        probabilities: the probability of each score level ("0" to "9"), of "yes" and "no", or of the "expected" answer,
            where the backend can read them. Those of words are over the whole vocabulary.
        status, reason: what happened; a status other than OK has a reason.
    """

    question_id: str
    text: str | None = None
    matches: bool | None = None
    score: float | None = None
    explanation: str | None = None
    probabilities: Mapping[str, float] | None = None
    status: Status = Status.OK
    reason: str | None = None

    def __post_init__(self) -> None:
        _check_outcome(self, self.score)


@dataclass(frozen=True)
class Summary:
    """What the model itself wrote about an aspect or the whole. It is never mixed into the aggregate."""

    aspect: str
    explanation: str | None
    score: float | None


@dataclass(frozen=True)
class JudgeInfo:
    """Who judged.

    Attributes:
        name: of the judge.
        backend: what runs it, and how.
        model: a repository, a folder or what a server calls it.
        revision: a commit, a snapshot name or a digest.
        template_hash: the version of what it is asked.
        template: the text of the question, where a user may choose it.
        tokens: which tokens count as its answer, for a judge that reads probabilities of words.
        way: how the answers were computed (`local.ways`), where there is more than one way.
    """

    name: str
    backend: str
    model: str
    revision: str | None = None
    template_hash: str | None = None
    template: str | None = None
    tokens: str | None = None
    way: str | None = None


@dataclass(frozen=True)
class Usage:
    """What a judgement cost. `money` is in US dollars, None if the price is unknown; `seconds` are wall time."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    money: float | None = None

    def __add__(self, other: Usage) -> Usage:
        money = None if self.money is None and other.money is None else (self.money or 0.0) + (other.money or 0.0)
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
            money,
        )


@dataclass(frozen=True)
class ScoreInterval:
    """The interval in which the target of an overall score lies in `level` of all cases (`conformal`).

    target: "human_mean" or "latent"; low, high: in its units. n: images it was calibrated on; it holds for prompts
    drawn like theirs.
    """

    low: float
    high: float
    level: float
    target: str
    n: int


@dataclass(frozen=True)
class Judgement:
    """One image judged for one prompt.

    Attributes:
        image_id: the caller's name for the image, or its sha256.
        prompt: the text-to-image prompt.
        judge: who judged.
        status, reason: outcome of the whole item.
        scores: aspect -> score, always the aggregate that `scoring` makes of the answers; None for an aspect without a
            score.
        score_range: (lowest, highest) score of this judge.
        summary_scores: aspect -> score that the model itself wrote down.
        summary_texts: aspect -> what the model wrote about it in words.
        questions, answers: in the same order, one answer per question.
        rationale: the overall explanation.
        usage: calls, tokens, seconds, money.
        interval: the interval of the overall score, if the judge's intervals are calibrated; else None.
    """

    image_id: str
    prompt: str
    judge: JudgeInfo
    status: Status = Status.OK
    reason: str | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    score_range: tuple[float, float] = SCORE_RANGE
    summary_scores: Mapping[str, float | None] = field(default_factory=dict)
    summary_texts: Mapping[str, str | None] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    answers: tuple[Answer, ...] = ()
    rationale: str | None = None
    usage: Usage = field(default_factory=Usage)
    interval: ScoreInterval | None = None

    def __post_init__(self) -> None:
        _check_outcome(self, self.scores.get(OVERALL))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; `from_json` makes an equal judgement of it."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Judgement:
        """Read what `to_json` gives, or a row of a dataset with `judgement_features()`. Raises `UserError`."""
        try:
            return cls(
                image_id=record["image_id"],
                prompt=record["prompt"],
                judge=JudgeInfo(**record["judge"]),
                status=Status(record["status"]),
                reason=record.get("reason"),
                scores={k: v for k, v in record["scores"].items() if k in ALL_ASPECTS},
                score_range=tuple(record["score_range"]),
                summary_scores=dict(record.get("summary_scores") or {}),
                summary_texts=dict(record.get("summary_texts") or {}),
                questions=tuple(question_from_json(q) for q in record.get("questions") or ()),
                answers=tuple(_answer_from_json(a) for a in record.get("answers") or ()),
                rationale=record.get("rationale"),
                usage=Usage(**record.get("usage") or {}),
                interval=_interval_from_json(record.get("interval")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"The record is not a judgement: {quoted(error)}",
                "A field is missing or has another type",
                "Write it with t2i-judge score",
            ) from error


@dataclass(frozen=True)
class Comparison:
    """Two images compared for one prompt, asked about in both orders.

    Attributes:
        prompt: what both were made for.
        judge: who compared.
        winner: "a", "b" or "tie"; None unless the status is OK. If the two orders disagree, it is a tie.
        first, second: the winner ("a", "b", "tie") when a is shown first, and when b is shown first.
        explanations: why, in the judge's words, for each order.
        status, reason: what happened; a status other than OK has a reason.
        usage: of both calls.
        probabilities: for each order, the probabilities of "a", "b" and "tie" among all possible answers, where they
            can be read.
    """

    prompt: str
    judge: JudgeInfo
    winner: str | None = None
    first: str | None = None
    second: str | None = None
    explanations: tuple[str | None, str | None] = (None, None)
    status: Status = Status.OK
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    probabilities: tuple[dict[str, float] | None, dict[str, float] | None] = (None, None)

    def __post_init__(self) -> None:
        _check_outcome(self, None)
        if (self.winner is None) == (self.status is Status.OK):
            raise ValueError(f"status {self.status.value!r} with the winner {self.winner!r}")

    @property
    def flipped(self) -> bool:
        """Whether the two orders disagree."""
        return self.status is Status.OK and self.first != self.second


def _check_outcome(record: Answer | Judgement | Comparison, score: float | None) -> None:
    """Check both, and make the reason safe to print: it may quote a server or a file."""
    status, reason = record.status, record.reason
    if reason is not None:
        object.__setattr__(record, "reason", printable(reason))
    if status is not Status.OK and not reason:
        raise ValueError(f"status {status.value!r} needs a reason")
    if status is not Status.OK and score is not None:
        raise ValueError(f"status {status.value!r} cannot carry the score {score}")
    if score is not None and not math.isfinite(score):
        raise ValueError(f"score {score} is not finite")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.value if isinstance(value, StrEnum) else value


def question_from_json(record: Mapping[str, Any]) -> Question:
    """A `Question` from JSON or a dataset row; lists become tuples, unknown keys are an error."""
    for name in ("entities", "depends_on"):
        if isinstance(record.get(name), str):  # whose letters would be taken one by one
            raise TypeError(f"{name} is {record[name]!r} and not a list")
    return Question(
        **{**record, "entities": tuple(record["entities"]), "depends_on": tuple(record.get("depends_on") or ())}
    )


def _answer_from_json(record: Mapping[str, Any]) -> Answer:
    levels = record.get("probabilities")
    known = {k: v for k, v in levels.items() if v is not None} if levels else None
    return Answer(**{**record, "status": Status(record["status"]), "probabilities": known})


def _interval_from_json(record: Mapping[str, Any] | None) -> ScoreInterval | None:
    """None without an interval; a dataset's row then has the fields with None in each."""
    return None if record is None or record["low"] is None else ScoreInterval(**record)


def failed(image_id: str, prompt: str, judge: JudgeInfo, status: Status, reason: str, **rest: Any) -> Judgement:
    """A judgement without a score: `status` says what happened, `reason` why."""
    return Judgement(image_id, prompt, judge, status=status, reason=reason, **rest)


def count_statuses(statuses: Iterable[Status]) -> dict[str, int]:
    """Status -> number of items, for each status other than OK; empty if nothing failed."""
    counts: dict[str, int] = {}
    for status in statuses:
        if status != Status.OK:
            counts[status.value] = counts.get(status.value, 0) + 1
    return counts


def question_features() -> dict[str, Any]:
    """The `datasets` feature of one question."""
    from datasets import List, Value

    text = Value("string")
    return {
        "id": text,
        "aspect": text,
        "entities": List(text),
        "text": text,
        "expected": text,
        "depends_on": List(text),
    }


def judgement_features() -> Features:
    """`datasets.Features` with the same fields as `Judgement.to_json()`."""
    from datasets import Features, List, Value

    text, number, whole = Value("string"), Value("float64"), Value("int64")
    by_aspect = dict.fromkeys(ALL_ASPECTS, number)
    answer = {
        "question_id": text,
        "text": text,
        "matches": Value("bool"),
        "score": number,
        "explanation": text,
        "probabilities": dict.fromkeys((*map(str, range(10)), *WORDS), number),
        "status": text,
        "reason": text,
    }
    return Features(
        {
            "image_id": text,
            "prompt": text,
            "judge": {f.name: text for f in fields(JudgeInfo)},
            "status": text,
            "reason": text,
            "scores": by_aspect,
            "score_range": List(number),
            "summary_scores": by_aspect,
            "summary_texts": dict.fromkeys(ALL_ASPECTS, text),
            "questions": List(question_features()),
            "answers": List(answer),
            "rationale": text,
            "usage": {
                "calls": whole,
                "input_tokens": whole,
                "output_tokens": whole,
                "seconds": number,
                "money": number,
            },
            "interval": {"low": number, "high": number, "level": number, "target": text, "n": whole},
        }
    )
