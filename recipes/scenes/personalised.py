"""Personalised generation in the embedded world: a reference entity, carried into a new scene by a simulated method.

The prompt calls the reference entity "subject", as in `two large subjects above a red star`. Seven simulated methods of
three families trade concept preservation (is it still that subject?) against prompt following, as the methods compared
in DreamBench++ (arXiv 2406.16855) do. The latent quality is, again, no judge's formula.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .world import (
    COLORS,
    HELD_OUT_PAIRS,
    NUMBER_WORDS,
    RELATION_PHRASES,
    RELATIONS,
    SHAPES,
    SIZES,
    SPLITS,
    TEXTURES,
    Entity,
    Generator,
    Group,
    Prompt,
    Relation,
    Scene,
    cells_of,
    draw,
    place,
    sample_entity,
)

if TYPE_CHECKING:
    from PIL.Image import Image

SUBJECT = "subject"
DIFFICULTIES = ("easy", "medium", "hard")  # nothing, one or two other groups beside the subject
CONCEPT_PRESERVATION, PROMPT_FOLLOWING = "concept_preservation", "prompt_following"


@dataclass(frozen=True)
class Method:
    """A simulated personalised generator.

    Attributes:
        family: tuned, tuning-free or mllm.
        shape, color, texture: probability that the subject loses this trait of the reference.
        prompt: error rates for everything the prompt says, the subject's number, size and place included; its
            `spoilt` and `severity` spoil what is drawn.
    """

    family: str
    shape: float
    color: float
    texture: float
    prompt: Generator


def _rates(error: float, severity: float) -> Generator:
    """Prompt errors around one rate, relations the hardest."""
    return Generator(
        missing=error * 0.7,
        shape=0.0,
        count=error,
        color=error,
        size=error * 0.7,
        texture=error,
        relation=min(0.9, error * 1.3),
        spoilt=min(1.0, 0.4 + severity / 2),
        severity=severity,
    )


METHODS: dict[str, Method] = {
    "tuned-embedding": Method("tuned", 0.45, 0.40, 0.50, _rates(0.25, 0.50)),
    "tuned-weights": Method("tuned", 0.20, 0.20, 0.25, _rates(0.22, 0.30)),
    "tuned-adapter": Method("tuned", 0.15, 0.12, 0.20, _rates(0.12, 0.20)),
    "free-early": Method("tuning-free", 0.35, 0.25, 0.40, _rates(0.35, 0.40)),
    "free-adapter": Method("tuning-free", 0.12, 0.15, 0.25, _rates(0.40, 0.25)),
    "free-adapter-plus": Method("tuning-free", 0.04, 0.05, 0.08, _rates(0.60, 0.15)),
    "mllm": Method("mllm", 0.25, 0.30, 0.30, _rates(0.08, 0.35)),
}


@dataclass(frozen=True)
class Task:
    """One personalised generation task: the reference, and the prompt in which it is entity 0."""

    prompt: Prompt

    @property
    def reference(self) -> Entity:
        """The reference entity: shape, colour, texture; its number and size are the prompt's business."""
        return replace(self.prompt.entities[0], count=1, size=None)

    @property
    def difficulty(self) -> str:
        """One of `DIFFICULTIES`."""
        return DIFFICULTIES[len(self.prompt.entities) - 1]

    @property
    def category(self) -> str:
        """What kind of subject it is: its texture."""
        return self.reference.texture or "plain"

    @property
    def text(self) -> str:
        """The prompt in English; the subject's traits are in the reference picture only."""
        first, others = self.prompt.entities[0], self.prompt.entities[1:]
        words = [NUMBER_WORDS[first.count], *([first.size] if first.size else []), SUBJECT + "s" * (first.count > 1)]
        text = " ".join(words)
        for entity, relation in zip(others, self.prompt.relations):
            linker = "" if relation.subject == 0 else _linker(self.prompt.entities[relation.subject])
            text += f"{linker} {RELATION_PHRASES[relation.kind]} {entity.phrase}"
        return text


def _linker(entity: Entity) -> str:
    return " which is" if entity.count == 1 else " which are"


@dataclass(frozen=True)
class Sample:
    """A method's picture for a task. The subject is `scene.groups[0]`: no method leaves it out."""

    task: Task
    method: str
    scene: Scene
    image: Image
    reference_image: Image

    @property
    def subject(self) -> Group:
        """The group that stands for the reference."""
        return self.scene.groups[0]


def split_of(task: Task) -> str:
    """The one split of a task, by its reference alone: held-out pairs, a fifth of the other references, the rest."""
    reference = task.reference
    if (reference.shape, reference.color) in HELD_OUT_PAIRS:
        return "new_pairs"
    name = f"{reference.shape}/{reference.color}/{reference.texture}"
    return "new_prompts" if hashlib.sha256(name.encode()).digest()[0] % 5 == 0 else "train"


def sample_task(rng: random.Random, split: str = "train") -> Task:
    """A random task of a split; every split but `train` shows references that training never does.

    Raises:
        ValueError: the split is none of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    while True:
        task = _any_task(rng)
        if split_of(task) == split:
            return task


def _any_task(rng: random.Random) -> Task:
    shapes = rng.sample(SHAPES, rng.choice((1, 2, 3)))
    first = Entity(
        shape=shapes[0],
        color=rng.choice(COLORS),
        count=rng.choices((1, 2, 3), (0.5, 0.3, 0.2))[0],
        size=rng.choice(SIZES) if rng.random() < 0.5 else None,
        texture=rng.choice(TEXTURES),
    )
    others = [_other_entity(rng, shape) for shape in shapes[1:]]
    relations = [Relation(0, 1, rng.choice(RELATIONS))] if others else []
    if len(others) == 2:
        axis = RELATIONS[2:] if relations[0].kind in RELATIONS[:2] else RELATIONS[:2]
        relations.append(Relation(1, 2, rng.choice(axis)))
    return Task(Prompt((first, *others), tuple(relations)))


def _other_entity(rng: random.Random, shape: str) -> Entity:
    """An entity beside the subject, never a held-out pair: those are for references of their split."""
    while True:
        entity = sample_entity(rng, shape)
        if (entity.shape, entity.color) not in HELD_OUT_PAIRS:
            return entity


def simulate(task: Task, method_name: str, rng: random.Random) -> Scene:
    """What a simulated method draws for a task; group 0 is the subject. Raises `KeyError` for an unknown method."""
    method = METHODS[method_name]
    while True:
        drawn = [_draw_subject(task, method, rng)]
        drawn += [draw(entity, task.prompt, method.prompt, rng) for entity in task.prompt.entities[1:]]
        pairs = {(group.shape, group.color) for group in drawn if group}
        if split_of(task) == "new_pairs" or not pairs & HELD_OUT_PAIRS:
            return place(drawn, cells_of(task.prompt, method.prompt, rng), rng)


def _draw_subject(task: Task, method: Method, rng: random.Random) -> Group | None:
    """The subject with this method's errors: what the prompt says of it, then the traits of the reference."""
    group = None
    rates = replace(method.prompt, missing=0.0, color=0.0, texture=0.0)
    while group is None:
        group = draw(task.prompt.entities[0], task.prompt, rates, rng)
    free = [shape for shape in SHAPES if shape not in {entity.shape for entity in task.prompt.entities}]
    if rng.random() < method.shape:
        group = replace(group, shape=rng.choice(free))
    if rng.random() < method.color:
        group = replace(group, color=rng.choice([color for color in COLORS if color != group.color]))
    if rng.random() < method.texture:
        group = replace(group, texture=rng.choice([texture for texture in TEXTURES if texture != group.texture]))
    return group


def quality(task: Task, scene: Scene) -> dict[str, float]:
    """Latent concept_preservation, prompt_following and overall (their geometric mean), each in [0, 10]."""
    preserved = _preserved(task.reference, scene.groups[0])
    followed = _followed(task, scene)
    return {
        CONCEPT_PRESERVATION: 10 * preserved,
        PROMPT_FOLLOWING: 10 * followed,
        "overall": 10 * math.sqrt(preserved * followed),
    }


def _preserved(reference: Entity, group: Group) -> float:
    """How much of the reference is left, in [0, 1]: lost traits and spoilt looks multiply."""
    kept = 1.0 if group.shape == reference.shape else 0.35
    kept *= 1.0 if group.color == reference.color else 0.5
    kept *= 1.0 if group.texture == (reference.texture or "plain") else 0.65
    return kept * (0.6 + 0.4 * (1 - group.severity) ** 1.3)


_COUNT_FACTOR = {0: 1.0, 1: 0.7, 2: 0.5, 3: 0.4}


def _followed(task: Task, scene: Scene) -> float:
    """How much of what the prompt says is there, in [0, 1]; the subject's number and size count double."""
    first, subject = task.prompt.entities[0], scene.groups[0]
    own = _COUNT_FACTOR[abs(subject.count - first.count)] * (0.7 if first.size and subject.size != first.size else 1.0)
    parts = [own, own] + [_faithful(entity, scene) for entity in task.prompt.entities[1:]]
    followed = sum(parts) / len(parts)
    names = [subject.shape, *(entity.shape for entity in task.prompt.entities[1:])]
    for relation in task.prompt.relations:
        if scene.relation(names[relation.subject], names[relation.other]) != relation.kind:
            followed *= 0.78
    return followed


def _faithful(entity: Entity, scene: Scene) -> float:
    group = scene.find(entity.shape)
    if group is None:
        return 0.0
    factor = _COUNT_FACTOR[abs(group.count - entity.count)]
    factor *= 0.6 if group.color != entity.color else 1.0
    factor *= 0.8 if entity.size and group.size != entity.size else 1.0
    return factor * (0.75 if entity.texture and group.texture != entity.texture else 1.0)


def make_samples(n: int, seed: int, split: str = "train") -> list[Sample]:
    """`n` rendered samples of a split, methods taking turns; sample i depends on (seed, split, i) alone."""
    from .render import render, render_reference

    names, samples = list(METHODS), []
    for index in range(n):
        rng = random.Random(f"personalised/{seed}/{split}/{index}")
        task, name = sample_task(rng, split), names[index % len(names)]
        scene = simulate(task, name, rng)
        samples.append(Sample(task, name, scene, render(scene, rng), render_reference(task.reference, rng)))
    return samples
