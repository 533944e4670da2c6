"""What the rule-based teacher knows of personalised pictures: questions from the prompt's text, answers from the scene.

Two aspects: concept_preservation asks for the subject's traits, which are to be as in the reference; prompt_following
asks what `rules` asks of any prompt, "subject" standing for the group that was made from the reference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from t2i_judge.decompose import renumber
from t2i_judge.prompts import AS_IN_REFERENCE
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Answer, Question, Summary
from t2i_judge.scoring import aspect_scores

from . import rules
from .personalised import CONCEPT_PRESERVATION, PROMPT_FOLLOWING, SUBJECT
from .world import NUMBER_WORDS, RELATION_PHRASES, SIZES, Entity, Scene, plural

TRAITS = ("shape", "color", "texture")
TRAIT_TEXT = "What {0} is the subject?"
CLEAN_TEXT = "Is the subject as clean as the reference?"
_TRAIT = re.compile(TRAIT_TEXT.replace("?", r"\?").format(f"({'|'.join(TRAITS)})"))
_SUBJECT = re.compile(rf"(?P<number>an|{'|'.join(NUMBER_WORDS.values())}) (?:(?P<size>{'|'.join(SIZES)}) )?{SUBJECT}s?")
_KINDS = {phrase: kind for kind, phrase in RELATION_PHRASES.items()}


def mentions_subject(prompt_text: str) -> bool:
    """Whether a prompt is a personalised one."""
    return _SUBJECT.match(prompt_text) is not None


def decompose(prompt_text: str) -> list[Question]:
    """Questions for a personalised prompt, read from its text alone: the prompt's in its own order, then the traits.

    Raises:
        ValueError: the text is not a personalised prompt of this world.
    """
    match = _SUBJECT.match(prompt_text)
    if match is None:
        raise ValueError(f"not a personalised prompt of the embedded world: {prompt_text!r}")
    number = "a" if match["number"] == "an" else match["number"]
    count = next(count for count, word in NUMBER_WORDS.items() if word == number)
    asked = [(PROMPT_FOLLOWING, f"How many {SUBJECT}s are there?", rules.COUNT_WORDS[count])]
    if match["size"]:
        asked.append((PROMPT_FOLLOWING, f"What size is the {SUBJECT}?", match["size"]))
    traits = [(CONCEPT_PRESERVATION, TRAIT_TEXT.format(trait), AS_IN_REFERENCE) for trait in TRAITS]
    looks = (CONCEPT_PRESERVATION, CLEAN_TEXT, None)
    of_prompt = [_question(f"p{n}", *question) for n, question in enumerate(asked)]
    of_reference = [_question(f"r{n}", *question) for n, question in enumerate((*traits, looks))]
    return renumber(of_prompt + _about_others(prompt_text[match.end() :]) + of_reference)


def _question(name: str, aspect: str, text: str, expected: str | None) -> Question:
    return Question(name, aspect, (SUBJECT,), text, expected)


def _about_others(rest: str) -> list[Question]:
    """Questions about what stands beside the subject: that part of the prompt is a prompt of its own."""
    if not rest:
        return []
    link = rules.LINK.match(rest)
    if link is None:
        raise ValueError(f"not a personalised prompt of the embedded world: {rest!r}")
    own = [question for question in rules.decompose(rest[link.end() :]) if question.aspect != "appearance"]
    first = own[0]
    place = Question(
        "place",
        PROMPT_FOLLOWING,
        (SUBJECT, *first.entities),
        rules.QUESTION_TEXTS["relation"].format(SUBJECT, first.entities[0]),
        _KINDS[link["phrase"]],
        (first.id,),
    )
    return [place] + [replace(question, aspect=PROMPT_FOLLOWING) for question in own]


def answer(scene: Scene, reference: Entity, question: Question) -> Answer:
    """The teacher's answer, explanation and score (0-10); `scene.groups[0]` is the subject.

    Raises:
        ValueError: the question is none that `decompose` asks.
    """
    subject = scene.groups[0]
    if trait := _TRAIT.fullmatch(question.text):
        return _compare(question, trait[1], str(getattr(subject, trait[1])), _trait(reference, trait[1]))
    if question.text == CLEAN_TEXT:
        flaw, score = rules.describe_flaw(subject), float(round(10 * (1 - subject.severity)))
        return Answer(question.id, flaw, score >= 5, score, f"The {SUBJECT} is {flaw}.")
    named = question.text.replace(f"{SUBJECT}s", plural(subject.shape, 2)).replace(SUBJECT, subject.shape)
    reply = rules.answer(scene, replace(question, text=named))
    if reply.explanation is None or SUBJECT not in question.text:
        return reply
    words = reply.explanation.replace(plural(subject.shape, 2), f"{SUBJECT}s").replace(subject.shape, SUBJECT)
    return replace(reply, explanation=words)


def _trait(reference: Entity, trait: str) -> str:
    return str(getattr(reference, trait) or "plain")


def _compare(question: Question, trait: str, seen: str, wanted: str) -> Answer:
    alike = seen == wanted
    explanation = f"The {trait} of the {SUBJECT} is {seen}, " + ("as in the reference." if alike else f"not {wanted}.")
    return Answer(question.id, seen, alike, 10.0 * alike, explanation)


def summarise(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, Summary]:
    """Aspect (and overall) -> what is wrong in words, and the project's aggregate of the teacher's own answers."""
    scores = aspect_scores(questions, answers)
    summaries = {}
    for aspect in (*PERSONALISED_ASPECTS, OVERALL):
        wrong = [
            str(reply.explanation)
            for question, reply in zip(questions, answers)
            if aspect in (question.aspect, OVERALL) and not reply.matches
        ]
        words = " ".join(dict.fromkeys(wrong)) or "Everything is as asked."
        if scores[aspect] is not None:
            summaries[aspect] = Summary(aspect, words, scores[aspect])
    return summaries
