"""The benchmark for Explore and Annotate: texts and scores in memory, pictures decoded when they are shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from t2i_judge.errors import UserError, quoted
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.records import ALL_ASPECTS, OVERALL, Judgement, Question, Status, question_from_json

_PICTURES = ("image", "reference_image")
_COLUMNS = {"id", "prompt", "generator", "image", "questions", "human_scores", "baselines"}
_MEND = "Set BENCHMARK to its folder or Hub id, or run make release"


@dataclass(frozen=True)
class BenchItem:
    """One row of the benchmark without its pictures; `key` is unique over all splits."""

    key: str
    split: str
    row: int
    id: str
    prompt: str
    generator: str
    questions: tuple[Question, ...]
    human_scores: Sequence[Mapping[str, Any]]
    baselines: Sequence[Mapping[str, Any]]
    has_reference: bool = False

    def people(self, aspect: str) -> list[Mapping[str, Any]]:
        """The annotators' scores of an aspect as a whole (not of single questions)."""
        whole = (each for each in self.human_scores if each["aspect"] == aspect and not each.get("question_id"))
        return [each for each in whole if each["score"] is not None]

    def human_mean(self, aspect: str) -> float | None:
        """Mean over annotators, None without any."""
        scores = [each["score"] for each in self.people(aspect)]
        return fmean(scores) if scores else None

    def baseline(self, judge: str, aspect: str) -> Mapping[str, Any] | None:
        """What a judge said: the record with score and status; one that gave no score at all failed every aspect."""
        own = [each for each in self.baselines if each["judge"] == judge]
        whole = own[0] if own and all(each["status"] != Status.OK for each in own) else None
        return next((each for each in own if each["aspect"] == aspect), whole)

    def judge_score(self, judge: str, aspect: str) -> float | None:
        """A judge's score; None if there is none or it failed."""
        baseline = self.baseline(judge, aspect)
        return baseline["score"] if baseline and baseline["status"] == Status.OK else None


@dataclass(frozen=True)
class Benchmark:
    """All splits of a benchmark dataset, and judgements of its images by the release's own run, by the items' ids."""

    name: str
    items: Sequence[BenchItem]
    datasets: Mapping[str, Any] = field(repr=False)
    judgements: Mapping[str, Judgement] = field(default_factory=dict, repr=False)
    _disagreements: dict[tuple[str, str], Mapping[str, float]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def by_key(self) -> dict[str, BenchItem]:
        """Items by their key."""
        return {item.key: item for item in self.items}

    @cached_property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self.datasets)

    @cached_property
    def generators(self) -> list[str]:
        """Names of the generators, sorted."""
        return sorted({item.generator for item in self.items})

    @cached_property
    def judges(self) -> list[str]:
        """Names of the judges: the release's own, where its answers are kept, then as they first stand."""
        own = [judgement.judge.name for judgement in self.judgements.values()]
        named = dict.fromkeys(each["judge"] for item in self.items for each in item.baselines)
        return list(dict.fromkeys([*(name for name in own if name in named), *named]))

    @cached_property
    def aspects(self) -> list[str]:
        """Aspects that anybody scored as a whole: those that people scored before the others, overall first."""
        people = {each["aspect"] for item in self.items for each in item.human_scores}
        judges = {each["aspect"] for item in self.items for each in item.baselines}
        scored = [aspect for aspect in ALL_ASPECTS if aspect in people | judges]
        return sorted(scored, key=lambda aspect: (aspect not in people, aspect != OVERALL))

    def disagreements(self, judge: str, aspect: str) -> Mapping[str, float]:
        """Of every item that both scored, by its key: how many places of 100 the judge ranks it above (+) people.

        Places, not points: people may score on 0-4 or 0-10, a judge on either, and a cosine on neither. The lowest
        item of the benchmark has place 0, the highest place 100; items with equal scores share their mean place.
        """
        if (judge, aspect) not in self._disagreements:
            pairs = {item.key: (item.judge_score(judge, aspect), item.human_mean(aspect)) for item in self.items}
            both = {key: pair for key, pair in pairs.items() if None not in pair}
            by_judge, by_people = (_places([pair[side] for pair in both.values()]) for side in (0, 1))
            apart = {key: float(a - b) for key, a, b in zip(both, by_judge, by_people)}
            self._disagreements[judge, aspect] = apart
        return self._disagreements[judge, aspect]

    def score_range(self, judge: str, aspect: str) -> tuple[float, float] | None:
        """Lowest and highest possible score of a judge, as its scores of that aspect tell; None if they do not."""
        records = [record for item in self.items if (record := item.baseline(judge, aspect)) is not None]
        told = {tuple(each.get("score_range") or ()) for each in records if each["score"] is not None}
        return next(iter(told)) if len(told) == 1 and all(map(len, told)) else None

    def judgement(self, item: BenchItem) -> Judgement | None:
        """The answers of the release's judge about it, if they are kept."""
        kept = self.judgements.get(item.id)
        return kept if kept is not None and kept.prompt == item.prompt else None

    def picture(self, item: BenchItem, column: str = "image") -> Image.Image | None:
        """The item's picture (`image` or `reference_image`), decoded now; None if there is none or it is broken.

        Only what the benchmark stores: a path in it would be one of this machine, which everyone would see.
        """
        encoded = self.datasets[item.split][item.row][column]
        try:
            return load_image(encoded["bytes"]) if encoded is not None else None
        except ImageError as error:
            logging.getLogger(__name__).warning("%s of %s: %s", column, item.key, error.reason)
            return None


def _places(scores: Sequence[Any]) -> np.ndarray:
    """Each score's mean rank on 0 to 100; one score alone stands in the middle."""
    from scipy.stats import rankdata

    return 100 * (rankdata(scores) - 1) / (len(scores) - 1) if len(scores) > 1 else np.full(len(scores), 50.0)


def read_benchmark(name: str, judged: Path | None = None) -> Benchmark:
    """Load a benchmark by folder or Hub id. `judged` is a file of judgements of its images, if there is one.

    Raises `UserError` in one line if it cannot be loaded.
    """
    from datasets import load_dataset

    try:
        loaded = load_dataset(name)
    except Exception as error:  # datasets raises dozens of types for what is one fact here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The benchmark {quoted(name)} cannot be loaded", reason, _MEND) from error
    for split, rows in loaded.items():
        if missing := _COLUMNS - set(rows.column_names):
            reason = f"Its split {split} has no column {', '.join(sorted(missing))}"
            raise UserError(f"{quoted(name)} is not a benchmark", reason, _MEND)
    items = [item for split, rows in loaded.items() for item in _items(split, rows)]
    rows = json.loads(judged.read_text(encoding="utf-8")) if judged is not None and judged.is_file() else ()
    kept = {judgement.image_id: judgement for judgement in map(Judgement.from_json, rows)}
    return Benchmark(name, items, {split: _encoded(rows) for split, rows in loaded.items()}, kept)


def _encoded(rows: Any) -> Any:
    """The rows with their pictures as files, which datasets would open in any format."""
    from datasets import Image as Encoded

    for column in set(_PICTURES) & set(rows.column_names):
        rows = rows.cast_column(column, Encoded(decode=False))
    return rows


def _items(split: str, rows: Any) -> list[BenchItem]:
    """The rows of one split; pictures stay undecoded, whether there is a reference is read from the column's nulls."""
    references = [False] * len(rows)
    if "reference_image" in rows.column_names:
        references = [bool(valid) for valid in rows.data.column("reference_image").is_valid().to_pylist()]
    text = rows.remove_columns([column for column in _PICTURES if column in rows.column_names])
    return [
        BenchItem(
            key=f"{split}/{row['id']}",
            split=split,
            row=index,
            id=row["id"],
            prompt=row["prompt"],
            generator=row["generator"],
            questions=tuple(question_from_json(question) for question in row["questions"]),
            human_scores=row["human_scores"],
            baselines=row["baselines"],
            has_reference=references[index],
        )
        for index, row in enumerate(text)
    ]
