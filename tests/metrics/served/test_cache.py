"""The reply cache: two processes at once, a killed one, a damaged file."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from t2i_judge.errors import UserError
from t2i_judge.records import Usage
from t2i_judge.served.cache import CallCache, call_key
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.wire import Message
from tests.metrics.conftest import completion

WRITER = """
import sys
from t2i_judge.served.cache import CallCache
cache = CallCache(sys.argv[1])
for n in range(int(sys.argv[3])):
    cache.put(f"{sys.argv[2]}-{n}", "m", {"text": "x" * 1000, "n": n})
    print(n, flush=True)
"""


def writer(path, name: str, count: int) -> subprocess.Popen:
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_what_is_put_can_be_got_and_removed(tmp_path):
    path = tmp_path / "deep" / "calls.sqlite"
    cache = CallCache(path)
    assert cache.get("a") is None
    cache.put("a", "m", {"text": "ünï"})
    cache.close()
    cache = CallCache(path)
    assert cache.get("a") == {"text": "ünï"}
    assert len(cache) == 1
    cache.remove("a")
    assert cache.get("a") is None
    cache.close()


def test_what_was_paid_stays_known_whatever_is_kept(tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    assert cache.paid() == Usage()
    for key, money in (("a", 0.25), ("b", 0.5)):
        cache.put(key, "m", {"text": "x", "usage": vars(Usage(1, 10, 2, 0.5, money))})
    cache.pay(Usage(1, 10, 2, 0.5, 1.0))  # a refusal
    for _ in range(2):
        cache.remove("a")
    cache.close()
    cache = CallCache(tmp_path / "calls.sqlite")
    assert cache.paid() == Usage(3, 30, 6, 1.5, 1.75)
    cache.close()


def test_a_reply_that_takes_the_place_of_another_was_paid_for_too(tmp_path):
    """Two workers ask the same at once, and both are answered."""
    cache = CallCache(tmp_path / "calls.sqlite")
    for money in (0.25, 0.5):
        cache.put("a", "m", {"text": "x", "usage": vars(Usage(1, 10, 2, 0.5, money))})
    assert len(cache) == 1 and cache.paid() == Usage(2, 20, 4, 1.0, 0.75)
    cache.close()


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path):
    path = tmp_path / "calls.sqlite"
    writers = [writer(path, name, 300) for name in "ab"]
    for process in writers:
        process.communicate(timeout=300)
        assert process.returncode == 0
    cache = CallCache(path)
    assert len(cache) == 600
    cache.close()


def test_a_killed_writer_loses_nothing_that_it_put(tmp_path):
    path = tmp_path / "calls.sqlite"
    process = writer(path, "a", 1_000_000)
    assert process.stdout.readline() == "0\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    acknowledged = [0, *(int(line) for line in process.communicate()[0].split("\n")[:-1] if line)]
    cache = CallCache(path)
    assert all(cache.get(f"a-{number}") == {"text": "x" * 1000, "n": number} for number in acknowledged)
    cache.put("b", "m", {})
    cache.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_no_cache_is_a_user_error(tmp_path):
    path = tmp_path / "calls.sqlite"
    path.write_text("this is not a database, it only has the name of one" * 30)
    with pytest.raises(UserError, match=r"calls\.sqlite"):
        CallCache(path)
    if os.geteuid():
        with pytest.raises(UserError):
            CallCache("/proc/calls.sqlite")


_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
_REPLIES = "CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, reply TEXT)"


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([f"CREATE VIEW replies AS {_ENDLESS} i AS key, '' AS model, 0.0 AS created, '{{}}' AS reply FROM n"], "view"),
        ([f"CREATE VIEW not_kept AS {_ENDLESS} 0.0 AS created, '{{}}' AS usage FROM n", _REPLIES], "view"),
        (
            [
                _REPLIES,
                "CREATE TRIGGER more AFTER INSERT ON replies BEGIN "
                "INSERT OR REPLACE INTO replies VALUES ('k', 'm', 0, zeroblob(900000000)); END",
            ],
            "trigger 'more'",
        ),
        (["CREATE VIRTUAL TABLE replies USING fts4(key, model, created, reply)"], "table 'replies'"),
        (
            ["CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, x TEXT, reply TEXT AS (hex(x)))"],
            "table 'replies'",
        ),
        ([_REPLIES, "CREATE INDEX slow ON replies (hex(zeroblob(900000000)))"], "index 'slow'"),
        ([_REPLIES, "CREATE TABLE notes (other TEXT)"], "table 'notes'"),
    ],
    ids=["endless view", "second view", "trigger", "virtual", "generated", "index", "unknown"],
)
def test_a_cache_that_could_run_something_is_not_used(tmp_path, statements, words):
    path = tmp_path / "calls.sqlite"
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    with pytest.raises(UserError, match=f"has the {words}"):
        CallCache(path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_a_cache_that_is_no_plain_file_is_not_used(tmp_path, kind):
    path, outside = tmp_path / "calls.sqlite", tmp_path / "outside.sqlite"
    if kind == "link":
        CallCache(outside).close()
    before = outside.read_bytes() if outside.exists() else None
    if "link" in kind:
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(UserError, match="is a symbolic link" if "link" in kind else "is no plain file"):
        CallCache(path)
    assert (outside.read_bytes() if outside.exists() else None) == before


def test_a_full_disk_is_a_user_error(tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    cache.put("a", "m", {"text": "kept"})
    cache._execute("PRAGMA max_page_count = 8", ())
    with pytest.raises(UserError, match="full"):
        for number in range(1000):
            cache.put(str(number), "m", {"text": "x" * 1000})
    assert cache.get("a") == {"text": "kept"}
    cache.close()


def test_keys_depend_on_content_not_on_the_order_of_fields():
    assert call_key({"a": 1, "b": [2]}) == call_key({"b": [2], "a": 1})
    assert call_key({"a": 1}) != call_key({"a": 2})


def test_replies_of_older_files_belong_to_the_server_that_first_asks_for_them(tmp_path):
    path = tmp_path / "calls.sqlite"
    with sqlite3.connect(path) as database:  # as it was written before keys held addresses
        database.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, reply TEXT)")
        database.execute("INSERT INTO replies VALUES ('k', 'm', 0, '{}')")
    database.close()
    older = CallCache(path)
    assert older.adopted_by("m", "http://one")
    assert not older.adopted_by("m", "http://two")
    assert older.adopted_by("other", "http://two")
    older.close()
    again = CallCache(path)
    assert again.adopted_by("m", "http://one")
    assert not again.adopted_by("m", "http://two")
    again.close()
    new = CallCache(tmp_path / "new.sqlite")
    assert not new.adopted_by("m", "http://one")
    new.close()


ODD = [None, 5, "x", [], {}, math.nan, True, -1]


@pytest.mark.parametrize("name", ["text", "status", "usage", "reason", "model", "cut_off", "likeliest", "more"])
def test_what_is_no_reply_in_a_cache_is_one_line_and_no_verdict(tmp_path, served, name):
    """A cache that came with a stranger's folder of results."""
    served.respond = lambda request, n: completion("8")
    backend = OpenAIBackend("m", served.url, "k", cache=tmp_path / "calls.sqlite")
    reply = backend.run(backend.ask([Message("user", "first")], 5))
    for value in ODD:
        record = {**reply.to_json(), name: value}
        backend.cache.put(reply.key, "m", record)
        try:
            again = backend.run(backend.ask([Message("user", "first")], 5))
        except UserError as error:
            assert "has an unknown format" in str(error) and "Remove this file" in str(error)
        else:
            assert name == "usage" or again == replace(reply, cached=True, **{name: value})
            assert isinstance(again.text, str)
            assert isinstance(again.usage, Usage)
    backend.close()


def test_no_figure_of_a_cache_raises_the_limit_of_a_run(tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    cache.pay(Usage(1, 10, 10, 1.0, 2.0))
    cache.pay(Usage(-1, -10, -10, -1.0, -1e9))
    assert cache.paid() == Usage(1, 10, 10, 1.0, 2.0)
    cache.close()
