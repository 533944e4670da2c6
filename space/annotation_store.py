"""What annotators wrote, one file a form, never changed afterwards: in a folder, or as commits to a dataset repository.

annotations/<annotator>/<hash of the item>.json   one saved form
annotators/<annotator>.json                       hash of the code with which an annotator comes back
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from t2i_judge.errors import UserError
from t2i_judge.records import write_atomic

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,31}")
_SECONDS = 30  # the Hub may take for one commit


@dataclass(frozen=True)
class VisitorRating:
    """A score for an aspect as a whole, or for one question of it (`question_id`); as in `human_scores`."""

    aspect: str
    question_id: str | None
    score: float
    explanation: str | None


@dataclass(frozen=True)
class Annotation:
    """One saved form: everything one annotator said about one item."""

    item: str
    annotator: str
    ratings: tuple[VisitorRating, ...]
    saved: str

    def new_path(self) -> str:
        """A place that nothing has: what was thought lost may have arrived, and is never written over."""
        item = hashlib.sha256(self.item.encode()).hexdigest()[:16]
        return f"annotations/{self.annotator}/{item}-{secrets.token_hex(4)}.json"

    def human_scores(self) -> list[dict[str, Any]]:
        """The records of the benchmark's `human_scores`."""
        return [{"annotator": self.annotator, **asdict(rating)} for rating in self.ratings]


class Shelf(Protocol):
    """Where files are kept; `add` returns only when the file is safe."""

    def add(self, path: str, text: str) -> None:
        """Keep a new file. Raises `UserError` when it is not stored."""

    def read_all(self) -> Iterator[tuple[str, str]]:
        """Path and text of every file."""


class FolderShelf:
    """Files in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return f"the folder {self.folder.name}/ of this machine"

    def add(self, path: str, text: str) -> None:
        """Write the whole file, flushed to disk. Raises `UserError`."""
        try:
            write_atomic(self.folder / path, text)
        except OSError as error:
            raise UserError("Not saved", error.strerror or str(error), "tell the owner, then save again") from error

    def read_all(self) -> Iterator[tuple[str, str]]:
        """Every JSON file, in order."""
        for file in sorted(self.folder.rglob("*.json")):
            yield str(PurePosixPath(file.relative_to(self.folder))), file.read_text(encoding="utf-8")


class HubShelf:
    """Files in a dataset repository, private when it is made here; every one is its own commit."""

    def __init__(self, repository: str, token: str, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi

        self.repository, self._api = repository, HfApi(endpoint=endpoint, token=token)
        self._api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)

    def __str__(self) -> str:
        return f"the dataset {self.repository} on the Hub"

    def add(self, path: str, text: str) -> None:
        """Commit one file. Raises `UserError`; the Hub's own words may name the token's owner, so they stay out."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(1)
        commit = pool.submit(
            self._api.upload_file,
            path_or_fileobj=text.encode(),
            path_in_repo=path,
            repo_id=self.repository,
            repo_type="dataset",
            commit_message=f"Add {path}",
        )
        try:
            commit.result(timeout=_SECONDS)
        except Exception as error:
            raise UserError("Not saved", f"the Hub did not take it ({type(error).__name__})", "save again") from error
        finally:
            pool.shutdown(wait=False)

    def read_all(self) -> Iterator[tuple[str, str]]:
        """Every JSON file of the newest commit."""
        folder = self._api.snapshot_download(self.repository, repo_type="dataset", allow_patterns="*.json")
        yield from FolderShelf(Path(folder)).read_all()


class AnnotationStore:
    """All annotations in memory, each one on its shelf before it counts. Safe to use from several threads."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._lock = threading.Lock()
        self._annotations: dict[tuple[str, str], Annotation] = {}
        self._codes: dict[str, str] = {}
        for path, text in shelf.read_all():
            record = json.loads(text)
            if path.startswith("annotators/"):
                self._codes[record["annotator"]] = record["code_sha256"]
            elif path.startswith("annotations/"):
                self._keep(_annotation(record))

    def _keep(self, annotation: Annotation) -> None:
        """Into memory; of two forms about the same item (one was thought lost), the first counts."""
        key = annotation.annotator, annotation.item
        if key not in self._annotations or annotation.saved < self._annotations[key].saved:
            self._annotations[key] = annotation

    def enter(self, name: str, code: str | None) -> str | None:
        """Let an annotator in: a new name gets a code back, a known one must show it. Raises `UserError`."""
        if not _NAME.fullmatch(name or ""):
            raise UserError(f"{name!r} is no name here", "letters, digits, - and _, 2 to 32", "choose another")
        with self._lock:
            if name not in self._codes:
                return self._register(name)
            if not secrets.compare_digest(self._codes[name], _digest((code or "").strip())):
                raise UserError(
                    f"{name} has annotated here before", "the code does not fit", "type the code you were given"
                )
        return None

    def _register(self, name: str) -> str:
        code = secrets.token_hex(6)
        record = {"annotator": name, "code_sha256": _digest(code)}
        self.shelf.add(f"annotators/{name}.json", json.dumps(record))
        self._codes[name] = record["code_sha256"]
        return code

    def save(self, item: str, annotator: str, ratings: tuple[VisitorRating, ...]) -> Annotation:
        """Store a form; returns once it is safe. Raises `UserError` when it is not, or was said before."""
        annotation = Annotation(item, annotator, ratings, datetime.now(UTC).isoformat(timespec="seconds"))
        with self._lock:
            if (annotator, item) in self._annotations:
                raise UserError("This picture is already saved", "each is rated once", "go on with the next one")
            self.shelf.add(annotation.new_path(), json.dumps(asdict(annotation), ensure_ascii=False, indent=1))
            self._keep(annotation)
        return annotation

    def all(self) -> list[Annotation]:
        """Every annotation, in the order in which they were saved."""
        with self._lock:
            return sorted(self._annotations.values(), key=lambda each: (each.saved, each.annotator, each.item))

    def export(self) -> list[dict[str, Any]]:
        """Rows {id, human_scores}, the latter exactly as in the benchmark dataset."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for annotation in self.all():
            rows.setdefault(annotation.item, []).extend(annotation.human_scores())
        return [{"id": item, "human_scores": scores} for item, scores in sorted(rows.items())]


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _annotation(record: dict[str, Any]) -> Annotation:
    return Annotation(**{**record, "ratings": tuple(VisitorRating(**rating) for rating in record["ratings"])})
