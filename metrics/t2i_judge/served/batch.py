"""Batch mode: the same calls at half the price, answered within a day (OpenAI's Batch API, /v1/batches).

A judge runs as always, but calls that the cache cannot answer are written to a file instead of being sent. The file is
submitted, and its replies go into the cache. This is repeated until nothing is left to ask, since a decomposed prompt
leads to a judgement, and an unusable reply to one changed request. So every protocol has a batch mode.

FOLDER/batches.json remembers what was submitted, by the SHA-256 of its content, which the batch itself carries as
metadata: a run that is stopped anywhere finds its batches again and pays for none twice. FOLDER/SHA256.keys
holds the keys of its calls, with the most that each can cost: a server answers for no others, which may be another
server's, and one that counts no tokens is taken to have cost that.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import Stopped, UserError
from ..files import open_new, open_to_append, read_bytes, read_json, read_object, write_atomic
from ..records import Status
from ..wording import counted
from .client import OpenAIBackend
from .completions import error_text, read_completion
from .http import LARGEST_REPLY
from .prices import BATCH_SHARE
from .refusals import is_filter
from .wire import Reply
from .words import shorten

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

ENDPOINT: Final = "/v1/chat/completions"
WINDOW: Final = "24h"
METADATA = "t2i_judge"  # key of a batch's metadata that holds the digest of its file
_MOST_CALLS, _MOST_BYTES = 20_000, 150_000_000  # of a file; the provider takes 50,000 and 200 MB
_MOST_BATCHES = 20_000  # that are looked through
_LONGEST_WAIT = 26 * 3600.0  # seconds for one batch
_STATES = ((str, bool), (type(None), bool))  # types of a batch's id and of whether it is done
_PASSING = (408, 409, 429)  # HTTP errors that may pass, as those from 500 on
_ENDED = ("completed", "failed", "expired", "cancelled")
_IN_VAIN = ("failed", "expired", "cancelled")
WAITING = "waits for a batch"


class BatchQueue:
    """Waiting calls, and the outcome of those that could not be stored as a reply.

    Args:
        backend: the served model. Its cache receives the replies, and its budget pays half of each call's price.
        folder: folder for the files and batches.json.
        poll: seconds between two looks at a batch.
        tell: called with a line now and then.
    """

    def __init__(
        self, backend: OpenAIBackend, folder: Path, poll: float = 30.0, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self.backend, self.folder, self.poll, self.tell = backend, folder, poll, tell
        self.settled: dict[str, Reply] = {}  # refusals, failures and unusable replies: not to be asked for again
        self._waiting: dict[str, float] = {}  # key -> the most that the call can cost
        self._files: dict[Path, list[str]] = {}  # -> keys of its calls

    def ask(self, key: str, request: dict[str, Any], estimate: float) -> Reply:
        """What came of the call, or a reply without text that says it waits."""
        if key in self.settled:
            return self.settled[key]
        if key not in self._waiting:
            self._waiting[key] = estimate * BATCH_SHARE
            self._write(key, json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": request}) + "\n")
        return Reply(None, Status.SKIPPED, WAITING, key=key)

    def forget(self, reply: Reply) -> None:
        """The reply counts in this run, although it is not stored."""
        if reply.reason != WAITING:
            self.settled[reply.key] = reply

    def complete(self, work: Callable[[], None]) -> None:
        """Run `work` again and again until it asks nothing new. Each round waits once for batches.

        Raises:
            UserError: a batch was rejected, or the next ones could cost more than the budget has.
        """
        self.backend.queue, self.backend.in_batches = self, True
        self._collect_all()
        while True:
            self._waiting.clear()
            self._files = {}
            work()
            if not self._waiting:
                return
            self._check_budget()
            for file in self._files:
                self._submit(file)
            self._collect_all()

    def _write(self, key: str, line: str) -> None:
        """Add a call to the last file, or to a new one when that is full."""
        last = next(reversed(self._files), None)
        per_file = len(self._waiting) > _MOST_CALLS * len(self._files)
        if last is None or per_file or last.stat().st_size + len(line) > _MOST_BYTES:
            last = self.folder / f"batch-{len(self._files):04d}.jsonl"
            last.parent.mkdir(parents=True, exist_ok=True)
            self._files[last] = []
            with open_new(last) as out:
                out.write(line.encode())
        else:
            with open_to_append(last) as out:
                out.write(line.encode())
        self._files[last].append(key)

    def _check_budget(self) -> None:
        budget, estimate = self.backend.budget, sum(self._waiting.values())
        budget.refuse_forks()
        if budget.limit is not None and budget.spent + estimate > budget.limit:
            calls = counted(len(self._waiting), "call")
            raise budget.exceeded(f"The next {calls} may cost ${estimate:.4f} as a batch")

    def _submit(self, file: Path) -> None:
        """Have a file worked on; noted before it is sent, so that a batch sent but not noted is found again."""
        digest = hashlib.sha256(read_bytes(file)).hexdigest()
        write_atomic(self._keys(digest), json.dumps({key: self._waiting[key] for key in self._files[file]}))
        self._note(digest, {"id": None, "done": False})
        with self._provider() as client:
            uploaded = client.files.create(file=(file.name, read_bytes(file)), purpose="batch")
            name = self._made(client, uploaded.id, digest)
        self._note(digest, {"id": name, "done": False})
        file.unlink()

    def _made(self, client: OpenAI, file_id: str, digest: str) -> str:
        """The id of a new batch. Where the answer is lost, it is looked for before another one is asked for."""
        import openai

        once = client.with_options(max_retries=0)  # the client would ask again without a look, and both would be paid
        for tries in count(1):
            try:
                batch = once.batches.create(
                    input_file_id=file_id, endpoint=ENDPOINT, completion_window=WINDOW, metadata={METADATA: digest}
                )
                break
            except openai.APIError as error:
                status = getattr(error, "status_code", None)  # None: no answer at all
                lasts = status is not None and status < 500 and status not in _PASSING
                if lasts or tries >= self.backend.server.attempts:
                    raise
            time.sleep(min(self.poll, 2.0**tries))
            if found := self._find(digest):
                return found
        return batch.id

    @contextmanager
    def _provider(self) -> Iterator[OpenAI]:
        """The provider's files and batches. Raises `UserError` where it has none, or does not answer."""
        import openai

        address = self.backend.address
        try:
            with self.backend.file_client() as client:
                yield client
        except openai.APIStatusError as error:
            if error.status_code // 100 == 3:
                raise self.backend.server.redirects(error.status_code, error.response.headers) from error
            if error.status_code in (404, 405, 501):
                kind, fact, fix = UserError, f"{address} does not accept batches", "Leave out --batch (batch: true)"
            else:
                kind, fact, fix = Stopped, f"{address} refused a batch", "Run the command again: paid replies are kept"
            message = self.backend.server.scrub(shorten(error.message))
            raise kind(fact, f"HTTP {error.status_code}: {message}", fix) from error
        except openai.APIConnectionError as error:
            raise Stopped(
                f"There was no answer from {address}", shorten(str(error.__cause__ or error)), "Run the command again"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:  # of an answer that lacks what each batch has
            raise UserError(
                f"{address} did not answer with a batch", shorten(str(error)), "Leave out --batch (batch: true)"
            ) from error

    def _find(self, digest: str) -> str | None:
        """The id of a batch that was submitted, but whose id was not noted any more.

        An earlier batch of the same calls may have failed or expired: servers list the newest first, or the oldest.
        """
        with self._provider() as client:
            listed = [*islice(client.batches.list(limit=100), _MOST_BATCHES + 1)]
            if len(listed) > _MOST_BATCHES:  # it need not have an end, and another batch would be paid for
                raise ValueError(f"its list has more than {_MOST_BATCHES:,} batches")
            own = [batch for batch in listed if (batch.metadata or {}).get(METADATA) == digest]
            newest = max(own, key=lambda batch: (batch.status not in _IN_VAIN, batch.created_at or 0), default=None)
            return None if newest is None else newest.id

    def _collect_all(self) -> None:
        """Wait for the batches whose replies are not in the cache yet, and store those of each as soon as it ends.

        No trouble with one keeps another's replies from being stored: the first error is raised after them all.
        """
        until, errors = time.monotonic() + _LONGEST_WAIT, list[UserError]()
        waiting = [digest for digest, noted in self._notes().items() if not noted["done"]]
        while waiting:
            late, todo, waiting = time.monotonic() > until, waiting, []
            for digest in todo:
                try:
                    if not self._collect(digest):
                        waiting.append(digest)
                except UserError as error:
                    errors.append(error)
            if waiting and late:
                fact = f"Batch {self._notes()[waiting[0]]['id']} has not ended in {_LONGEST_WAIT / 3600:g} hours"
                fix = "Run the command again to wait for it"
                errors.append(Stopped(fact, f"It was to end within {WINDOW}", fix))
                break
            if waiting:
                time.sleep(self.poll)
        if errors:
            raise errors[0]

    def _collect(self, digest: str) -> bool:
        """Look at a batch, and store its replies if it has ended. Returns whether it has, or never left."""
        name = self._notes()[digest]["id"]
        if name is None:
            if (name := self._find(digest)) is None:  # it never left: its calls are asked for again
                self._end(digest, None)
                return True
            self._note(digest, {"id": name, "done": False})
        with self._provider() as client:
            state = client.batches.retrieve(name)
            if state.status not in _ENDED:
                counts = state.request_counts
                done = f"{counts.completed} of {counts.total}" if counts else "nothing yet"
                self.tell(f"batch {name}: {state.status}, {done}")
                return False
            files = [file for file in (state.output_file_id, state.error_file_id) if file]
            texts = [self.backend.server.scrub(client.files.content(file).text) for file in files]
        lines = [line for text in texts for line in text.split("\n") if line.strip()]
        asked = self._asked(digest)
        odd = len(lines) - sum(self._store(line, asked) for line in lines)
        if odd:
            self.tell(f"batch {name}: {counted(odd, 'line')} of its output left out: no reply to a call of this batch")
        self._end(digest, name)
        if state.status != "completed" and not state.output_file_id:
            raise Stopped(
                f"Batch {name} {state.status}", _why(state), "Fix that and run the command again: it sends a new batch"
            )
        for key in asked:
            self.settled[key] = Reply(None, Status.TRANSPORT, "in a batch: no reply", key=key)
        return True

    def _store(self, line: str, asked: dict[str, float]) -> bool:
        """Store what a line of a batch's output or errors says of a call that waits, which then waits no more.

        False: it says nothing of any.
        """
        try:
            record = json.loads(line)
            key = record["custom_id"]
            if key not in asked or len(line.encode()) > LARGEST_REPLY:
                return False
        except (ValueError, RecursionError, TypeError, KeyError):
            return False
        most, worked = asked.pop(key), False
        try:
            response = _object(record.get("response"))
            if response.get("status_code") != 200:
                raise TypeError(_error(record))
            worked = True
            reply = read_completion(response["body"], self.backend.price, 0.0, batch=True)
        except (AttributeError, TypeError, IndexError, KeyError, ValueError) as error:
            status = Status.FILTERED if is_filter(str(error)) else Status.TRANSPORT
            reply = Reply(None, status, shorten(f"in a batch: {error}", 200))
        if worked and reply.usage.money is None and most:
            reply = replace(reply, usage=replace(reply.usage, calls=1, money=most))
        if reply.text is None:
            self.settled[key] = replace(reply, key=key)
            if reply.usage.calls:
                self.backend.cache.pay(reply.usage)
        elif not self.backend.cache.put(key, self.backend.model, reply.to_json()):
            return True  # a run that was killed had stored it, and it is among what earlier runs paid
        self.backend.usage += reply.usage
        self.backend.budget.pay(reply.usage.money or 0.0)
        return True

    def _keys(self, digest: str) -> Path:
        return self.folder / f"{digest}.keys"

    def _asked(self, digest: str) -> dict[str, float]:
        """The keys of a batch's calls, and the most that each can cost."""
        fix = f"Remove {self.folder / 'batches.json'}: calls without a reply are sent again"
        keys = read_json(self._keys(digest), fix)
        if isinstance(keys, list) and all(isinstance(key, str) for key in keys):  # runs used to note no costs
            keys = dict.fromkeys(keys, 0.0)
        if not isinstance(keys, dict) or not all(type(most) is float and 0 <= most < inf for most in keys.values()):
            raise UserError(f"{self._keys(digest)} has no keys with costs", "No run wrote it", fix)
        return keys

    def _end(self, digest: str, name: str | None) -> None:
        """Note that nothing more comes of a batch."""
        self._note(digest, {"id": name, "done": True})
        self._keys(digest).unlink(missing_ok=True)

    def _notes(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "batches.json"
        notes = read_object(path) if path.exists() else {}
        for digest, noted in notes.items():
            state = (noted.get("id"), noted.get("done")) if isinstance(noted, dict) else ()
            if not (re.fullmatch("[0-9a-f]{64}", digest) and tuple(map(type, state)) in _STATES):
                raise UserError(f"{path} has an unknown format", "No run wrote it", "Remove it")
        return notes

    def _note(self, digest: str, state: dict[str, Any]) -> None:
        write_atomic(self.folder / "batches.json", json.dumps({**self._notes(), digest: state}, indent=2))


def _error(record: Mapping[str, Any]) -> str:
    """What went wrong with a call, in the provider's words."""
    error = record.get("error") or _object(_object(record.get("response")).get("body")).get("error")
    return error_text(error or {}) or "no reply"


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _why(batch: Batch) -> str:
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    return shorten("; ".join(error.message or "" for error in errors) or "the provider gave no reason", 200)
