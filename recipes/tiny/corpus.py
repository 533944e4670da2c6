"""What the base of `tiny` is pre-trained on, with pictures: scenes, and pairs of pictures, put into words.

Nothing here is judging: no question, expected answer, score or format of the judge occurs (see `t2i_judge.prompts`).
Graded damage is told in words; how damage maps to a score is for the distillation to teach. A segment is an
(instruction, text) pair; several segments share the picture they are about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

from recipes.scenes.world import COLORS, HELD_OUT_PAIRS, SHAPES, SIZES, TEXTURES, Entity, Group, Scene, plural

Segment = tuple[str, str]

COUNT_NAMES = {1: "one", 2: "two", 3: "three", 4: "four"}
GRADES = ("no", "faint", "slight", "mild", "moderate", "marked", "strong", "heavy", "severe", "extreme")
NOTHING = "nothing"
_ATTRIBUTES = ("color", "size", "texture", "number", "place", "damage", "damage", "grade", "grade", "grade")
_PARTED = 0.12  # of the picture's side: how much farther apart two groups lie along one axis than along the other


def grade(group: Group) -> str:
    """Damage of a group in one of ten words, from `no` to `extreme`."""
    return GRADES[round(9 * group.severity)]


def damage(group: Group) -> str:
    """Kind and grade of what spoils a group, e.g. `heavy blur`; `no damage` where nothing visible does."""
    return f"{grade(group)} {group.defect}" if grade(group) != "no" else "no damage"


def place(group: Group) -> str:
    """Where in the picture: a cell of three by three, in words."""
    row, column = divmod(cell(group), 3)
    return f"{('top', '', 'bottom')[row]} {('left', '', 'right')[column]}".strip() or "middle"


def cell(group: Group) -> int:
    """Where in the picture: one of three by three cells, numbered row by row."""
    column, row = (min(2, int(3 * along)) for along in group.center)
    return 3 * row + column


def describe(group: Group) -> str:
    """Everything about a group, e.g. `two small striped red circles, mild noise, top left`."""
    phrase = Entity(group.shape, group.color, group.count, group.size, group.texture).phrase
    return f"{phrase}, {damage(group)}, {place(group)}"


def sides(group: Group) -> tuple[str, ...]:
    """On which sides of the picture's middle a group lies, e.g. `left` and `top`; none where it is in the middle."""
    words = []
    for along, (before, behind) in zip(group.center, (("left", "right"), ("top", "bottom"))):
        if abs(along - 0.5) > _PARTED:
            words.append(before if along < 0.5 else behind)
    return tuple(words)


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
        *sides(group),
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
    weights = WEIGHTS[stage]
    if len(scene.groups) == 1:  # there is little to say about two shapes
        weights = {maker: weight * (0.2 if maker in _OF_TWO else 1.0) for maker, weight in weights.items()}
    return [maker(scene, rng) for maker in rng.choices(tuple(weights), tuple(weights.values()), k=number)]


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
    asked = rng.choice(("Describe the {}.", "Describe all of the {}.", "The {} in the picture:"))
    return asked.format(noun(shape, rng)), f"{describe(group)}." if group else f"{NOTHING}."


def _name(scene: Scene, rng: random.Random) -> Segment:
    shape, kind = _any_shape(scene, rng, 0.8), rng.choice(_ATTRIBUTES)
    group = scene.find(shape)
    asked = rng.choice(NAMING).format(kind=kind, noun=noun(shape, rng))
    return asked, f"{attribute(group, kind) if group else NOTHING}."


NAMING = (  # the same is told whichever way it is asked for, so that words, not phrases, say what; the plain way twice
    "Name the {kind} of the {noun}.",
    "Name the {kind} of the {noun}.",
    "The {kind} of the {noun} is",
    "Describe the {noun}: {kind}.",
    "{kind}, {noun}:",
    "Look at the {noun} and name the {kind}.",
    "The picture has the {noun} in the {kind}",
    "{noun}. {kind}.",
)


def _look(scene: Scene, rng: random.Random) -> Segment:
    """Whether a shape is to be seen at all."""
    shape = _any_shape(scene, rng, 0.5)
    asked = rng.choice(("Look for the {}.", "Find the {}.", "Look in the picture for a {}."))
    return asked.format(noun(shape, rng)), "seen." if scene.find(shape) else f"{NOTHING}."


def noun(shape: str, rng: random.Random) -> str:
    """The noun for a shape, at times in the plural, whatever its number."""
    return plural(shape, rng.choice((1, 1, 2)))


def _relate(scene: Scene, rng: random.Random) -> Segment:
    """Where one shape stands from another; where one of them is not there, `nothing`."""
    a, b = _two_shapes(scene, rng, 0.9)
    asked = rng.choice(_RELATING) if rng.random() < 0.6 else _amid_odd_words(rng.choice(_OF_A_FROM_B), rng)
    return asked.format(a=noun(a, rng), b=noun(b, rng)), f"{scene.relation(a, b) or NOTHING}."


def _amid_odd_words(asked: str, rng: random.Random) -> str:
    """Behind words that mean nothing here: which of two shapes is seen from the other must not hang on them."""
    odd = " ".join(rng.sample(_ODD_WORDS.split(), rng.randint(1, 3)))
    verb = rng.choice(("", "", "is ", "are ", "stands "))
    return f"{odd[0].upper()}{odd[1:]} {verb}{asked}{rng.choice(',.:;')}"


_ODD_WORDS = (
    "so now please just and it there that here tell say then well but of one this us as do can you see are does was "
    "were find which when who why to in on at by all any both each me my your its we they some such very more then yet "
    "still about round over under near far ask think know mean show give take let be has have will would may might"
)
_OF_A_FROM_B = ("the {a}, from the {b}", "the {a} from the {b}", "from the {b} the {a}", "from the {b}, the {a}")


_RELATING = (  # as in `NAMING`
    "Place the {a} against the {b}.",
    "Place the {a} against the {b}.",
    "From the {b} to the {a}:",
    "The {a} and the {b}: name the place of the {a} against the {b}.",
    "Describe how the {a} stands to the {b}.",
    "Look from the {b} for the {a}.",
    "To the {b} the {a} is",
    "The place of the {a}, from the {b}:",  # from the shape named last as from the one named first: words tell which
    "Name the place of the {a} from the {b}.",
    "The {a} as it stands from the {b}:",
    "Name where the {a} is, from the {b}.",
    "From the {b}, where the {a} is:",
    "Place the {a}, from the {b}.",
    "Look for the {a} from the {b}.",
    "The {a}, from the {b}:",
)


def _two_shapes(scene: Scene, rng: random.Random, present: float) -> tuple[str, str]:
    """Two shapes: with probability `present` of groups that lie clearly beside or above each other, if there are two.

    Of groups that lie cornerwise it is a matter of pixels which word is right: nothing to learn from.
    """
    parted = [
        (a.shape, b.shape)
        for a, b in permutations(scene.groups, 2)
        if abs(abs(a.center[0] - b.center[0]) - abs(a.center[1] - b.center[1])) > _PARTED
    ]
    if parted and rng.random() < present:
        return rng.choice(parted)
    a = _any_shape(scene, rng, 0.9)
    return a, rng.choice([shape for shape in SHAPES if shape != a and scene.relation(a, shape) is None])


def _locate(scene: Scene, rng: random.Random) -> Segment:
    """The places of two shapes, each behind its noun."""
    a, b = _two_shapes(scene, rng, 0.95)
    return f"Place the {a} and the {b}.", f"{a} {_place_of(scene, a)}, {b} {_place_of(scene, b)}."


def _relate_in_words(scene: Scene, rng: random.Random) -> Segment:
    """Two places, then what they make: `circle top left, star bottom left, above`."""
    a, b = _two_shapes(scene, rng, 0.95)
    places = f"{a} {_place_of(scene, a)}, {b} {_place_of(scene, b)}"
    return f"Describe the place of the {a} against the {b}.", f"{places}, {scene.relation(a, b) or NOTHING}."


def _place_of(scene: Scene, shape: str) -> str:
    group = scene.find(shape)
    return place(group) if group else NOTHING


def _differences(scene: Scene, rng: random.Random) -> Segment:
    """What a caption gets wrong, told as what the picture shows instead."""
    shape = _any_shape(scene, rng, 0.85)
    group = scene.find(shape)
    if group is None:
        caption = Entity(shape, rng.choice(colors_of(shape)), rng.choice((1, 2, 3)), rng.choice((None, *SIZES)))
        return f"Correct: {caption.phrase}.", f"no {plural(shape, caption.count)}."
    caption = _caption(group, rng)
    wrong = []
    if caption.count != group.count:
        wrong.append(COUNT_NAMES[group.count])
    if caption.size and caption.size != group.size:
        wrong.append(group.size)
    if caption.texture and caption.texture != group.texture:
        wrong.append(group.texture)
    if caption.color != group.color:
        wrong.append(group.color)
    return f"Correct: {caption.phrase}.", f"{', '.join(wrong) or 'right'}."


def _caption(group: Group, rng: random.Random) -> Entity:
    """A caption of a group, each attribute true, wrong or (size and texture) left out."""

    def stated(true: Any, values: Sequence[Any], wrong: float = 0.3) -> Any:
        return rng.choice([value for value in values if value != true]) if rng.random() < wrong else true

    return Entity(
        shape=group.shape,
        color=stated(group.color, colors_of(group.shape)),
        count=stated(group.count, tuple(COUNT_NAMES)),
        size=stated(group.size, SIZES) if rng.random() < 0.6 else None,
        texture=stated(group.texture, TEXTURES) if rng.random() < 0.5 else None,
    )


def colors_of(shape: str) -> tuple[str, ...]:
    """The colours in which a shape is told of: pairs that are held out must be new in words as well as in pictures."""
    return tuple(color for color in COLORS if (shape, color) not in HELD_OUT_PAIRS)


TRAITS = ("shape", "color", "texture")


def traits(thing: Group | Entity) -> dict[str, str]:
    """What two pictures can be compared in; a texture left open is plain."""
    return {"shape": thing.shape, "color": thing.color, "texture": thing.texture or "plain"}


def most_alike(scene: Scene, reference: Entity) -> Group:
    """The group that shares most traits with the reference; among equals, one of its shape, then of its colour."""
    wanted = traits(reference)

    def likeness(group: Group) -> tuple[int, list[bool]]:
        shared = [traits(group)[trait] == wanted[trait] for trait in TRAITS]
        return sum(shared), shared

    return max(scene.groups, key=likeness)


_OF_TWO = (_relate, _locate, _relate_in_words)
WEIGHTS: dict[str, dict[Callable[[Scene, random.Random], Segment], float]] = {
    "tell": {_name: 6, _relate: 3, _one: 2, _differences: 2.5, _whole: 0.7, _listing: 0.5},
    "place": {
        _name: 5,
        _relate: 8,
        _locate: 2,
        _relate_in_words: 2,
        _one: 1,
        _differences: 2,
        _whole: 0.5,
        _listing: 0.3,
    },
    "retell": {
        _name: 6,
        _look: 1.5,
        _relate: 8,
        _relate_in_words: 1,
        _one: 0.7,
        _locate: 0.7,
        _whole: 0.2,
        _listing: 0.2,
    },
    "relate": {_name: 4.5, _look: 0.6, _relate: 9, _relate_in_words: 1, _one: 0.2, _locate: 0.5},
}
WEIGHTS["settle"] = WEIGHTS["retell"]


def reference_segments(scene: Scene, reference: Entity, rng: random.Random, number: int) -> list[Segment]:
    """Descriptions of a pair of pictures: a scene and, second, a reference showing one entity alone."""
    makers = rng.choices((_second, _found_again, _compared), (0.5, 1, 5), k=number)
    return [maker(scene, reference, rng) for maker in makers]


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
    alike = {trait: shown[trait] == wanted[trait] for trait in TRAITS}
    if rng.random() < 0.2:
        return f"Compare the {name} with it.", ", ".join(_ALIKE[alike[trait]].format(trait) for trait in TRAITS) + "."
    trait = rng.choice(TRAITS)
    asked, answers = rng.choice(_COMPARING)
    return asked.format(trait=trait, name=name), answers[alike[trait]].format(trait)


_ALIKE = ("other {}", "same {}")
_COMPARING: tuple[tuple[str, tuple[str, str]], ...] = (  # what is asked, and what is told of other and of same traits
    ("Compare the {trait} of the {name} with it.", ("other {}.", "same {}.")),
    ("Compare the {trait} of the {name} with it.", ("other {}.", "same {}.")),
    ("Look at both and compare the {trait} of the {name}.", ("other {}.", "same {}.")),
    ("The {name} and the second picture, {trait}:", ("not alike.", "alike.")),
    ("The {trait} of the {name} against that of the second picture:", ("another.", "the same.")),
    ("Against the second picture the {name} has a {trait} which is", ("other.", "same.")),
    ("{trait} of the {name}, alike in both:", ("wrong.", "right.")),
)
