"""The quality a scene really has: what people's ratings are drawn from, and what every judge is measured against.

Deliberately another formula than any judge's: multiplicative in the errors of an entity, weighted by how many copies
were asked for, continuous in severity and angle. No judge, teacher included, can read it off its own answers.
"""

from __future__ import annotations

import math

from .world import DIRECTION, Entity, Group, Prompt, Scene

_COUNT_FACTOR = {0: 1.0, 1: 0.75, 2: 0.55, 3: 0.45}
_BROKEN_RELATION = 0.82


def quality(prompt: Prompt, scene: Scene) -> dict[str, float | None]:
    """appearance, intrinsic, relationship (None without relations) and overall, each in [0, 10], higher is better."""
    weights = [1 + 0.3 * (entity.count - 1) for entity in prompt.entities]
    groups = [scene.find(entity.shape) for entity in prompt.entities]
    looks = [_look(group) for group in groups]
    truths = [_faithfulness(entity, group) for entity, group in zip(prompt.entities, groups)]
    relations = [_agreement(prompt, scene, index) for index in range(len(prompt.relations))]
    overall = _mean([0.55 * truth + 0.45 * look for truth, look in zip(truths, looks)], weights)
    for agreement in relations:
        overall *= 1.0 if agreement > math.cos(math.pi / 4) else _BROKEN_RELATION
    related = 10 * sum((1 + agreement) / 2 for agreement in relations) / len(relations) if relations else None
    return {
        "appearance": 10 * _mean(looks, weights),
        "intrinsic": 10 * _mean(truths, weights),
        "relationship": related,
        "overall": 10 * overall,
    }


def _mean(values: list[float], weights: list[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights)) / sum(weights)


def _look(group: Group | None) -> float:
    """How clean a group is, in [0, 1]; nothing drawn has no look to please."""
    return (1 - group.severity) ** 1.3 if group else 0.0


def _faithfulness(entity: Entity, group: Group | None) -> float:
    """How well a group is what was asked for, in [0, 1]: errors multiply."""
    if group is None:
        return 0.0
    factor = _COUNT_FACTOR[abs(group.count - entity.count)]
    if group.color != entity.color:
        factor *= 0.55
    if entity.size and group.size != entity.size:
        factor *= 0.8
    if entity.texture and group.texture != entity.texture:
        factor *= 0.75
    return factor


def _agreement(prompt: Prompt, scene: Scene, index: int) -> float:
    """Cosine between the asked and the drawn direction, in [-1, 1]; -1 where one of the two is not there."""
    relation = prompt.relations[index]
    subject = scene.find(prompt.entities[relation.subject].shape)
    other = scene.find(prompt.entities[relation.other].shape)
    if subject is None or other is None:
        return -1.0
    dx, dy = subject.center[0] - other.center[0], subject.center[1] - other.center[1]
    asked = DIRECTION[relation.kind]
    return (dx * asked[0] + dy * asked[1]) / max(math.hypot(dx, dy), 1e-9)
