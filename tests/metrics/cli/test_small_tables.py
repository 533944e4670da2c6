"""Tables of a megabyte at most that would take the memory, or the evening: one line, or soon done."""

from __future__ import annotations

import json
import time
import tracemalloc

import numpy as np
import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.files import parse_yaml
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.tables import read_table
from t2i_judge.stats.agreement import fleiss_kappa, krippendorff_alpha, leave_one_out

PRIME = 2**61 - 1  # whole numbers that are multiples of it have one hash
MANY = 2_001


def long_table() -> str:
    return "item,rater,score,j\n" + "".join(f"{n},a{n},1,1\n" for n in range(MANY))


def lists() -> str:
    return f"h,j\n{'1|' * MANY}1,1\n2,2\n"


def benchmark() -> str:
    scores = [json.dumps([{"annotator": f"a{n}", "aspect": "overall", "score": 1}]) for n in range(MANY)]
    return "human_scores;j\n" + "".join('"{}";1\n'.format(cell.replace('"', '""')) for cell in scores)


def systems() -> str:
    return "h,j,s\n" + "".join(f"{n % 5},{n % 7},g{n}\n" for n in range(201))


def judges() -> str:
    names = [f"j{n}" for n in range(101)]
    return f"h,{','.join(names)}\n" + "".join(f"{n},{','.join(['1'] * 101)}\n" for n in range(3))


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (long_table, ["--prediction", "j"], "2,001 raters and 2,001 items. Each is a column"),
        (lists, ["--prediction", "j", "--ratings", "h"], "2,002 numbers and 2 items. Each is a column"),
        (benchmark, ["--prediction", "j"], "2,001 annotators and 2,001 items. Each is a column"),
        (systems, ["--prediction", "j", "--ratings", "h", "--systems", "s"], "201 generators; at most 200"),
        (judges, ["--prediction", "j*", "--ratings", "h", "--compare"], "101 judges; at most 100"),
    ],
)
def test_more_than_can_be_compared_is_refused(tmp_path, capsys, table, options, said):
    """Each rater had a column with a cell for every item, each system one for every prompt: .9 MB took 6 GB."""
    path = tmp_path / "t.csv"
    path.write_text(table())
    assert main(["meta-eval", str(path), *options]) == 2
    assert said in capsys.readouterr().err


def test_ratings_that_are_all_different_fit_into_memory():
    """Values x values, and items x values, took gigabytes for 3 MB of numbers, and minutes."""
    ratings = np.random.default_rng(0).random((8_000, 3))
    tracemalloc.start()
    start = time.process_time()
    try:
        assert krippendorff_alpha(ratings, "ratio").undefined == "ratio level compares at most 20,000 values"
        assert krippendorff_alpha(ratings[:3_000], "ratio").value is not None
        assert fleiss_kappa(ratings).value is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (peak < 200e6, time.process_time() - start < 20) == (True, True)


def test_many_raters_of_an_item_take_the_time_of_their_different_ratings():
    """Each rater's mean of all others was added up anew, for every item: time grew with the square of the raters."""
    table = np.tile(np.arange(6.0), (3, 500))
    start = time.process_time()
    [(own, others), *_] = leave_one_out(table)
    assert time.process_time() - start < 5
    assert others.tolist() == pytest.approx([(2.5 * 3_000 - own[0]) / 2_999] * 3)


def test_systems_of_many_prompts_are_compared_soon(tmp_path, capsys):
    """Two hundred systems took minutes: each resample went through the 19,900 pairs one by one."""
    path = tmp_path / "t.csv"
    rows = (f"{n * 7 % 5},{n * 3 % 7},g{n % 200},p{n // 200}\n" for n in range(1_000))
    path.write_text("h,j,s,p\n" + "".join(rows))
    start = time.process_time()
    assert main(["meta-eval", str(path), "--prediction=j", "--ratings=h", "--systems=s", "--cluster=p"]) == 0
    assert "Systems: judges against people" in capsys.readouterr().out
    assert time.process_time() - start < 60


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_numbers_with_one_hash_are_cells_like_others(tmp_path, ending):
    rows = [{"k": (n + 1) * PRIME, "j": n} for n in range(20_000)]
    path = tmp_path / f"t.{ending}"
    path.write_text(json.dumps(rows) if ending == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    labels = read_table(path).labels("k")
    start = time.process_time()
    assert len(set(labels)) == 20_000
    assert time.process_time() - start < 1
    assert str(next(iter_rows(path))["k"]) == str(PRIME)


def test_decimals_with_one_hash_are_labels_like_others(tmp_path):
    from decimal import Decimal

    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    values = pa.array([Decimal((n + 1) * PRIME) for n in range(20_000)], pa.decimal128(38))
    parquet.write_table(pa.table({"k": values}), path)
    labels = read_table(path).labels("k")
    start = time.process_time()
    assert len(set(labels)) == 20_000
    assert time.process_time() - start < 1


@pytest.mark.parametrize(("rows", "code"), [(900_000, 0), (3_000_000, 2)])
def test_a_file_of_kilobytes_does_not_say_millions_of_rows(tmp_path, capsys, rows, code):
    """160 kB of parquet, one number over and over, were 20 million rows: gigabytes, and minutes."""
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"h": pa.repeat(1.0, rows), "j": pa.repeat(2.0, rows)}), path)
    assert path.stat().st_size < 100_000
    assert main(["meta-eval", str(path), "--prediction=j", "--ratings=h", "--bootstrap=0"]) == code
    assert ("bytes it says 3,000,000 rows: " in capsys.readouterr().err) == (code == 2)


def test_names_with_one_hash_are_refused_in_yaml_before_they_are_names(monkeypatch):
    text = "{" + ", ".join(f"{n * PRIME}: 1" for n in range(1, 20)) + "}"
    with monkeypatch.context() as patch:
        patch.setattr("yaml.SafeLoader.construct_document", lambda *_: pytest.fail("a mapping was made of them"))
        with pytest.raises(UserError, match="a number that is a name has more than 15 characters"):
            parse_yaml(text, "x")
    assert parse_yaml("{2026: 1, 0x7e: 2}", "x") == {2026: 1, 126: 2}
