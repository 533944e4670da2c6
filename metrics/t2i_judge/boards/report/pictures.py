"""The pictures of a report: which of them it carries, and what it knows about each.

A page has room for a limited number of pictures and words. A small board fits whole. Of a larger one, half of the room
is for the prompts on which the generators differ most, and half for a random sample of the rest, so that a reader sees
the extremes and the usual. All other pictures are linked.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ...records import OVERALL, Status
from ..items import BoardItem
from .deciding import Asked, scored_questions
from .thumbnails import thumbnails

Row = dict[str, Any]
Judged = Callable[[], Iterable[tuple[BoardItem, Mapping[str, Any]]]]
EMBEDDED = 1_000  # pictures inside the page
LISTED = 20_000  # images with a score in the page
_WORDS = 6_000_000  # characters of questions, answers and explanations
_LONGEST = 2_000  # characters of one text


@dataclass(frozen=True)
class Source:
    """What a report is made from.

    Attributes:
        judged: gives every image with its judgement (`Judgement.to_json`); each call begins anew.
        load: gives the pixels of an image, None if it cannot be read.
        link: gives the address of an image relative to the page, None if it has none.
        most: the largest number of pictures on the page.
    """

    judged: Judged
    load: Callable[[BoardItem], Image.Image | None]
    link: Callable[[BoardItem], str | None] = lambda item: None
    most: int = EMBEDDED


def pictures(source: Source, generators: Sequence[str], progress: bool = False) -> Row:
    """Everything that the page's scripts show of prompts, images and questions, as JSON.

    Args:
        source: the images and their judgements.
        generators: names in the order of the page.
        progress: show a bar.
    """
    listing = _Listing(generators)
    for item, judgement in source.judged():
        listing.add(item, judgement)
    listed, embedded = listing.choose(source.most)
    place = {number: at for at, number in enumerate(listed)}
    images = [listing.images[number] for number in listed]
    items = {}
    words = _Words()
    for number, (item, judgement) in enumerate(source.judged()):
        if number in place:
            items[number] = item
            images[place[number]] |= _outcome(judgement) | words.of(judgement, number in embedded)
            if (link := source.link(item)) is not None:
                images[place[number]]["link"] = link
    small = thumbnails([items[number] for number in sorted(embedded)], source.load, progress)
    for number, data in zip(sorted(embedded), small):
        images[place[number]] |= {"unreadable": True} if data is None else {"thumbnail": data}
    shown = {listing.images[number]["prompt"] for number in embedded}
    return {
        "prompts": listing.prompts,
        "images": images,
        "questions": words.questions,
        "deciding": listing.asked.deciding(shown),
        "carried": {
            "images": len(listing.images),
            "embedded": sum(data is not None for data in small),
            "listed": len(listed),
            "prompts": len(shown),
            "largest": listing.largest,
        },
    }


class _Listing:
    """Images by number, prompts with how far their generators lie apart."""

    def __init__(self, generators: Sequence[str]) -> None:
        self.images: list[Row] = []
        self.prompts: list[Row] = []
        self.asked = Asked(generators)
        self.largest: int | None = None  # prompts chosen for their differences; None: all are there
        self._generators = {name: number for number, name in enumerate(generators)}
        self._prompt: dict[str, int] = {}

    def add(self, item: BoardItem, judgement: Mapping[str, Any]) -> None:
        """The next image."""
        prompt = self._prompt.setdefault(item.prompt, len(self.prompts))
        if prompt == len(self.prompts):
            self.prompts.append(_known(text=cut(item.prompt), id=item.prompt_id, category=item.category))
        image = {"id": item.id, "generator": self._generators[item.generator], "prompt": prompt}
        sent = cut(item.prompt_sent) if item.prompt_sent != item.prompt else None
        self.images.append(image | _known(score=_score(judgement), seed=item.seed, sent=sent))
        self.asked.add(item.generator, prompt, judgement)

    def choose(self, most: int) -> tuple[list[int], set[int]]:
        """Numbers of the images that the page lists, and of those (at most `most`) whose pictures it carries."""
        of_prompt: dict[int, list[int]] = defaultdict(list)
        for number, image in enumerate(self.images):
            of_prompt[image["prompt"]].append(number)
        apart = {prompt: self._apart(numbers) for prompt, numbers in of_prompt.items()}
        by_difference = sorted(of_prompt, key=lambda prompt: -apart[prompt])
        if len(self.images) <= most:
            chosen = list(of_prompt)
        else:
            extremes = _fitting(by_difference, of_prompt, most // 2)
            rest = [prompt for prompt in of_prompt if prompt not in set(extremes)]
            random.Random(0).shuffle(rest)
            room = most - sum(len(of_prompt[prompt]) for prompt in extremes)
            chosen = extremes + _fitting(rest, of_prompt, room)
            self.largest = len(extremes)
        chosen = chosen or by_difference[:1]  # one with more images than there is room for
        embedded = {number for prompt in chosen for number in of_prompt[prompt][:most]}
        listed = chosen + _fitting([p for p in by_difference if p not in set(chosen)], of_prompt, LISTED)
        return sorted(number for prompt in listed for number in of_prompt[prompt][:LISTED]), embedded

    def _apart(self, numbers: Sequence[int]) -> float:
        """Largest difference between two generators' mean scores for a prompt; 0 with fewer than two scores."""
        scores: dict[int, list[float]] = defaultdict(list)
        for number in numbers:
            if (score := self.images[number].get("score")) is not None:
                scores[self.images[number]["generator"]].append(score)
        means = [float(np.mean(values)) for values in scores.values()]
        return max(means) - min(means) if len(means) > 1 else 0.0


def _fitting(prompts: Iterable[int], of_prompt: Mapping[int, Sequence[int]], room: int) -> list[int]:
    """The first prompts whose images fit together into the room."""
    fitting = []
    for prompt in prompts:
        if (room := room - len(of_prompt[prompt])) < 0:
            break
        fitting.append(prompt)
    return fitting


class _Words:
    """Questions, answers and explanations as far as they fit. Equal lists of questions are stored once."""

    def __init__(self) -> None:
        self.questions: list[list[Row]] = []
        self._number: dict[str, int] = {}
        self._left = _WORDS

    def of(self, judgement: Mapping[str, Any], embedded: bool) -> Row:
        """The words of one image; none if its picture is not shown or there is no more room."""
        if not embedded or self._left <= 0:
            return {}
        asked = [
            _known(text=cut(q["text"]), aspect=q["aspect"], expected=cut(q.get("expected")))
            for q in judgement.get("questions") or ()
        ]
        words = _known(why=cut(judgement.get("rationale")), answers=list(_answers(judgement)) or None)
        if asked:
            key = json.dumps(asked, sort_keys=True)
            if key not in self._number:
                self._number[key] = len(self.questions)
                self.questions.append(asked)
                self._left -= len(key)
            words["questions"] = self._number[key]
        self._left -= len(json.dumps(words))
        return words


def _answers(judgement: Mapping[str, Any]) -> Iterator[Row]:
    """One entry per question, in order."""
    answers = {answer["question_id"]: answer for answer in judgement.get("answers") or ()}
    for question, (_, _, score) in zip(judgement.get("questions") or (), scored_questions(judgement)):
        answer = answers.get(question["id"], {"status": Status.SKIPPED.value, "reason": "not answered"})
        failed = answer["status"] != Status.OK.value
        yield _known(
            text=cut(answer.get("text")),
            matches=answer.get("matches"),
            score=_rounded(score),
            raw=_rounded(answer.get("score")) if answer.get("score") != score else None,
            why=cut(answer.get("explanation")),
            status=answer["status"] if failed else None,
            reason=cut(answer.get("reason")) if failed else None,
        )


def _outcome(judgement: Mapping[str, Any]) -> Row:
    """Status and reason of a failure, scores of the aspects, and the interval of a judge that has calibrated ones."""
    failed = judgement["status"] != Status.OK.value
    scores = {name: _rounded(score) for name, score in judgement["scores"].items() if score is not None}
    scores.pop(OVERALL, None)
    return _known(
        status=judgement["status"] if failed else None,
        reason=cut(judgement.get("reason")) if failed else None,
        aspects=scores or None,
        interval=judgement.get("interval"),
    )


def _score(judgement: Mapping[str, Any]) -> float | None:
    return _rounded(judgement["scores"].get(OVERALL)) if judgement["status"] == Status.OK.value else None


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 3)


def _known(**values: Any) -> Row:
    """The fields that are not None; the others would only take room."""
    return {name: value for name, value in values.items() if value is not None}


def cut(text: str | None) -> str | None:
    """A text as long as the page shows it."""
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
