"""Files in folders that a stranger may have made are written by three functions, and nothing else opens one to write.

A link there leads anywhere. `records.write_atomic`, `files.open_new` and `files.open_to_append` write through none;
what writes otherwise is named here, with the reason.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from t2i_judge.files import NotPlain, append_jsonl, open_new, open_to_append

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("metrics", "recipes", "space")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(ROOT / "space" / "scenes")  # a link
)
METHODS = {"write_text", "write_bytes", "touch", "savefig", "to_parquet", "to_csv", "save_pretrained", "extractall"}
FUNCTIONS = {
    *("save_file", "FileLock", "connect", "dump", "copyfile", "copy2", "copytree", "copyfileobj", "symlink_to"),
    *("hardlink_to", "truncate", "utime", "mkstemp"),
}
OF_SHUTIL = {"copy", "move"}  # also names of what writes no file
WRITERS = {"sqlite3", "json", "yaml", "pickle", "torch", "numpy", "np"}  # the same for `connect` and `dump`
OWN = "a folder that this command has just made, or its own copy"
WRITES = {  # file or folder -> (what it calls, why no link of a stranger can stand there)
    "metrics/t2i_judge/files.py": ("open", "the openers themselves"),
    "metrics/t2i_judge/records.py": ("mkstemp fdopen", "the writer itself"),
    "metrics/t2i_judge/running.py": ("open", "os.devnull"),
    "metrics/t2i_judge/inputs/decoding.py": ("fdopen", "the pipe to the process that asked"),
    "metrics/t2i_judge/served/cache.py": ("connect", "looks for links first"),
    "metrics/t2i_judge/runs/locks.py": ("FileLock", "`refuse_links` goes before"),
    "metrics/t2i_judge/cli/install_metric.py": ("FileLock touch copytree", "evaluate's cache, or a new copy of ours"),
    "recipes/loopback/": ("*", OWN),
    "recipes/chaos.py": ("write_text save connect", OWN),
    "recipes/performance/boards.py": ("write_text save write_bytes", OWN),
    "recipes/performance/client.py": ("save open", OWN),
    "recipes/performance/space.py": ("save", OWN),
    "recipes/rehearsal.py": ("copytree", OWN),
    "recipes/space.py": ("copytree", OWN),
    "recipes/example_pictures.py": ("write_text save open", "the pictures of the checkout"),
    "recipes/recipe/second_process.py": ("open", "os.devnull"),
    "recipes/export.py": ("copyfile save_pretrained save_file", OWN),
    "recipes/tiny/pretrain.py": ("save_pretrained", "the build folder of the recipe"),
    "recipes/distillation/parquet.py": ("to_parquet", "into what `open_new` opened"),
    "recipes/performance/efficiency.py": ("savefig", "into what `open_new` opened"),
    "recipes/training/": ("*", "the build folder of the recipe, and what goes into it"),
    "recipes/publish/doors.py": ("copytree", OWN),
    "recipes/publish/stage.py": ("copy copyfile", OWN),
    "recipes/publish/stage_spaces.py": ("copyfile copytree", OWN),
    "recipes/publish/base_files.py": ("symlink_to", OWN),
    "metrics/t2i_judge/local/minicpmv/processing.py": ("save_pretrained", "the method itself"),
    "space/annotate_tab.py": ("save", "the store of annotations, whose names are ours"),
    "space/examples.py": ("save", OWN),
    "space/uploads.py": ("write_bytes", "a visitor's folder, whose names are ours"),
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    """(line, name of the function or method, call) in a source."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield node.lineno, name, node


def owner(call: ast.Call) -> str:
    """The name before a method's: of a module, or of what it is called on."""
    return call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""


def in_memory(tree: ast.AST) -> set[str]:
    """Names of what is written in memory in a source."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target, value in _pairs(node)
        if isinstance(target, ast.Name) and isinstance(value, ast.Call) and "BytesIO" in ast.unparse(value.func)
    }


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of an assignment, also of several at once."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts)
        else:
            yield target, node.value


def modes(call: ast.Call, name: str) -> list[str]:
    """The texts among the arguments of a call that may be the mode of `open`."""
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if text and set(text) <= set("rwaxbt+U") and name in ("open", "fdopen")]


@cache
def written(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, what it calls) wherever a source writes a file by itself."""
    memory, found = in_memory(tree_of(path)), []
    for line, name, call in calls(path):
        first = call.args[0].id if call.args and isinstance(call.args[0], ast.Name) else ""
        writes = (
            (name in METHODS and isinstance(call.func, ast.Attribute))
            or (name in FUNCTIONS and not (name in ("connect", "dump") and owner(call) not in WRITERS))
            or (name in OF_SHUTIL and owner(call) == "shutil")
            or (name == "save" and isinstance(call.func, ast.Attribute) and bool(call.args) and first not in memory)
            or any(set(mode) & set("wax+") for mode in modes(call, name))
            or (name == "open" and owner(call) == "os")
        )
        if writes:
            found.append((line, name))
    return tuple(found)


def test_nothing_writes_a_file_but_through_the_writers():
    direct = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        allowed = {call for place, (names, _) in WRITES.items() if name.startswith(place) for call in names.split()}
        direct += [f"{name}:{line} {call}" for line, call in written(path) if not allowed & {call, "*"}]
    assert not direct, "These write by themselves: use write_atomic, open_new or open_to_append"


def test_every_exception_is_of_use():
    found = {(path.relative_to(ROOT).as_posix(), call) for path in FILES for _, call in written(path)}
    stale = {
        f"{place} {call}"
        for place, (names, _) in WRITES.items()
        for call in names.split()
        if not any(name.startswith(place) and call in ("*", made) for name, made in found)
    }
    assert not stale


def test_writers_follow_no_link(tmp_path):
    (mine := tmp_path / "mine").write_text("mine")
    (link := tmp_path / "link").symlink_to(mine)
    (loose := tmp_path / "loose").symlink_to(tmp_path / "new")
    for place in (link, loose):
        with pytest.raises(NotPlain, match="not a plain file"), open_to_append(place):
            pytest.fail("opened")
        with pytest.raises(NotPlain):
            append_jsonl(place, [{"a": 1}])
        with open_new(place) as out:
            out.write(b"new")
        assert not place.is_symlink() and place.read_bytes() == b"new"
    assert mine.read_text() == "mine" and not (tmp_path / "new").exists()


def test_writers_wait_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = None
    for _ in range(2):  # without somebody who reads, and with
        with pytest.raises(NotPlain), open_to_append(tmp_path / "pipe"):
            pytest.fail("opened")
        reader = reader or os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.close(reader)
    with open_new(tmp_path / "pipe") as out:
        out.write(b"new")
    assert (tmp_path / "pipe").read_bytes() == b"new"
    append_jsonl(tmp_path / "pipe", [{"a": 1}])
    assert (tmp_path / "pipe").read_bytes() == b'new{"a": 1}\n'
