"""Replies that were paid for, in one SQLite file. A reply is stored before it is used, so a killed run loses nothing.

The file is the ledger, too: what was paid for replies that are not kept (refusals, unusable ones) is noted beside them.

Write-ahead logging makes it safe for several processes and against kill -9 (a commit is in the operating system's hands
before `put` returns; only a power cut can lose the last few). Not for network file systems.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import parse_json
from ..records import Usage
from .database import WAIT_SECONDS, Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, created REAL NOT NULL, reply TEXT NOT NULL
) WITHOUT ROWID
"""
_NOT_KEPT = "CREATE TABLE IF NOT EXISTS not_kept (created REAL NOT NULL, usage TEXT NOT NULL)"
_OWN = "coalesce(json_extract(reply, '$.stands_in'), 0) = 0"  # see `wire.Reply`
# Nothing gives money back: a figure below nought would raise a run's limit.
_PAID = f"""
SELECT {{}} FROM (
    SELECT json_extract(reply, '$.usage') AS usage FROM replies WHERE {_OWN} UNION ALL SELECT usage FROM not_kept
)
""".format(
    ", ".join(f"sum(max(json_extract(usage, '$.{field.name}'), 0))" for field in fields(Usage))
)  # none gives back
# Older files have keys without the server's address: which server asked for them first once addresses were known.
_ADOPTED = "CREATE TABLE IF NOT EXISTS adopted (model TEXT PRIMARY KEY, server TEXT NOT NULL) WITHOUT ROWID"
_SECRET = "CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY CHECK (one = 1), bytes BLOB NOT NULL)"
# Other words (VIEW, TRIGGER, VIRTUAL, GENERATED AS, ...) could make a stranger's file run what it likes, without end.
_WORDS = frozenset(re.findall(r"\w+", " ".join((_SCHEMA, _NOT_KEPT, _ADOPTED, _SECRET)).lower()))
_MOST_TABLES = 20  # and indexes of their keys; we have five
_NEW, _OLDER, _ADDRESSED = 0, 1, 2  # `user_version` of a file: not looked at yet, with such replies in it, without


def call_key(request: Mapping[str, Any]) -> str:
    """SHA-256 over everything that decides a reply; images stand in `request` as the SHA-256 of their bytes."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def paid_in(ledger: Path | None) -> float:
    """US dollars that are noted in a file of replies, which need not be there."""
    if ledger is None or not ledger.is_file():
        return 0.0
    cache = CallCache(ledger)
    try:
        return cache.paid().money or 0.0
    finally:
        cache.close()


class CallCache:
    """Replies by key. Threads of a process may share one; every process opens its own on the same file.

    Args:
        path: the SQLite file, made if needed; None keeps replies in memory only.

    Raises:
        UserError: the file cannot be opened, it or its journal is a link, or they are not such a cache.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path else None
        self._lock = threading.Lock()
        try:
            self._database = Database(self.path)
            self._write_ahead()
            self._refuse_foreign_schema()
            for statement in ("PRAGMA synchronous=NORMAL", _SCHEMA, _NOT_KEPT, _SECRET):
                self._database.rows(statement)
            self._older = self._has_older_replies()
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"Cannot open the cache {path}", str(error), "Remove this file, or name another one"
            ) from error

    def _refuse_foreign_schema(self) -> None:
        """Only tables may be there, and said in the words of ours."""
        tables = self._database.rows("SELECT type, name, sql FROM sqlite_master", most=_MOST_TABLES + 1)
        for kind, name, sql in tables:
            if kind == "index" and sql is None:  # that of a primary key
                continue
            if kind != "table" or not _WORDS.issuperset(re.findall(r"\w+", str(sql).lower())):
                raise self._foreign(f"the {kind} '{name}'")
        if len(tables) > _MOST_TABLES:
            raise self._foreign(f"more than {_MOST_TABLES} tables")

    def _foreign(self, what: str) -> UserError:
        self._database.close()
        return UserError(
            f"The cache {self.path} has {what}",
            "No cache of t2i-judge has it, and reading it could run without end",
            "Remove this file, or name another one",
        )

    def _write_ahead(self) -> None:
        """Switch the file to a write-ahead log; SQLite does not wait for another process that is just doing so."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._database.rows("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def _has_older_replies(self) -> bool:
        [(version,)] = self._database.rows("PRAGMA user_version")
        if version == _NEW:
            version = _OLDER if self._database.rows("SELECT 1 FROM replies") else _ADDRESSED
            self._database.rows(_ADOPTED)
            self._database.rows(f"PRAGMA user_version = {version}")
        return bool(version == _OLDER)

    def adopted_by(self, model: str, server: str) -> bool:
        """Whether replies of a model that were stored without their server's address count as this server's.

        They do for the first server that asks, as long as there are any: until then only one was ever used.
        """
        if not self._older:
            return False
        self._execute("INSERT OR IGNORE INTO adopted VALUES (?, ?)", (model, server))
        return bool(self._execute("SELECT server FROM adopted WHERE model = ?", (model,))[0] == server)

    def get(self, key: str) -> dict[str, Any] | None:
        """The stored reply, or None. Raises `UserError` when the file is damaged."""
        row = self._execute("SELECT reply FROM replies WHERE key = ?", (key,))
        return parse_json(row[0], f"A reply in {self.path}", "Remove this file") if row else None

    def put(self, key: str, model: str, reply: Mapping[str, Any]) -> bool:
        """Store a reply; on return it survives the process. Raises `UserError` when the disk is full.

        Returns whether it was not there: it has been paid for once, however often it is fetched.
        """
        text = json.dumps(reply, ensure_ascii=False)
        if self._execute("SELECT 1 FROM replies WHERE key = ? AND reply = ?", (key, text)):
            return False
        self._note_cost_of(key)  # another process has asked the same, and was answered meanwhile
        self._execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", (key, model, time.time(), text))
        return True

    def remove(self, key: str) -> None:
        """Forget a reply, if it is there; what it cost stays known."""
        self._note_cost_of(key)  # first: a kill in between counts it twice, never not at all
        self._execute("DELETE FROM replies WHERE key = ?", (key,))

    def _note_cost_of(self, key: str) -> None:
        """Note what a reply cost that will no longer be kept, if it is there."""
        usage = "coalesce(json_extract(reply, '$.usage'), '{}')"
        own = f"CASE WHEN json_valid(reply) THEN {_OWN} END"
        self._execute(f"INSERT INTO not_kept SELECT created, {usage} FROM replies WHERE key = ? AND {own}", (key,))

    def pay(self, usage: Usage) -> int:
        """Note what a call took whose reply is not stored. Returns the number of the note."""
        statement = "INSERT INTO not_kept VALUES (?, ?) RETURNING rowid"
        return int(self._execute(statement, (time.time(), json.dumps(vars(usage))))[0])

    def forget_note(self, number: int) -> None:
        """Take a note back, as its call has ended otherwise."""
        self._execute("DELETE FROM not_kept WHERE rowid = ?", (number,))

    def paid(self) -> Usage:
        """What all calls took, whose replies this file holds or held; money is None while no price was known."""
        calls, into, out, seconds, money = self._execute(_PAID, ())
        return Usage(calls or 0, into or 0, out or 0, seconds or 0.0, money)

    @property
    def secret(self) -> bytes:
        """32 random bytes, the same as long as the file lives; who sends pictures to be judged never sees them."""
        self._execute("INSERT OR IGNORE INTO secret VALUES (1, ?)", (secrets.token_bytes(32),))
        return bytes(self._execute("SELECT bytes FROM secret", ())[0])

    def __len__(self) -> int:
        # count(*) is one step of SQLite's machine, however long it takes: nothing could end it
        return int(self._execute("SELECT total(1) FROM replies", ())[0])

    def close(self) -> None:
        """Close the file; merges the log into it when this is the last process."""
        with self._lock:
            self._database.close()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> Any:
        try:
            with self._lock:
                return next(iter(self._database.rows(statement, values)), None)
        except sqlite3.Error as error:
            raise UserError(
                f"The cache {self.path} failed: {error}",
                "The disk is full, the file is damaged, or a program that hangs has locked it",
                "Free some space or end that program; if the file is damaged, remove it",
            ) from error
