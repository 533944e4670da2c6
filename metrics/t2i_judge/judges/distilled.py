"""The distilled judge on this machine, protocol `one_forward`: all questions of an image in one pass.

The student decomposes each prompt once, from its text. Then one forward pass over the shared prefix reads the
distribution over the ten score levels for every question. Mode "expected" scores by its expectation, "greedy" by its
likeliest level; the answers keep the probabilities. Mode "likelihood" scores a question with an expected answer by the
probability that the student gives exactly this answer (as VQAScore does, arXiv 2404.01291), read in the same pass, and
other questions as "expected" does. If the expected answer is "as in the reference", the student is first asked about
the reference, which takes the image's place. Words about the image are written only on request: beside the answers, or
by a student that has learnt so (`answers_first`) in a second pass, which is told the answers. Summaries are written as
well, or quote the student's explanations of what it found wrong (`quoted_summaries`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..decompose import check, from_lines
from ..errors import faults
from ..kept import Kept
from ..local.model import Asked, LocalModel, Reading, Readings, Turn
from ..prompts import (
    LEVELS,
    NO_REFERENCE,
    SUMMARY_SCORE,
    level_to_score,
    student_hash,
    student_prompt,
    told_answer,
    told_answers,
    wants_reference,
)
from ..records import NO, OVERALL, SCORE_RANGE, YES, Answer, JudgeInfo, Judgement, Question, Status, Usage
from ..scoring import asked_aspects, aspect_scores
from .local import PROMPTS_AN_IMAGE, Failure, LevelJudge, Loaded, chunks, level_score, probabilities, read_safely

_MATCHES_FROM = 5.0  # an image agrees with the prompt where its score is in the upper half
_DECOMPOSITION_TOKENS = 1024
_ANSWERS = {YES, NO, "one", "four", "plain"}  # that a judge of a domain learns, and its prompts do not have
_QUOTED = 2  # explanations of faults that make an aspect's summary
_Key = tuple[str, tuple[str, ...]]  # digest of a reference, and what is asked about it
_Words = dict[str, str | Failure]  # question's text -> what the student answers, or why it does not


class OneForwardJudge(LevelJudge):
    """The distilled judge: decomposes the prompt, scores every question in one pass, explains on request.

    `personalised`: it asks about a subject and its reference, so every item needs a reference image.
    `answers_first`: it explains and sums up its answers, which it is told.
    `quoted_summaries`: its summaries are its own explanations of faults, and have no score of their own.
    `unread`: prompt -> why it cannot be decomposed, or None; for judges that know their domain.
    """

    def __init__(
        self,
        model: LocalModel,
        info: JudgeInfo,
        personalised: bool = False,
        answers_first: bool = False,
        quoted_summaries: bool = False,
        unread: Callable[[str], str | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, replace(info, template_hash=student_hash(personalised, answers_first)), **options)
        self.personalised, self.unread = personalised, unread
        self.answers_first, self.quoted_summaries = answers_first, quoted_summaries
        self._questions: Kept[str, tuple[Question, ...] | Failure] = Kept()
        self._references: Kept[_Key, _Words] = Kept()

    def decompose(self, prompts: Sequence[str], progress: bool = False) -> list[list[Question]]:
        """The questions of each prompt; an empty list if the student's decomposition cannot be read."""
        del progress
        decomposed = self._decomposed(prompts)
        each = [decomposed[prompt] for prompt in prompts]
        return [[] if isinstance(questions, Failure) else list(questions) for questions in each]

    def _decomposed(self, prompts: Sequence[str]) -> dict[str, tuple[Question, ...] | Failure]:
        """What is kept, and the rest: greedy, text only, several prompts at a time, those of like length together."""
        known = {prompt: self._questions[prompt] for prompt in prompts if prompt in self._questions}
        new = sorted({*prompts} - {*known}, key=lambda p: (len(p), p))
        fresh: dict[str, tuple[Question, ...] | Failure] = {}
        if self.unread is not None:
            declined = {prompt: reason for prompt in new if (reason := self.unread(prompt)) is not None}
            fresh |= {prompt: Failure(Status.SKIPPED, reason) for prompt, reason in declined.items()}
            new = [prompt for prompt in new if prompt not in declined]
        for batch in chunks(new, self.batch_size * PROMPTS_AN_IMAGE):
            fresh |= zip(batch, self._decompose_safely(batch), strict=True)
        self._questions.update(fresh)
        return known | fresh

    def _decompose_safely(self, prompts: Sequence[str]) -> list[tuple[Question, ...] | Failure]:
        asked = [student_prompt("decompose", prompt=prompt, personalised=self.personalised) for prompt in prompts]
        try:
            batch = [Asked([], [Turn("decompose", "", text, write=True)]) for text in asked]
            written = self.model.read(batch, _DECOMPOSITION_TOKENS)
        except faults() as error:  # too long, letters that the tokenizer cannot take: of any kind
            if len(prompts) == 1:
                return [Failure(Status.SKIPPED, f"the model cannot take the prompt: {' '.join(str(error).split())}")]
            half = len(prompts) // 2
            return self._decompose_safely(prompts[:half]) + self._decompose_safely(prompts[half:])
        return [_questions(readings["decompose", ""]) for readings in written]

    def _prepare(self, batch: list[Loaded]) -> list[Loaded]:
        if self.personalised:
            batch = [item if item.outcome or len(item.images) > 1 else _lonely(item) for item in batch]
        known = self._decomposed([item.prompt for item in batch if item.outcome is None and item.questions is None])
        batch = [item if item.outcome else self._with_questions(item, known) for item in batch]
        return self._with_references(batch) if self.mode == "likelihood" else batch

    def _with_questions(self, item: Loaded, known: Mapping[str, tuple[Question, ...] | Failure]) -> Loaded:
        questions = known[item.prompt] if item.questions is None else item.questions
        if isinstance(questions, Failure):
            return item.ended(questions)
        try:
            check(questions)
        except ValueError as error:
            return item.ended(Failure(Status.SKIPPED, f"questions: {error}"))
        if item.questions is not None and (reason := self._unread_answers(questions)) is not None:
            return item.ended(Failure(Status.SKIPPED, reason))
        if len(item.images) < 2 and any(map(wants_reference, questions)):
            return _lonely(item)
        return replace(item, questions=questions)

    def _unread_answers(self, questions: Sequence[Question]) -> str | None:
        """Why questions that somebody brings cannot be scored: their answers have words that the judge never read."""
        if self.unread is None:
            return None
        words = (q.expected.casefold() for q in questions if q.expected is not None and not wants_reference(q))
        return self.unread(" ".join(word for word in words if word not in _ANSWERS))

    def _with_references(self, batch: list[Loaded]) -> list[Loaded]:
        """Each item with what is wanted of it as in its reference, which is asked once, as an image is."""
        keys = [_reference_key(item) for item in batch]
        answers = {key: self._references[key] for key in keys if key and key in self._references}
        new = {key: item for key, item in zip(keys, batch) if key and key not in answers}
        for some in chunks(list(new.items()), self.batch_size):
            readings = read_safely(self.model, [_about_reference(item) for _, item in some])
            answers |= {key: _words(item, read) for (key, item), read in zip(some, readings, strict=True)}
        for key, words in answers.items():
            if not any(isinstance(word, Failure) for word in words.values()):  # what failed may go well another time
                self._references[key] = words
        return [
            item if key is None else replace(item, wanted={q.id: answers[key][q.text] for q in _of_reference(item)})
            for key, item in zip(keys, batch)
        ]

    def _turns(self, item: Loaded, explain: bool) -> list[Turn]:
        questions = item.questions or ()
        turns = [self._scoring_turn(item, question) for question in questions]
        if not explain:
            return turns
        turns += [Turn("answer", q.id, student_prompt("answer", q), write=True) for q in questions]
        return turns if self.answers_first else turns + self._words_about(item)

    def _read(self, items: Sequence[Loaded], explain: bool) -> list[Any]:
        readings = super()._read(items, explain)
        if not (explain and self.answers_first):
            return readings
        sound = [number for number, read in enumerate(readings) if not isinstance(read, Failure)]
        told = [self._words_about(items[number], self._told(items[number], readings[number])) for number in sound]
        asked = [Asked(items[number].images, turns) for number, turns in zip(sound, told, strict=True)]
        for number, words in zip(sound, read_safely(self.model, asked), strict=True):
            readings[number] = words if isinstance(words, Failure) else readings[number] | words
        return readings

    def _words_about(self, item: Loaded, answers: Mapping[Question, str] | None = None) -> list[Turn]:
        """The turns that explain and, unless summaries are quoted, sum up; told the answers where there are any."""

        def told(aspect: str) -> str | None:
            return None if answers is None else told_answers(answers, aspect)

        turns = []
        for question in item.questions or ():
            text = student_prompt("explain", question, answers=None if answers is None else answers[question])
            turns.append(Turn("explain", question.id, text, write=True))
        if self.quoted_summaries:
            return turns
        for aspect in asked_aspects(item.questions or ()):
            text = student_prompt("summarise", prompt=item.prompt, aspect=aspect, answers=told(aspect))
            turns.append(Turn("summarise", aspect, text, write=True))
        text = student_prompt("summarise_overall", prompt=item.prompt, answers=told(OVERALL))
        return [*turns, Turn("summarise", OVERALL, text, write=True)]

    def _scoring_turn(self, item: Loaded, question: Question) -> Turn:
        if self.mode != "likelihood" or question.expected is None:
            return Turn("score", question.id, student_prompt("score", question))
        expected = item.wanted.get(question.id, question.expected)
        says = None if isinstance(expected, Failure) else expected
        if says is not None and self.unread is not None:  # who knows all its words knows them in small letters
            says = says.casefold()
        return Turn("score", question.id, student_prompt("answer", question), says=says)

    def _told(self, item: Loaded, readings: Readings) -> dict[Question, str]:
        """Its answers as it is told them, each with whether that is what was expected, as its own score says."""
        told = {}
        for question in item.questions or ():
            matches = self._scored(item, question, readings["score", question.id]).matches
            told[question] = told_answer(question, readings["answer", question.id].text, matches)
        return told

    def _judgement(self, item: Loaded, readings: Readings, usage: Usage) -> Judgement:
        questions = item.questions or ()
        answers = [self._answer(item, question, readings) for question in questions]
        summaries = {of: _summary(reading) for (task, of), reading in readings.items() if task == "summarise"}
        texts = {aspect: text for aspect, (text, _) in summaries.items()}
        if self.quoted_summaries and any(task == "explain" for task, _ in readings):
            texts = _quoted(questions, answers)
        broken = next((answer for answer in answers if answer.status is not Status.OK), None)
        return Judgement(
            item.image_id,
            item.prompt,
            self.info,
            status=broken.status if broken else Status.OK,
            reason=f"{broken.question_id}: {broken.reason}" if broken else None,
            scores=self._calibrated(aspect_scores(questions, answers)),
            score_range=self.score_range,
            summary_scores={aspect: score for aspect, (_, score) in summaries.items()},
            summary_texts=texts,
            questions=questions,
            answers=tuple(answers),
            rationale=texts.get(OVERALL),
            usage=usage,
        )

    def _answer(self, item: Loaded, question: Question, readings: Readings) -> Answer:
        """The score of a question, and in words what was written about it, if anything was."""
        answer = self._scored(item, question, readings["score", question.id])
        if ("answer", question.id) not in readings:
            return answer
        because = readings["explain", question.id].text
        explanation = " ".join(filter(None, (answer.explanation, because))) or because
        return replace(answer, text=readings["answer", question.id].text, explanation=explanation)

    def _scored(self, item: Loaded, question: Question, reading: Reading) -> Answer:
        wanted = item.wanted.get(question.id)
        if isinstance(wanted, Failure):
            return Answer(question.id, status=wanted.status, reason=f"the reference: {wanted.reason}")
        levels = probabilities(reading) if reading.likelihood is None else None
        if reading.likelihood is not None and math.isfinite(reading.likelihood):
            score = SCORE_RANGE[1] * reading.likelihood
        elif levels is not None:
            score = level_score(levels, self.mode)
        else:
            return Answer(question.id, status=Status.UNPARSABLE, reason="the model's logits are not finite")
        matches = score >= _MATCHES_FROM if question.expected is not None else None
        explanation = None if wanted is None else f'Of the reference it answers "{wanted}".'
        return Answer(question.id, matches=matches, score=score, explanation=explanation, probabilities=levels)


def _quoted(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, str | None]:
    """Of each aspect with questions its explanations of the worst faults, and of the whole that of each aspect's worst.

    Where nothing is at fault, the explanation of the highest score.
    """
    told = [
        (answer.score, question.aspect, answer.explanation)
        for question, answer in zip(questions, answers, strict=True)
        if answer.explanation and answer.score is not None
    ]
    told.sort(key=lambda one: one[0])
    faults: dict[str, dict[str, None]] = {aspect: {} for aspect in asked_aspects(questions)}
    worst = dict[str, str]()
    for score, aspect, explanation in told:
        if score < _MATCHES_FROM:
            faults[aspect][explanation] = None
            worst.setdefault(aspect, explanation)
    quoted = {aspect: [*said][:_QUOTED] for aspect, said in faults.items()} | {OVERALL: [*worst.values()]}
    for aspect, said in quoted.items():
        if not said:
            said += [explanation for _, of, explanation in told if aspect in (of, OVERALL)][-1:]
    return {aspect: " ".join(said) or None for aspect, said in quoted.items()}


def _lonely(item: Loaded) -> Loaded:
    return item.ended(Failure(Status.SKIPPED, NO_REFERENCE))


def _questions(reading: Reading) -> tuple[Question, ...] | Failure:
    if not reading.finished:
        return Failure(Status.UNPARSABLE, f"decomposition: no end after {reading.tokens} tokens")
    try:
        return tuple(from_lines(reading.text or ""))
    except ValueError as error:
        return Failure(Status.UNPARSABLE, f"decomposition: {error}")


def _of_reference(item: Loaded) -> list[Question]:
    return [question for question in item.questions or () if wants_reference(question)]


def _about_reference(item: Loaded) -> Asked:
    """What is asked about an item's reference, which stands in the image's place too: so it is asked as images are."""
    _, reference = item.images
    turns = [Turn("answer", q.id, student_prompt("answer", q), write=True) for q in _of_reference(item)]
    return Asked((reference, reference), turns)


def _reference_key(item: Loaded) -> _Key | None:
    """Names what is to be asked about an item's reference; None where that is nothing."""
    if item.outcome or not (asked := _of_reference(item)):
        return None
    reference = item.images[1]
    digest = hashlib.sha256(f"{reference.size}".encode() + reference.tobytes()).hexdigest()
    return digest, tuple(question.text for question in asked)


def _words(item: Loaded, readings: Readings | Failure) -> _Words:
    """What the student answered about an item's reference."""
    if isinstance(readings, Failure):
        return dict.fromkeys((question.text for question in _of_reference(item)), readings)
    return {question.text: _word(readings["answer", question.id]) for question in _of_reference(item)}


def _word(reading: Reading) -> str | Failure:
    if not reading.finished or not reading.text:
        return Failure(Status.UNPARSABLE, f"no answer that ends after {reading.tokens} tokens")
    return reading.text


def _summary(reading: Reading) -> tuple[str | None, float | None]:
    """What the model wrote as "explanation, Score: level": its words, and the score when it can be read."""
    text, separator, level = (reading.text or "").rpartition(SUMMARY_SCORE)
    if not separator:
        return reading.text, None
    return text, level_to_score(int(level)) if level in LEVELS else None
