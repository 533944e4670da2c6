"""The reader of sentences about scenes: what is true it reads as true, and one word changed as false."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from recipes.scenes import rules
from recipes.scenes.world import (
    COLORS,
    GENERATORS,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Prompt,
    Scene,
    sample_prompt,
    simulate,
)
from recipes.tiny import reading
from t2i_judge.records import Answer, Question

WORDS = (  # of one kind: where a sentence has one of them, any other makes it false
    COLORS,
    SIZES,
    TEXTURES,
    RELATIONS,
    ("one", "two", "three", "four"),
    ("slightly", "clearly", "badly"),
    ("blurred", "noisy", "broken"),
)


def scenes(number: int) -> Iterator[tuple[Prompt, Scene, list[Question], list[Answer]]]:
    """Prompts, what generators make of them, and what the teacher asks and answers."""
    for index, name in zip(range(number), [*GENERATORS] * number):
        chance = random.Random(index)
        prompt = sample_prompt(chance, "new_prompts")
        scene = simulate(prompt, name, chance)
        questions = rules.decompose(prompt.text)
        yield prompt, scene, questions, [rules.answer(scene, question) for question in questions]


def sentences(number: int) -> Iterator[tuple[str, reading.Facts, reading.Facts]]:
    """What the teacher writes, with what is seen and what was asked for."""
    for _, scene, questions, answers in scenes(number):
        seen, asked = reading.facts_of(scene, questions), reading.asked_of(questions)
        yield from ((str(reply.explanation), seen, asked) for reply in answers)
        yield from ((str(summary.explanation), seen, asked) for summary in rules.summarise(questions, answers).values())


def true(text: str, seen: reading.Facts, asked: reading.Facts) -> bool:
    claims = reading.read(text)
    return bool(claims) and all(reading.holds(claim, seen, asked) for claim in claims or ())


def test_the_teachers_sentences_are_read_and_true():
    written = list(sentences(100))
    assert [text for text, seen, asked in written if not true(text, seen, asked)] == []
    assert {claim.kind for text, *_ in written for claim in reading.read(text) or ()} == {
        *("existence", "count", "color", "size", "texture", "relation", "appearance", reading.WHOLE)
    }


def test_one_word_changed_makes_them_untrue():
    changed = 0
    for text, seen, asked in sentences(60):
        for word in re.findall(r"[a-z]+", text):
            for other in next((kind for kind in WORDS if word in kind), ()):
                if other != word:
                    assert not true(re.sub(rf"\b{word}\b", other, text, count=1), seen, asked), (text, word, other)
                    changed += 1
    assert changed > 1000


@pytest.mark.parametrize(("word", "other"), [("There is a", "There is no"), ("There is no", "There is a")])
def test_a_shape_is_there_or_not(word, other):
    found = [(text, seen, asked) for text, seen, asked in sentences(40) if text.startswith(word) and len(text) < 25]
    assert found and not any(true(text.replace(word, other), seen, asked) for text, seen, asked in found)


def test_a_sentence_about_a_shape_that_is_not_there_is_untrue():
    for _, scene, questions, answers in scenes(60):
        seen, asked = reading.facts_of(scene, questions), reading.asked_of(questions)
        absent = next(shape for shape in SHAPES if scene.find(shape) is None)
        for reply in answers:
            if reply.text not in (rules.NO, rules.NOTHING):
                noun = next(shape for shape in SHAPES if shape in str(reply.explanation))
                assert not true(str(reply.explanation).replace(noun, absent, 1), seen, asked)


def test_the_verdict_counts_as_much_as_what_is_seen():
    verdicts = 0
    for text, seen, asked in sentences(40):
        if text.count(".") == 1 and ", as asked" in text:
            assert not true(text.replace(", as asked", ", not red"), seen, asked)
            verdicts += 1
        elif text.count(".") == 1 and (wrong := re.search(r", not \w+", text)):
            assert not true(text.replace(wrong[0], ", as asked"), seen, asked)
            verdicts += 1
    assert verdicts > 50


@pytest.mark.parametrize(
    "text", ["", None, "The star is", "The star is nice.", "The star is two.", "Red. Red.", "There is a red blue star."]
)
def test_what_cannot_be_read_is_not_true(text):
    assert reading.read(text) is None


def test_how_much_is_as_asked_is_read_with_some_freedom():
    asked = {("color", (shape,)): "red" for shape in SHAPES}
    for right, words in ((0, {"Nothing", "Little"}), (2, {"Some", "Little"}), (3, {"Some", "Most"}), (5, {"All"})):
        seen = {subject: "red" if number < right else "blue" for number, subject in enumerate(asked)}
        said = {
            word for word in ("Nothing", "Little", "Some", "Most", "All") if true(f"{word} is as asked.", seen, asked)
        }
        assert said == words


def test_the_look_of_the_whole_is_that_of_its_worst_part():
    asked = {("existence", ("star",)): "yes"}
    seen = asked | {("appearance", ("star",)): "clean", ("appearance", ("cross",)): "clearly blurred"}
    assert true("All is as asked and the look is clearly flawed.", seen, asked)
    assert not true("All is as asked and the look is slightly flawed.", seen, asked)
    [claim] = reading.read("All is as asked and the look is badly flawed.") or []
    assert reading.holds(claim, seen, asked, steps=1) and not reading.holds(claim, seen, asked)


@pytest.mark.parametrize(
    ("one", "other", "steps", "alike"),
    [
        ("clean", "clean", 0, True),
        ("clean", "slightly noisy", 0, False),
        ("clean", "slightly noisy", 1, True),
        ("clean", "clearly noisy", 1, False),
        ("badly broken", "clearly broken", 1, True),
        ("badly broken", "badly blurred", 1, False),
        ("clean", "none", 1, False),
    ],
)
def test_looks_are_alike_by_flaw_and_grade(one, other, steps, alike):
    assert reading.looks_alike(one, other, steps) is alike


def test_explanations_agree_with_the_answer_and_score_that_they_explain():
    for _, _, questions, answers in scenes(60):
        for question, reply in zip(questions, answers):
            claims = reading.read(reply.explanation) or []
            assert reading.explains(claims, question, reply, 0)
            if question.expected is None and reply.text != rules.NOTHING:
                assert not reading.explains(claims, question, replace(reply, score=(reply.score or 0) + 5), 0) or (
                    (reply.score or 0) + 5 <= 10
                )
            else:
                assert not reading.explains(claims, question, replace(reply, matches=not reply.matches), 0)
            assert not reading.explains(claims, question, replace(reply, text="five"), 0)
