"""What prompts of the embedded world can say, and what simulated generators make of them.

A prompt names one to three groups of shapes with their attributes and how they stand to each other. A simulated
generator turns it into a `Scene`: a complete, deterministic description of the picture, errors and defects included.
Everything that a latent quality or an annotator may need (placement too) stands in the scene before a pixel is drawn.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
RELATIONS = ("left", "right", "above", "below")
DEFECTS = ("blur", "noise", "broken")
COUNTS = (1, 2, 3, 4)
SPLITS = ("train", "new_prompts", "new_pairs")
HELD_OUT_PAIRS = frozenset(
    {("circle", "orange"), ("square", "purple"), ("triangle", "red"), ("star", "green"), ("cross", "blue")}
)

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
DIRECTION = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
NUMBER_WORDS = {1: "a", 2: "two", 3: "three", 4: "four"}
RELATION_PHRASES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


def plural(shape: str, count: int) -> str:
    """The noun for `count` copies of a shape."""
    if count == 1:
        return shape
    return shape + ("es" if shape.endswith("s") else "s")


@dataclass(frozen=True)
class Entity:
    """One group that a prompt asks for; size and texture are None where the prompt leaves them open."""

    shape: str
    color: str
    count: int = 1
    size: str | None = None
    texture: str | None = None

    @property
    def phrase(self) -> str:
        """The noun phrase, e.g. `two small striped red circles`."""
        words = [word for word in (self.size, self.texture, self.color) if word]
        article = NUMBER_WORDS[self.count]
        if article == "a" and words and words[0][0] in "aeiou":
            article = "an"
        return " ".join([article, *words, plural(self.shape, self.count)])


@dataclass(frozen=True)
class Relation:
    """Entity number `subject` stands `kind` of entity number `other`."""

    subject: int
    other: int
    kind: str


@dataclass(frozen=True)
class Prompt:
    """What is asked of a generator. Every shape occurs at most once, so that a shape names its entity."""

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...] = ()

    @property
    def text(self) -> str:
        """The prompt in English: entities in order, chained by their relations."""
        text = self.entities[0].phrase
        for relation in self.relations:
            if relation.subject > 0:
                text += " which is" if self.entities[relation.subject].count == 1 else " which are"
            text += f" {RELATION_PHRASES[relation.kind]} {self.entities[relation.other].phrase}"
        return text


@dataclass(frozen=True)
class Group:
    """One group as drawn. Lengths are fractions of the picture's side; `severity` of the defect is in [0, 1]."""

    shape: str
    color: str
    size: str
    texture: str
    count: int
    defect: str
    severity: float
    radius: float = 0.0
    center: tuple[float, float] = (0.5, 0.5)
    copies: tuple[tuple[float, float], ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of the group, clipped to the picture."""
        xs, ys = [x for x, _ in self.copies], [y for _, y in self.copies]
        margin = 1.3 * self.radius
        return (
            max(0.0, min(xs) - margin),
            max(0.0, min(ys) - margin),
            min(1.0, max(xs) + margin),
            min(1.0, max(ys) + margin),
        )


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn: the groups that are really there (an entity left out has none)."""

    groups: tuple[Group, ...]

    def find(self, shape: str) -> Group | None:
        """The group of that shape, or None where the generator left it out or drew another shape."""
        return next((group for group in self.groups if group.shape == shape), None)

    def relation(self, subject: str, other: str) -> str | None:
        """Where `subject` stands seen from `other`, on the axis that parts them most; None if either is missing."""
        a, b = self.find(subject), self.find(other)
        if a is None or b is None:
            return None
        dx, dy = a.center[0] - b.center[0], a.center[1] - b.center[1]
        if abs(dx) >= abs(dy):
            return "left" if dx < 0 else "right"
        return "above" if dy < 0 else "below"


@dataclass(frozen=True)
class Generator:
    """A simulated text-to-image model: the rate of each error, and how often and how badly it spoils what it draws.

    Rates are probabilities an entity (`relation`: a relation). A group is spoilt with probability `spoilt`; the
    severity then follows a triangular law on [0, 1] with mode `severity`. `defects` weighs blur, noise and broken
    outlines.
    """

    missing: float
    shape: float
    count: float
    color: float
    size: float
    texture: float
    relation: float
    spoilt: float
    severity: float
    defects: tuple[float, float, float] = (1.0, 1.0, 1.0)


GENERATORS: dict[str, Generator] = {
    "masterly": Generator(0.02, 0.02, 0.05, 0.03, 0.04, 0.05, 0.05, spoilt=0.50, severity=0.15),
    "steady": Generator(0.05, 0.05, 0.15, 0.10, 0.10, 0.12, 0.15, spoilt=0.57, severity=0.35, defects=(2, 1, 1)),
    "middling": Generator(0.12, 0.08, 0.25, 0.20, 0.15, 0.20, 0.30, spoilt=0.70, severity=0.55),
    "careless": Generator(0.22, 0.15, 0.40, 0.35, 0.30, 0.35, 0.45, spoilt=0.90, severity=0.75),
    "faithful-ugly": Generator(0.05, 0.05, 0.12, 0.08, 0.08, 0.10, 0.10, spoilt=1.00, severity=0.90, defects=(1, 2, 2)),
    "pretty-wrong": Generator(0.25, 0.18, 0.40, 0.40, 0.30, 0.35, 0.45, spoilt=0.50, severity=0.10),
    "hazy": Generator(0.08, 0.06, 0.20, 0.15, 0.12, 0.20, 0.20, spoilt=0.85, severity=0.60, defects=(4, 1, 1)),
}


def holds_out(prompt: Prompt) -> bool:
    """Whether the prompt asks for a shape-colour pair that training never shows."""
    return any((entity.shape, entity.color) in HELD_OUT_PAIRS for entity in prompt.entities)


def split_of(prompt: Prompt) -> str:
    """The one split a prompt belongs to: by its pairs, then by a hash of its text (a fifth of the prompts is new)."""
    if holds_out(prompt):
        return "new_pairs"
    return "new_prompts" if hashlib.sha256(prompt.text.encode()).digest()[0] % 5 == 0 else "train"


def sample_prompt(rng: random.Random, split: str = "train") -> Prompt:
    """A random prompt of a split.

    Raises:
        ValueError: the split is none of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    while True:
        prompt = _any_prompt(rng)
        if split_of(prompt) == split:
            return prompt


def _any_prompt(rng: random.Random) -> Prompt:
    number = rng.choices((1, 2, 3), (0.2, 0.5, 0.3))[0]
    entities = tuple(sample_entity(rng, shape) for shape in rng.sample(SHAPES, number))
    relations = []
    if number > 1:
        relations.append(Relation(0, 1, rng.choice(RELATIONS)))
    if number == 3:  # the second relation runs along the other axis: L-shaped layouts, never three in a row
        axis = RELATIONS[2:] if relations[0].kind in RELATIONS[:2] else RELATIONS[:2]
        relations.append(Relation(1, 2, rng.choice(axis)))
    return Prompt(entities, tuple(relations))


def sample_entity(rng: random.Random, shape: str) -> Entity:
    """A random entity of a given shape; size and texture are often left open."""
    return Entity(
        shape=shape,
        color=rng.choice(COLORS),
        count=rng.choices((1, 2, 3), (0.5, 0.3, 0.2))[0],
        size=rng.choice(SIZES) if rng.random() < 0.6 else None,
        texture=rng.choice(TEXTURES[1:]) if rng.random() < 0.4 else None,
    )


def simulate(prompt: Prompt, generator_name: str, rng: random.Random) -> Scene:
    """What a simulated generator draws for a prompt. Never blank, and no error makes a held-out pair by chance.

    Raises:
        KeyError: the generator is none of `GENERATORS`.
    """
    generator = GENERATORS[generator_name]
    while True:
        drawn = [draw(entity, prompt, generator, rng) for entity in prompt.entities]
        pairs = {(group.shape, group.color) for group in drawn if group}
        shapes = [group.shape for group in drawn if group]
        if drawn.count(None) == len(drawn) or len(set(shapes)) < len(shapes):
            continue
        if holds_out(prompt) or not pairs & HELD_OUT_PAIRS:
            return place(drawn, cells_of(prompt, generator, rng), rng)


def _other(values: tuple[T, ...], value: T, rng: random.Random) -> T:
    return rng.choice([candidate for candidate in values if candidate != value])


def draw(entity: Entity, prompt: Prompt, generator: Generator, rng: random.Random) -> Group | None:
    """One entity with this generator's errors, not yet placed; None where it is left out."""
    if rng.random() < generator.missing:
        return None
    group = Group(
        shape=entity.shape,
        color=entity.color,
        size=entity.size or rng.choice(SIZES),
        texture=entity.texture or "plain",
        count=entity.count,
        defect=rng.choices(DEFECTS, generator.defects)[0],
        severity=rng.triangular(0.0, 1.0, generator.severity) if rng.random() < generator.spoilt else 0.0,
    )
    asked_for = {other.shape for other in prompt.entities}
    unasked = [shape for shape in SHAPES if shape not in asked_for]
    if rng.random() < generator.shape:
        group = replace(group, shape=rng.choice(unasked))
    if rng.random() < generator.count:
        group = replace(group, count=_other(COUNTS, group.count, rng))
    if rng.random() < generator.color:
        group = replace(group, color=_other(COLORS, group.color, rng))
    if rng.random() < generator.size:
        group = replace(group, size=_other(SIZES, group.size, rng))
    if rng.random() < generator.texture:
        group = replace(group, texture=_other(TEXTURES, group.texture, rng))
    return group


def cells_of(prompt: Prompt, generator: Generator, rng: random.Random) -> list[tuple[int, int]]:
    """Grid cells of the entities, relations kept or broken, shifted so that the smallest coordinate is 0."""
    cells = [(0, 0)]
    for relation in prompt.relations:
        kind = relation.kind
        if rng.random() < generator.relation:
            kind = OPPOSITE[kind] if len(prompt.relations) > 1 else _other(RELATIONS, kind, rng)
        step, origin = DIRECTION[kind], cells[relation.subject]
        cells.append((origin[0] - step[0], origin[1] - step[1]))
    left, top = min(x for x, _ in cells), min(y for _, y in cells)
    return [(x - left, y - top) for x, y in cells]


_UNIT = 96.0  # the layout is laid out on a sheet of 96 x 96 and stored as fractions of it
_RADIUS = {"small": (6.0, 7.2), "large": (10.2, 11.6)}
_ARRANGEMENTS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (((0, 0),),),
    2: (((-1, 0), (1, 0)), ((0, -1), (0, 1))),
    3: (((-1, 0.9), (1, 0.9), (0, -0.9)),),
    4: (((-1, -1), (1, -1), (-1, 1), (1, 1)),),
}


def place(drawn: list[Group | None], cells: list[tuple[int, int]], rng: random.Random) -> Scene:
    """Give every group its place: a cell of the grid, jitter, and the places of its copies."""
    columns, rows = max(x for x, _ in cells) + 1, max(y for _, y in cells) + 1
    width, height = _UNIT / max(columns, 2), _UNIT / max(rows, 2)
    free_x, free_y = (_UNIT - width * columns) / 2, (_UNIT - height * rows) / 2
    groups = []
    for group, (column, row) in zip(drawn, cells, strict=True):
        x = free_x + (column + 0.5) * width + rng.uniform(-2, 2) + (rng.uniform(-12, 12) if columns == 1 else 0.0)
        y = free_y + (row + 0.5) * height + rng.uniform(-2, 2) + (rng.uniform(-12, 12) if rows == 1 else 0.0)
        if columns == rows == 1:
            x, y = x + rng.uniform(-14, 14), y + rng.uniform(-14, 14)
        if group is not None:
            groups.append(_put(group, x, y, rng))
    return Scene(tuple(groups))


def _put(group: Group, x: float, y: float, rng: random.Random) -> Group:
    """The group with its radius and the places of its copies, in fractions of the picture's side."""
    radius = rng.uniform(*_RADIUS[group.size])
    spread = 1.12 * radius
    copies = tuple(
        ((x + dx * spread + rng.uniform(-0.8, 0.8)) / _UNIT, (y + dy * spread + rng.uniform(-0.8, 0.8)) / _UNIT)
        for dx, dy in rng.choice(_ARRANGEMENTS[group.count])
    )
    return replace(group, radius=radius / _UNIT, center=(x / _UNIT, y / _UNIT), copies=copies)
