"""Simulated people: they know the latent quality only through their own bias, care and taste, and say why in a line."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from .latent import quality
from .world import Prompt, Scene, plural


@dataclass(frozen=True)
class Annotator:
    """How a simulated person rates on the scale 0-10.

    Attributes:
        bias: added to every score; negative is strict.
        gain: how strongly good and bad are told apart around the middle of the scale.
        noise: standard deviation of the error of one rating.
        taste: share of the overall rating that is taken from appearance alone.
    """

    bias: float
    gain: float
    noise: float
    taste: float


ANNOTATORS: dict[str, Annotator] = {
    "careful": Annotator(bias=-0.4, gain=1.0, noise=1.4, taste=0.1),
    "lenient": Annotator(bias=1.1, gain=0.8, noise=1.3, taste=0.2),
    "aesthete": Annotator(bias=0.0, gain=1.0, noise=1.4, taste=0.4),
    "hasty": Annotator(bias=0.3, gain=0.9, noise=1.7, taste=0.0),
}


class SceneRating(TypedDict):
    """One annotator's rating of one aspect: a whole score in 0-10 (0-4 for personalised aspects), and a line why."""

    aspect: str
    score: float
    explanation: str


def rate(prompt: Prompt, scene: Scene, annotator: str, rng: random.Random) -> list[SceneRating]:
    """Ratings of every aspect that the prompt has, overall last.

    Raises:
        KeyError: the annotator is none of `ANNOTATORS`.
    """
    person = ANNOTATORS[annotator]
    true = {aspect: value for aspect, value in quality(prompt, scene).items() if value is not None}
    true["overall"] = (1 - person.taste) * true["overall"] + person.taste * true["appearance"]
    return [
        SceneRating(
            aspect=aspect, score=_vote(aspect, value, person, rng), explanation=_why(aspect, prompt, scene, rng)
        )
        for aspect, value in true.items()
    ]


def rate_personalised(truth: Mapping[str, float], annotator: str, rng: random.Random) -> list[SceneRating]:
    """Ratings of the two axes, 0-4 as in DreamBench++, from their latent values in [0, 10] (`personalised.quality`)."""
    person = ANNOTATORS[annotator]
    ratings = []
    for aspect, word in (("concept_preservation", "subject"), ("prompt_following", "prompt")):
        score = _point(_feel(truth[aspect], person, person.noise, rng), top=4)
        remark = "kept" if score > 2 else "partly kept" if score > 1 else "hardly kept"
        ratings.append(SceneRating(aspect=aspect, score=score, explanation=f"the {word} is {remark}"))
    return ratings


def _vote(aspect: str, value: float, person: Annotator, rng: random.Random) -> float:
    """A score in 0-10. Places are judged less surely."""
    noise = person.noise * (1.5 if aspect == "relationship" else 1.0)
    return _point(_feel(value, person, noise, rng), top=10)


def _feel(value: float, person: Annotator, noise: float, rng: random.Random) -> float:
    """The latent value as this person feels it."""
    return 5 + person.gain * (value - 5) + person.bias + rng.gauss(0, noise)


def _point(felt: float, top: int) -> float:
    """The nearest point of a rating form that goes from 0 to `top`, for a feeling in [0, 10]."""
    return float(min(top, max(0, round(felt * top / 10))))


def _why(aspect: str, prompt: Prompt, scene: Scene, rng: random.Random) -> str:
    """One remark on the aspect; people name one thing they noticed, not all."""
    remarks = {
        "appearance": _flaws(scene),
        "intrinsic": _errors(prompt, scene),
        "relationship": _misplacements(prompt, scene),
    }
    if aspect == "overall":
        words = [remark for part in remarks.values() for remark in part]
        return rng.choice(words) if words else "just what I would expect"
    nothing = {"appearance": "looks clean", "intrinsic": "everything is there", "relationship": "placed as described"}
    return rng.choice(remarks[aspect]) if remarks[aspect] else nothing[aspect]


def _flaws(scene: Scene) -> list[str]:
    words = {"blur": "is out of focus", "noise": "is grainy", "broken": "has scratches"}
    return [f"the {group.shape} {words[group.defect]}" for group in scene.groups if group.severity > 0.2]


def _errors(prompt: Prompt, scene: Scene) -> list[str]:
    errors = []
    for entity in prompt.entities:
        group = scene.find(entity.shape)
        if group is None:
            errors.append(f"I can't see any {entity.shape}")
            continue
        if group.color != entity.color:
            errors.append(f"the {entity.shape} should be {entity.color}")
        if group.count != entity.count:
            errors.append(f"wrong number of {plural(entity.shape, 2)}")
        if entity.size and group.size != entity.size:
            errors.append(f"the {entity.shape} should be {entity.size}")
        if entity.texture and group.texture != entity.texture:
            errors.append(f"the {entity.shape} should be {entity.texture}")
    return errors


def _misplacements(prompt: Prompt, scene: Scene) -> list[str]:
    shapes = [entity.shape for entity in prompt.entities]
    return [
        f"the {shapes[relation.subject]} is in the wrong place"
        for relation in prompt.relations
        if scene.relation(shapes[relation.subject], shapes[relation.other]) != relation.kind
    ]
