"""The endless, reproducible stream of pre-training batches: batch k depends on (seed, k) alone, so a run can resume."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.scenes import render, world
from recipes.tiny import corpus, exercises
from t2i_judge.local.packing import IGNORED, Group, Packed, pack

from .architecture import GRID, PATCH, SIDE

if TYPE_CHECKING:
    import torch

DENSE_CLASSES = {  # what stands under a patch: number of classes, 0 being nothing
    "shape": 1 + len(world.SHAPES),
    "color": 1 + len(world.COLORS),
    "size": 1 + len(world.SIZES),
    "texture": 1 + len(world.TEXTURES),
    "count": 1 + len(world.COUNTS),
    "defect": 2 + len(world.DEFECTS),  # 1: none to be seen
    "grade": 1 + len(corpus.GRADES),
}
CELLS = 9  # of a picture, as `corpus.cell` numbers them
EMPTY = "nothing"  # the tag of an image token on which nothing lies
FACTS: dict[str, tuple[str | int | None, ...]] = {  # what a noun of a text is to know: the values of each, None: unsaid
    "number": tuple(corpus.COUNT_NAMES),
    "color": world.COLORS,
    "size": (None, *world.SIZES),
    "texture": (None, *world.TEXTURES),
    "rank": (0, 1, 2),  # among the nouns of the text
    "neighbour": (None, *world.SHAPES),  # the noun before where the text first names it, the next where it comes again
    "relation": (None, *world.RELATION_PHRASES),  # to that neighbour, as the text tells it
}


@dataclass(frozen=True)
class Mixture:
    """How many pictures, pairs of pictures and text exercises a batch has, and how many segments each of them.

    `stage` chooses what is said about pictures (`corpus.WEIGHTS`). Both pictures and texts must occur: each has a loss.
    """

    stage: str = "tell"

    pictures: int = 25
    pairs: int = 5
    texts: int = 3
    picture_segments: int = 14
    pair_segments: int = 9
    text_segments: int = 5
    of_three: float = 0.0  # share of the pictures, without those of pairs, on which three groups are sure to be drawn


def sample_scene(rng: random.Random, groups: int = 1) -> tuple[world.Prompt, world.Scene]:
    """A training prompt and what one of the generators makes of it: so many groups, or more."""
    while True:
        prompt = world.sample_prompt(rng, "train")
        scene = world.simulate(prompt, rng.choice(tuple(world.GENERATORS)), rng)
        if len(scene.groups) >= groups:
            return prompt, scene


def cover(scene: world.Scene) -> np.ndarray:
    """(GRID, GRID) int: which group lies on each patch (index), -1 for none; where two overlap, the nearer centre."""
    edges = np.arange(GRID + 1) / GRID
    centers = (edges[:-1] + edges[1:]) / 2
    owner, nearest = np.full((GRID, GRID), -1), np.full((GRID, GRID), np.inf)
    for index, group in enumerate(scene.groups):
        left, top, right, bottom = group.box
        across = np.minimum(right, edges[1:]) - np.maximum(left, edges[:-1]) > 0.25 / GRID
        down = np.minimum(bottom, edges[1:]) - np.maximum(top, edges[:-1]) > 0.25 / GRID
        distance = (centers - group.center[0])[None] ** 2 + (centers - group.center[1])[:, None] ** 2
        wins = across[None] & down[:, None] & (distance < nearest)
        owner[wins], nearest[wins] = index, distance[wins]
    return owner


def dense_labels(scene: world.Scene) -> np.ndarray:
    """(GRID * GRID, 7) int: the classes of `DENSE_CLASSES` under each patch."""
    rows = [[0] * len(DENSE_CLASSES)]
    for group in scene.groups:
        grade = corpus.GRADES.index(corpus.grade(group))
        rows.append(
            [
                1 + world.SHAPES.index(group.shape),
                1 + world.COLORS.index(group.color),
                1 + world.SIZES.index(group.size),
                1 + world.TEXTURES.index(group.texture),
                group.count,
                2 + world.DEFECTS.index(group.defect) if grade else 1,
                1 + grade,
            ]
        )
    return np.array(rows)[cover(scene).ravel() + 1]


def pixels(images: list[Any]) -> torch.Tensor:
    """Pictures -> the packed strip of patches that the vision tower takes; equal to the image processor's."""
    import torch

    from t2i_judge.local.minicpmv.processing import pack_patches

    strips = [
        pack_patches((np.asarray(image, np.float32) / 255 - 0.5).transpose(2, 0, 1) / 0.5, PATCH) for image in images
    ]
    return torch.from_numpy(np.concatenate(strips, axis=-1)[None])


def dense_batch(seed: int, index: int, size: int) -> dict[str, torch.Tensor]:
    """pixel_values and `classes` (size, GRID * GRID, 7) of `size` fresh scenes."""
    import torch

    rng = random.Random(f"{seed}/dense/{index}")
    scenes = [sample_scene(rng)[1] for _ in range(size)]
    images = [render.render(scene, rng, SIDE) for scene in scenes]
    return {"pixel_values": pixels(images), "classes": torch.from_numpy(np.stack([dense_labels(s) for s in scenes]))}


class Speller:
    """Segments and tags as token ids, in the chat template's layout.

    Args:
        processor: of `tiny`; its template is rendered once and cut up.
    """

    def __init__(self, processor: Any) -> None:
        self.tokenizer = processor.tokenizer
        self.prefixes = {number: self._prefix(processor, number) for number in (1, 2)}
        chat = [{"role": "user", "content": "\0"}, {"role": "assistant", "content": "\1"}]
        self._before, rest = processor.apply_chat_template(chat, tokenize=False).split("\0")
        self._between, self._after = rest.split("\1")
        ends = self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<unk>"])
        self.end_id, self.image_id = ends
        special = set(self.tokenizer.all_special_ids)
        texts = [self.tokenizer.decode([index]) for index in range(len(self.tokenizer)) if index not in special]
        self.plain_tokens = [text for text in texts if text.isprintable() and "\ufffd" not in text]

    def _prefix(self, processor: Any, number: int) -> list[int]:
        from PIL import Image

        content = [{"type": "image"}] * number + [{"type": "text", "text": "\0"}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        blank = [[Image.new("RGB", (SIDE, SIDE))] * number]
        return processor(text=[text.split("\0")[0].rstrip()], images=blank)["input_ids"][0]

    def word(self, text: str) -> int:
        """The one token of a word. Raises ValueError where it takes more."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is not one token of the vocabulary")
        return ids[0]

    def beginnings(self, shape: str) -> set[int]:
        """The tokens with which the noun of a shape begins: one or several, behind a space or not."""
        texts = [space + world.plural(shape, count) for count in (1, 2) for space in ("", " ")]
        return {ids[0] for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]}

    def group(self, images: int, segments: list[corpus.Segment]) -> Group:
        """The packed group of a number of images (0, 1 or 2) and what is said about them; answers are learnt."""
        start = "\n" if images else self._before
        asked = [f"{start}{instruction}{self._between}" for instruction, _ in segments]
        answers = [f"{answer}<|im_end|>" for _, answer in segments]
        ids = self.tokenizer(asked + answers, add_special_tokens=False)["input_ids"]
        pairs = list(zip(ids[: len(asked)], ids[len(asked) :]))
        return Group(
            self.prefixes[images] if images else [],
            [question + answer for question, answer in pairs],
            [[IGNORED] * len(question) + answer for question, answer in pairs],
        )


def text_batch(speller: Speller, seed: int, index: int, mixture: Mixture) -> dict[str, torch.Tensor]:
    """A packed batch with `cell_labels`, `fact_labels` and `tag_labels`: the word to tell from an image token."""
    import torch

    rng = random.Random(f"{seed}/{mixture.stage}/{index}")
    images, scenes, groups, tags, read = [], [], [], [], []
    for number in range(mixture.pictures + mixture.pairs):
        _, scene = sample_scene(rng, 3 if number < mixture.of_three * mixture.pictures else 1)
        images.append(render.render(scene, rng, SIDE))
        tags.append(_tags(scene, speller, rng))
        if number < mixture.pictures:
            segments = corpus.picture_segments(scene, rng, mixture.picture_segments, mixture.stage)
            groups.append(speller.group(1, segments))
            scenes.append(scene)
            continue
        reference = sample_reference(scene, rng)
        images.append(render.render_reference(reference, rng, SIDE))
        tags.append(np.full(GRID * GRID, IGNORED))
        groups.append(speller.group(2, corpus.reference_segments(scene, reference, rng, mixture.pair_segments)))
    for _ in range(mixture.texts):
        prompts = [world.sample_prompt(rng, "train") for _ in range(mixture.text_segments)]
        texts = [exercises.text_segment(prompt, speller.plain_tokens, rng, mixture.stage) for prompt in prompts]
        groups.append(speller.group(0, texts))
        read.append([prompt if prompt.text in asked else None for prompt, (asked, _) in zip(prompts, texts)])
    packed = pack(groups, speller.tokenizer.pad_token_id)
    batch = packed.tensors | {"cell_labels": cell_labels(packed, groups, scenes, speller)}
    batch["fact_labels"] = fact_labels(packed, groups, read, speller)
    tagged = torch.full_like(batch["input_ids"], IGNORED)
    tagged[batch["input_ids"] == speller.image_id] = torch.from_numpy(np.concatenate(tags))
    sizes = torch.tensor([[GRID, GRID]] * len(images))
    return batch | {"tag_labels": tagged, "pixel_values": pixels(images), "target_sizes": sizes}


def cell_labels(packed: Packed, groups: Sequence[Group], scenes: Sequence[world.Scene], speller: Speller) -> Any:
    """(rows, length, 3) cells of the picture (`corpus.cell`), or `IGNORED`; the first groups are about the scenes.

    The first of three, at a noun of an instruction: where the shape lies that it names. The others, at the last token
    of an instruction that names two shapes: where the first of them lies and where the second.
    """
    import torch

    cells = torch.full((*packed.tensors["input_ids"].shape, 3), IGNORED)
    for group, scene, ends in zip(groups, scenes, packed.ends):
        where = {token: corpus.cell(shape) for shape in scene.groups for token in speller.beginnings(shape.shape)}
        for segment, labels, (row, end) in zip(group.segments, group.labels, ends):
            asked = next(index for index, label in enumerate(labels) if label != IGNORED)
            start = end + 1 - len(segment)
            named = [(place, where[token]) for place, token in enumerate(segment[:asked]) if token in where]
            for place, cell in named:
                cells[row, start + place, 0] = cell
            if len(named) == 2:
                cells[row, start + asked - 1, 1:] = torch.tensor([cell for _, cell in named])
    return cells


def facts(prompt: world.Prompt, number: int, step: int) -> list[int]:
    """What a text says of its entity `number`, as indices into `FACTS`; its neighbour is the one `step` further on."""
    entity, other = prompt.entities[number], number + step
    beside = prompt.entities[other].shape if 0 <= other < len(prompt.entities) else None
    relation = next((r.kind for r in prompt.relations if {r.subject, r.other} == {number, other}), None)
    values = (entity.count, entity.color, entity.size, entity.texture, number, beside, relation)
    return [choices.index(value) for choices, value in zip(FACTS.values(), values)]


def fact_labels(
    packed: Packed, groups: Sequence[Group], read: Sequence[Sequence[world.Prompt | None]], speller: Speller
) -> Any:
    """(rows, length, 2, len(FACTS)) what the text says of a noun, or `IGNORED`; the last groups hold the texts read.

    The first of two where the text itself names the shape, the second where it comes again behind the whole text.
    """
    import torch

    labels = torch.full((*packed.tensors["input_ids"].shape, 2, len(FACTS)), IGNORED)
    colors = {speller.word(f" {color}") for color in world.COLORS}
    first = len(groups) - len(read)
    for group, prompts, ends in zip(groups[first:], read, packed.ends[first:]):
        for segment, prompt, (row, end) in zip(group.segments, prompts, ends):
            if prompt is None:
                continue
            start = end + 1 - len(segment)
            numbers = {t: n for n, entity in enumerate(prompt.entities) for t in speller.beginnings(entity.shape)}
            named: set[int] = set()
            for place, token in enumerate(segment):
                number = numbers.get(token)
                if number is None:
                    continue
                if number not in named and segment[place - 1] in colors:
                    named.add(number)
                    labels[row, start + place, 0] = torch.tensor(facts(prompt, number, -1))
                elif len(named) == len(prompt.entities):
                    labels[row, start + place, 1] = torch.tensor(facts(prompt, number, 1))
    return labels


def sample_reference(scene: world.Scene, rng: random.Random) -> world.Entity:
    """What a second picture shows: often something of the scene, each attribute kept or changed."""
    group = rng.choice(scene.groups)
    while True:
        shape = group.shape if rng.random() < 0.6 else rng.choice(world.SHAPES)
        color = group.color if rng.random() < 0.5 else rng.choice(world.COLORS)
        texture = group.texture if rng.random() < 0.5 else rng.choice(world.TEXTURES)
        if (shape, color) not in world.HELD_OUT_PAIRS:
            return world.Entity(shape, color, texture=texture)


def _tags(scene: world.Scene, speller: Speller, rng: random.Random) -> np.ndarray:
    """For every image token the id of a word that is true of what lies there."""
    choices = [[EMPTY], *(corpus.words_of(group) for group in scene.groups)]
    ids = [[speller.word(word) for word in words] for words in choices]
    return np.array([rng.choice(ids[owner + 1]) for owner in cover(scene).ravel()])
