"""What the importers share: files in, rows out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from t2i_judge.errors import UserError, quoted
from t2i_judge.files import read_json as read_any_json
from t2i_judge.inputs.places import is_below
from t2i_judge.records import OVERALL, Status

T = TypeVar("T")
ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp")


@dataclass
class Imported:
    """Rows of the benchmark, and how many things were left out, by reason."""

    rows: list[dict[str, Any]] = dataclass_field(default_factory=list)
    left_out: Counter[str] = dataclass_field(default_factory=Counter)


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
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_json(path: Path, kind: type, layout: str) -> Any:
    """A JSON file that holds a `kind`. Raises `UserError`."""
    content = read_any_json(path, f"give the folder of {layout}'s files")
    if not isinstance(content, kind):
        raise UserError(
            f"{path} does not contain a {kind.__name__}", f"The published file of {layout} does", "Download it again"
        )
    return content


def as_record(value: Any, where: str) -> Mapping[str, Any]:
    """A record, which JSON calls an object. Raises `UserError` naming place and value."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {_shown(value)}", "It is not a record", "Download the file again, or correct it")
    return value


def field(record: Mapping[str, Any], key: str, kind: type[T], where: str, default: T | None = None) -> T:
    """What a record has under a key, which must be of this kind; the default where it has nothing.

    Raises:
        UserError: naming place, key and value, when it is of another kind, or is not there and has no default.
    """
    value = record.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        wanted = {str: "text", list: "a list", dict: "a record", int: "a whole number"}[kind]
        raise UserError(f"{where}, {key}: {_shown(value)}", f"It must be {wanted}", "Complete the record")
    return value


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."


def text_of(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text that a record must have, and that is not blank. Raises `UserError` naming place, key and value."""
    text = field(record, key, str, where)
    if not text.strip():
        raise UserError(f"{where}, {key}: {quoted(text)}", "Every image needs one", "Complete the record")
    return text


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
            if (path := images / f"{name}{ending}").is_file() and is_below(path, images):
                return path
    raise UserError(
        f"There is no image {' or '.join(listed)} in {images}", "", "Complete the folder, or leave out --images"
    )
