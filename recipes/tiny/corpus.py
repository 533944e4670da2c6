"""What the base of `tiny` is pre-trained on: pictures of scenes put into words, and exercises in reading and copying.

Nothing here is judging: no question, expected answer, score or format of the judge occurs (see `t2i_judge.prompts`).
Graded damage is told in words; how damage maps to a score is for the distillation to teach. A segment is an
(instruction, text) pair; several segments share the picture they are about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from recipes.scenes.world import (
    COLORS,
    OPPOSITE,
    RELATION_PHRASES,
    SHAPES,
    SIZES,
    TEXTURES,
    Entity,
    Group,
    Prompt,
    Scene,
    plural,
)

Segment = tuple[str, str]

COUNT_NAMES = {1: "one", 2: "two", 3: "three", 4: "four"}
GRADES = ("no", "faint", "slight", "mild", "moderate", "marked", "strong", "heavy", "severe", "extreme")
_NOTHING = "nothing"
_ATTRIBUTES = ("color", "size", "texture", "number", "place", "damage", "grade")


def grade(group: Group) -> str:
    """Damage of a group in one of ten words, from `no` to `extreme`."""
    return GRADES[round(9 * group.severity)]


def damage(group: Group) -> str:
    """Kind and grade of what spoils a group, e.g. `heavy blur`; `no damage` where nothing visible does."""
    return f"{grade(group)} {group.defect}" if grade(group) != "no" else "no damage"


def place(group: Group) -> str:
    """Where in the picture: a cell of three by three, in words."""
    row = ("top", "", "bottom")[min(2, int(3 * group.center[1]))]
    column = ("left", "", "right")[min(2, int(3 * group.center[0]))]
    return f"{row} {column}".strip() or "middle"


def describe(group: Group) -> str:
    """Everything about a group, e.g. `two small striped red circles, mild noise, top left`."""
    phrase = Entity(group.shape, group.color, group.count, group.size, group.texture).phrase
    return f"{phrase}, {damage(group)}, {place(group)}"


def words_of(group: Group) -> tuple[str, ...]:
    """The single words that are true of a group: labels of the image tokens on which it lies."""
    damaged = group.defect if grade(group) != "no" else "no"
    return (
        group.shape,
        group.shape,
        group.color,
        group.size,
        group.texture,
        COUNT_NAMES[group.count],
        damaged,
        grade(group),
    )


def attribute(group: Group, kind: str) -> str:
    """One attribute of a group in words; `kind` is one of color, size, texture, number, place, damage, grade."""
    if kind == "number":
        return COUNT_NAMES[group.count]
    if kind == "place":
        return place(group)
    if kind == "damage":
        return group.defect if grade(group) != "no" else "no"
    return grade(group) if kind == "grade" else str(getattr(group, kind))


def picture_segments(scene: Scene, rng: random.Random, number: int, stage: str = "tell") -> list[Segment]:
    """`number` random descriptions of a scene and its parts; `stage` is a key of `WEIGHTS`."""
    makers = rng.choices(tuple(WEIGHTS[stage]), tuple(WEIGHTS[stage].values()), k=number)
    return [maker(scene, rng) for maker in makers]


def _any_shape(scene: Scene, rng: random.Random, present: float) -> str:
    """A shape that is there with probability `present`, otherwise any."""
    return rng.choice(scene.groups).shape if rng.random() < present else rng.choice(SHAPES)


def _whole(scene: Scene, rng: random.Random) -> Segment:
    groups = sorted(scene.groups, key=lambda group: SHAPES.index(group.shape))
    return "Describe the picture.", "; ".join(map(describe, groups)) + "."


def _listing(scene: Scene, rng: random.Random) -> Segment:
    return "List the shapes.", ", ".join(sorted((group.shape for group in scene.groups), key=SHAPES.index)) + "."


def _one(scene: Scene, rng: random.Random) -> Segment:
    shape = _any_shape(scene, rng, 0.9)
    group = scene.find(shape)
    return f"Describe the {_noun(shape, rng)}.", f"{describe(group)}." if group else f"{_NOTHING}."


def _name(scene: Scene, rng: random.Random) -> Segment:
    shape, kind = _any_shape(scene, rng, 0.85), rng.choice(_ATTRIBUTES)
    group = scene.find(shape)
    return f"Name the {kind} of the {_noun(shape, rng)}.", f"{attribute(group, kind) if group else _NOTHING}."


def _noun(shape: str, rng: random.Random) -> str:
    return plural(shape, rng.choice((1, 1, 2)))


def _relate(scene: Scene, rng: random.Random) -> Segment:
    """Where one shape stands from another; where the scene has but one, `nothing`."""
    a = _any_shape(scene, rng, 0.95)
    others = [shape for shape in SHAPES if shape != a]
    there = [group.shape for group in scene.groups if group.shape != a]
    b = rng.choice(there) if there and rng.random() < 0.9 else rng.choice(others)
    return f"Place the {_noun(a, rng)} against the {_noun(b, rng)}.", f"{scene.relation(a, b) or _NOTHING}."


def _locate(scene: Scene, rng: random.Random) -> Segment:
    """The places of two shapes, each behind its noun."""
    a, b = rng.sample(SHAPES, 2)
    if len(scene.groups) > 1:
        a, b = (group.shape for group in rng.sample(scene.groups, 2))
    places = [place(group) if (group := scene.find(shape)) else _NOTHING for shape in (a, b)]
    return f"Place the {a} and the {b}.", f"{a} {places[0]}, {b} {places[1]}."


def _relate_in_words(scene: Scene, rng: random.Random) -> Segment:
    """Two places, then what they make: `circle top left, star bottom left, above`."""
    a, b = rng.sample(SHAPES, 2)
    if len(scene.groups) > 1:
        a, b = (group.shape for group in rng.sample(scene.groups, 2))
    places = [place(group) if (group := scene.find(shape)) else _NOTHING for shape in (a, b)]
    relation = scene.relation(a, b) or _NOTHING
    return f"Describe the place of the {a} against the {b}.", f"{a} {places[0]}, {b} {places[1]}, {relation}."


def _differences(scene: Scene, rng: random.Random) -> Segment:
    """What a caption gets wrong, told as what the picture shows instead."""
    shape = _any_shape(scene, rng, 0.85)
    group = scene.find(shape)
    if group is None:
        caption = Entity(shape, rng.choice(COLORS), rng.choice((1, 2, 3)), rng.choice((None, *SIZES)))
        return f"Correct: {caption.phrase}.", f"no {plural(shape, caption.count)}."
    caption = _caption(group, rng)
    found = []
    if caption.count != group.count:
        found.append(COUNT_NAMES[group.count])
    if caption.size and caption.size != group.size:
        found.append(group.size)
    if caption.texture and caption.texture != group.texture:
        found.append(group.texture)
    if caption.color != group.color:
        found.append(group.color)
    return f"Correct: {caption.phrase}.", f"{', '.join(found) or 'right'}."


def _caption(group: Group, rng: random.Random) -> Entity:
    """A caption of a group, each attribute true, wrong or (size and texture) left out."""

    def told(true: object, values: Sequence, wrong: float = 0.3):
        return rng.choice([value for value in values if value != true]) if rng.random() < wrong else true

    return Entity(
        shape=group.shape,
        color=told(group.color, COLORS),
        count=told(group.count, tuple(COUNT_NAMES)),
        size=told(group.size, SIZES) if rng.random() < 0.6 else None,
        texture=told(group.texture, TEXTURES) if rng.random() < 0.5 else None,
    )


_TRAITS = ("shape", "color", "texture")


def traits(thing: Group | Entity) -> dict[str, str]:
    """What two pictures can be compared in; a texture left open is plain."""
    return {"shape": thing.shape, "color": thing.color, "texture": thing.texture or "plain"}


def most_alike(scene: Scene, reference: Entity) -> Group:
    """The group that shares most traits with the reference; among equals, one of its shape, then of its colour."""
    wanted = traits(reference)

    def likeness(group: Group) -> tuple[int, list[bool]]:
        shared = [traits(group)[trait] == wanted[trait] for trait in _TRAITS]
        return sum(shared), shared

    return max(scene.groups, key=likeness)


WEIGHTS: dict[str, dict[Callable[[Scene, random.Random], Segment], float]] = {
    "tell": {_name: 6, _relate: 3, _one: 2, _differences: 2.5, _whole: 0.7, _listing: 0.5},
    "place": {
        _name: 5,
        _relate: 5,
        _locate: 2,
        _relate_in_words: 2,
        _one: 1.5,
        _differences: 2.5,
        _whole: 0.5,
        _listing: 0.3,
    },
    "retell": {
        _name: 5,
        _relate: 5,
        _relate_in_words: 1,
        _one: 1,
        _locate: 0.7,
        _whole: 0.3,
        _listing: 0.2,
    },
}


def reference_segments(scene: Scene, reference: Entity, rng: random.Random, number: int) -> list[Segment]:
    """Descriptions of a pair of pictures: a scene and, second, a reference showing one entity alone."""
    kinds = (_second, _found_again, _compared, _compared, _compared)
    return [rng.choice(kinds)(scene, reference, rng) for _ in range(number)]


def _second(scene: Scene, reference: Entity, rng: random.Random) -> Segment:
    shown = traits(reference)
    return "Describe the second picture.", f"a {shown['texture']} {shown['color']} {shown['shape']}."


def _found_again(scene: Scene, reference: Entity, rng: random.Random) -> Segment:
    return "Find it in the first picture.", f"{describe(most_alike(scene, reference))}."


def _compared(scene: Scene, reference: Entity, rng: random.Random) -> Segment:
    """Which traits a group shares with the second picture: one of them, or all."""
    group, name = most_alike(scene, reference), "most alike"
    if rng.random() < 0.5:
        group = rng.choice(scene.groups)
        name = group.shape
    wanted, shown = traits(reference), traits(group)
    same = {trait: "same" if shown[trait] == wanted[trait] else "other" for trait in _TRAITS}
    if rng.random() < 0.25:
        return f"Compare the {name} with it.", ", ".join(f"{same[trait]} {trait}" for trait in _TRAITS) + "."
    trait = rng.choice(_TRAITS)
    return f"Compare the {trait} of the {name} with it.", f"{same[trait]} {trait}."


def text_segment(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random, stage: str = "tell") -> Segment:
    """An exercise without a picture: copy odd tokens, list, look up, take apart or turn round a text."""
    weights = TEXT_WEIGHTS.get(stage, TEXT_WEIGHTS["tell"])
    return rng.choices(tuple(weights), tuple(weights.values()))[0](prompt, vocabulary, rng)


def _copy(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    odd = "".join(rng.choice(vocabulary) for _ in range(rng.randint(4, 30))).strip()
    return f"Copy:\n{odd}", odd


def _entities(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    return f"List the shapes in: {prompt.text}", ", ".join(entity.shape for entity in prompt.entities) + "."


def _lookup(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    entity, kind = rng.choice(prompt.entities), rng.choice(("color", "size", "texture", "number"))
    told = COUNT_NAMES[entity.count] if kind == "number" else getattr(entity, kind)
    return f"Name the {kind} of the {entity.shape} in: {prompt.text}", f"{told or _NOTHING}."


def _take_apart(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """The entities one a line, attributes in turn, then the relations."""
    lines = []
    for entity in prompt.entities:
        told = [entity.shape, COUNT_NAMES[entity.count], entity.color, entity.size, entity.texture]
        lines.append(", ".join(word for word in told if word))
    for relation in prompt.relations:
        pair = (prompt.entities[relation.subject].shape, prompt.entities[relation.other].shape)
        lines.append(f"{pair[0]}, {relation.kind}, {pair[1]}")
    return f"Take apart: {prompt.text}", "\n".join(lines)


def _turn_round(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """The same layout told from the other end."""
    text = prompt.entities[-1].phrase
    for relation in reversed(prompt.relations):
        subject = prompt.entities[relation.subject]
        if relation.other < len(prompt.entities) - 1:
            text += " which is" if prompt.entities[relation.other].count == 1 else " which are"
        text += f" {RELATION_PHRASES[OPPOSITE[relation.kind]]} {subject.phrase}"
    return f"Turn round: {prompt.text}", text


_LAYOUTS = {  # name -> one fact a line, what is asked for before what is found; the names mean nothing
    "a": "{shape}, {kind}: {value}",
    "b": "the {kind} of the {shape} is {value}",
    "c": "{kind}, {shape}, {value}",
    "d": "{shape}: name the {kind}, {value}",
    "e": "{number}. {shape} has {kind} {value}",
    "f": "{kind} of {shape} - {value} - {number}",
}


def _facts(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """Everything that a text says, one fact a line, in one of many layouts that the instruction names."""
    name, by_kind, shapes_first = rng.choice(tuple(_LAYOUTS)), rng.random() < 0.3, rng.random() < 0.5
    shapes = [entity.shape for entity in prompt.entities]
    facts = [
        (number, entity.shape, kind, value)
        for number, entity in enumerate(prompt.entities, 1)
        for kind, value in _told(entity).items()
    ]
    if by_kind:
        facts.sort(key=lambda fact: _TOLD.index(fact[2]))
    for relation in prompt.relations:
        pair = f"{shapes[relation.subject]}, {shapes[relation.other]}"
        facts.append((relation.subject + 1, pair, "place", relation.kind))
    lines = [f"{number}. {shape}" for number, shape in enumerate(shapes, 1)] if shapes_first else []
    lines += [
        _LAYOUTS[name].format(number=number, shape=shape, kind=kind, value=value)
        for number, shape, kind, value in facts
    ]
    order = f"by {'number' if by_kind else 'shape'}{', shapes first' if shapes_first else ''}"
    return f"Take apart, {name}, {order}: {prompt.text}", "\n".join(lines)


_TOLD = ("number", "color", "size", "texture")


def _told(entity: Entity) -> dict[str, str]:
    """What a text says about an entity, each under its name."""
    told = (COUNT_NAMES[entity.count], entity.color, entity.size, entity.texture)
    return {kind: value for kind, value in zip(_TOLD, told) if value}


def _recall(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """One thing that a text said, asked for behind it."""
    entity, kind = rng.choice(prompt.entities), rng.choice(_TOLD)
    return f"{prompt.text}. Name the {kind} of the {entity.shape}.", f"{_told(entity).get(kind, _NOTHING)}."


TEXT_WEIGHTS: dict[str, dict[Callable[[Prompt, Sequence[str], random.Random], Segment], float]] = {
    "tell": {_copy: 3, _facts: 2, _entities: 1, _lookup: 3, _take_apart: 3, _turn_round: 1},
    "retell": {_facts: 4, _copy: 2, _recall: 2, _take_apart: 2, _lookup: 1, _turn_round: 0.5, _entities: 0.5},
}
