"""What the importers share: files in, rows out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL, Status

ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp")


@dataclass
class Imported:
    """Rows of the benchmark, and how many things were left out, by reason."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def new_row(identity: str, prompt: str, source: str, **known: Any) -> dict[str, Any]:
    """A row without questions and scores, but for what is `known`."""
    empty: dict[str, Any] = {"image": None, "reference_image": None, "generator": None}
    lists: dict[str, Any] = {"questions": [], "human_scores": [], "baselines": []}
    return {"id": identity, "prompt": prompt, "source": source, **empty, **lists, **known}


def rated(annotator: str, score: float | None, aspect: str = OVERALL, question_id: str | None = None) -> dict[str, Any]:
    """An annotator's score of an aspect, or of one question."""
    return {"annotator": annotator, "aspect": aspect, "question_id": question_id, "score": score}


def judged(judge: str, score: float | None, aspect: str = OVERALL, revision: str | None = None) -> dict[str, Any]:
    """A judge's score; where the published file holds none, it could not be read out of the judge's answer."""
    status = Status.OK if score is not None else Status.UNPARSABLE
    return {"judge": judge, "revision": revision, "aspect": aspect, "score": score, "status": status.value}


def as_score(value: object) -> float | None:
    """A number as it stands in JSON; None for what published files write into gaps ("N/A", null, NaN)."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    return number if math.isfinite(number) else None


def read_json(path: Path, kind: type, layout: str) -> Any:
    """A JSON file that holds a `kind`. Raises `UserError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}", str(error), f"give the folder of {layout}'s files") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} holds no {kind.__name__}", f"{layout}'s does", "download it again")
    return content


def text_of(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text that a record must have. Raises `UserError` naming place, key and value."""
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}, {key}: {value!r}", "every image needs one, as text", "complete the record")
    return value


def find_image(images: Path | None, names: Iterable[str]) -> Path | None:
    """The first of these names that is a file under `images`, with or without ending; without a folder, None.

    Raises:
        UserError: there is a folder, but none of them in it.
    """
    if images is None:
        return None
    listed = list(names)
    for name in listed:
        for ending in ENDINGS:
            if (path := images / f"{name}{ending}").is_file():
                return path
    raise UserError(f"no image {' or '.join(listed)} in {images}", "", "complete the folder, or leave --images out")
