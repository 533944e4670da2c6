"""A file of people's scores as rows, and how its cells become images, aspects and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes.recipe.sections import RatingsTable
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.inputs.numerals import is_blank, parse_number
from t2i_judge.records import ALL_ASPECTS, OVERALL

ID = ("id", "item", "image_id", "item_id", "image", "file_name", "filename", "file", "image_path", "path")
ANNOTATOR = ("annotator", "annotator_id", "rater", "rater_id", "worker", "worker_id", "user", "user_id")
ASPECT, SCORE = ("aspect", "criterion", "dimension"), ("score", "rating")
QUESTION, EXPLANATION = ("question_id", "question"), ("explanation", "comment", "reason")
NO_SCORES = (
    "prompt", "prompt_id", "generator", "model", "source", "split", "reference_image", "category", "difficulty", "seed",
    "saved", "created_at", "date", "time", "timestamp", "width", "height", "size", "bytes", "aspect_ratio", "steps",
    "num_inference_steps", "cfg", "cfg_scale", "guidance", "guidance_scale", "strength", "sha256", "url",
    "clip_score", "clipscore", "vqa_score", "vqascore", "image_reward", "imagereward", "pick_score", "pickscore",
    "hps", "hps_v2", "hpsv2", "aesthetic_score", "dino_score", "nsfw_score", "lpips", "ssim", "psnr", "fid",
)  # fmt: skip
SOMEBODY = "annotator"  # who rated where a file does not say

Row = Mapping[str, Any]


@dataclass(frozen=True)
class HumanScore:
    """What a person said about an image.

    Attributes:
        item: the image's id, or its file.
        annotator: who.
        aspect: one of `records.ALL_ASPECTS`.
        score: on the scale of its file, until it is mapped.
        place: file and row, for errors.
        question_id: the question that it answers; None: the whole aspect.
        explanation: in the person's words.
        prompt: of the image, where the file has one; tells several prompts of one image apart.
    """

    item: str
    annotator: str
    aspect: str
    score: float
    place: str
    question_id: str | None = None
    explanation: str | None = None
    prompt: str | None = None

    def record(self) -> dict[str, Any]:
        """As it stands in `human_scores`."""
        known = {"annotator": self.annotator, "aspect": self.aspect, "question_id": self.question_id}
        return {**known, "score": self.score, "explanation": self.explanation}


class RatingTable:
    """The rows of a file, and how its cells become scores."""

    def __init__(self, name: str, rows: Sequence[Row], options: RatingsTable) -> None:
        self.name, self.rows, self.options = name, rows, options
        self.columns = list(dict.fromkeys(str(column) for row in rows for column in row))

    def column(self, wanted: str | None, usual: Iterable[str]) -> str | None:
        """The column that the recipe names, else the first usual one that is there. Raises `UserError`."""
        if wanted is not None and wanted not in self.columns:
            raise UserError(
                f"{self.name} has no column {quoted(wanted)}", nearest(wanted, self.columns), "Name another column"
            )
        there = {name.strip().lower(): name for name in reversed(self.columns)}
        return wanted or next((there[name] for name in usual if name in there), None)

    def id_column(self) -> str:
        """The column that names images. Raises `UserError`."""
        if column := self.column(self.options.id, ID):
            return column
        known = f"Its columns are {', '.join(self.columns)}"
        raise UserError(f"{self.name} names no image", known, "Name a column id or file_name, or set ratings.id")

    def place(self, number: int) -> str:
        """File and row, counted from 1."""
        return f"{self.name}, row {number}"

    def score(self, cell: Any, place: str) -> float | None:
        """A cell as a number, None where it is blank. Raises `UserError`."""
        if is_blank(cell):
            return None
        word = str(cell).strip()
        if word in self.options.values:
            return self.options.values[word]
        try:
            return parse_number(cell)
        except ValueError as error:
            fix = "Write a number, leave it blank, or map words to numbers in ratings.values"
            raise UserError(f"{place}: {quoted(cell)}", str(error), fix) from None

    def aspect(self, cell: Any, place: str) -> str:
        """The aspect that a cell names; the overall one where it is blank. Raises `UserError`."""
        if is_blank(cell):
            return OVERALL
        aspect = self.options.aspects.get(str(cell).strip()) or "_".join(str(cell).casefold().split())
        if aspect not in ALL_ASPECTS:
            raise UserError(
                f"{place}, column aspect: {quoted(cell)}",
                f"This is not an aspect. {nearest(aspect, ALL_ASPECTS)}",
                "Correct it",
            )
        return aspect


def name_of(cell: Any) -> str:
    """An id or a name as text; a table that lost integers to gaps has 7.0 for 7."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def text_of(cell: Any) -> str | None:
    """The same, None where it is blank."""
    return None if is_blank(cell) else name_of(cell)


def require_once(scores: Iterable[HumanScore]) -> None:
    """Raise `UserError` for a score that one person gave twice."""
    seen: dict[tuple[Any, ...], str] = {}
    for one in scores:
        key = (one.item, one.prompt, one.annotator, one.aspect, one.question_id)
        if key in seen:
            raise UserError(
                f"{one.place}: {one.annotator} scored {quoted(one.item)} on {one.aspect} in {seen[key]}, too",
                "The same annotator scored it twice",
                "Keep one score, or name the column of annotators",
            )
        seen[key] = one.place
