"""Databases that came with a stranger's folder: what lies beside them, pages that are reached without end."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.served import database
from t2i_judge.served.cache import CallCache
from tests.waiting import PATIENCE

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

PAID = """
import sys
from t2i_judge.served.cache import CallCache
cache = CallCache(sys.argv[1])
print("open", flush=True)
cache.paid()
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
    with sqlite3.connect(cache) as opened:
        opened.execute("SELECT count(*) FROM replies")
    opened.close()
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
    assert main([command, str(table), *judge, *place]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("t2i-judge: ")]
    assert "names another file" in line
    assert victim.read_text() == "years of work"


def test_the_journal_of_a_killed_process_is_rolled_back(tmp_path):
    path = tmp_path / "calls.sqlite"
    with sqlite3.connect(path) as older:  # as it is before the file is switched to write-ahead logging
        older.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, reply TEXT)")
        older.execute("INSERT INTO replies VALUES ('a', 'm', 0, '{}')")
    older.close()
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


# Pages of SQLite's format: https://sqlite.org/fileformat2.html
KEY_NODE, KEY_LEAF, ROW_NODE, ROW_LEAF = 2, 10, 5, 13
WIDTH = 50  # children of a page


def varint(number):
    digits = [number & 127]
    while number := number >> 7:
        digits.insert(0, number & 127 | 128)
    return bytes(digits)


def cell(*values, row=b""):
    """A row of texts, whole numbers below 128 and None; `row`: its number, in a table that numbers its rows."""
    kinds = [0 if value is None else 1 if isinstance(value, int) else 13 + 2 * len(value) for value in values]
    head = b"".join(map(varint, kinds))
    body = b"".join(bytes([v]) if isinstance(v, int) else (v or "").encode() for v in values)
    return varint(1 + len(head) + len(body)) + row + varint(1 + len(head)) + head + body


def page(kind, cells, right=b"", start=0):
    """A page with these cells. A node has a rightmost child; the first page of a file starts with the file's header."""
    at = PAGE - sum(map(len, cells))
    places = [at + sum(map(len, cells[:number])) for number in range(len(cells))]
    head = struct.pack(">BHHHB", kind, 0, len(cells), at, 0) + right
    return (bytes(start) + head + struct.pack(f">{len(cells)}H", *places)).ljust(at, b"\0") + b"".join(cells)


def number(child):
    return struct.pack(">I", child)


def lattice(first, kind, key, leaf):
    """Nodes from page `first` on, each of which leads to the next page 50 times, and the leaf that they end in."""
    return [*(page(kind, [number(n) + key] * WIDTH, number(n)) for n in range(first + 1, first + 9)), leaf]


def write_pages(path, root, pages, version=2):
    """Put the first of the pages in the place of `root`, and append the others."""
    data = bytearray(path.read_bytes())
    header = data[:100]
    data[(root - 1) * PAGE : root * PAGE] = pages[0]
    data += b"".join(pages[1:])
    data[:100] = header
    data[28:32], data[60:64] = number(len(data) // PAGE), number(version)
    path.write_bytes(data)


def root_of(path):
    with sqlite3.connect(path) as opened:
        [(root,)] = opened.execute("SELECT rootpage FROM sqlite_master WHERE name = 'replies'").fetchall()
    opened.close()
    return root


def endless_replies(path, version=2):
    """A cache of 50 kB that is said to hold 50^9 replies."""
    first, reply = path.stat().st_size // PAGE + 1, cell("a", "m", 1, '{"usage": {"calls": 1}}')
    top = page(KEY_NODE, [number(first) + reply], number(first))
    write_pages(path, root_of(path), [top, *lattice(first, KEY_NODE, reply, page(KEY_LEAF, [reply] * WIDTH))], version)


def endless_tables(path):
    """The same for the list of tables, which SQLite reads first of all."""
    path.unlink()
    with sqlite3.connect(path) as opened:
        opened.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, created REAL, reply TEXT)")
        table, index = (cell(*row, row=b"\1") for row in opened.execute("SELECT * FROM sqlite_master"))
    opened.close()
    first = path.stat().st_size // PAGE + 1
    top = page(ROW_NODE, [number(first) + b"\1"], number(first + 1), start=100)
    below = lattice(first + 1, ROW_NODE, b"\1", page(ROW_LEAF, [index] * WIDTH))
    write_pages(path, 1, [top, page(ROW_LEAF, [table]), *below])


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(database, "_SECONDS", 0.3)


@pytest.mark.parametrize("use", [CallCache.paid, len], ids=["paid", "len"])
def test_replies_without_end_are_one_line(cache, hasty, use):
    endless_replies(cache)
    opened, start = CallCache(cache), time.process_time()
    with pytest.raises(UserError, match="takes too long to read"):
        use(opened)
    assert time.process_time() - start < 20
    opened.close()


def test_opening_counts_no_replies(cache, hasty):
    endless_replies(cache, version=0)
    CallCache(cache).close()


def test_tables_without_end_are_one_line(cache, hasty):
    endless_tables(cache)
    with pytest.raises(UserError, match="takes too long to read"):
        CallCache(cache)


def test_more_tables_than_a_cache_has_are_one_line(cache):
    with sqlite3.connect(cache) as opened:
        for count in range(2, 22):
            opened.execute(f'CREATE TABLE "{"replies " * count}" (key TEXT)')  # in words of ours
    opened.close()
    with pytest.raises(UserError, match="has more than 20 tables"):
        CallCache(cache)


def test_a_value_that_claims_one_page_over_and_over_is_one_line(cache):
    claimed, content = 900_000_000, PAGE - 4
    head = varint(15) + varint(15) + b"\1" + varint(13 + 2 * claimed)
    row = varint(1 + len(head)) + head + b"am\1"
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (len(row) + claimed - least) % content
    local = local if local <= (PAGE - 12) * 64 // 255 - 23 else least
    own = cache.stat().st_size // PAGE + 1  # a page of content that goes on in itself
    reply = varint(len(row) + claimed) + row.ljust(local, b"x") + number(own)
    write_pages(cache, root_of(cache), [page(KEY_LEAF, [reply]), number(own) + b"x" * content])
    with cache.open("r+b") as file:  # no value may be longer than the file, which takes no room for zeros
        file.seek(28)
        file.write(number(2 * claimed // PAGE))
        file.truncate(2 * claimed // PAGE * PAGE)
    opened = CallCache(cache)
    with pytest.raises(UserError, match="too big"):
        opened.get("a")
    opened.close()


def test_what_ends_a_command_ends_a_statement(cache):
    endless_replies(cache)
    command, pipe = [sys.executable, "-c", PAID, str(cache)], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    assert error.splitlines()[-1] == "KeyboardInterrupt"


def test_waiting_for_another_process_is_no_work(cache, hasty):
    with sqlite3.connect(cache, isolation_level=None, check_same_thread=False) as other:
        opened = CallCache(cache)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.0, other.execute, ["COMMIT"])
        timer.start()
        opened.put("b", "m", {})
        timer.join()
        assert len(opened) == 2
        opened.close()
    other.close()
