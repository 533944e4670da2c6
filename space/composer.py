"""The scene composer without its controls: a prompt of the embedded world, a changeable picture, and the truth."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from scenes import rules
from scenes.latent import quality
from scenes.render import render
from scenes.world import (
    COLORS,
    DEFECTS,
    DIRECTION,
    OPPOSITE,
    SIZES,
    TEXTURES,
    Entity,
    Group,
    Prompt,
    Relation,
    Scene,
    place,
    sample_prompt,
)
from t2i_judge.errors import UserError, quoted
from t2i_judge.records import Answer, Question
from t2i_judge.wording import counted

MAX_ENTITIES = 3


@dataclass(frozen=True)
class Choice:
    """How one entity of the prompt is to be drawn; a count of 0 leaves it out."""

    color: str
    count: int
    size: str
    texture: str
    defect: str = "blur"
    severity: float = 0.0


@dataclass(frozen=True)
class Composition:
    """A prompt, and how it is drawn instead; `swapped` puts the first two things in each other's place.

    `questions` are the judge's own about the prompt, once it was asked: they stay while the picture changes.
    """

    prompt: Prompt
    seed: int
    choices: tuple[Choice, ...]
    swapped: bool = False
    questions: tuple[Question, ...] = ()


def new_composition(seed: int) -> Composition:
    """A random prompt drawn as asked. Raises `UserError` for a seed that is no whole number."""
    if not isinstance(seed, int):
        raise UserError(f"Seed {quoted(seed)} is not a whole number", "", "Give a whole number, such as 7")
    rng = random.Random(seed)
    return faithful(sample_prompt(rng, rng.choice(("train", "new_prompts", "new_pairs"))), seed)


def faithful(prompt: Prompt, seed: int) -> Composition:
    """The prompt drawn exactly as asked, without defects."""
    return Composition(prompt, seed, tuple(_as_asked(entity) for entity in prompt.entities))


def _as_asked(entity: Entity) -> Choice:
    return Choice(entity.color, entity.count, entity.size or "large", entity.texture or "plain")


def scene_of(composition: Composition) -> Scene:
    """The complete scene; the same composition always gives the same one. Raises `UserError` for an empty picture."""
    if not any(choice.count for choice in composition.choices):
        raise UserError("Nothing is left in the picture", "A scene has at least one thing", "Draw at least one thing")
    cells = [(0, 0)]
    for relation in composition.prompt.relations:
        kind = OPPOSITE[relation.kind] if composition.swapped and relation.subject == 0 else relation.kind
        x, y = cells[relation.subject]
        dx, dy = DIRECTION[kind]
        cells.append((x - dx, y - dy))
    left, top = min(x for x, _ in cells), min(y for _, y in cells)
    drawn = [_group(entity, choice) for entity, choice in zip(composition.prompt.entities, composition.choices)]
    return place(drawn, [(x - left, y - top) for x, y in cells], random.Random(composition.seed))


def _group(entity: Entity, choice: Choice) -> Group | None:
    if not choice.count:
        return None
    return Group(entity.shape, choice.color, choice.size, choice.texture, choice.count, choice.defect, choice.severity)


def draw(composition: Composition) -> Image.Image:
    """The picture, 112 x 112 pixels as every scene of this world."""
    return render(scene_of(composition), random.Random(f"{composition.seed}/picture"))


def truth(composition: Composition) -> dict[str, float | None]:
    """The known quality of the scene by aspect, which the judge must find out from pixels alone."""
    return quality(composition.prompt, scene_of(composition))


def true_answers(composition: Composition, questions: Sequence[Question]) -> dict[str, Answer]:
    """The right answers to the judge's own questions. Questions of other worlds have none."""
    scene, known = scene_of(composition), {}
    for question in questions:
        try:
            known[question.id] = rules.answer(scene, question)
        except ValueError:
            continue
    return known


def with_choice(composition: Composition, index: int, **changes: Any) -> Composition:
    """The same composition with one thing drawn differently."""
    choices = list(composition.choices)
    choices[index] = replace(choices[index], **changes)
    return replace(composition, choices=tuple(choices))


def changed(composition: Composition, swapped: bool, changes: Sequence[Mapping[str, Any]]) -> Composition:
    """The composition with `changes[k]` made to thing k. Raises `UserError` naming what is not possible."""
    if not isinstance(changes, Sequence) or isinstance(changes, str):
        fact = f"The changes {quoted(changes)} are not possible"
        raise UserError(fact, "They are a list", 'Give names and values, such as [{"count": 0}]')
    if len(changes) > len(composition.choices):
        things = len(composition.choices)
        raise UserError(
            f"There are {len(changes)} changes",
            f"The prompt names {counted(things, 'thing')}",
            "Give one change for each",
        )
    for index, change in enumerate(changes):
        if not isinstance(change, Mapping):
            raise UserError(
                f"The change {quoted(change)} is not possible", "", 'Give names and values, such as {"count": 0}'
            )
        for name, value in change.items():
            if not _possible(name, value):
                names = ", ".join(_POSSIBLE)
                raise UserError(
                    f"{quoted(name)} as {quoted(value)} is not possible", "", f"Use {names}, or a severity in [0, 1]"
                )
        composition = with_choice(composition, index, **change)
    return replace(composition, swapped=swapped)


_POSSIBLE = {"color": COLORS, "count": (0, 1, 2, 3, 4), "size": SIZES, "texture": TEXTURES, "defect": DEFECTS}


def _possible(name: str, value: Any) -> bool:
    if name == "severity":
        return isinstance(value, int | float) and 0 <= value <= 1
    kind = int if name == "count" else str
    return type(value) is kind and value in _POSSIBLE.get(name, ())  # neither true nor 1.0 is a count


# To begin with: prompts of the training split, which the embedded judge surely takes; the pictures are new to it.
EXAMPLES: tuple[Prompt, ...] = (
    Prompt((Entity("star", "yellow"), Entity("circle", "blue", 2)), (Relation(0, 1, "above"),)),
    Prompt((Entity("square", "green", 3, None, "striped"),)),
    Prompt((Entity("cross", "red"), Entity("circle", "green", 3)), (Relation(0, 1, "left"),)),
    Prompt(
        (Entity("triangle", "blue", 1, "small"), Entity("square", "orange", 1, "large")), (Relation(0, 1, "right"),)
    ),
    Prompt(
        (Entity("circle", "red", 2), Entity("star", "yellow"), Entity("square", "blue")),
        (Relation(0, 1, "left"), Relation(1, 2, "above")),
    ),
)
