"""Databases that came with a stranger's folder: what lies beside them, pages that are reached without end."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys

import pytest
from PIL import Image

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.served.cache import CallCache

MAGIC = bytes.fromhex("d9d505f920a163d7")
PAGE = 4096
KILLED = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN")
database.execute("UPDATE replies SET model = 'lost'")
database.executemany("INSERT INTO replies VALUES (?, 'lost', 0, ?)", [(str(n), "x" * 1000) for n in range(200)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cache(tmp_path):
    """The path of a cache with one reply, closed."""
    path = tmp_path / "out" / "calls.sqlite"
    opened = CallCache(path)
    opened.put("a", "m", {"text": "kept"})
    opened.close()
    return path


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("years of work")
    return path


def write_journal(cache, victim):
    """A journal that has nothing to roll back, and after which SQLite removes the file that it names."""
    head = MAGIC + struct.pack(">IIIII", 0, 7, cache.stat().st_size // PAGE, 512, PAGE)
    name = str(victim).encode()
    end = struct.pack(">I", 0x40000000 // PAGE + 1) + name + struct.pack(">II", len(name), sum(name)) + MAGIC
    (cache.parent / "calls.sqlite-journal").write_bytes(head.ljust(512, b"\0") + end)


def test_sqlite_removes_what_a_journal_names(cache, victim):
    """If it no longer does, the refusal below has no reason any more."""
    write_journal(cache, victim)
    with sqlite3.connect(cache) as database:
        database.execute("SELECT count(*) FROM replies")
    database.close()
    assert not victim.exists()


def test_a_journal_that_names_a_file_removes_nothing(cache, victim):
    write_journal(cache, victim)
    with pytest.raises(UserError, match=r"calls\.sqlite-journal names another file"):
        CallCache(cache)
    assert victim.read_text() == "years of work"


@pytest.mark.parametrize("command", ["score", "leaderboard", "selftest"])
def test_commands_that_open_it_end_in_one_line(cache, victim, tmp_path, monkeypatch, capsys, command):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    write_journal(cache, victim)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (table := tmp_path / "table.csv").write_text("prompt,image,by\na cat,a.png,x\na cat,a.png,y\n")
    place = {
        "score": ["--out", str(cache.parent)],
        "leaderboard": ["--generator", "by", "--out", str(cache.parent)],
        "selftest": ["--cache", str(cache)],
    }[command]
    judge = ["--judge", "direct+openai:m@http://127.0.0.1:9/v1"]
    assert main([command, str(table), *judge, *place]) == (3 if command == "selftest" else 2)
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("t2i-judge: ")]
    assert "names another file" in line
    assert victim.read_text() == "years of work"


def test_the_journal_of_a_killed_process_is_rolled_back(tmp_path):
    path = tmp_path / "calls.sqlite"
    with sqlite3.connect(path) as database:  # as it is before the file is switched to write-ahead logging
        database.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, reply TEXT)")
        database.execute("INSERT INTO replies VALUES ('a', 'm', 0, '{}')")
    database.close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "calls.sqlite-journal").stat().st_size > PAGE
    cache = CallCache(path)
    assert (cache.get("a"), len(cache)) == ({}, 1)
    cache.close()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_what_is_no_plain_file_beside_a_cache_is_one_line(cache, victim, end, kind):
    beside = cache.parent / f"calls.sqlite{end}"
    if "link" in kind:
        beside.symlink_to(victim if kind == "link" else victim.with_name("nowhere"))
    elif kind == "pipe":
        os.mkfifo(beside)
    else:
        beside.mkdir()
    with pytest.raises(
        UserError, match=f"calls.sqlite{end} beside .* is {'a symbolic link' if 'link' in kind else 'no'}"
    ):
        CallCache(cache)
    assert victim.read_text() == "years of work"
    assert sorted(path.name for path in cache.parent.parent.iterdir()) == ["out", "thesis.txt"]
