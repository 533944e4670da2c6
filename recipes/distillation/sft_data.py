"""From distillation rows (one per image) to training rows: which samples, how often, and how they share an image.

    rows of build/RECIPE/distill -> `read_samples` -> `rebalance` (score bins) -> `mix` (weight per sub-task)
                                 -> `pack` (samples of one image share a row) -> `training_dataset`

Order and choice depend on the recipe's seeds only.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recipes.recipe.config import Recipe
from recipes.recipe.sections import Mixture, Rebalance
from t2i_judge.decompose import from_lines
from t2i_judge.errors import UserError, quoted
from t2i_judge.inputs.images import load_image
from t2i_judge.prompts import LEVELS, SUMMARY_SCORE, TASKS, direct_prompts, level_to_score, score_to_level
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Judgement

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("id", "prompt", "image", "reference_image", "samples")
TEXT_ONLY = -1  # instead of a row number: a sample that shows no image
BINS = 12  # [0,1) ... [9,10), 10, and one for samples without a score

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Sample:
    """One thing to learn: what the student is asked about an image, and what the teacher wrote.

    Attributes:
        row: number of the image's row in the distillation data, or `TEXT_ONLY`.
        task: one of `prompts.TASKS`, or "direct".
        subject: what it is about: the question's text, the aspect, or the prompt; samples of one row and subject are
            one unit (answer, explanation and score of a question) and stay together when scores are rebalanced.
        aspect: the aspect it counts for; None where the data does not say.
        question, answer: the student's user turn and its target.
        score: teacher's score in [0, 10] that the target states; None where it states none.
    """

    row: int
    task: str
    subject: str
    aspect: str | None
    question: str
    answer: str
    score: float | None = None


def read_samples(rows: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """All samples of distillation rows (`prompt`, `samples`: {task, question, answer}).

    Raises:
        UserError: a sample of an unknown task, or a score that is none of the ten levels.
    """
    samples: list[Sample] = []
    for number, row in enumerate(rows):
        aspects = _aspects(row["samples"])
        for sample in row["samples"]:
            if sample["task"] not in TASKS:
                raise UserError(
                    f"Row {number}: unknown task {quoted(sample['task'])}",
                    f"The tasks are {TASKS}",
                    "Build the data again",
                )
            if sample["task"] != "decompose":
                samples.append(_sample(number, sample, aspects))
            else:
                samples.append(
                    Sample(TEXT_ONLY, "decompose", row["prompt"], None, sample["question"], sample["answer"])
                )
    return samples


def _aspects(samples: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Question text -> aspect, from the row's own decomposition."""
    lines = [sample["answer"] for sample in samples if sample["task"] == "decompose"]
    return {question.text: question.aspect for text in lines for question in from_lines(text)}


def _sample(number: int, sample: Mapping[str, str], aspects: Mapping[str, str]) -> Sample:
    task, question, answer = sample["task"], sample["question"], sample["answer"]
    if task == "summarise_overall":
        subject = aspect = OVERALL
    elif task == "summarise":
        subject = aspect = question.rsplit("Summarise ", 1)[-1].split(",")[0]
    else:
        subject = " ".join(question.split("\n", 1)[0].replace("|", "/").split())
        aspect = aspects.get(subject, "")
    return Sample(number, task, subject, aspect or None, question, answer, _score(number, task, answer))


def _score(number: int, task: str, answer: str) -> float | None:
    if task not in ("score", "summarise", "summarise_overall"):
        return None
    level = answer.rsplit(SUMMARY_SCORE, 1)[-1]
    if level not in LEVELS:
        raise UserError(
            f"Row {number}: {quoted(answer)} has no score level", "Levels are 0 to 9", "Build the data again"
        )
    return level_to_score(int(level))


def direct_samples(prompts: Sequence[str], judgements: Mapping[str, Judgement], ids: Sequence[str]) -> list[Sample]:
    """For the direct baseline: one question per image, and the level of the teacher's overall score.

    A personalised image has a question for each axis beside it. What the teacher did not score is left out. `prompts`
    and `ids` are the data's columns.
    """
    samples = []
    for number, (prompt, identity) in enumerate(zip(prompts, ids, strict=True)):
        scores = judgements[identity].scores if identity in judgements else {}
        for aspect, question in direct_prompts(prompt, scores.keys() >= set(PERSONALISED_ASPECTS)).items():
            if (score := scores.get(aspect)) is not None:
                samples.append(Sample(number, "direct", aspect, aspect, question, score_to_level(score), score))
    return samples


def select_direct(samples: Sequence[Sample], recipe: Recipe) -> list[list[Sample]]:
    """The direct baseline's training rows: all levels of an image in one, where rows are packed."""
    most = 1 + len(PERSONALISED_ASPECTS) if recipe.packing == "shared_prefix" else 1
    return pack(samples, most, recipe.seeds.mixture)


def score_bin(score: float | None) -> int:
    """Bin of a score in [0, 10]: 0-9 for [0,1) ... [9,10), 10 for 10, 11 for none (T2I-Eval's twelve bins)."""
    return BINS - 1 if score is None else min(int(score), 10)


def rebalance(samples: Sequence[Sample], options: Rebalance) -> list[Sample]:
    """Resample every aspect's questions, and every kind of summary, so that their scores spread over the bins.

    T2I-Eval's strategy (arXiv 2411.15488): each bin is brought to a percentile of the twelve bin sizes by whole copies
    and a random rest; what has no score is dropped. The answer, explanation and score of a question move together.
    Decompositions are left as they are.

    Raises:
        UserError: so few bins are filled that the percentile is 0 and nothing would be left.
    """
    chance = random.Random(options.seed)
    kept = [sample for sample in samples if sample.task == "decompose"]
    pools = _grouped(
        (sample for sample in samples if sample.task != "decompose"),
        lambda sample: (sample.task if sample.task.startswith("summarise") else "question", sample.aspect),
    )
    for (kind, aspect), pool in pools.items():
        units = _grouped(pool, lambda sample: (sample.row, sample.subject))
        bins = _grouped(
            units.values(), lambda unit: score_bin(next((s.score for s in unit if s.score is not None), None))
        )
        target = int(np.percentile([len(bins.get(number, ())) for number in range(BINS)], options.percentile))
        if target == 0:
            raise UserError(
                f"Rebalancing would leave no {kind} samples of {aspect}",
                f"Scores fill {len(bins)} of {BINS} bins; percentile {options.percentile:g} of the bin sizes is 0",
                "Raise rebalance.percentile, or leave out rebalance",
            )
        for number, units_of_bin in sorted(bins.items()):
            if number < BINS - 1:
                kept += [sample for unit in _resize(units_of_bin, target, chance) for sample in unit]
    return kept


def _grouped(items: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _resize(items: Sequence[V], size: int, chance: random.Random) -> list[V]:
    """`items` as often as they fit whole into `size`, and a random rest without repetition."""
    whole, rest = divmod(size, len(items))
    return [*items] * whole + chance.sample(items, rest)


def mix(samples: Sequence[Sample], mixture: Mixture, seed: int) -> list[Sample]:
    """Samples as often as their sub-task's weight says (times their aspect's, for those about one question).

    A prompt's decomposition is one sample, however many images it has, unless the mixture wants it for every image.
    """
    chance = random.Random(seed)
    mixed: list[Sample] = []
    for (task, aspect), pool in _grouped(samples, lambda sample: (sample.task, sample.aspect)).items():
        weight = getattr(mixture, task)
        if task == "decompose" and not mixture.decompose_every_image:
            pool = [first for first, *_ in _grouped(pool, lambda sample: sample.subject).values()]
        if task in ("answer", "explain", "score"):
            weight *= getattr(mixture.aspects, aspect or "", 1.0)
        mixed += _resize(pool, round(weight * len(pool)), chance)
    return mixed


def pack(samples: Sequence[Sample], segments_per_row: int, seed: int) -> list[list[Sample]]:
    """Samples into rows that show one image each, at most `segments_per_row` to a row, evenly filled, shuffled.

    Copies of a sample go to different rows where there are several. Text-only samples share rows of about the length
    of the others, so that a batch is padded little.
    """
    chance = random.Random(seed)
    rows: list[list[Sample]] = []
    by_image = _grouped(samples, lambda sample: sample.row)
    texts = by_image.pop(TEXT_ONLY, [])
    for pool in by_image.values():
        copies = list(_grouped(pool, lambda sample: sample).values())
        chance.shuffle(copies)
        ordered = [sample for group in copies for sample in group]
        count = -(-len(ordered) // segments_per_row)
        rows += [ordered[start::count] for start in range(count)]
    chance.shuffle(texts)
    rows += _fill(texts, segments_per_row, median(map(_length, rows)) if rows else 0)
    chance.shuffle(rows)
    return rows


def _length(samples: Iterable[Sample]) -> int:
    return sum(len(sample.question) + len(sample.answer) for sample in samples)


def _fill(samples: Iterable[Sample], most: int, length: float) -> list[list[Sample]]:
    rows: list[list[Sample]] = []
    for sample in samples:
        if rows and len(rows[-1]) < most and _length([*rows[-1], sample]) <= length:
            rows[-1].append(sample)
        else:
            rows.append([sample])
    return rows


def select(samples: Sequence[Sample], recipe: Recipe) -> list[list[Sample]]:
    """The recipe's training rows: rebalanced if it says so, mixed, and packed (one sample per row without packing)."""
    if recipe.rebalance:
        samples = rebalance(samples, recipe.rebalance)
    most = recipe.training.segments_per_row if recipe.packing == "shared_prefix" else 1
    return pack(mix(samples, recipe.mixture, recipe.seeds.mixture), most, recipe.seeds.mixture)


def messages(sample: Sample, images: int) -> list[dict[str, Any]]:
    """The chat of a sample: image parts first, then the question; the assistant's turn is the target."""
    parts: list[dict[str, str]] = [{"type": "image"}] * images + [{"type": "text", "text": sample.question}]
    return [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": sample.answer}]},
    ]


def load_distillation(folder: Path) -> Dataset:
    """The training split of a distillation dataset's folder (parquet). Raises `UserError` if columns are missing."""
    from datasets import Dataset

    files = sorted(map(str, folder.glob("data/train-*.parquet")))
    if not files:
        raise UserError(
            f"There is no data/train-*.parquet in {folder}", "There is nothing to train on", "Run the build step first"
        )
    data = Dataset.from_parquet(files, cache_dir=str(folder.parent / ".cache"))
    assert isinstance(data, Dataset)
    if missing := [name for name in COLUMNS if name not in data.column_names]:
        raise UserError(
            f"{folder} has no column {quoted(missing[0])}",
            f"Its columns are {data.column_names}",
            "Build the data again",
        )
    return data


def training_dataset(data: Dataset, rows: Sequence[Sequence[Sample]], packing: str) -> Dataset:
    """A dataset for trl's SFTTrainer; images are fetched from `data` when a batch is made, and read as judges do.

    Each row is {"images": [PIL image, ...], "segments": [messages, ...]} for packing "shared_prefix" and
    {"images": [...], "messages": messages} otherwise.
    """
    from datasets import Dataset, Image

    pictures = data.select_columns(["image", "reference_image"])
    for column in pictures.column_names:  # the file's own bytes, as the judge gets them
        pictures = pictures.cast_column(column, Image(decode=False))

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(_Fetch(pictures, rows, packing))


@dataclass(frozen=True)
class _Fetch:
    """What makes a batch out of numbers of rows; a class, so that other processes can be sent it."""

    pictures: Dataset
    rows: Sequence[Sequence[Sample]]
    packing: str

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = defaultdict(list)
        for number in batch["row"]:
            row = self.rows[number]
            shown = {} if row[0].row == TEXT_ONLY else self.pictures[row[0].row]
            images = [load_image(image) for image in shown.values() if image is not None]
            chats = [messages(sample, len(images)) for sample in row]
            made["images"].append(images)
            if self.packing == "shared_prefix":
                made["segments"].append(chats)
            else:
                made["messages"].append(chats[0])
        return dict(made)
