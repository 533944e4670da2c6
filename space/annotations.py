"""The records of annotators: the registration of a name, and a form for each picture that they rate.

annotators/...   registrations: the hash of the code with which an annotator comes back
annotations/...  forms
comparisons/...  votes on pairs

A file ends in .json and holds one record, or in .jsonl and holds one per line. Records have an id of their own and are
never changed, so that the same one may lie in several places and counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{1,31}$"
_Name = Annotated[str, Field(pattern=NAME)]
_Id = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(max_length=10_000)]


@dataclass(frozen=True)
class VisitorRating:
    """A score for a whole aspect, or for one of its questions (`question_id`), as in `human_scores`."""

    aspect: _Text
    question_id: _Text | None
    score: Annotated[float, Field(ge=0, le=10)]
    explanation: _Text | None


@dataclass(frozen=True)
class Registration:
    """The registration of a name. Somebody with the same name on another Space is another annotator."""

    id: _Id
    annotator: _Name
    code_sha256: str
    registered: str = ""

    @property
    def path(self) -> str:
        """Its file in a folder."""
        return f"annotators/{self.annotator}-{self.id}.json"


@dataclass(frozen=True)
class Annotation:
    """One saved form: everything that one annotator said about one item.

    Attributes:
        annotator: the name.
        annotator_id: the registration's id, which tells two people of one name apart.
        saved: ISO time.
        visitor: the mark of whoever saved it (`raters.Marks`), by which an owner can leave out what one visitor said,
            under any names; "" where it is not known.
    """

    id: _Id
    item: _Text
    annotator: _Name
    annotator_id: _Id
    ratings: tuple[VisitorRating, ...]
    saved: str
    visitor: _Text = ""

    @property
    def path(self) -> str:
        """Its file in a folder."""
        return f"annotations/{self.annotator}/{hashlib.sha256(self.item.encode()).hexdigest()[:16]}-{self.id}.json"

    def human_scores(self, name: str | None = None) -> list[dict[str, Any]]:
        """The records of the benchmark's `human_scores`, under the annotator's own name or another."""
        return [{"annotator": name or self.annotator, **asdict(rating)} for rating in self.ratings]


A_BETTER, B_BETTER, BOTH_GOOD, BOTH_BAD = "a", "b", "both_good", "both_bad"


@dataclass(frozen=True)
class PairVote:
    """One annotator's vote on a pair, or that it was taken back. Of several about one pair the last counts.

    Attributes:
        pair: its key (`pair_votes.Pair.key`).
        item_a, item_b: ids of the two items.
        vote: a, b, both_good, both_bad; None: taken back.
        shown_first: which of the two stood on the left, a or b.
        visitor: as in `Annotation`.
    """

    id: _Id
    pair: _Text
    item_a: _Text
    item_b: _Text
    annotator: _Name
    annotator_id: _Id
    vote: Literal["a", "b", "both_good", "both_bad"] | None
    shown_first: Literal["a", "b"]
    saved: str
    visitor: _Text = ""

    @property
    def path(self) -> str:
        """Its file in a folder."""
        return f"{COMPARISONS}/{self.annotator}/{hashlib.sha256(self.pair.encode()).hexdigest()[:16]}-{self.id}.json"


Record = Registration | Annotation | PairVote
COMPARISONS = "comparisons"
FOLDERS: dict[type, str] = {Registration: "annotators", Annotation: "annotations", PairVote: COMPARISONS}
_REGISTRATION, _ANNOTATION, _VOTE = TypeAdapter(Registration), TypeAdapter(Annotation), TypeAdapter(PairVote)


def to_line(record: Record) -> str:
    """A record as JSON on one line."""
    return json.dumps(asdict(record), ensure_ascii=False)


def read_records(path: str, data: bytes) -> Iterator[Record | str]:
    """The records of a file. An unreadable record is replaced by a few words that say why."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        yield "not UTF-8"
        return
    lines = text.split("\n") if path.endswith(".jsonl") else [text]
    for number, line in enumerate(lines):
        if line.strip():
            yield _record(path, line, number)


def _record(path: str, line: str, number: int) -> Record | str:
    """One record. Files of an earlier version had a record each and no ids: their paths are as good."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            return "not an object"
        place = {"id": f"{path}:{number}" if number else path}
        if path.startswith("annotators/"):
            return _REGISTRATION.validate_python(place | value)
        if path.startswith(f"{COMPARISONS}/"):
            return _VOTE.validate_python(place | value)
        owner = {"annotator_id": f"annotators/{value.get('annotator')}.json"}
        return _ANNOTATION.validate_python(place | owner | value)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, RecursionError):
        return "not JSON"
