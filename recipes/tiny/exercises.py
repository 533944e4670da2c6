"""What the base of `tiny` is pre-trained on, without pictures: exercises in reading, copying and listing texts.

As in `corpus`, nothing here is judging: the layouts of lists are none of the judge's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from recipes.scenes.world import COLORS, OPPOSITE, RELATION_PHRASES, SHAPES, TEXTURES, Entity, Prompt, plural

from .corpus import COUNT_NAMES, NAMING, NOTHING, TRAITS, Segment, colors_of, noun, traits


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
    entity, kind = rng.choice(prompt.entities), rng.choice(_TOLD)
    asked = rng.choice(_READING).format(kind=kind, noun=noun(entity.shape, rng), text=prompt.text)
    return asked, f"{_told(entity).get(kind, NOTHING)}."


_READING = (
    "Name the {kind} of the {noun} in: {text}",
    "Name the {kind} of the {noun} in: {text}",
    "{text}. The {kind} of the {noun} is",
    "The text: {text}\n{kind} of the {noun}:",
    "{noun}, {kind}. {text}",
)


def _take_apart(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """The entities, one per line, attributes in turn, then the relations."""
    lines = [", ".join([entity.shape, *_told(entity).values()]) for entity in prompt.entities]
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
    "g": "text, {shape}, the {noun} have the {kind}, {value}, {number}",
    "h": "{kind} - {shape} - {noun} of this {kind} are there, {value}",
    "i": "{value} is the {kind} of the {shape} - {number}",
    "k": "all {noun}, the {kind}, {value} - {number}",
}
_FIRST = {  # name -> a line for each shape before all facts
    "a": "{number}. {shape}",
    "b": "there is a {shape} - {shape} - {number}",
    "c": "the {shape}, {noun}",
}
_LAST = {"a": "end of the {shape} - {number}", "b": "the {shape} is all there, {shape}"}  # a line behind its facts


def _facts(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """Everything that a text says, one fact a line, in one of many layouts that the instruction names."""
    name, by_kind = rng.choice(tuple(_LAYOUTS)), rng.random() < 0.3
    first, last = rng.choice(("", "", *_FIRST)), "" if by_kind else rng.choice(("", "", *_LAST))
    entities = [
        {"number": str(number), "shape": entity.shape, "noun": plural(entity.shape, 2)}
        for number, entity in enumerate(prompt.entities, 1)
    ]
    facts = [
        (kind, value, words)
        for entity, words in zip(prompt.entities, entities)
        for kind, value in _told(entity).items()
    ]
    if by_kind:
        facts.sort(key=lambda fact: _TOLD.index(fact[0]))
    lines = [_FIRST[first].format(**words) for words in entities] if first else []
    for index, (kind, value, words) in enumerate(facts):
        lines.append(_LAYOUTS[name].format(kind=kind, value=value, **words))
        if last and (index + 1 == len(facts) or facts[index + 1][2] is not words):
            lines.append(_LAST[last].format(**words))
    for relation in prompt.relations:
        a, b = entities[relation.subject], entities[relation.other]
        pair = {field: f"{a[field]}, {b[field]}" for field in a}
        lines.append(_LAYOUTS[name].format(kind="place", value=relation.kind, **pair))
    order = f"by {'number' if by_kind else 'shape'}"
    order += f", first {first}" if first else ""
    order += f", last {last}" if last else ""
    return f"Take apart, {name}, {order}: {prompt.text}", "\n".join(lines)


_TOLD = ("number", "color", "size", "texture")


def _told(entity: Entity) -> dict[str, str]:
    """What a text says about an entity, each under its name."""
    words = (COUNT_NAMES[entity.count], entity.color, entity.size, entity.texture)
    return {kind: value for kind, value in zip(_TOLD, words) if value}


def _recall(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """One thing that a text said, asked for behind it."""
    entity, kind = rng.choice(prompt.entities), rng.choice(_TOLD)
    asked = rng.choice(NAMING).format(kind=kind, noun=noun(entity.shape, rng))
    return f"{prompt.text}. {asked}", f"{_told(entity).get(kind, NOTHING)}."


def _same_or_other(prompt: Prompt, vocabulary: Sequence[str], rng: random.Random) -> Segment:
    """One trait of two things in words, as `_compared` tells it of two pictures."""
    first = traits(rng.choice(prompt.entities))
    values = {"shape": SHAPES, "color": COLORS, "texture": TEXTURES}
    while True:
        second = {trait: value if rng.random() < 0.5 else rng.choice(values[trait]) for trait, value in first.items()}
        if second["color"] in colors_of(second["shape"]):
            break
    a, b = (f"a {thing['texture']} {thing['color']} {thing['shape']}" for thing in (first, second))
    trait = rng.choice(TRAITS)
    return f"{a}; {b}. Compare the {trait}.", f"{'same' if first[trait] == second[trait] else 'other'} {trait}."


TEXT_WEIGHTS: dict[str, dict[Callable[[Prompt, Sequence[str], random.Random], Segment], float]] = {
    "tell": {_copy: 3, _facts: 2, _entities: 1, _lookup: 3, _take_apart: 3, _turn_round: 1},
    "retell": {
        _facts: 6,
        _copy: 1,
        _recall: 2.5,
        _take_apart: 1.5,
        _same_or_other: 1.5,
        _lookup: 2.5,
        _turn_round: 0.5,
        _entities: 0.5,
    },
}
TEXT_WEIGHTS["relate"] = TEXT_WEIGHTS["retell"] | {_copy: 0}  # of random tokens little is learnt: they drown the rest
TEXT_WEIGHTS["settle"] = TEXT_WEIGHTS["relate"]
