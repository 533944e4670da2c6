"""Judgements of a board as arrays: a row per generator, a column per prompt; seeds averaged within a prompt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..records import ALL_ASPECTS, OVERALL, Status
from ..stats.coefficients import Floats
from .items import BoardItem

Row = dict[str, Any]
# Kinds of question that people ask about, by the words of a question; the first that fits. Described, never decided.
QUESTION_TYPES: Mapping[str, tuple[str, ...]] = {
    "count": ("how many", "number of", "exactly", "count"),
    "colour": ("color", "colour"),
    "text": ("the text", "the word", "written", "spelled", "letters", "caption"),
}
RELATION, OTHER = "relation", "other"


@dataclass(frozen=True)
class Scored:
    """One image's judgement, as far as a board needs it. `types`: kind of question -> mean score of its answers."""

    item: BoardItem
    status: Status
    scores: Mapping[str, float | None]
    types: Mapping[str, float]


def scored(item: BoardItem, judgement: Mapping[str, Any]) -> Scored:
    """Read a judgement's line (`Judgement.to_json`)."""
    aspects = {question["id"]: question for question in judgement.get("questions") or ()}
    by_type: dict[str, list[float]] = defaultdict(list)
    for answer in judgement.get("answers") or ():
        question = aspects.get(answer["question_id"])
        if question is not None and answer.get("score") is not None:
            by_type[question_type(question["text"], question["aspect"])].append(answer["score"])
    types = {name: sum(values) / len(values) for name, values in by_type.items()}
    return Scored(item, Status(judgement["status"]), judgement["scores"], types)


def question_type(text: str, aspect: str) -> str:
    """count, colour, text, relation or other."""
    folded = text.casefold()
    for name, words in QUESTION_TYPES.items():
        if any(word in folded for word in words):
            return name
    return RELATION if aspect == "relationship" else OTHER


class Scores:
    """The judged images of a board.

    Args:
        images: every judged image.
        generators: rows, in this order.
        score_range: lowest and highest score of the judge. Bounds count failures as one of the two; None: unknown, so
            that nothing that a failure enters has bounds.
    """

    def __init__(
        self, images: Sequence[Scored], generators: Sequence[str], score_range: tuple[float, float] | None
    ) -> None:
        self.images, self.generators = images, list(generators)
        self.score_range = score_range or (-np.inf, np.inf)
        self.prompts = list(dict.fromkeys(image.item.prompt for image in images))
        self._row = {name: number for number, name in enumerate(self.generators)}
        self._column = {prompt: number for number, prompt in enumerate(self.prompts)}
        self._tables: dict[tuple[str, str], Floats] = {}  # asked for by every generator, and made of all images

    @cached_property
    def aspects(self) -> list[str]:
        """Aspects, except overall, for which some image has a score."""
        known = {name for image in self.images for name, score in image.scores.items() if score is not None}
        return [aspect for aspect in ALL_ASPECTS if aspect in known and aspect != OVERALL]

    @cached_property
    def types(self) -> list[str]:
        """Kinds of question that some image was asked."""
        known = {name for image in self.images for name in image.types}
        return [name for name in (*QUESTION_TYPES, RELATION, OTHER) if name in known]

    @cached_property
    def categories(self) -> dict[str, list[int]]:
        """Category -> columns of its prompts."""
        of = {image.item.prompt: image.item.category for image in self.images if image.item.category}
        groups: dict[str, list[int]] = {}
        for column, prompt in enumerate(self.prompts):
            if (category := of.get(prompt)) is not None:
                groups.setdefault(category, []).append(column)
        return groups

    def aspect(self, name: str) -> Floats:
        """Shape (generators, prompts): mean score over the seeds that have one; nan if none has."""
        return self._table("aspect", name, lambda image: image.scores.get(name))

    def question_type(self, name: str) -> Floats:
        """The same for the answers to one kind of question."""
        return self._table("question type", name, lambda image: image.types.get(name))

    def _table(self, kind: str, name: str, value: Callable[[Scored], float | None]) -> Floats:
        if (kind, name) not in self._tables:
            known = ((image, value(image)) for image in self.images if image.status is Status.OK)
            self._tables[kind, name] = self._means(known)
        return self._tables[kind, name]

    @cached_property
    def overall(self) -> Floats:
        """The scores that decide."""
        return self.aspect(OVERALL)

    def filled(self, failure: float) -> Floats:
        """Overall with every failed image counted as `failure`; nan where a generator has no image.

        A prompt for which the judge skipped the images of all generators says nothing: nan.
        """
        by_prompt: dict[str, set[Status]] = defaultdict(set)
        for image in self.images:
            by_prompt[image.item.prompt].add(image.status)
        mute = {prompt for prompt, statuses in by_prompt.items() if statuses == {Status.SKIPPED}}
        return self._means(
            (image, image.scores.get(OVERALL) if image.status is Status.OK else failure)
            for image in self.images
            if image.item.prompt not in mute
        )

    @cached_property
    def _own(self) -> dict[str, list[Scored]]:
        """Generator -> its images."""
        own: dict[str, list[Scored]] = defaultdict(list)
        for image in self.images:
            own[image.item.generator].append(image)
        return own

    def missing(self, generator: str) -> list[str]:
        """Prompts for which the generator has no image, not even a failed one."""
        own = {image.item.prompt for image in self._own[generator]}
        return [prompt for prompt in self.prompts if prompt not in own]

    def statuses(self, generator: str) -> Counter[str]:
        """Images of a generator by status."""
        return Counter(image.status.value for image in self._own[generator])

    def spread(self, generator: str) -> Floats:
        """Standard deviation of overall over the seeds of each prompt that has at least two scores."""
        by_prompt: dict[str, list[float]] = defaultdict(list)
        for image in self._own[generator]:
            score = image.scores.get(OVERALL)
            if image.status is Status.OK and score is not None:
                by_prompt[image.item.prompt].append(score)
        return np.asarray([np.std(values, ddof=1) for values in by_prompt.values() if len(values) > 1])

    def _means(self, values: Iterable[tuple[Scored, float | None]]) -> Floats:
        sums = np.zeros((len(self.generators), len(self.prompts)))
        counts = np.zeros_like(sums)
        for image, value in values:
            if value is not None:
                place = self._row[image.item.generator], self._column[image.item.prompt]
                sums[place] += value
                counts[place] += 1
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
