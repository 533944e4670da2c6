"""The benchmark dataset: one row per image, with its questions, every annotator's scores and every judge's.

A row is a mapping with the keys of `benchmark_features()`; `image` and `reference_image` are files or bytes, and
`attributes` (name -> text) become columns of their own. Config `ratings` is the long table of the human scores, for
statistics without images (of the splits that have any); config `latent`, in simulated worlds only, is the quality that
the simulated annotators' scores were drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distillation.parquet import DEFAULT_CONFIG, Row, write_split
from t2i_judge.errors import UserError, quoted
from t2i_judge.records import ALL_ASPECTS, Status, question_features, question_from_json

if TYPE_CHECKING:
    from datasets import Features

RATINGS_CONFIG, LATENT_CONFIG = "ratings", "latent"
_SCORE_KEYS = ("annotator", "aspect", "question_id", "score", "explanation")
_BASELINE_KEYS = ("judge", "revision", "aspect", "score", "status", "score_range")


def benchmark_features(attributes: Iterable[str] = ()) -> Features:
    """`datasets.Features` of the default config; `attributes` are further columns of text (family, category, ...)."""
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("float64")
    return Features(
        {
            "id": text,
            "prompt": text,
            "image": Image(),
            "reference_image": Image(),
            "generator": text,
            "source": text,
            **dict.fromkeys(attributes, text),
            "questions": List(question_features()),
            "human_scores": List({**dict.fromkeys(_SCORE_KEYS, text), "score": number}),
            "baselines": List({**dict.fromkeys(_BASELINE_KEYS, text), "score": number, "score_range": List(number)}),
        }
    )


def ratings_features() -> Features:
    """`datasets.Features` of config `ratings`: item, annotator, aspect, question, score."""
    from datasets import Features, Value

    text = Value("string")
    return Features(
        {"item": text, "annotator": text, "aspect": text, "question": text, "score": Value("float64")},
    )


def latent_features() -> Features:
    """`datasets.Features` of config `latent`: item, aspect, score."""
    from datasets import Features, Value

    return Features({"item": Value("string"), "aspect": Value("string"), "score": Value("float64")})


def ratings(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The long table of a benchmark's human scores; gaps (a score of None) are left out."""
    return [
        {
            "item": row["id"],
            "annotator": score["annotator"],
            "aspect": score["aspect"],
            "question": score.get("question_id"),
            "score": score["score"],
        }
        for row in rows
        for score in row["human_scores"]
        if score["score"] is not None
    ]


def write_benchmark(
    folder: Path, by_split: Mapping[str, Sequence[Row]], latent: Mapping[str, Sequence[Row]] | None = None
) -> None:
    """Check every row, then write the configs as parquet under `folder` (no card: see `dataset_card`).

    Args:
        folder: the dataset's folder.
        by_split: split name -> rows, already in order.
        latent: split name -> rows {item, aspect, score}, for simulated worlds.

    Raises:
        UserError: naming the first row that does not fit, with column, value and fix.
    """
    every = [row for rows in by_split.values() for row in rows]
    check_rows(every)
    attributes = list(dict.fromkeys(name for row in every for name in row.get("attributes") or ()))
    if clash := benchmark_features().keys() & set(attributes):
        raise UserError(
            f"An attribute has the name {quoted(min(clash))}", "This is a column of the benchmark", "Rename it"
        )
    features = benchmark_features(attributes)
    for split, rows in by_split.items():
        write_split([_complete(row, attributes) for row in rows], features, folder, DEFAULT_CONFIG, split)
        if long := ratings(rows):  # `datasets` loads no split without rows
            write_split(long, ratings_features(), folder, RATINGS_CONFIG, split)
        if latent:
            write_split(latent[split], latent_features(), folder, LATENT_CONFIG, split)


def _complete(row: Row, attributes: Iterable[str]) -> dict[str, Any]:
    """The row with every key of the features, nested records included: Arrow takes no partial records."""
    known = row.get("attributes") or {}
    return {
        **{key: row.get(key) for key in ("id", "prompt", "image", "reference_image", "generator", "source")},
        **{name: known.get(name) for name in attributes},
        "questions": [asdict(question_from_json(question)) for question in row["questions"]],
        "human_scores": [{key: score.get(key) for key in _SCORE_KEYS} for score in row["human_scores"]],
        "baselines": [{key: score.get(key) for key in _BASELINE_KEYS} for score in row["baselines"]],
    }


def check_rows(rows: Iterable[Row]) -> None:
    """Raise `UserError` for the first row that breaks the benchmark's contract: row, column, value, fix."""
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        check = _RowCheck(number, row)
        check.identity(seen)
        questions = check.questions()
        check.human_scores(questions)
        check.baselines()


class _RowCheck:
    """The checks of one row; `number` counts from 1."""

    def __init__(self, number: int, row: Row) -> None:
        self.number, self.row = number, row

    def refuse(self, column: str, value: Any, reason: str, fix: str) -> None:
        raise UserError(
            f"Row {self.number} (id {quoted(self.row.get('id'))}), column {column}: {quoted(value)}", reason, fix
        )

    def identity(self, seen: dict[str, int]) -> None:
        for column in ("id", "prompt", "source", "generator"):
            value = self.row.get(column)
            if value is None and column == "generator":
                continue
            if not isinstance(value, str) or not value.strip():
                self.refuse(column, value, "Every row needs one, as text", f"Fill in {column}")
        identity = self.row["id"]
        if identity in seen:
            self.refuse("id", identity, f"Row {seen[identity]} has the same id", "Give every image its own id")
        seen[identity] = self.number
        for column in ("image", "reference_image"):
            value = self.row.get(column)
            if isinstance(value, str | Path) and not Path(value).is_file():
                self.refuse(column, str(value), "There is no such file", "Correct the path, or name the image folder")

    def questions(self) -> set[str]:
        """Ids of the row's questions."""
        known: set[str] = set()
        for question in self.row["questions"]:
            try:
                parsed = question_from_json(question)
            except (KeyError, TypeError) as error:
                self.refuse(
                    "questions", question, f"This is not a question: {error}", "Give id, aspect, entities and text"
                )
            self._aspect("questions", parsed.aspect)
            if parsed.id in known:
                self.refuse("questions", parsed.id, "The id appears twice", "Number the questions q1, q2, ...")
            known.add(parsed.id)
        return known

    def human_scores(self, questions: set[str]) -> None:
        seen = set()
        for score in self.row["human_scores"]:
            if not score.get("annotator"):
                self.refuse("annotator", score.get("annotator"), "Each score needs an annotator", "Name the annotator")
            self._aspect("aspect", score.get("aspect"))
            self._number("score", score.get("score"))
            question = score.get("question_id")
            if question is not None and question not in questions:
                self.refuse(
                    "question_id", question, "The row has no such question", "Add the question, or leave it blank"
                )
            key = (score["annotator"], score["aspect"], question)
            if key in seen:
                self.refuse("human_scores", key, "The same annotator scored it twice", "Keep one score")
            seen.add(key)

    def baselines(self) -> None:
        known = [status.value for status in Status]
        for score in self.row["baselines"]:
            if not score.get("judge"):
                self.refuse("judge", score.get("judge"), "Each baseline needs a judge", "Name the judge")
            self._aspect("aspect", score.get("aspect"))
            self._number("score", score.get("score"))
            if score.get("status") not in known:
                self.refuse("status", score.get("status"), "This is not a status", f"Use one of {', '.join(known)}")
            if score["status"] != Status.OK and score.get("score") is not None:
                self.refuse(
                    "score", score["score"], f"The status {score['status']} cannot have a score", "Leave it blank"
                )

    def _aspect(self, column: str, value: Any) -> None:
        if value not in ALL_ASPECTS:
            self.refuse(column, value, "This is not an aspect", f"Use one of {', '.join(ALL_ASPECTS)}")

    def _number(self, column: str, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(column, value, "This is not a number", "Write a number, or leave it blank")
