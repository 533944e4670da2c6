"""What strangers and broken disks hand over: every reader ends in one line, soon, and nothing is written elsewhere."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pyarrow import parquet

from t2i_judge.cli import main
from t2i_judge.running import DEFECT

DEEP = "[" * 60_000 + "]" * 60_000
GOOD = {"prompt": "a cat", "image": "a.png", "id": "1", "score": "1", "human": "2", "by": "x"}
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "score": lambda table: ["score", table, "--judge", "fake", "--id-column", "id", "--keep", "score", "--out", "out"],
    "plan": lambda table: ["plan", table, "--judge", "openai:gpt-4o"],
    "leaderboard": lambda table: ["leaderboard", table, "--generator", "by", "--judge", "fake", "--out", "out"],
    "meta-eval": lambda table: ["meta-eval", table, "--prediction", "score", "--ratings", "human", "--bootstrap", "9"],
    "calibrate": lambda table: ["calibrate", table, "--prediction", "score", "--ratings", "human", "--out", "out"],
    "decompositions": lambda table: [
        "score", "good.jsonl", "--judge", "fake", "--decompositions", table, "--out", "out",
    ],
    "prices": lambda table: [
        "score", "good.jsonl", "--judge", "openai:m@http://127.0.0.1:9/v1", "--prices", table, "--out", "out",
    ],
}  # fmt: skip


def jsonl(*rows: object) -> bytes:
    return "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(**columns: pa.Array) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table({**{name: [value] * 2 for name, value in GOOD.items()}, **columns}), out)
    return out.getvalue()


def attacks() -> dict[str, bytes]:
    """File name -> what is in it."""
    header, line = ",".join(GOOD), ",".join(GOOD.values())
    odd = [
        pa.array([value] * 2)
        for value in (datetime(2020, 1, 1), date(2020, 1, 1), Decimal("1.5"), b"\xff", timedelta(1))
    ]
    odd += [pa.array([datetime(2020, 1, 1)] * 2, pa.timestamp("us", "No/Where")), pa.nulls(2)]
    broken_text = pa.Array.from_buffers(
        pa.string(), 2, [*pa.array(["ab"] * 2).buffers()[:2], pa.py_buffer(b"\xff" * 4)]
    )
    files = {
        "empty.csv": b"", "nul.csv": f"{header}\n\0\n".encode(), "utf16.csv": f"{header}\n{line}\n".encode("utf-16"),
        "unclosed.csv": f'{header}\n"{line}\n'.encode(), "ragged.tsv": f"{header}\n{line},9\n".encode(),
        "wide.csv": (",".join(f"c{n}" for n in range(30_000)) + "\n").encode(),
        "escapes.csv": f"{header},\x1b[31mred\n{line},1\n".encode(),
        "names.csv": f"{header}\n{line}\n{line}\n".replace(",x", ",\x1b]0;x\x07").encode(),
        "control.csv": b"\x1c,\x1d\n\x1e,\x1f\n",
        "deep.json": DEEP.encode(), "deep.jsonl": jsonl(DEEP), "digits.jsonl": jsonl('{"prompt": ' + "9" * 5000 + "}"),
        "half.jsonl": jsonl({**GOOD, "prompt": "\ud800"}), "halfname.jsonl": jsonl({**GOOD, "\udfff": 1}),
        "list.jsonl": jsonl("[1]"), "torn.jsonl": jsonl('{"prompt": "a'), "notutf8.jsonl": b'{"prompt": "\xff"}\n',
        "mixed.jsonl": jsonl(GOOD, {"other": 1}), "bomb.yaml": b"a: &a [x, x]\n" + b"".join(
            b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c]\n" % (n + 1, n + 1, n, n, n, n, n, n) for n in range(97, 110)
        ),
        "zone.yaml": b"a: !!timestamp x\n", "self.yaml": b"a: &a {b: *a}\n",
        "cut.parquet": as_parquet()[:300], "magic.parquet": b"PAR1PAR1",
        "device.jsonl": jsonl({**GOOD, "image": "/dev/zero"}),
        "pipe.jsonl": jsonl({**GOOD, "image": "pipe"}),
        "climbs.jsonl": jsonl({**GOOD, "image": "../../../etc/passwd"}),
    }  # fmt: skip
    for column in ("prompt", "image", "score", "by"):
        for number, values in enumerate([*odd, broken_text]):
            files[f"{column}{number}.parquet"] = as_parquet(**{column: values})
        for number, value in enumerate((5, 1.5, None, ["a"], {"a": 1}, True, 10**400, "a\0b")):
            files[f"{column}{number}.jsonl"] = jsonl({**GOOD, column: value})
    return files


ATTACKS = attacks()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, below which alone something may be written."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (inside / "good.jsonl").write_bytes(jsonl(GOOD))
    os.mkfifo(inside / "pipe")
    return inside


def ends_well(capsys, arguments: list[str], folder: Path) -> int:
    """Run a command: no traceback, no defect, one line on an error, soon, nothing beside `out`. Its exit code."""
    before = {path for path in folder.parent.rglob("*") if "out" not in path.relative_to(folder.parent).parts}
    start = time.process_time()  # of this process alone: the machine may have other things to do
    code = main(arguments)
    said = capsys.readouterr()
    assert time.process_time() - start < 10
    assert code in (0, 1, 2), said.err
    assert code != DEFECT
    assert "\x1b" not in said.out + said.err
    if code == 2:
        [line] = [line for line in said.err.splitlines() if line.startswith("t2i-judge: ")]
        assert said.err.endswith(f"{line}\n")
        assert len(line) < 3000
    after = {path for path in folder.parent.rglob("*") if "out" not in path.relative_to(folder.parent).parts}
    assert after == before
    return code


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_tables_are_one_line(folder, capsys, command):
    for name, content in ATTACKS.items():
        (folder / name).write_bytes(content)
    for name in ATTACKS:
        try:
            ends_well(capsys, COMMANDS[command](name), folder)
        except BaseException as error:
            raise AssertionError(f"{command} {name}") from error
        remove(folder / "out")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("out", ["good.jsonl", "good.jsonl/out", "/proc/nowhere/out", "x" * 300])
@pytest.mark.parametrize("command", ["score", "leaderboard", "calibrate"])
def test_where_nothing_can_be_written_is_one_line(folder, capsys, command, out):
    arguments = [out if word == "out" else word for word in COMMANDS[command]("good.jsonl")]
    if (command, out) != ("calibrate", "good.jsonl"):  # which is a file, as asked for
        assert ends_well(capsys, arguments, folder) == 2


def test_kept_columns_are_decided_before_anything_is_judged(folder, capsys):
    times = {"extra": pa.array([datetime(2020, 1, 1), None]), "price": pa.array([Decimal("1.50")] * 2)}
    (folder / "t.parquet").write_bytes(as_parquet(**times, raw=pa.array([None, b"x"])))
    arguments = ["score", "t.parquet", "--judge", "fake", "--out", "out", "--keep"]
    assert ends_well(capsys, [*arguments, "raw"], folder) == 2
    assert not list((folder / "out").glob("shards/*"))
    remove(folder / "out")
    assert ends_well(capsys, [*arguments, "extra,prise"], folder) == 2  # no such column
    remove(folder / "out")
    assert ends_well(capsys, [*arguments, "extra,price"], folder) == 0
    assert "2020-01-01T00:00:00,1.50" in (folder / "out/scores.csv").read_text()


def nested(depth: int) -> str:
    return f'{{"prompt": "a cat", "image": "a.png", "extra": {"[" * depth}1{"]" * depth}}}\n'


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.parquet"])
def test_no_shard_is_judged_where_a_later_cell_cannot_be_kept(folder, capsys, name):
    if name == "t.parquet":
        (folder / name).write_bytes(as_parquet(extra=pa.array([b"", b"x"])))
    else:
        text = nested(3) + nested(700)
        (folder / name).write_text(text if name == "t.jsonl" else "[" + text.replace("}\n{", "},{") + "]")
    arguments = ["score", name, "--judge", "fake", "--out", "out", "--shard-size", "1", "--keep", "extra"]
    assert ends_well(capsys, arguments, folder) == 2
    assert not list((folder / "out").glob("shards/*"))


@pytest.mark.parametrize("depth", [100, 101, 300, 700, 950])
def test_a_cell_that_is_nested_deep_is_kept_whole_or_refused(folder, capsys, depth):
    (folder / "t.jsonl").write_text(nested(depth))
    for arguments in (["score", "t.jsonl", "--keep", "extra"], ["leaderboard", "t.jsonl", "--generator", "extra"]):
        code = ends_well(capsys, [*arguments, "--judge", "fake", "--out", "out"], folder)
        if arguments[0] == "score":
            assert code == (0 if depth == 100 else 2)
            assert bool(list((folder / "out").glob("shards/*"))) == (depth == 100)
        remove(folder / "out")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["source", "columns", "judge", "rows", "statuses", "sums", "usage", "size", "name", "revision",
                     "base_model_name_or_path", "domain", "mode", "precision", "notes"]), VALUES, max_size=6,
)  # fmt: skip
CONTENT = st.one_of(VALUES.map(json.dumps), OBJECTS.map(json.dumps), st.text(max_size=30)).map(
    lambda text: text.encode(errors="replace")
) | st.binary(max_size=60)
BOUNDED = settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_any_bytes_in_a_table(folder, capsys, ending):
    @seed(22)
    @BOUNDED
    @given(CONTENT)
    def check(content: bytes) -> None:
        (folder / f"t{ending}").write_bytes(content)
        ends_well(capsys, ["meta-eval", f"t{ending}", "--prediction", "score", "--ratings", "human"], folder)

    check()


@pytest.mark.parametrize("file", ["run.json", "shards/000000.json", "calls.sqlite", "shards/000000.jsonl"])
def test_any_bytes_in_a_run_folder(folder, capsys, file):
    score = ["score", "good.jsonl", "--judge", "fake", "--out", "out"]
    served = ["score", "good.jsonl", "--judge", "openai:m@http://127.0.0.1:9/v1", "--out", "out"]
    assert main(score) == 0
    capsys.readouterr()
    whole = {path: path.read_bytes() for path in sorted((folder / "out").rglob("*.json*")) if path.is_file()}

    @seed(22)
    @BOUNDED
    @given(CONTENT)
    def check(content: bytes) -> None:
        for path, was in whole.items():
            path.write_bytes(was)
        (folder / "out" / file).write_bytes(content)
        ends_well(capsys, served if file == "calls.sqlite" else score, folder)

    check()


@pytest.mark.parametrize("file", ["judge.json", "adapter_config.json", "config.json"])
def test_any_bytes_in_a_judges_folder(folder, capsys, file):
    judge = folder / "judge"
    judge.mkdir()
    (judge / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder / "base")}))
    (judge / "adapter_model.safetensors").write_bytes(b"\0" * 8)

    main(["score", "good.jsonl", "--judge", "hf:judge", "--out", "out"])  # imports what takes long to import
    capsys.readouterr()

    @seed(22)
    @settings(BOUNDED, max_examples=6)
    @given(CONTENT)
    def check(content: bytes) -> None:
        (judge / file).write_bytes(content)
        assert ends_well(capsys, ["score", "good.jsonl", "--judge", "hf:judge", "--out", "out"], folder) == 2

    check()


def test_a_parquet_file_with_any_byte_changed(folder, capsys):
    whole, chance = as_parquet(), random.Random(22)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        (folder / "t.parquet").write_bytes(broken)
        ends_well(capsys, COMMANDS["score"]("t.parquet"), folder)
        remove(folder / "out")


def test_another_programs_database_is_no_cache(folder, capsys):
    (folder / "out").mkdir()
    with sqlite3.connect(folder / "out/calls.sqlite") as database:
        database.execute("CREATE TABLE replies (other TEXT)")
    database.close()
    assert ends_well(
        capsys, ["score", "good.jsonl", "--judge", "openai:m@http://127.0.0.1:9/v1", "--out", "out"], folder
    )
