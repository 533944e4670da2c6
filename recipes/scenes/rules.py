"""What the rule-based teacher knows: pure functions from a prompt's text to questions, and from a scene to answers.

It stands behind the loopback server only. It reads the prompt and the questions as text, like any teacher; the scene is
what it "sees" in the picture. Its aggregate is the project's own (`t2i_judge.scoring`), not the latent quality.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from t2i_judge.records import ASPECTS, OVERALL, Answer, Question, Summary
from t2i_judge.scoring import aspect_scores

from .world import COLORS, NUMBER_WORDS, RELATION_PHRASES, SHAPES, SIZES, TEXTURES, Entity, Group, Scene, plural

COUNT_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}
NOTHING = "none"
YES, NO = "yes", "no"
_GRADES = ((0.1, ""), (0.4, "slightly "), (0.7, "clearly "), (1.01, "badly "))  # upper bound of severity, adverb
_FLAWS = {"blur": "blurred", "noise": "noisy", "broken": "broken"}

QUESTION_TEXTS = {
    "existence": "Is there a {0}?",
    "count": "How many {0} are there?",
    "color": "What color is the {0}?",
    "size": "What size is the {0}?",
    "texture": "What texture is the {0}?",
    "relation": "Where is the {0}, seen from the {1}?",
    "appearance": "Is the {0} clean and undistorted?",
}
_QUESTION_PATTERNS = {
    kind: re.compile(re.escape(text).replace(r"\{0\}", "([^,?]+)").replace(r"\{1\}", "([^,?]+)"))
    for kind, text in QUESTION_TEXTS.items()
}
_ENTITY = re.compile(
    rf"(?P<number>an|{'|'.join(NUMBER_WORDS.values())}) (?:(?P<size>{'|'.join(SIZES)}) )?"
    rf"(?:(?P<texture>{'|'.join(TEXTURES)}) )?(?P<color>{'|'.join(COLORS)}) (?P<shape>{'|'.join(SHAPES)})(?:e?s)?"
)
LINK = re.compile(rf" (?:which (?:is|are) )?(?P<phrase>{'|'.join(RELATION_PHRASES.values())}) ")
_SINGULAR = {plural(shape, 2): shape for shape in SHAPES}


@dataclass(frozen=True)
class _Draft:
    """A question before it has its number: the number is known once all existence questions stand in front."""

    kind: str
    entities: tuple[str, ...]
    expected: str | None


def decompose(prompt_text: str) -> list[Question]:
    """Questions for a prompt of the embedded world, read from its text alone.

    Existence of every entity comes first (q1, q2, ...); the others depend on it, and come in the order of the words.

    Raises:
        ValueError: the text is not a prompt of this world.
    """
    entities, links = parse(prompt_text)
    shapes = [entity["shape"] for entity in entities]
    drafts = [_Draft("existence", (shape,), YES) for shape in shapes]
    for entity in entities:
        about = (entity["shape"],)
        number = "a" if entity["number"] == "an" else entity["number"]
        count = next(count for count, word in NUMBER_WORDS.items() if word == number)
        drafts.append(_Draft("count", about, COUNT_WORDS[count]))
        drafts += [_Draft(kind, about, entity[kind]) for kind in ("size", "texture", "color") if entity[kind]]
        drafts.append(_Draft("appearance", about, None))
    drafts += [_Draft("relation", (shapes[k], shapes[k + 1]), kind) for k, kind in enumerate(links)]
    return [_question(f"q{number}", draft, shapes) for number, draft in enumerate(drafts, 1)]


def parse(text: str) -> tuple[list[dict[str, str]], list[str]]:
    """The entities of a prompt (regex groups) and the relations that link each to the next. Raises ValueError."""
    kinds = {phrase: kind for kind, phrase in RELATION_PHRASES.items()}
    entities: list[dict[str, str]] = []
    links: list[str] = []
    position = 0
    while True:
        entity = _ENTITY.match(text, position)
        if entity is None:
            raise ValueError(f"not a prompt of the embedded world, at character {position}: {text!r}")
        entities.append(entity.groupdict())
        position = entity.end()
        if position == len(text):
            return entities, links
        link = LINK.match(text, position)
        if link is None:
            raise ValueError(f"not a prompt of the embedded world, at character {position}: {text!r}")
        links.append(kinds[link["phrase"]])
        position = link.end()


def _question(name: str, draft: _Draft, shapes: Sequence[str]) -> Question:
    aspect = draft.kind if draft.kind == "appearance" else "relationship" if draft.kind == "relation" else "intrinsic"
    nouns = [plural(shape, 2) if draft.kind == "count" else shape for shape in draft.entities]
    parents = tuple(f"q{shapes.index(shape) + 1}" for shape in draft.entities) if draft.kind != "existence" else ()
    return Question(name, aspect, draft.entities, QUESTION_TEXTS[draft.kind].format(*nouns), draft.expected, parents)


def answer(scene: Scene, question: Question) -> Answer:
    """The teacher's answer, explanation and score (0-10) to a question about a scene.

    Raises:
        ValueError: the question is none of `QUESTION_TEXTS`.
    """
    kind, shapes = read_question(question.text)
    missing = [shape for shape in shapes if scene.find(shape) is None]
    if missing:
        text = NO if kind == "existence" else NOTHING
        return Answer(question.id, text, False, 0.0, f"There is no {missing[0]}.")
    group = scene.find(shapes[0])
    assert group is not None
    if kind == "appearance":
        flaw, score = describe_flaw(group), float(round(10 * (1 - group.severity)))
        return Answer(question.id, flaw, score >= 5, score, f"The {shapes[0]} is {flaw}.")
    seen = _look(scene, group, kind, shapes)
    matches = seen == question.expected
    score = _count_score(group.count, question.expected) if kind == "count" else 10.0 * matches
    return Answer(question.id, seen, matches, score, _explain(kind, shapes, seen, question.expected))


def read_question(text: str) -> tuple[str, list[str]]:
    """Kind of question and the shapes it names, from its text. Raises ValueError for no question of this world."""
    for kind, pattern in _QUESTION_PATTERNS.items():
        if match := pattern.fullmatch(text):
            shapes = [_SINGULAR.get(noun, noun) for noun in match.groups()]
            if all(shape in SHAPES for shape in shapes):
                return kind, shapes
    raise ValueError(f"not a question of the embedded world: {text!r}")


def describe_flaw(group: Group) -> str:
    """`clean`, or the flaw in words graded by its severity, e.g. `badly blurred`."""
    adverb = next(word for bound, word in _GRADES if group.severity < bound)
    return f"{adverb}{_FLAWS[group.defect]}" if adverb else "clean"


def _look(scene: Scene, group: Group, kind: str, shapes: Sequence[str]) -> str:
    if kind == "existence":
        return YES
    if kind == "relation":
        return scene.relation(shapes[0], shapes[1]) or NOTHING
    if kind == "count":
        return COUNT_WORDS[group.count]
    return str(getattr(group, kind))


def _count_score(count: int, expected: str | None) -> float:
    """10 for the right number, 4 less for every copy too many or too few, never below 0."""
    wanted = next((number for number, word in COUNT_WORDS.items() if word == expected), count)
    return max(0.0, 10.0 - 4.0 * abs(count - wanted))


def _explain(kind: str, shapes: Sequence[str], seen: str, expected: str | None) -> str:
    """One sentence: what is seen, and what was asked for instead."""
    if kind == "existence":
        return f"There is a {shapes[0]}."
    subject = f"The number of {plural(shapes[0], 2)}" if kind == "count" else f"The {shapes[0]}"
    place = ""
    if kind == "relation":
        place = f" of the {shapes[1]}" if seen in ("left", "right") else f" the {shapes[1]}"
    ending = ", as asked." if seen == expected else f", not {expected}."
    return f"{subject} is {seen}{place}{ending}"


def summarise(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[str, Summary]:
    """Aspect (and overall) -> one sentence and a score; no entry for an aspect without questions.

    The scores are the project's aggregate of the teacher's own answers.
    """
    scores = aspect_scores(questions, answers)
    sentences = {aspect: _aspect_sentence(aspect, questions, answers) for aspect in ASPECTS}
    sentences[OVERALL] = _overall_sentence(questions, answers)
    return {
        aspect: Summary(aspect, sentence, scores[aspect])
        for aspect, sentence in sentences.items()
        if scores[aspect] is not None
    }


def _aspect_sentence(aspect: str, questions: Sequence[Question], answers: Sequence[Answer]) -> str:
    """What is seen of everything that is asked, in the prompt's order, and what was asked for where that differs."""
    of_aspect = [(question, reply) for question, reply in zip(questions, answers) if question.aspect == aspect]
    if aspect != "intrinsic":
        return " ".join(dict.fromkeys(str(reply.explanation) for _, reply in of_aspect))
    groups: dict[str, dict[str, tuple[Question, Answer]]] = {}
    for question, reply in of_aspect:
        kind, (shape, *_) = read_question(question.text)
        groups.setdefault(shape, {})[kind] = question, reply
    return " ".join(_group_sentence(shape, facts) for shape, facts in groups.items())


def _group_sentence(shape: str, facts: Mapping[str, tuple[Question, Answer]]) -> str:
    """One group as it is seen, in the attributes that are asked about: `There are two small stars, not three.`"""
    seen = {kind: str(reply.text) for kind, (_, reply) in facts.items()}
    if NO in seen.values() or NOTHING in seen.values():
        return f"There is no {shape}."
    count = next((number for number, word in COUNT_WORDS.items() if word == seen.get("count")), 1)
    group = Entity(shape, seen.get("color", ""), count, seen.get("size"), seen.get("texture"))
    asked = [f", not {question.expected}" for question, reply in facts.values() if not reply.matches]
    return f"There {'is' if count == 1 else 'are'} {group.phrase}{''.join(asked) or ', as asked'}."


def _overall_sentence(questions: Sequence[Question], answers: Sequence[Answer]) -> str:
    """How much of what is asked for is so, and the look of the worst part; nothing is said of the look of nothing."""
    pairs = [(question.aspect == "appearance", reply) for question, reply in zip(questions, answers)]
    asked = [bool(reply.matches) for is_look, reply in pairs if not is_look]
    looks = [str(reply.text).rpartition(" ")[0] for is_look, reply in pairs if is_look and reply.text != NOTHING]
    if not looks:
        return "Nothing is as asked."
    share = sum(asked) / max(len(asked), 1)
    truth = "All" if share == 1 else "Most" if share > 0.6 else "Some" if share > 0.3 else "Little"
    worst = max(looks, key=[adverb.strip() for _, adverb in _GRADES].index)
    return f"{truth} is as asked and the look is {f'{worst} flawed' if worst else 'clean'}."
