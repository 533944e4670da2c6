"""Stores all annotations: in memory for the page, and each one in a folder before it is acknowledged.

`publishing.Publisher` brings them to the Hub from here.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from re import fullmatch
from typing import Any, Protocol

from annotations import FOLDERS, NAME, Annotation, PairVote, Record, Registration, VisitorRating, read_records, to_line
from raters import Marks
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import open_to_append, read_bytes, write_atomic

_TAKEN_BACK = 9  # times that one annotator may take a vote on one pair back: each time is stored, and published


class RatedBefore(UserError):
    """It is stored already: another tab sent it, or the answer was lost on its way back."""


class Shelf(Protocol):
    """A place for files. `add` returns only when the file is safe."""

    def add(self, path: str, text: str) -> None:
        """Keep a new file. Raises `UserError` if it cannot be stored."""

    def read_all(self) -> Iterator[tuple[str, bytes]]:
        """Path and content of every file."""

    def sent(self, repository: str) -> set[str]:
        """Ids of the records that were in a repository once. Raises `UserError`."""

    def add_sent(self, repository: str, ids: Iterable[str]) -> None:
        """Remember that these are there. Raises `OSError`."""


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
            raise UserError(
                "Not saved", error.strerror or str(error), "Tell the owner of this Space, then save again"
            ) from error

    def read_all(self) -> Iterator[tuple[str, bytes]]:
        """Every file of annotators, annotations and comparisons, in order; one that cannot be opened is empty."""
        files = [file for top in FOLDERS.values() for file in (self.folder / top).rglob("*.json*")]
        for file in sorted(files):
            if file.is_file() and file.suffix in (".json", ".jsonl") and not file.name.startswith("."):
                try:
                    data = file.read_bytes()
                except OSError as error:
                    data = f"[{error.strerror}]".encode()
                yield str(PurePosixPath(file.relative_to(self.folder))), data

    def sent(self, repository: str) -> set[str]:
        """Ids of the records that were in a repository once, a line each in `published/`. Raises `UserError`."""
        path = self._sent(repository)
        try:
            return set(read_bytes(path).decode(errors="replace").splitlines()) if path.exists() else set()
        except OSError as error:
            raise UserError(f"Cannot read {path}", error.strerror or str(error), "Make it readable") from error

    def add_sent(self, repository: str, ids: Iterable[str]) -> None:
        """Remember that these are there. Raises `OSError`."""
        path = self._sent(repository)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_to_append(path) as file:
            file.writelines(f"{each}\n".encode() for each in ids)

    def _sent(self, repository: str) -> Path:
        return self.folder / "published" / f"{repository.replace('/', '--')}.txt"


class AnnotationStore:
    """All annotations in memory. Each is on its shelf before it counts. Safe to use from several threads.

    Annotators are told apart by the id of their registration. Two people who took one name on two Spaces before these
    knew of each other stay two: the later one is listed with a part of the id behind the name.

    Attributes:
        marks: of visitors, for `save` and `vote`.
        unreadable: path -> what is wrong with a file, or a line of it; what it holds besides counts.
        changed: called after every record that was stored here.
    """

    def __init__(self, shelf: Shelf, marks: Marks | None = None) -> None:
        self.shelf, self.marks = shelf, marks or Marks()
        self.unreadable: dict[str, str] = {}
        self.changed: Callable[[], None] = lambda: None
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._named: dict[str, list[Registration]] = {}  # those of a name, the first one first
        self._forms: dict[tuple[str, str], Annotation] = {}  # (annotator's id, item) -> the one that counts
        self._votes: dict[tuple[str, str], PairVote] = {}  # (annotator's id, pair) -> the last one
        self._voted: Counter[tuple[str, str]] = Counter()  # and how many there are
        self._published: set[str] = set()
        self._closed = False
        self.take(shelf.read_all())

    def take(self, files: Iterable[tuple[str, bytes]]) -> set[str]:
        """Keep the records of files that are already stored. Returns their ids; unreadable ones are listed."""
        ids = set()
        for path, data in files:
            for record in read_records(path, data):
                if isinstance(record, str):
                    self._leave_out(path, record)
                else:
                    self._keep(record)
                    ids.add(record.id)
        return ids

    def _leave_out(self, path: str, reason: str) -> None:
        if path not in self.unreadable:
            logging.getLogger(__name__).warning("%s is left out: %s", path, reason)
        self.unreadable[path] = reason

    def _keep(self, record: Record) -> None:
        """Into memory; of two forms by one annotator about one item (one was thought lost), the first counts."""
        with self._lock:
            if record.id in self._records:
                return
            self._records[record.id] = record
            if isinstance(record, Registration):
                known = [*self._named.get(record.annotator, ()), record]
                self._named[record.annotator] = sorted(known, key=lambda each: (each.registered, each.id))
            if isinstance(record, PairVote):
                place = record.annotator_id, record.pair
                self._voted[place] += 1
                last = self._votes.get(place)
                if last is None or (record.saved, record.id) > (last.saved, last.id):
                    self._votes[place] = record
            if isinstance(record, Annotation):
                key = record.annotator_id, record.item
                first = self._forms.get(key)
                if first is None or (record.saved, record.id) < (first.saved, first.id):
                    self._forms[key] = record

    def enter(self, name: str, code: str | None, admit: Callable[[], None] = lambda: None) -> tuple[str, str | None]:
        """Let an annotator in: their id, and for a new name its code; a known one must show it. Raises `UserError`.

        `admit` is asked before a new name is registered, and may raise it, too.
        """
        code = (code or "").strip()
        if not fullmatch(NAME, name or ""):
            raise UserError(
                f"{quoted(name)} cannot be used as a name",
                "A name has 2 to 32 letters, digits, - and _",
                "Choose another",
            )
        with self._lock:
            known = self._named.get(name, [])
            for each in known:
                if secrets.compare_digest(each.code_sha256, _digest(code)):
                    return each.id, None
            if known:
                raise UserError(
                    f"{name} has annotated here before", "The code is wrong", "Type the code that you were given"
                )
            if code:
                raise UserError(
                    f"Nobody with the name {name} has annotated here yet",
                    "A code belongs to a name that was used before",
                    "Try again in a minute, or start without a code",
                )
            admit()
            return self._register(name)

    def _register(self, name: str) -> tuple[str, str]:
        code = secrets.token_hex(6)
        record = Registration(secrets.token_hex(8), name, _digest(code), _now())
        self._store(record)
        return record.id, code

    def save(self, item: str, annotator_id: str, ratings: tuple[VisitorRating, ...], mark: str = "") -> Annotation:
        """Store a form. Returns when it is safe. Raises `UserError` if it cannot be stored, `RatedBefore` if it is."""
        with self._lock:
            if (annotator_id, item) in self._forms:
                raise RatedBefore(
                    "This picture is already saved", "Each picture is rated once", "Continue with the next one"
                )
            registration = self._records.get(annotator_id)
            name = registration.annotator if isinstance(registration, Registration) else annotator_id
            record = Annotation(secrets.token_hex(8), item, name, annotator_id, ratings, _now(), mark)
            self._store(record)
        return record

    def vote(
        self,
        items: tuple[str, str],
        pair: str,
        annotator_id: str,
        vote: str | None,
        shown_first: str,
        mark: str = "",
    ) -> PairVote:
        """Store a vote on a pair; None takes it back, a few times. Raises as `save`."""
        with self._lock:
            if vote is None and self._voted[annotator_id, pair] // 2 >= _TAKEN_BACK:
                fact = f"This vote was taken back {_TAKEN_BACK} times"
                raise UserError(fact, "It stays as it is now", "Continue with the next pair")
            known = self._votes.get((annotator_id, pair))
            if vote is not None and known is not None and known.vote is not None:
                raise RatedBefore(
                    "This pair is already voted on", "Each pair is compared once", "Continue with the next one"
                )
            registration = self._records.get(annotator_id)
            name = registration.annotator if isinstance(registration, Registration) else annotator_id
            saved = _now() if known is None else max(_now(), _after(known.saved))
            record = PairVote(secrets.token_hex(8), pair, *items, name, annotator_id, vote, shown_first, saved, mark)  # type: ignore[arg-type]
            self._store(record)
        return record

    def withdraw(self, vote: PairVote, mark: str = "") -> None:
        """Take a vote back. Raises `UserError` if that cannot be stored."""
        self.vote((vote.item_a, vote.item_b), vote.pair, vote.annotator_id, None, vote.shown_first, mark)

    def votes(self) -> list[PairVote]:
        """Every vote that counts, in the order in which they were saved."""
        with self._lock:
            known = [vote for vote in self._votes.values() if vote.vote is not None]
        return sorted(known, key=lambda each: (each.saved, each.id))

    def last_vote(self, annotator_id: str) -> PairVote | None:
        """This annotator's last vote that was not taken back."""
        return next((vote for vote in reversed(self.votes()) if vote.annotator_id == annotator_id), None)

    def _store(self, record: Record) -> None:
        if self._closed:
            raise UserError("Not saved", "This Space is about to restart", "Save again in a minute")
        self.shelf.add(record.path, to_line(record) + "\n")
        self._keep(record)
        self.changed()

    @property
    def version(self) -> int:
        """Another one after every record: what was computed of this one still holds."""
        return len(self._records)

    def close(self) -> None:
        """Accept nothing more, because everything that is stored must also be published before the end."""
        with self._lock:
            self._closed = True

    def waiting(self, most: int) -> list[Record]:
        """The first records that are not published yet, at most so many."""
        with self._lock:
            return [record for key, record in self._records.items() if key not in self._published][:most]

    def publish(self, ids: Iterable[str]) -> None:
        """These records are on the Hub, or were."""
        with self._lock:
            self._published |= set(ids)

    def removed(self, ids: Set[str]) -> int:
        """How many records were published that are not among these any more."""
        with self._lock:
            return len((self._published & self._records.keys()) - ids)

    def published(self, annotator_id: str | None = None) -> tuple[int, int]:
        """How many forms of an annotator, or of everybody, are published, and how many there are."""
        with self._lock:
            forms = [form for form in self._forms.values() if annotator_id in (None, form.annotator_id)]
            return sum(form.id in self._published for form in forms), len(forms)

    def all(self) -> list[Annotation]:
        """Every form that counts, in the order in which they were saved."""
        with self._lock:
            return sorted(self._forms.values(), key=lambda each: (each.saved, each.annotator_id, each.item))

    def export(self) -> list[dict[str, Any]]:
        """Rows {id, human_scores}, the latter exactly as in the benchmark dataset."""
        rows: dict[str, list[dict[str, Any]]] = {}
        with self._lock:
            for form in self.all():
                rows.setdefault(form.item, []).extend(form.human_scores(self.label(form)))
        return [{"id": item, "human_scores": scores} for item, scores in sorted(rows.items())]

    def export_votes(self) -> list[dict[str, Any]]:
        """Rows {item_a, item_b, annotator, vote, shown_first}, a vote each."""
        return [
            {"item_a": vote.item_a, "item_b": vote.item_b, "annotator": self.label(vote), "vote": vote.vote,
             "shown_first": vote.shown_first}
            for vote in self.votes()
        ]  # fmt: skip

    def label(self, form: Annotation | PairVote) -> str:
        """The annotator's name; with a part of the id for all but the first of that name."""
        known = self._named.get(form.annotator)
        first = not known or form.annotator_id == known[0].id
        return form.annotator if first else f"{form.annotator}-{_digest(form.annotator_id)[:4]}"


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _after(saved: str) -> str:
    """The moment after a time, for what follows it where the clock was set back; "" for what is no time."""
    try:
        return (datetime.fromisoformat(saved) + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return ""
