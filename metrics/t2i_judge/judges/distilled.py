"""Judges that run on this machine: `one_forward` (all questions of an image in one pass) and `direct` (one question).

The student decomposes a prompt by itself (text only, once a prompt); then one forward pass over the shared prefix
reads, for every question, the distribution over the ten score levels. Mode "expected" scores by its expectation,
"greedy" by its likeliest level; the probabilities stay in the answers. Mode "likelihood" scores a question that has an
expected answer by the probability that the student answers just that (as VQAScore does, arXiv 2404.01291), read in the
same pass, and the others as "expected" does; where "as in the reference" is expected, the student is asked about the
reference before, once, which then stands in the image's place. Words about the image are written only when asked for.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from ..decompose import check, from_lines
from ..errors import UserError
from ..inputs.images import ImageError, encode_image, load_image
from ..local.chats import Chats
from ..local.model import LocalModel, Reading
from ..prompts import (
    DIRECT_STUDENT_HASH,
    LEVELS,
    NO_REFERENCE,
    SUMMARY_SCORE,
    direct_prompts,
    level_to_score,
    student_hash,
    student_prompt,
    wants_reference,
)
from ..records import OVERALL, Answer, JudgeInfo, Judgement, Question, Status, Usage, failed
from ..scoring import asked_aspects, aspect_scores
from .base import Item, Judge

Mode = Literal["expected", "greedy", "likelihood"]
MODES = ("expected", "greedy", "likelihood")
_MATCHES_FROM = 5.0  # an image agrees with the prompt where its score is in the upper half
_DECOMPOSITION_TOKENS, _WORDS_TOKENS = 1024, 160
_PROMPTS_AN_IMAGE = 4  # prompts that are decomposed in the room that one image takes
T = TypeVar("T")
_Key = tuple[str, tuple[str, ...]]  # digest of a reference, and what is asked about it


@dataclass(frozen=True)
class _Failure:
    status: Status
    reason: str


@dataclass(frozen=True)
class _Loaded:
    """One image to judge, loaded; `outcome` is set as soon as it is known that it cannot be.

    `wanted` is what the judge answers about the reference itself: question's id -> answer, or why there is none.
    """

    image_id: str
    prompt: str
    images: tuple[Any, ...] = ()
    questions: tuple[Question, ...] | None = None
    wanted: Mapping[str, str | _Failure] = field(default_factory=dict)
    outcome: tuple[Status, str] | None = None


def probabilities(reading: Reading) -> dict[str, float] | None:
    """Level -> probability among the ten levels; None when the model's logits are not finite."""
    if not all(map(math.isfinite, reading.level_logits)):
        return None
    highest = max(reading.level_logits)
    weights = [math.exp(logit - highest) for logit in reading.level_logits]
    return {level: weight / sum(weights) for level, weight in zip(LEVELS, weights, strict=True)}


def level_score(distribution: Mapping[str, float], mode: Mode) -> float:
    """Score in [0, 10] of a distribution over levels: of its expectation, or of its likeliest level."""
    if mode == "greedy":
        return level_to_score(int(max(distribution, key=lambda level: distribution[level])))
    return level_to_score(sum(int(level) * share for level, share in distribution.items()))


class LocalJudge(Judge):
    """What local judges share: items in, judgements out in order, nothing raised for one item.

    Args:
        model: the loaded model.
        info: who judges; the mode is added to its backend, and to its name when it is not the default.
        mode: "expected", "greedy" or "likelihood".
        batch_size: images that go through the model together.
        declines: image -> why it is not judged, or None; for judges that know their domain.
        calibrate: score -> score on the human scale, for the overall score and the aspects; named in `info`.
    """

    def __init__(
        self,
        model: LocalModel,
        info: JudgeInfo,
        mode: Mode = "expected",
        batch_size: int = 16,
        declines: Callable[[Any], str | None] | None = None,
        calibrate: Callable[[float], float] | None = None,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"mode {mode!r} is unknown", "it says how levels become a score", f"use one of {MODES}")
        suffix = ("" if mode == "expected" else f" ({mode})") + (" calibrated" if calibrate else "")
        self.info = replace(info, name=info.name + suffix, backend=f"{info.backend}, {mode} score")
        self.model, self.mode, self.batch_size = model, mode, batch_size
        self.declines, self.calibrate = declines, calibrate

    def _score(self, items: Sequence[Item], explain: bool, progress: bool) -> list[Judgement]:
        from tqdm import tqdm

        judgements: list[Judgement] = []
        with tqdm(total=len(items), disable=not progress, desc=self.info.name, unit="image") as bar:
            for some in _chunks(items, self.batch_size * _PROMPTS_AN_IMAGE):
                loaded = self._ask([_loaded(item, self.declines) for item in some])
                for batch in _chunks(loaded, self.batch_size):
                    judgements += self._judge_batch(batch, explain)
                    bar.update(len(batch))
        return judgements

    def _ask(self, batch: list[_Loaded]) -> list[_Loaded]:
        """Give each item its questions (protocols without questions: nothing to do)."""
        return batch

    def _judge_batch(self, batch: Sequence[_Loaded], explain: bool) -> list[Judgement]:
        """Judgements of a batch: one pass over the items that can be judged."""
        start = time.perf_counter()
        sound = [item for item in batch if item.outcome is None]
        turns = {id(item): self._turns(item, explain) for item in sound}
        readings = iter(self._read_safely([(item, turns[id(item)]) for item in sound]))
        results = [None if item.outcome else next(readings) for item in batch]
        seconds = (time.perf_counter() - start) / max(len(sound), 1)
        judgements = []
        for item, result in zip(batch, results, strict=True):
            if result is None or isinstance(result, _Failure):
                status, reason = item.outcome or (result.status, result.reason)  # type: ignore[union-attr]
                judgements.append(failed(item.image_id, item.prompt, self.info, status, reason))
            else:
                read, wrote = (sum(counts) for counts in zip(*((r.tokens_read, r.tokens) for r in result)))
                usage = Usage(1, read, wrote, seconds, 0.0)
                judgements.append(self._judgement(item, result, usage))
        return judgements

    def _read_safely(self, items: Sequence[tuple[_Loaded, list[_Turn]]]) -> list[list[Reading] | _Failure]:
        """Readings of each item; a batch that fails is halved until the items that fail stand alone."""
        if not items:
            return []
        try:
            chats = [Chats(item.images, [_user(turn, len(item.images)) for turn in turns]) for item, turns in items]
            words = any(turn.write for _, turns in items for turn in turns)
            write = [[turn.write for turn in turns] for _, turns in items] if words else None
            return list(self.model.read(chats, write, _WORDS_TOKENS))
        except (ValueError, RuntimeError) as error:  # too long, out of memory, an image the processor cannot take
            if len(items) == 1:
                return [_Failure(Status.SKIPPED, f"the model cannot take it: {' '.join(str(error).split())[:300]}")]
        half = len(items) // 2
        return self._read_safely(items[:half]) + self._read_safely(items[half:])

    def _turns(self, item: _Loaded, explain: bool) -> list[_Turn]:
        """What is asked about an image."""
        raise NotImplementedError

    def _judgement(self, item: _Loaded, readings: list[Reading], usage: Usage) -> Judgement:
        """The judgement that the readings of `_turns` make."""
        raise NotImplementedError

    def _calibrated(self, scores: dict[str, float | None]) -> dict[str, float | None]:
        if self.calibrate is None:
            return scores
        return {aspect: None if score is None else self.calibrate(score) for aspect, score in scores.items()}


@dataclass(frozen=True)
class _Turn:
    """A user turn, and whether its answer is wanted in words, or the answer whose likelihood is wanted."""

    text: str
    write: bool = False
    said: str | None = None


def _user(turn: _Turn, images: int) -> list[dict[str, Any]]:
    content = [*({"type": "image"},) * images, {"type": "text", "text": turn.text}]
    answer = [] if turn.said is None else [{"role": "assistant", "content": [{"type": "text", "text": turn.said}]}]
    return [{"role": "user", "content": content}, *answer]


class OneForwardJudge(LocalJudge):
    """The distilled judge: decomposes the prompt, scores every question in one pass, explains on request.

    `personalised`: it asks about a subject and its reference, so every item needs a reference image.
    """

    def __init__(self, model: LocalModel, info: JudgeInfo, personalised: bool = False, **options: Any) -> None:
        super().__init__(model, replace(info, template_hash=student_hash(personalised)), **options)
        self.personalised = personalised
        self._questions: dict[str, tuple[Question, ...] | _Failure] = {}
        self._references: dict[_Key, list[str | _Failure]] = {}

    def decompose(self, prompts: Sequence[str], progress: bool = False) -> list[list[Question]]:
        """The questions of each prompt; an empty list where the student wrote none that can be read."""
        del progress
        self._decompose(prompts)
        found = [self._questions[prompt] for prompt in prompts]
        return [[] if isinstance(questions, _Failure) else list(questions) for questions in found]

    def _decompose(self, prompts: Sequence[str]) -> None:
        """Fill the cache; greedy, text only, several prompts at a time, those of like length together."""
        new = sorted({prompt for prompt in prompts if prompt not in self._questions}, key=lambda p: (len(p), p))
        for batch in _chunks(new, self.batch_size * _PROMPTS_AN_IMAGE):
            self._questions |= zip(batch, self._decompose_safely(batch), strict=True)

    def _decompose_safely(self, prompts: Sequence[str]) -> list[tuple[Question, ...] | _Failure]:
        asked = [student_prompt("decompose", prompt=prompt, personalised=self.personalised) for prompt in prompts]
        chats = [Chats([], [_user(_Turn(text), 0)]) for text in asked]
        try:
            written = self.model.read(chats, [[True]] * len(chats), _DECOMPOSITION_TOKENS)
        except (ValueError, RuntimeError) as error:
            if len(prompts) == 1:
                return [_Failure(Status.SKIPPED, f"the model cannot take the prompt: {' '.join(str(error).split())}")]
            half = len(prompts) // 2
            return self._decompose_safely(prompts[:half]) + self._decompose_safely(prompts[half:])
        return [_questions(reading) for (reading,) in written]

    def _ask(self, batch: list[_Loaded]) -> list[_Loaded]:
        if self.personalised:
            batch = [item if item.outcome or len(item.images) > 1 else _lonely(item) for item in batch]
        self._decompose([item.prompt for item in batch if item.outcome is None and item.questions is None])
        batch = [item if item.outcome else self._with_questions(item) for item in batch]
        return self._with_references(batch) if self.mode == "likelihood" else batch

    def _with_questions(self, item: _Loaded) -> _Loaded:
        found = self._questions[item.prompt] if item.questions is None else item.questions
        if isinstance(found, _Failure):
            return replace(item, outcome=(found.status, found.reason))
        try:
            check(found)
        except ValueError as error:
            return replace(item, outcome=(Status.SKIPPED, f"questions: {error}"))
        if len(item.images) < 2 and any(map(wants_reference, found)):
            return _lonely(item)
        return replace(item, questions=found)

    def _with_references(self, batch: list[_Loaded]) -> list[_Loaded]:
        """Each item with what is wanted of it as in its reference, which is asked once, as an image is."""
        keys = [_reference_key(item) for item in batch]
        said = {key: self._references[key] for key in keys if key in self._references}
        new = [(key, item) for key, item in dict(zip(keys, batch)).items() if key and key not in said]
        for some in _chunks(new, self.batch_size):
            readings = self._read_safely([_asked_of_reference(item) for _, item in some])
            for (key, item), found in zip(some, readings, strict=True):
                if isinstance(found, _Failure):
                    said[key] = [found] * len(_of_reference(item))
                else:
                    said[key] = list(map(_said, found))
        self._references |= {key: words for key, words in said.items() if all(isinstance(w, str) for w in words)}
        return [
            item if key is None else replace(item, wanted=dict(zip((q.id for q in _of_reference(item)), said[key])))
            for key, item in zip(keys, batch)
        ]

    def _scoring_turn(self, item: _Loaded, question: Question) -> _Turn:
        if self.mode == "likelihood" and question.expected is not None:
            said = item.wanted.get(question.id, question.expected)
            return _Turn(student_prompt("answer", question), said=None if isinstance(said, _Failure) else said)
        return _Turn(student_prompt("score", question))

    def _turns(self, item: _Loaded, explain: bool) -> list[_Turn]:
        questions = item.questions or ()
        turns = [self._scoring_turn(item, question) for question in questions]
        if explain:
            for task in ("answer", "explain"):
                turns += [_Turn(student_prompt(task, question), write=True) for question in questions]
            aspects = asked_aspects(questions)
            turns += [_Turn(student_prompt("summarise", prompt=item.prompt, aspect=a), write=True) for a in aspects]
            turns.append(_Turn(student_prompt("summarise_overall", prompt=item.prompt), write=True))
        return turns

    def _judgement(self, item: _Loaded, readings: list[Reading], usage: Usage) -> Judgement:
        questions = item.questions or ()
        count = len(questions)
        words = readings[count:]
        answers = [self._answer(item, question, reading) for question, reading in zip(questions, readings)]
        if words:
            spoken = zip(answers, words[:count], words[count : 2 * count], strict=True)
            answers = [replace(a, text=said.text, explanation=_joined(a, because)) for a, said, because in spoken]
        summaries = dict(zip((*asked_aspects(questions), OVERALL), map(_summary, words[2 * count :])))
        broken = next((answer for answer in answers if answer.status is not Status.OK), None)
        return Judgement(
            item.image_id,
            item.prompt,
            self.info,
            status=broken.status if broken else Status.OK,
            reason=f"{broken.question_id}: {broken.reason}" if broken else None,
            scores=self._calibrated(aspect_scores(questions, answers)),
            summary_scores={aspect: score for aspect, (_, score) in summaries.items()},
            summary_texts={aspect: text for aspect, (text, _) in summaries.items()},
            questions=questions,
            answers=tuple(answers),
            rationale=summaries[OVERALL][0] if summaries else None,
            usage=usage,
        )

    def _answer(self, item: _Loaded, question: Question, reading: Reading) -> Answer:
        wanted = item.wanted.get(question.id)
        if isinstance(wanted, _Failure):
            return Answer(question.id, status=wanted.status, reason=f"the reference: {wanted.reason}")
        levels = probabilities(reading) if reading.likelihood is None else None
        if reading.likelihood is not None and math.isfinite(reading.likelihood):
            score = self.score_range[1] * reading.likelihood
        elif levels is not None:
            score = level_score(levels, self.mode)
        else:
            return Answer(question.id, status=Status.UNPARSABLE, reason="the model's logits are not finite")
        matches = score >= _MATCHES_FROM if question.expected is not None else None
        explanation = None if wanted is None else f'Of the reference it answers "{wanted}".'
        return Answer(question.id, matches=matches, score=score, explanation=explanation, probabilities=levels)


class DirectLocalJudge(LocalJudge):
    """The direct baseline: "rate this image", one level; beside a reference image one level more for each axis."""

    def __init__(self, model: LocalModel, info: JudgeInfo, **options: Any) -> None:
        super().__init__(model, replace(info, template_hash=DIRECT_STUDENT_HASH), **options)

    def _turns(self, item: _Loaded, explain: bool) -> list[_Turn]:
        return [_Turn(text) for text in direct_prompts(item.prompt, len(item.images) > 1).values()]

    def _judgement(self, item: _Loaded, readings: list[Reading], usage: Usage) -> Judgement:
        scores: dict[str, float | None] = {}
        for aspect, reading in zip(direct_prompts(item.prompt, len(item.images) > 1), readings, strict=True):
            if (levels := probabilities(reading)) is None:
                reason = "the model's logits are not finite"
                return failed(item.image_id, item.prompt, self.info, Status.UNPARSABLE, reason, usage=usage)
            scores[aspect] = level_score(levels, self.mode)
        return Judgement(item.image_id, item.prompt, self.info, scores=self._calibrated(scores), usage=usage)


def _loaded(given: Item, declines: Callable[[Any], str | None] | None) -> _Loaded:
    """Load and check one item."""
    questions = tuple(given.questions) if given.questions is not None else None
    item = _Loaded(given.image_id or "", str(given.prompt or ""), questions=questions)
    if not isinstance(given.prompt, str) or not given.prompt.strip():
        return replace(item, outcome=(Status.SKIPPED, "the prompt is empty"))
    try:
        pictures = [load_image(given.image)] + ([] if given.reference is None else [load_image(given.reference)])
        item = replace(item, images=tuple(pictures), image_id=given.image_id or encode_image(given.image).sha256)
    except ImageError as error:
        return replace(item, outcome=(Status.IMAGE_ERROR, error.reason))
    reason = next(filter(None, map(declines, pictures)), None) if declines else None
    return replace(item, outcome=(Status.SKIPPED, reason)) if reason else item


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _lonely(item: _Loaded) -> _Loaded:
    return replace(item, outcome=(Status.SKIPPED, NO_REFERENCE))


def _questions(reading: Reading) -> tuple[Question, ...] | _Failure:
    if not reading.finished:
        return _Failure(Status.UNPARSABLE, f"decomposition: no end after {reading.tokens} tokens")
    try:
        return tuple(from_lines(reading.text or ""))
    except ValueError as error:
        return _Failure(Status.UNPARSABLE, f"decomposition: {error}")


def _of_reference(item: _Loaded) -> list[Question]:
    return [question for question in item.questions or () if wants_reference(question)]


def _asked_of_reference(item: _Loaded) -> tuple[_Loaded, list[_Turn]]:
    """An item's reference in its image's place, so that it is asked as images are."""
    turns = [_Turn(student_prompt("answer", question), write=True) for question in _of_reference(item)]
    return replace(item, images=item.images[1:] * 2), turns


def _reference_key(item: _Loaded) -> _Key | None:
    """Names what is to be asked about an item's reference; None where that is nothing."""
    if item.outcome or not (asked := _of_reference(item)):
        return None
    reference = item.images[1]
    digest = hashlib.sha256(f"{reference.size}".encode() + reference.tobytes()).hexdigest()
    return digest, tuple(question.text for question in asked)


def _joined(answer: Answer, because: Reading) -> str | None:
    return " ".join(filter(None, (answer.explanation, because.text))) or because.text


def _said(reading: Reading) -> str | _Failure:
    if not reading.finished or not reading.text:
        return _Failure(Status.UNPARSABLE, f"no answer that ends after {reading.tokens} tokens")
    return reading.text


def _summary(reading: Reading) -> tuple[str | None, float | None]:
    """What the model wrote as "explanation, Score: level": its words, and the score when it can be read."""
    text, found, level = (reading.text or "").rpartition(SUMMARY_SCORE)
    if not found:
        return reading.text, None
    return text, level_to_score(int(level)) if level in LEVELS else None
