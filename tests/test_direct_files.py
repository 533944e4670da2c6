"""Files in folders that a stranger may have made are opened by few functions; what opens one by itself is named here.

A link there leads anywhere: `files.write_atomic`, `files.open_new` and `files.open_to_append` write through none. A
pipe or a device has no end: `files.open_plain`, and what stands on it, reads none.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from t2i_judge.conformal import read_intervals
from t2i_judge.errors import UserError
from t2i_judge.files import (
    NotPlain,
    append_jsonl,
    encoding_of,
    open_new,
    open_to_append,
    parse_yaml,
    read_bytes,
    read_json,
    read_jsonl,
    read_object,
    read_text,
    read_yaml,
    sha256,
    write_atomic,
)
from t2i_judge.inputs.separated import _header
from t2i_judge.local.intact import check_safetensors, contents
from t2i_judge.local.weights import digest
from t2i_judge.meta.report import write_report

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
    "metrics/t2i_judge/running.py": ("open", "os.devnull"),
    "metrics/t2i_judge/processes.py": ("fdopen", "the pipe to the process that asked"),
    "metrics/t2i_judge/served/database.py": ("connect", "looks for links first"),
    "metrics/t2i_judge/runs/locks.py": ("FileLock", "`refuse_links` goes before"),
    "metrics/t2i_judge/cli/install_metric.py": (
        "FileLock touch copytree utime",
        "evaluate's cache, or a new copy of ours",
    ),
    "recipes/loopback/": ("*", OWN),
    "metrics/t2i_judge/meta/report.py": ("write_text", "a device that the user named, such as /dev/stdout"),
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
    "metrics/t2i_judge/local/tried.py": ("symlink_to", "a folder that is made just before, else nothing is written"),
    "space/annotate_tab.py": ("save", "the store of annotations, whose names are ours"),
    "space/examples.py": ("save", OWN),
    "space/raters.py": ("open fdopen", "the Space's own folder, O_EXCL"),
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


READS = {  # the same for files of the library that are read
    "files.py": ("open", "the openers themselves"),
    "running.py": ("open", "os.devnull"),
    "t2i_judge.py": ("read_bytes read_text", "stands alone as evaluate's script; the library's own files"),
    "cli/install_metric.py": ("read_bytes", "the library's own files"),
    "boards/report/page.py": ("read_text", "the library's own files"),
    "boards/prompt_sets.py": ("read_text", "the library's own files"),
    "inputs/images.py": ("open", "Pillow, of bytes in memory"),
    "served/database.py": ("open", "found to be a plain file just before"),
    "inputs/grids.py": ("open", "a member of an archive that `open_plain` opened"),
}


def read(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what it calls) wherever a source reads a file by itself."""
    for line, name, call in calls(path):
        is_method = isinstance(call.func, ast.Attribute)
        if (name in ("read_text", "read_bytes") and is_method) or (name == "open" and (call.args or call.keywords)):
            yield line, name


def test_nothing_of_the_library_reads_a_file_but_through_the_readers():
    library = ROOT / "metrics" / "t2i_judge"
    direct, used = [], set()
    for path in FILES:
        if path.is_relative_to(library):
            name = path.relative_to(library).as_posix()
            allowed = READS.get(name, ("", ""))[0].split()
            direct += [f"{name}:{line} {call}" for line, call in read(path) if call not in allowed]
            used |= {(name, call) for _, call in read(path)}
    assert not direct, "These read by themselves: use open_plain, open_text, read_bytes, read_text or sha256"
    assert {(name, call) for name, (names, _) in READS.items() for call in names.split()} <= used


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


def read_lines(path: Path) -> None:
    list(read_jsonl(path))


def digest_of(path: Path) -> None:
    path.rename(path.with_suffix(".safetensors"))
    digest(path.parent)


def check(path: Path) -> None:
    path.rename(path.with_suffix(".safetensors"))
    check_safetensors(path.parent)


def rows(path: Path) -> None:
    """As a file that is found to be one, and is another by the time that it is opened."""
    _header(path)


READERS = [
    *(
        read_text,
        read_json,
        read_object,
        read_yaml,
        read_lines,
        encoding_of,
        sha256,
        read_bytes,
        digest_of,
        check,
        rows,
    ),
    *(read_intervals, contents),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("reader", READERS)
def test_readers_wait_for_nobody_and_end(tmp_path, reader, kind):
    path = tmp_path / "x.csv"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    if reader is contents:  # names and bytes of the plain files there
        (tmp_path / "x.json").symlink_to(path)
        assert contents(tmp_path) == contents(tmp_path / "nowhere")
        return
    with pytest.raises((NotPlain, UserError), match="not a plain file"):
        reader(path)


def test_what_describes_other_files_is_not_read_without_end(tmp_path):
    """A file of 10 GB that takes no room on the disk."""
    with (path := tmp_path / "x").open("wb") as file:
        file.truncate(10_000_000_000)
    for reader in (read_object, read_yaml):
        with pytest.raises(UserError, match="It has more than"):
            reader(path)
    with pytest.raises(UserError, match=r"line 1 is too long. It has more than"):
        read_lines(path)
    with pytest.raises(OSError, match="It has more than 10 bytes"):
        read_bytes(path, 10)


def test_no_device_is_replaced_by_a_file(tmp_path):
    """As root, `--json /dev/null` left a file there, for every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for place in (tmp_path / "pipe", tmp_path / "link", "/dev/null", "/dev/stdout", "/dev/of-nobody"):
        with pytest.raises(NotPlain):
            write_atomic(place, "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo() and Path("/dev/null").is_char_device()
    write_report("/dev/null", "x")  # whoever names a device means it
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "t: {max_cost: 5, max_cost: 900}", "t: {m: 1}\nu: 2\n't': {}", '- {a: 1, b: 2, "a": 3}'],
)
def test_a_name_twice_in_yaml_is_no_yaml(text):
    """`max_cost: 5` and, further down, `max_cost: 900`, or a second `teacher:` without any: the last one counted."""
    with pytest.raises(UserError, match="stands twice"):
        parse_yaml(text, "recipe.yaml")


def test_merged_and_repeated_parts_of_yaml_are_read():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\nd: {1: x, '1': y}"
    read = parse_yaml(text, "recipe.yaml")
    assert (read["b"], read["c"], read["d"]) == ({"x": 3, "y": 2}, [{"x": 1, "y": 2}] * 2, {1: "x", "1": "y"})
