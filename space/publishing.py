"""Publishes annotations in a dataset repository: many in one commit, repeated until they arrive, each only once.

The Hub takes 128 commits per hour. huggingface_hub's CommitScheduler is good for logs but not here: with a wrong token
it stops the Space, it does not wait as long as the Hub asks, it sends every file again after a restart, and it does not
say what has arrived.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation_store import AnnotationStore
from annotations import FOLDERS, Record, to_line
from t2i_judge.wording import counted

EVERY = 60.0  # seconds between two commits: half of what the Hub takes, for a second Space beside this one
READ_AGAIN = 300.0  # seconds after which it is looked up what other Spaces have added
_MOST = 1_000  # records in one commit
_DOWNLOADS = 8  # at a time
_HELD = tuple(f"{folder}/" for folder in FOLDERS.values())
_FIRST, _LONGEST = 2.0, 300.0  # seconds before another try, doubled each time; the Hub counts by windows of 300 s
_LAST_TRIES = 1.0  # seconds between two tries when the Space ends
_SILENCE = 30.0  # seconds that the Hub may say nothing
_CARD = """---
configs:
- config_name: annotations
  data_files: annotations/**
- config_name: annotators
  data_files: annotators/**
- config_name: comparisons
  data_files: comparisons/**
---
# Annotations

What people said in a t2i-judge Space: `annotations/` has one form per line, `comparisons/` one vote on a pair per line
(the last one counts, null removes it), `annotators/` the names and the hashes of their codes. Lines are only added. A
line that appears twice (with the same `id`) counts once. `visitor` is a mark of the network and of the browser that a
line came from (keyed hashes, which tell no address): by it, all that one of them said can be left out, under any names.
"""
_REASONS = {
    401: "this Space's token is missing, wrong or expired",
    402: "the Hub asks for payment",
    403: "this Space's token may not write there",
    404: "the Hub does not find it",
    429: "the Hub does not accept more commits at the moment",
}


class HubRepository:
    """A dataset repository, private when it is made here.

    Args:
        name: OWNER/NAME.
        token: with write access to it; None: none, and nothing can be published.
        endpoint: of the Hub; None: the usual one.
    """

    def __init__(self, name: str, token: str | None, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi, set_client_factory

        set_client_factory(_patient_client)
        self.name, self._api = name, HfApi(endpoint=endpoint, token=token or False)

    def create(self) -> None:
        """Make it, unless it is there."""
        self._api.create_repo(self.name, repo_type="dataset", private=True, exist_ok=True)

    def paths(self) -> tuple[str, list[str]]:
        """The newest commit, and every file in it."""
        info = self._api.dataset_info(self.name)
        return str(info.sha), [file.rfilename for file in info.siblings or ()]

    def read(self, commit: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Files of a commit. Not by snapshot_download, which gives what it has when the Hub fails half-way."""

        def download(path: str) -> bytes:
            place = self._api.hf_hub_download(self.name, path, repo_type="dataset", revision=commit)
            return Path(place).read_bytes()

        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            yield from zip(paths, pool.map(download, paths), strict=True)

    def commit(self, files: Mapping[str, str], message: str) -> None:
        """Add files in one commit; the same again changes nothing."""
        from huggingface_hub import CommitOperationAdd

        added = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
        self._api.create_commit(self.name, added, commit_message=message, repo_type="dataset")


def _patient_client() -> Any:
    """huggingface_hub's own HTTP client, but one that does not wait for ever for a server that has gone silent."""
    import httpx2
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = httpx2.Timeout(_SILENCE, connect=10)
    return client


@dataclass(frozen=True)
class _Batch:
    """What one commit adds, always under the same names: an answer that was lost makes no second copy."""

    ids: Sequence[str]
    files: Mapping[str, str]

    @classmethod
    def of(cls, records: Sequence[Record]) -> _Batch:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.jsonl"
        files: dict[str, str] = {}
        for record in records:
            path = f"{FOLDERS[type(record)]}/{name}"
            files[path] = files.get(path, "") + to_line(record) + "\n"
        return cls([record.id for record in records], files)


class Publisher:
    """Publishes what a store holds, in a separate thread. Whatever fails is tried again later.

    Args:
        store: where annotations are stored first.
        repository: where they go.
        every: seconds between two commits.
    """

    def __init__(self, store: AnnotationStore, repository: HubRepository, every: float = EVERY) -> None:
        self.store, self.repository, self.every = store, repository, every
        self.trouble = ""  # why nothing can be published now, in words for visitors
        self._begun, self._connected = threading.Event(), threading.Event()
        self._wake = threading.Event()
        self._ends: float | None = None  # when to give up, once the Space is about to end
        self._batch: _Batch | None = None
        self._card: Mapping[str, str] = {}  # to be added with the first commit
        self._contents: dict[str, set[str]] = {}  # path -> ids of the records in it, which never change
        self._sent = store.shelf.sent(repository.name)  # ids of what was there once: what is missing, somebody removed
        self._removed = 0
        store.publish(self._sent)
        self._committed = self._looked = float("-inf")
        self._failures = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        store.changed = self._wake.set

    def start(self, patience: float = 10.0) -> None:
        """Begin; returns once the repository was read, or cannot be, or took longer than `patience` seconds."""
        self._thread.start()
        self._begun.wait(patience)

    def close(self, seconds: float = 20.0) -> int:
        """Publish what is left now. Returns the number of records that could not be published."""
        self.store.close()
        self._ends = time.monotonic() + seconds
        self._wake.set()
        self._thread.join(seconds)
        left = len(self.store.waiting(_MOST))
        if left:
            logging.getLogger(__name__).warning("%s records are not published; they lie in %s", left, self.store.shelf)
        return left

    def line(self) -> str:
        """The progress, in a line for visitors."""
        published, forms = self.store.published()
        dataset = f"the dataset {self.repository.name}"
        if self.trouble:
            waits = f"On this Space's disk, to be published later: {forms - published} of {counted(forms, 'form')}"
            return f"{dataset[0].upper()}{dataset[1:]} cannot be written now: {self.trouble}. {waits}."
        gone = f" {counted(self._removed, 'record')} removed there, not sent again." if self._removed else ""
        if published == forms:
            return f"{counted(forms, 'form')}, all published in {dataset}.{gone}"
        done = f"Published in {dataset}: {published} of {counted(forms, 'form')}"
        return f"{done}; the rest is stored and follows in a minute.{gone}"

    def _run(self) -> None:
        while True:
            try:
                pause = self._step()
                self.trouble, self._failures = "", 0
            except Exception as error:  # a thread that ends would publish nothing any more
                pause = self._failed(error)
            self._begun.set()
            if self._ends is not None:
                if not self.store.waiting(1) or time.monotonic() + pause > self._ends:
                    return
                time.sleep(pause)
            elif self.trouble:
                self._sleep(pause)
            else:
                self._wake.wait(pause)
                self._wake.clear()

    def _sleep(self, seconds: float) -> None:
        """Wait, whoever saves meanwhile; not when the Space ends."""
        until = time.monotonic() + seconds
        while self._ends is None and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _step(self) -> float:
        """Read, or publish one batch; returns the seconds until there may be more to do."""
        if not self._connected.is_set():
            self.repository.create()
        now = time.monotonic()
        if not self._connected.is_set() or now - self._looked > READ_AGAIN:
            self._look()
        records = self.store.waiting(_MOST)
        if not records and self._batch is None:
            return READ_AGAIN
        pause = self._committed + self.every - now
        if pause > 0 and self._ends is None:
            return pause
        self._batch = self._batch or _Batch.of(records)
        self._publish(self._batch)
        return 0.0

    def _look(self) -> None:
        """Learn what the repository holds: of this Space, and of others, which may have added to it."""
        commit, paths = self.repository.paths()
        held = [path for path in paths if path.startswith(_HELD) and path.endswith((".json", ".jsonl"))]
        held.sort(key=lambda path: not path.startswith("annotators/"))  # who somebody is, before what they said
        for path, data in self.repository.read(commit, [path for path in held if path not in self._contents]):
            self._contents[path] = self.store.take([(path, data)])
        ids = {each for path in held for each in self._contents[path]}
        self._note(ids)
        self._removed = self.store.removed(ids)
        self._card = {} if "README.md" in paths else {"README.md": _CARD}
        self._looked = time.monotonic()
        self._connected.set()

    def _publish(self, batch: _Batch) -> None:
        self.repository.commit({**self._card, **batch.files}, f"Add {counted(len(batch.ids), 'record')}")
        self._note(batch.ids)
        self._contents.update((path, set(batch.ids)) for path in batch.files)
        self._card, self._batch, self._committed = {}, None, time.monotonic()

    def _note(self, ids: Iterable[str]) -> None:
        """These are in the repository. Where the disk does not take that, the repository tells it after a restart."""
        self.store.publish(ids)
        if new := set(ids) - self._sent:
            self._sent |= new
            try:
                self.store.shelf.add_sent(self.repository.name, sorted(new))
            except OSError as error:
                logging.getLogger(__name__).warning("what is published is not noted: %s", error.strerror)

    def _failed(self, error: Exception) -> float:
        """Say why, and for how long to wait. The Hub's own words may name the token's owner: they are for the log."""
        logging.getLogger(__name__).warning("%s: %s", self.repository.name, str(error).partition("\n")[0])
        status = getattr(getattr(error, "response", None), "status_code", None)
        unknown = "the Hub does not answer" if status is None or status >= 500 else f"the Hub refuses it ({status})"
        self.trouble = _REASONS.get(status or 0, "its name is not valid" if isinstance(error, ValueError) else unknown)
        if status in (401, 403, 404):
            self._connected.clear()  # somebody may make it anew
        self._failures += 1
        pause = min(_LONGEST, _FIRST * 2.0 ** min(self._failures - 1, 10))
        return max(_asked_for(error), pause if self._ends is None else _LAST_TRIES)


def _asked_for(error: Exception) -> float:
    """Seconds for which the Hub asks to wait; 0 where it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    headers: Any = getattr(getattr(error, "response", None), "headers", {})
    asked, limit = headers.get("Retry-After", ""), parse_ratelimit_headers(headers)
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    return limit.reset_in_seconds + 1.0 if limit is not None and limit.remaining == 0 else 0.0
