"""A reader of what judges write about scenes: sentences become claims, and a claim is held against what is seen.

What is seen is a scene (is the sentence true?) or a judge's own answers (does it agree with itself?). The reader knows
the words of the world and a few ways of putting them, whoever wrote them; what it cannot read counts as untrue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recipes.scenes import rules
from recipes.scenes.world import COLORS, NUMBER_WORDS, RELATIONS, SHAPES, SIZES, TEXTURES, Scene, plural
from t2i_judge.records import Answer, Question

Subject = tuple[str, tuple[str, ...]]  # kind of fact, and the shapes it is about
Facts = Mapping[Subject, str]
SAME = "as asked"
EVERYTHING, WHOLE = "everything", "whole"  # claims about no single fact
GRADES = ("", "slightly", "clearly", "badly")
_SHARES = {  # lowest and highest share, in [0, 1], of the things asked for that a word may stand for
    "nothing": (0.0, 0.0),
    "little": (0.0, 0.5),
    "some": (0.15, 0.85),
    "most": (0.5, 0.99),
    "all": (1.0, 1.0),
}
_SCORES = ((9.0, 10.0), (6.0, 9.0), (3.0, 6.0), (0.0, 3.0))  # of appearance, by grade
_FLAWS = ("blurred", "noisy", "broken")
_KINDS = {
    **dict.fromkeys(COLORS, "color"),
    **dict.fromkeys(SIZES, "size"),
    **dict.fromkeys(TEXTURES, "texture"),
    **dict.fromkeys(rules.COUNT_WORDS.values(), "count"),
    **dict.fromkeys(RELATIONS, "relation"),
}
_COUNTS = {word: rules.COUNT_WORDS[count] for count, word in NUMBER_WORDS.items()} | {"an": rules.COUNT_WORDS[1]}
_NOUNS = {noun: shape for shape in SHAPES for noun in (shape, plural(shape, 2))}
_NOUN = "|".join(sorted(_NOUNS, key=len, reverse=True))
_VALUE = "|".join(_KINDS)
_EXISTENCE = re.compile(rf"there (?:is|are) (?P<article>no|an?) (?P<shape>{_NOUN})")
_FACT = re.compile(
    rf"the (?:number of )?(?P<shape>{_NOUN}) (?:is|are) (?P<value>{_VALUE})"
    rf"(?: (?:of )?the (?P<other>{_NOUN}))?(?:, (?:(?P<same>{SAME})|not (?P<asked>{_VALUE})))?"
)
_LOOK = re.compile(
    rf"the (?P<shape>{_NOUN}) (?:is|are) (?P<look>clean|(?:(?:slightly|clearly|badly) )?(?:{'|'.join(_FLAWS)}))"
)
_GROUP = re.compile(
    rf"there (?:is|are) (?P<number>an|{'|'.join(NUMBER_WORDS.values())}) (?P<attributes>(?:(?:{_VALUE}) )*)"
    rf"(?P<shape>{_NOUN})(?:, (?:(?P<same>{SAME})|(?P<asked>not (?:{_VALUE})(?:, not (?:{_VALUE}))*)))?"
)
_ALL = re.compile(rf"everything is {SAME}")
_WHOLE = re.compile(
    rf"(?P<share>{'|'.join(_SHARES)}) is {SAME}"
    r"(?: and the look is (?P<finish>clean|(?:slightly|clearly|badly) flawed))?"
)


@dataclass(frozen=True)
class Claim:
    """What one sentence says.

    Attributes:
        kind: existence, count, color, size, texture, relation, appearance, or `EVERYTHING`, `WHOLE`.
        shapes: what it is about.
        value: what is seen, as the teacher answers it; of `WHOLE` a word for the share that is as asked.
        asked: `SAME`, or what was asked for instead; None where nothing is said of that. Of `WHOLE` the look, if any.
    """

    kind: str
    shapes: tuple[str, ...] = ()
    value: str = ""
    asked: str | None = None

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.kind, self.shapes


def read(text: str | None) -> list[Claim] | None:
    """The claims of a text, one per sentence; None where there is no text, or a sentence that cannot be read."""
    if not text or not text.strip().endswith("."):
        return None
    claims = [_claims(sentence) for sentence in text.strip()[:-1].lower().split(". ")]
    return [claim for several in claims for claim in several] if all(claims) else None


def _claims(sentence: str) -> list[Claim]:
    """What a sentence claims; nothing where it cannot be read."""
    if said := _EXISTENCE.fullmatch(sentence):
        return [Claim("existence", (_NOUNS[said["shape"]],), rules.NO if said["article"] == "no" else rules.YES)]
    if said := _LOOK.fullmatch(sentence):
        return [Claim("appearance", (_NOUNS[said["shape"]],), said["look"])]
    if _ALL.fullmatch(sentence):
        return [Claim(EVERYTHING)]
    if said := _WHOLE.fullmatch(sentence):
        return [Claim(WHOLE, (), said["share"], said["finish"])]
    if said := _GROUP.fullmatch(sentence):
        return _group(said)
    said = _FACT.fullmatch(sentence)
    fact = _fact(sentence, said) if said else None
    return [fact] if fact else []


def _group(said: re.Match[str]) -> list[Claim]:
    """`there are two red stars, not three`: a claim an attribute; none where two are of a kind, or one is none."""
    shape, same = (_NOUNS[said["shape"]],), SAME if said["same"] else None
    asked = (said["asked"] or "").removeprefix("not ").split(", not ") if said["asked"] else []
    seen = [_COUNTS[said["number"]], *said["attributes"].split()]
    values, wanted = {_KINDS[word]: word for word in seen}, {_KINDS[word]: word for word in asked}
    if (
        len(values) < len(seen)
        or len(wanted) < len(asked)
        or "relation" in values
        or not wanted.keys() <= values.keys()
    ):
        return []
    return [Claim(kind, shape, value, wanted.get(kind, same)) for kind, value in values.items()]


def _fact(sentence: str, said: re.Match[str]) -> Claim | None:
    """A claim of one attribute or relation; None where its words do not go together."""
    kind = _KINDS[said["value"]]
    fits = (kind == "count") == sentence.startswith("the number of ") and (kind == "relation") == bool(said["other"])
    if not fits or (said["asked"] and _KINDS[said["asked"]] != kind):
        return None
    shapes = tuple(_NOUNS[noun] for noun in (said["shape"], said["other"]) if noun)
    return Claim(kind, shapes, said["value"], SAME if said["same"] else said["asked"])


def subject_of(question: Question) -> Subject | None:
    """What a question of this world is about; None for any other."""
    try:
        kind, shapes = rules.read_question(question.text)
    except ValueError:
        return None
    return kind, tuple(shapes)


def facts_of(scene: Scene, questions: Sequence[Question]) -> dict[Subject, str]:
    """What is to be seen in a scene, of all that the questions are about."""
    answers = [(subject, rules.answer(scene, question)) for question in questions if (subject := subject_of(question))]
    return {subject: str(answer.text) for subject, answer in answers} | {
        ("existence", (shape,)): rules.YES if scene.find(shape) else rules.NO for shape in SHAPES
    }


def facts_told(questions: Sequence[Question], answers: Sequence[Answer]) -> dict[Subject, str]:
    """What a judge answers, by subject; questions of other worlds are left out."""
    pairs = zip(questions, answers, strict=True)
    return {subject: (answer.text or "").strip() for question, answer in pairs if (subject := subject_of(question))}


def asked_of(questions: Sequence[Question]) -> dict[Subject, str]:
    """What is expected; appearance is not."""
    return {s: q.expected for q in questions if q.expected is not None and (s := subject_of(q))}


def holds(claim: Claim, seen: Facts, asked: Facts, steps: int = 0) -> bool:
    """Whether a claim is so, by what is seen and what was asked for.

    Args:
        claim: of one sentence; `EVERYTHING` and `WHOLE` are about all of `asked`.
        seen, asked: by subject.
        steps: how far a grade of appearance may be off, in `GRADES`; the first of them is clean.
    """
    if claim.kind == EVERYTHING:
        return all(seen.get(subject) == expected for subject, expected in asked.items())
    if claim.kind == WHOLE:
        return _share_holds(claim.value, seen, asked) and _finish_holds(claim.asked, seen, steps)
    found, expected = seen.get(claim.subject, ""), asked.get(claim.subject)
    if claim.kind == "appearance":
        return looks_alike(claim.value, found, steps)
    if found != claim.value or claim.asked is None:
        return found == claim.value
    return found == expected if claim.asked == SAME else claim.asked == expected and found != expected


def _share_holds(word: str, seen: Facts, asked: Facts) -> bool:
    share = sum(seen.get(subject) == expected for subject, expected in asked.items()) / max(len(asked), 1)
    low, high = _SHARES[word]
    return low <= share <= high


def _finish_holds(finish: str | None, seen: Facts, steps: int) -> bool:
    """The look of the whole is that of its worst part; nothing can be said of it where no part is there."""
    grades = [look[1] for (kind, _), text in seen.items() if kind == "appearance" and (look := look_of(text))]
    if finish is None or not grades:
        return finish is None
    said = 0 if finish == "clean" else GRADES.index(finish.removesuffix(" flawed"))
    return abs(said - max(grades)) <= steps


def looks_alike(one: str, other: str, steps: int) -> bool:
    """Whether two looks have the same flaw, at most so many grades apart; clean is the lowest grade of any flaw."""
    first, second = look_of(one), look_of(other)
    if first is None or second is None:
        return False
    (flaw, grade), (other_flaw, other_grade) = first, second
    return abs(grade - other_grade) <= steps and ("" in (flaw, other_flaw) or flaw == other_flaw)


def look_of(text: str) -> tuple[str, int] | None:
    """`badly blurred` -> ("blurred", 3), `clean` -> ("", 0); None for anything else."""
    if text == "clean":
        return "", 0
    adverb, _, flaw = text.rpartition(" ")
    return (flaw, GRADES.index(adverb)) if flaw in _FLAWS and adverb in GRADES[1:] else None


def explains(claims: Sequence[Claim], question: Question, answer: Answer, steps: int) -> bool:
    """Whether an explanation says what the answer to the same question says, and goes with its verdict and score.

    A missing shape explains the answer `none`. A look goes with the scores of its grade; of looks see `looks_alike`.
    """
    subject, text = subject_of(question), (answer.text or "").strip()
    if subject is None:
        return False
    for claim in claims:
        if claim.subject == subject and claim.kind == "appearance":
            so = looks_alike(claim.value, text, steps) and _score_fits(claim.value, answer.score, steps)
        elif claim.subject == subject:
            so = claim.value == text and answer.matches == (claim.value != rules.NO and claim.asked in (None, SAME))
        else:
            missing = claim.kind == "existence" and claim.value == rules.NO
            so = missing and claim.shapes[0] in subject[1] and text == rules.NOTHING and not answer.matches
        if not so:
            return False
    return bool(claims)


def _score_fits(look: str, score: float | None, steps: int) -> bool:
    """Whether a score of appearance is that of a look: severity is what it lacks to 10."""
    _, grade = look_of(look) or ("", 0)
    low, high = _SCORES[min(grade + steps, 3)][0], _SCORES[max(grade - steps, 0)][1]
    return score is not None and low <= score <= high
