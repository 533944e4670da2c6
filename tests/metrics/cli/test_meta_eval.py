"""`t2i-judge meta-eval`: its JSON contract and every combination of options on awkward tables."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import pandas
import pytest
from scipy import stats

from t2i_judge.cli import main

ROW_KEYS = {
    "prediction", "against", "by", "n", "n_missing", "coverage", "spearman", "kendall_tau_b", "pearson", "spearman_p",
    "kendall_tau_b_p", "pearson_p", "spearman_ci", "kendall_tau_b_ci", "pearson_ci", "undefined",
}  # fmt: skip
AGREEMENT_KEYS = {"by", "n_items", "n_raters", "fleiss_kappa", "krippendorff_alpha", "percent_agreement", "undefined"}
VOTE_KEYS = {
    "prediction", "by", "n", "four_class_accuracy", "pairwise_accuracy_decided", "n_decided", "majority_class_accuracy",
}  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=90)
    table = pandas.DataFrame(
        {
            "prompt": [f'p{i // 3}, "quoted"\nsecond line' for i in range(90)],
            "model": ["m1", "m2", None] * 30,
            "split": ["x"] * 45 + ["y"] * 45,
            "judge": truth + rng.normal(size=90),
            "other": (truth + rng.normal(size=90)).round(1),
            "flat": 7,
            "flag": truth > 0,
            "h1": np.clip((truth + rng.normal(size=90) + 3).round(), 1, 5),
            "h2": np.clip((truth + rng.normal(size=90) + 3).round(), 1, 5),
            "vote": rng.choice(["leftvote", "rightvote", "tievote", "bothbad_vote"], 90),
            "verdict": rng.choice(["A>B", "B>A", "A=B", "A=B=Good", "A=B=Bad", "?", None], 90),
        }
    )
    table.loc[::10, "judge"] = np.nan
    table.loc[::7, "h2"] = np.nan
    return table


@pytest.fixture
def csv(frame, tmp_path):
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False, encoding="utf-8-sig")
    return path


def run(capsys, tmp_path, *arguments):
    out = tmp_path / "out.json"
    assert main(["meta-eval", *map(str, arguments), "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out
    return json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def row(report, prediction, against, **by):
    (found,) = [r for r in report["rows"] if (r["prediction"], r["against"], r["by"]) == (prediction, against, by)]
    return found


def test_the_json_contract(capsys, tmp_path, csv, frame):
    arguments = ["--prediction", "judge", "--prediction", "other", "--ratings", "h1,h2", "--bootstrap", 200]
    report = run(capsys, tmp_path, csv, *arguments, "--cluster", "prompt")
    assert report["table"] == {
        "path": str(csv), "sha256": hashlib.sha256(csv.read_bytes()).hexdigest(), "rows": 90,
    }  # fmt: skip
    assert all(r.keys() >= ROW_KEYS for r in report["rows"])
    assert all(r.keys() >= AGREEMENT_KEYS for r in report["agreement"])
    assert set(report["agreement"][0]["krippendorff_alpha"]) == {"nominal", "ordinal", "interval", "ratio"}
    found = row(report, "judge", "h2")
    kept = frame.dropna(subset=["judge", "h2"])
    assert (found["n"], found["n_missing"], found["coverage"]) == (len(kept), 90 - len(kept), len(kept) / 90)
    for name, function in (
        ("spearman", stats.spearmanr),
        ("kendall_tau_b", stats.kendalltau),
        ("pearson", stats.pearsonr),
    ):
        expected = function(kept["judge"], kept["h2"])
        assert (found[name], found[f"{name}_p"]) == (expected.statistic, expected.pvalue)
        assert found[f"{name}_ci"][0] < found[name] < found[f"{name}_ci"][1]
    assert row(report, "judge", "mean")["n"] == 81 and row(report, None, "ceiling")["spearman_p"] is None
    assert report == run(capsys, tmp_path, csv, *arguments, "--cluster", "prompt", "--seed", 0)
    assert report["rows"] != run(capsys, tmp_path, csv, *arguments, "--cluster", "prompt", "--seed", 1)["rows"]


def test_parquet_and_jsonl_give_what_csv_gives(capsys, tmp_path, csv, frame):
    arguments = ["--prediction", "judge", "--prediction", "flag", "--ratings", "h1,h2", "--by", "model"]
    arguments += ["--bootstrap", 100]
    expected = run(capsys, tmp_path, csv, *arguments)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True, double_precision=15)
    parquet = run(capsys, tmp_path, tmp_path / "t.parquet", *arguments)
    assert parquet["rows"] == expected["rows"] and parquet["agreement"] == expected["agreement"]
    lines = run(capsys, tmp_path, tmp_path / "t.jsonl", *arguments)
    assert row(lines, "flag", "mean", model=None) == row(expected, "flag", "mean", model=None)


def test_several_groups_with_blanks_and_every_average(capsys, tmp_path, csv):
    for rule in ("mean", "fisher_z", "tanh_of_mean"):
        report = run(
            capsys, tmp_path, csv, "--prediction", "judge", "--ratings", "h1, h2", "--by", "model,split",
            "--average", rule, "--bootstrap", 0,
        )  # fmt: skip
        groups = [
            r for r in report["rows"] if r["against"] == "mean" and not str(r["by"]["model"]).startswith("average")
        ]
        assert [(r["by"]["model"], r["by"]["split"]) for r in groups] == [
            (m, s) for s in "xy" for m in ("m1", "m2", None)
        ]  # fmt: skip
        values = np.array([r["spearman"] for r in groups])
        fisher_z = np.tanh(np.arctanh(values).mean())
        expected = {"mean": values.mean(), "fisher_z": fisher_z, "tanh_of_mean": np.tanh(values.mean())}
        averaged = row(report, "judge", "mean", model=f"average:{rule}", split=f"average:{rule}")
        assert averaged["spearman"] == pytest.approx(expected[rule])
        assert all(r["spearman_ci"] is None for r in report["rows"])


def test_constants_are_null_with_a_reason(capsys, tmp_path, csv):
    report = run(capsys, tmp_path, csv, "--prediction", "flat", "--ratings", "h1", "--bootstrap", 50)
    found = row(report, "flat", "h1")
    assert found["spearman"] is found["pearson_p"] is found["kendall_tau_b_ci"] is None
    assert found["undefined"] == "predictions are constant (7)" and found["n"] == 90
    assert row(report, None, "ceiling")["undefined"] == "one rater"
    assert report["agreement"][0]["fleiss_kappa"] is None and report["agreement"][0]["undefined"]


def test_agreement_only(capsys, tmp_path, csv):
    report = run(capsys, tmp_path, csv, "--ratings", "h1,h2")
    assert report["rows"] == [] and report["votes"] == []
    assert report["agreement"][0]["n_items"] == 90 - 13 and report["agreement"][0]["n_raters"] == 2


def test_votes_without_ratings_and_beside_them(capsys, tmp_path, csv, frame):
    report = run(capsys, tmp_path, csv, "--votes", "vote", "--prediction", "verdict")
    (found,) = report["votes"]
    assert found.keys() >= VOTE_KEYS and report["rows"] == [] == report["agreement"]
    human = frame["vote"].map({"leftvote": "A>B", "rightvote": "B>A", "tievote": "A=B=Good", "bothbad_vote": "A=B=Bad"})
    hits = (frame["verdict"] == human) | ((frame["verdict"] == "A=B") & human.str.startswith("A=B"))
    assert found["n"] == 90 and found["four_class_accuracy"] == pytest.approx(hits.mean())
    decided = ~human.str.startswith("A=B")
    assert found["n_decided"] == decided.sum()
    assert found["pairwise_accuracy_decided"] == pytest.approx(hits[decided].mean())
    assert found["majority_class_accuracy"] == pytest.approx(human.value_counts().iloc[0] / 90)
    both = run(
        capsys, tmp_path, csv, "--votes", "vote", "--prediction", "verdict", "--prediction", "judge", "--ratings", "h1",
        "--by", "split", "--bootstrap", 0,
    )  # fmt: skip
    assert {r["prediction"] for r in both["rows"]} == {"judge", None} and len(both["votes"]) == 2
    wrong = run(capsys, tmp_path, csv, "--votes", "vote", "--prediction", "model")
    assert "no cell of model is a verdict" in wrong["warnings"][0] and wrong["votes"][0]["four_class_accuracy"] == 0
    bare = run(capsys, tmp_path, csv, "--votes", "vote")
    assert bare["votes"][0]["prediction"] is None and bare["votes"][0]["four_class_accuracy"] is None


def test_intersect_and_round(capsys, tmp_path, csv):
    arguments = ["--prediction", "judge", "--prediction", "other", "--ratings", "h1", "--bootstrap", 0]
    apart = run(capsys, tmp_path, csv, *arguments)
    assert row(apart, "other", "h1")["n"] == 90 and "different items" in apart["warnings"][0]
    together = run(capsys, tmp_path, csv, *arguments, "--intersect")
    assert row(together, "other", "h1")["n"] == row(together, "judge", "h1")["n"] == 81
    rounded = run(capsys, tmp_path, csv, *arguments, "--round", 0)
    assert row(rounded, "judge", "h1")["spearman"] != row(apart, "judge", "h1")["spearman"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prediction", "judg", "--ratings", "h1"], "nearest is 'judge'"),
        (["--prediction", "judge", "--ratings", "h1,h3"], "no column 'h3'"),
        (["--prediction", "prompt", "--ratings", "h1"], "row 1, column 'prompt'"),
        (["--prediction", "verdict", "--ratings", "h1"], "is not a number"),
        (["--prediction", "judge"], "--ratings"),
        (["--votes", "model", "--prediction", "verdict"], "'m1' is not a vote"),
        (["--ratings", "h1", "--prediction", "judge", "--bootstrap", "-1"], "resamples are too few"),
        (["--ratings", "h1", "--prediction", "judge", "--bootstrap", "9" * 21], "resamples are too many"),
        (["--ratings", "h1", "--prediction", "judge", "--seed", "-1"], "seed"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(capsys, csv, arguments, message):
    assert main(["meta-eval", str(csv), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("text", ["judge,h1\n", "judge,h1\n1,2\n", "judge,h1\n1,2\n3,4\n"])
def test_tables_with_next_to_nothing(capsys, tmp_path, text):
    path = tmp_path / "few.csv"
    path.write_text(text)
    code = main(
        ["meta-eval", str(path), "--prediction", "judge", "--ratings", "h1", "--json", str(tmp_path / "o.json")]
    )
    if text.count("\n") == 1:
        assert code == 2 and "has no rows" in capsys.readouterr().err
    else:
        report = json.loads((tmp_path / "o.json").read_text())
        assert code == 0 and "fewer than 3" in row(report, "judge", "h1")["undefined"]


def test_a_file_that_cannot_be_written_is_told(capsys, tmp_path, csv):
    assert main(["meta-eval", str(csv), "--ratings", "h1,h2", "--json", str(tmp_path)]) == 2
    assert "Cannot write" in capsys.readouterr().err
    assert main(["meta-eval", str(csv), "--ratings", "h1,h2", "--markdown", str(tmp_path / "t.md")]) == 0
    assert "| items |" in (tmp_path / "t.md").read_text()


def fails(capsys, *arguments):
    assert main(["meta-eval", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def printed_report(capsys, tmp_path, *arguments):
    out = tmp_path / "out.json"
    assert main(["meta-eval", *map(str, arguments), "--json", str(out)]) == 0
    return capsys.readouterr().out, json.loads(out.read_text())


def test_verdicts_and_votes_as_people_write_them(capsys, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("vote,j,k,n\nA,[[A>B]],A > B,1\nright,B,right,2\ntie,A=B,tie,3\nleftvote,B>A,[[A>B]],4\n,A,A,5\n")
    _, report = printed_report(
        capsys, tmp_path, path, "--votes", "vote", "--prediction", "j", "--prediction", "k", "--bootstrap", 50
    )
    found = {row["prediction"]: row for row in report["votes"]}
    assert found["j"]["four_class_accuracy"] == 0.75 and found["k"]["four_class_accuracy"] == 1
    assert (found["j"]["n"], found["j"]["n_unparsed"]) == (4, 0) and found["j"]["four_class_accuracy_ci"]
    assert found["j"]["note"] == "4 items: a rough interval"
    error = fails(capsys, path, "--votes", "vote", "--prediction", "n")
    assert "'n' has numbers, not verdicts" in error and "--scores n=A,B" in error
    assert "'1' is not a vote" in fails(capsys, path, "--votes", "n", "--prediction", "j")


def test_scores_of_both_images_of_a_pair(capsys, tmp_path):
    rng = np.random.default_rng(1)
    table = pandas.DataFrame({"prompt": np.repeat(np.arange(30), 2), "m_a": rng.normal(size=60)})
    table["m_b"], table["vote"] = rng.normal(size=60), rng.choice(["A", "B", "tie"], 60)
    table.to_csv(tmp_path / "p.csv", index=False)
    expected = (np.sign(table.m_a - table.m_b) == table.vote.map({"A": 1, "B": -1, "tie": 0}))[
        table.vote != "tie"
    ].mean()
    shown, named = printed_report(
        capsys, tmp_path, tmp_path / "p.csv", "--votes", "vote", "--scores", "m=m_a,m_b", "--cluster", "prompt",
        "--bootstrap", 200,
    )  # fmt: skip
    (row,) = named["pairs"]
    assert row["pairwise_accuracy"] == pytest.approx(expected) and row["pairwise_accuracy_ci"][0] < expected
    assert row["cross_fitted_accuracy"] <= row["tie_calibrated_accuracy"] and row["threshold"] >= 0
    assert "tie-calibrated" in shown and named["votes"] == []
    _, by_prefix = printed_report(
        capsys, tmp_path, tmp_path / "p.csv", "--votes", "vote", "--prediction", "m", "--bootstrap", 0
    )
    assert by_prefix["pairs"][0]["pairwise_accuracy"] == row["pairwise_accuracy"]
    table.rename(columns={"m_a": "score_a", "m_b": "score_b"}).to_csv(tmp_path / "s.csv", index=False)
    _, usual = printed_report(capsys, tmp_path, tmp_path / "s.csv", "--votes", "vote", "--bootstrap", 0)
    assert usual["pairs"][0]["pairwise_accuracy"] == row["pairwise_accuracy"]
    assert "two images" in fails(capsys, tmp_path / "p.csv", "--votes", "vote", "--scores", "m_a")


def test_a_long_table_is_the_wide_one(capsys, tmp_path, frame):
    wide = frame.reset_index().rename(columns={"index": "item"})[["item", "prompt", "model", "judge", "h1", "h2"]]
    long = wide.melt(["item", "prompt", "model", "judge"], ["h1", "h2"], "annotator", "score").dropna(subset=["score"])
    wide.to_csv(tmp_path / "w.csv", index=False)
    long.sample(frac=1, random_state=0).sort_values("item").to_csv(tmp_path / "l.csv", index=False)
    options = ["--prediction", "judge", "--cluster", "prompt", "--bootstrap", 100]
    _, expected = printed_report(capsys, tmp_path, tmp_path / "w.csv", "--ratings", "h1,h2", *options)
    shown, found = printed_report(capsys, tmp_path, tmp_path / "l.csv", *options)
    assert found["rows"] == expected["rows"] and found["agreement"] == expected["agreement"]
    assert "long table: 90 items (item), 2 raters (annotator)" in shown
    twice = pandas.concat([long, long.iloc[:1]])
    twice.to_csv(tmp_path / "t.csv", index=False)
    assert "twice" in fails(capsys, tmp_path / "t.csv", *options)
    assert "One of them was not found" in fails(capsys, tmp_path / "w.csv", "--rater", "h1")


def test_lists_gaps_in_words_patterns_and_filters(capsys, tmp_path):
    path = tmp_path / "n.csv"
    path.write_text(
        'task,judge,r1,r2,all\na,1,1,NA,"[1, null]"\na,2,2,2,"[2, 2]"\na,N/A,3,1,"[3, 1]"\na,4,None,4,4|null\n'
        'a,5,5,5,"[5, 5]"\nb,9,null,1,x\n'
    )
    options = ["--prediction", "judge", "--bootstrap", 0, "--where", "task=a"]
    _, pattern = printed_report(capsys, tmp_path, path, "--ratings", "r*", *options)
    assert row(pattern, "judge", "r1")["n"] == 3 and row(pattern, "judge", "mean")["n"] == 4
    assert row(pattern, "judge", "mean")["n_failed"] == {"missing": 1}
    path.write_text(path.read_text().replace("4|null", '"[null, 4]"'))
    _, lists = printed_report(capsys, tmp_path, path, "--ratings", "all", *options)
    assert row(lists, "judge", "all_2")["spearman"] == row(pattern, "judge", "r2")["spearman"]
    assert "No column matches 'q*'" in fails(capsys, path, "--ratings", "q*")
    assert "No row of" in fails(capsys, path, "--ratings", "r1", "--where", "task=c")
    assert "is not a condition" in fails(capsys, path, "--ratings", "r1", "--where", "task")
    _, few = printed_report(capsys, tmp_path, path, "--ratings", "r*", *options[:4], "--where", "judge<3")
    assert few["table"]["rows"] == 2
    assert "Its columns are task, judge, r1, r2, all" in fails(capsys, path, "--prediction", "judge")


def test_statuses_are_named_and_their_scores_do_not_count(capsys, tmp_path):
    path = tmp_path / "s.csv"
    rows = [f"{i},{i % 7},{'refused' if i == 3 else 'ok'}" for i in range(30)]
    path.write_text("judge,h,status\n" + "\n".join(rows) + "\n")
    _, report = printed_report(capsys, tmp_path, path, "--prediction", "judge", "--ratings", "h", "--bootstrap", 0)
    assert row(report, "judge", "h")["n_failed"] == {"refused": 1} and row(report, "judge", "h")["n"] == 29


def test_a_benchmark_with_its_own_baselines(capsys, tmp_path):
    rng = np.random.default_rng(2)
    path = tmp_path / "bench.jsonl"
    lines = []
    for i in range(40):
        people = [
            {"annotator": who, "aspect": aspect, "question_id": None, "score": float(rng.integers(0, 11))}
            for who in "xy" for aspect in ("overall", "appearance")
        ]  # fmt: skip
        people.append({"annotator": "x", "aspect": "overall", "question_id": "q1", "score": 1.0})
        bad = i == 0
        judged = {"judge": "b", "revision": "1", "aspect": "overall", "score": None if bad else people[0]["score"]}
        lines.append(
            {"id": f"i{i}", "human_scores": people, "baselines": [judged | {"status": "refused" if bad else "ok"}]}
        )
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    shown, report = printed_report(capsys, tmp_path, path, "--bootstrap", 0)
    found = row(report, "b", "x")
    assert found["spearman"] == pytest.approx(1) and found["n"] == 39 and found["n_failed"] == {"refused": 1}
    assert "aspect overall" in shown and report["agreement"][0]["n_raters"] == 2
    _, other = printed_report(capsys, tmp_path, path, "--aspect", "appearance", "--bootstrap", 0)
    assert other["rows"] == [] and other["agreement"][0]["n_items"] == 40
    assert "no aspect 'over'" in fails(capsys, path, "--aspect", "over")


def objects(tmp_path, rows):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


LONG = [
    {"item": f"i{n}", "annotator": rater, "score": n, "judge": n if rater == "a" else None, "by": "x", "split": split}
    for split in ("out", "in")
    for n in range(4)
    for rater in "ab"
]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (9, {"judge": "high"}),
        (13, {"judge": "high"}),  # its item is the third
        (14, {"judge": "high"}),  # the item's first row has no score of the judge's
        (16, {"by": ["x"]}),
        (12, {"annotator": ""}),
        (12, {"item": ""}),
        (12, {"annotator": "a"}),  # for the second time
        (12, {"by": "y"}),  # where the item has x
        (16, {"score": "good"}),
    ],
)
def test_a_row_of_a_long_table_is_called_as_in_its_file(capsys, tmp_path, row, cells):
    """Also where --where leaves out rows above it, and items are put together from several."""
    rows = [dict(each) for each in LONG]
    rows[row - 1] |= cells
    if row == 14:
        rows[12]["judge"] = None
    options = ["--prediction", "judge", "--by", "by", "--where", "split=in"]
    assert f"t.jsonl, row {row}" in fails(capsys, objects(tmp_path, rows), *options)


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        ({"h1": "4;x"}, ["--ratings", "h1", "--prediction", "j"]),
        ({"h1": "x"}, ["--ratings", "h1", "--prediction", "j"]),
        ({"h1": "m", "model_b": "m"}, ["--votes", "h1", "--prediction", "j"]),
        ({"human_scores": "?"}, ["--prediction", "j"]),
        ({"human_scores": [{"annotator": "a", "aspect": "overall", "score": "x"}]}, ["--prediction", "j"]),
    ],
)
def test_so_is_one_of_a_table_that_where_filters(capsys, tmp_path, cells, options):
    one = {"annotator": "a", "aspect": "overall", "score": 1}
    plain = {"h1": "1;2", "j": 1, "model_a": "m", "model_b": "n", "human_scores": [one]}
    rows = [{**plain, "split": "out" if n < 3 else "in"} for n in range(6)]
    rows[4] |= cells
    if "human_scores" not in cells:
        rows = [{name: cell for name, cell in row.items() if name != "human_scores"} for row in rows]
    assert "t.jsonl, row 5" in fails(capsys, objects(tmp_path, rows), *options, "--where", "split=in")


@pytest.mark.parametrize("odd", [[1], {"a": 1}], ids=str)
@pytest.mark.parametrize("column", ["item", "annotator", "aspect", "question_id", "score"])
def test_a_long_table_with_a_cell_that_is_no_single_value_is_one_line(capsys, tmp_path, column, odd):
    rows = [
        {"item": f"i{n}", "annotator": rater, "score": n, "judge": n, "aspect": "overall", "by": "x", "prompt": "p"}
        for n in range(4)
        for rater in "ab"
    ]
    table = objects(
        tmp_path, [{**row, "question_id": "q"} | ({column: odd} if row["item"] == "i1" else {}) for row in rows]
    )
    said = fails(capsys, table, "--prediction", "judge", "--by", "by", "--cluster", "prompt")
    assert f"row 3, column '{column}'" in said and ("not a single value" in said or "not a number" in said)


@pytest.mark.parametrize("odd", [[1], {"a": 1}], ids=str)
@pytest.mark.parametrize(
    ("column", "key"),
    [
        *(("human_scores", key) for key in ("annotator", "aspect", "question_id", "score")),
        *(("baselines", key) for key in ("judge", "aspect", "revision", "status", "score")),
    ],
)
def test_a_benchmark_with_an_entry_that_is_no_single_value_is_one_line(capsys, tmp_path, column, key, odd):
    entry = {"aspect": "overall", "question_id": None, "revision": "1", "status": "ok"}
    rows = [
        {
            "human_scores": [{**entry, "annotator": rater, "score": n} for rater in "ab"],
            "baselines": [{**entry, "judge": "J", "score": n}],
        }
        for n in range(4)
    ]
    rows[1][column][0][key] = odd
    said = fails(capsys, objects(tmp_path, rows))
    assert "row 2" in said and f"'{column}'" in said


def test_averages_only_prints_what_was_asked_for(capsys, tmp_path, csv):
    options = ["--prediction", "judge", "--ratings", "h1,h2", "--by", "prompt", "--average", "mean", "--bootstrap", 0]
    long_text, _ = printed_report(capsys, tmp_path, csv, *options)
    shown, report = printed_report(capsys, tmp_path, csv, *options, "--averages-only")
    assert len(long_text.splitlines()) > 120 and len(shown.splitlines()) < 50 and "average:mean" in shown
    assert len(report["rows"]) > 100 and report["agreement_overall"]["n_items"] == 77
    assert "--average" in fails(capsys, csv, "--ratings", "h1", "--averages-only")


def test_votes_by_the_name_of_a_model(capsys, tmp_path):
    """The same table by sides, by columns of models, by two names, and with numbers that --sides explains."""
    pairs = [("flux", "sdxl"), ("sdxl", "flux")] * 8
    votes, said = ["A", "B", "tie", "A"] * 4, ["A", "A", "B", "tie"] * 4
    place = {"A": 0, "B": 1}
    named = [
        [pair[place[v]] if v in place else v for pair, v in zip(pairs, cells, strict=True)] for cells in (votes, said)
    ]
    pandas.DataFrame({"vote": votes, "j": said}).to_csv(tmp_path / "sides.csv", index=False)
    models = pandas.DataFrame({"model_a": [a for a, _ in pairs], "model_b": [b for _, b in pairs]})
    models.assign(vote=named[0], j=named[1]).to_csv(tmp_path / "models.csv", index=False)
    alone = pandas.DataFrame({"vote": named[0], "j": named[1]})
    alone.to_csv(tmp_path / "names.csv", index=False)
    alone.replace({"flux": "1", "sdxl": "2"}).to_csv(tmp_path / "numbers.csv", index=False)
    options = ["--votes", "vote", "--prediction", "j", "--bootstrap", 0]
    _, expected = printed_report(capsys, tmp_path, tmp_path / "sides.csv", *options)
    _, by_model = printed_report(capsys, tmp_path, tmp_path / "models.csv", *options)
    assert by_model["votes"] == expected["votes"]
    shown, by_name = printed_report(capsys, tmp_path, tmp_path / "names.csv", *options)
    assert "'vote' names the better image's model: A is flux, B is sdxl" in shown and by_name["remarks"]
    _, numbered = printed_report(capsys, tmp_path, tmp_path / "numbers.csv", *options, "--sides", "1,2")
    for report in (by_name, numbered):
        for figure in ("four_class_accuracy", "pairwise_accuracy_decided", "n_decided"):
            assert report["votes"][0][figure] == expected["votes"][0][figure]
    assert "is not a vote" in fails(capsys, tmp_path / "numbers.csv", *options)
    assert "--sides" in fails(capsys, tmp_path / "names.csv", *options, "--sides", "flux")
    assert "--sides needs --votes" in fails(capsys, tmp_path / "names.csv", "--ratings", "j", "--sides", "a,b")


def test_a_newcomer_s_spreadsheet(capsys, tmp_path):
    """UTF-16 with semicolons and decimal commas, a title, words, dashes: the same figures as the plain table."""
    rows = [(i % 3 + 1, i * 7 % 4 + 1, i * 5 % 11 / 2) for i in range(24)]
    plain = "item,h1,h2,judge\n" + "".join(f"i{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(rows)) + "x,,4,1\n"
    (tmp_path / "plain.csv").write_text(plain)
    words = {1: "bad", 2: "Fair", 3: "good"}
    lines = [f"i{i};{words[a]};{b};{c}\n".replace(".", ",") for i, (a, b, c) in enumerate(rows)]
    text = "Ratings of May\n\nitem;h1;h2;judge\n" + "".join(lines) + "x;-;4;1\n"
    (tmp_path / "odd.csv").write_text(text, encoding="utf-16")
    options = ["--ratings", "h*", "--prediction", "judge", "--bootstrap", 0]
    _, expected = printed_report(capsys, tmp_path, tmp_path / "plain.csv", *options)
    said = ["--levels", "bad=1,fair=2,good=3", "--decimal", "comma"]
    shown, report = printed_report(capsys, tmp_path, tmp_path / "odd.csv", *options, *said)
    assert report["rows"] == expected["rows"] and report["agreement"] == expected["agreement"]
    assert "left out above the names of its columns: 'Ratings of May'" in " ".join(shown.split())
    for command in (["estimate", "--labels", "h1", "--unit", "item", "--systems", "h2"],
                    ["calibrate", "--ratings", "h*"],
                    ["label-plan", "--labels", "h1", "--unit", "item", "--systems", "h2", "--width", "1"]):  # fmt: skip
        arguments = [command[0], str(tmp_path / "odd.csv"), "--prediction", "judge", *command[1:]]
        assert main([*arguments, *said]) in (0, 3), command
        told = capsys.readouterr()
        assert "Ratings of May" in " ".join(told.out.split()) and not told.err
        assert main(arguments) == 2 and "row 1, column" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["status", "judge_status"])
@pytest.mark.parametrize(
    "command",
    [
        ["estimate", "--labels", "h1"],
        ["calibrate", "--ratings", "h1", "--group", "prompt", "--interval", "0.8"],
        ["label-plan", "--labels", "h1", "--width", "0.5"],
    ],
    ids=lambda command: command[0],
)
def test_a_score_of_a_judgement_that_failed_counts_nowhere(capsys, tmp_path, command, column):
    rng = random.Random(0)
    rows = [(g, f"p{n}", rng.random(), rng.random()) for n in range(120) for g in "ab"]
    bad = {n for n in range(len(rows)) if n % 3 == 0}
    head = "generator,prompt,judge,h1"
    lines = [f"{g},{p},{'' if n in bad else s},{h}" for n, (g, p, s, h) in enumerate(rows)]
    (tmp_path / "gaps.csv").write_text("\n".join([head, *lines]))
    lines = [
        f"{g},{p},{10 if n in bad else s},{h},{'refused' if n in bad else 'ok'}" for n, (g, p, s, h) in enumerate(rows)
    ]
    (tmp_path / "failed.csv").write_text("\n".join([f"{head},{column}", *lines]))
    found = []
    for name in ("gaps.csv", "failed.csv"):
        assert main([command[0], str(tmp_path / name), "--prediction", "judge", *command[1:], "--json"]) in (0, 3)
        found.append({k: v for k, v in json.loads(capsys.readouterr().out).items() if k not in ("table", "remarks")})
    assert found[0] == found[1]
    assert main([command[0], str(tmp_path / "failed.csv"), "--prediction", "judge", *command[1:]]) in (0, 3)
    words = f"80 scores left out by '{column}', which is not ok: 80 'refused'"
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", [["meta-eval", "--bootstrap", "0"], ["calibrate"]], ids=lambda command: command[0])
def test_rows_that_a_table_gives_twice_are_told(capsys, tmp_path, command):
    rows = [f"i{n},{g},{n % 7},{n % 5}" for n in range(40) for g in "ab"]
    for name, lines in {"once.csv": rows, "twice.csv": [*rows, *rows[:20]], "nameless.csv": []}.items():
        (tmp_path / name).write_text("\n".join(["id,generator,judge,h1", *lines]))
    (tmp_path / "nameless.csv").write_text("judge,h1\n" + "1,2\n2,3\n3,3\n" * 20)  # rows like these are no mistake
    for name, told in {"once.csv": False, "twice.csv": True, "nameless.csv": False}.items():
        arguments = [command[0], str(tmp_path / name), "--prediction", "judge", "--ratings", "h1", *command[1:]]
        assert main(arguments) == 0
        assert ("20 rows repeat an earlier one" in " ".join(capsys.readouterr().out.split())) == told


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["meta-eval", "--ratings", "h1", "--bootstrap", "9", "--cluster", "prompt"], "is a cluster of its own"),
        (["meta-eval", "--ratings", "h1", "--bootstrap", "9", "--systems", "prompt"], "belongs to no generator"),
        (["meta-eval", "--ratings", "h1", "--bootstrap", "9", "--candidates", "prompt"], "belongs to no set"),
        (["calibrate", "--ratings", "h1", "--group", "prompt"], "belongs to one group of all these rows"),
        (["estimate", "--labels", "h1"], "is left out"),
        (["label-plan", "--labels", "h1", "--width", "1"], "is left out"),
    ],
)
def test_merged_cells_are_told(capsys, tmp_path, command, words):
    """A prompt over three rows stands in the first only: intervals were too narrow, images left out, without a word."""
    rows = [
        f"{f'p{n}' if g == 'a' or n % 2 else ''},{g},{n % 7 + len(g)},{n % 5}"
        for n in range(60)
        for g in ("a", "b", "c")
    ]
    for name, lines in {"merged.csv": rows, "whole.csv": [row for row in rows if not row.startswith(",")]}.items():
        (tmp_path / name).write_text("\n".join(["prompt,generator,judge,h1", *lines]))
        assert main([command[0], str(tmp_path / name), "--prediction", "judge", *command[1:]]) in (0, 3)
        said = " ".join(capsys.readouterr().out.split())
        assert ("'prompt' is blank in 60 rows" in said and words in said) == (name == "merged.csv")


def test_a_ceiling_on_few_items_says_so(capsys, tmp_path):
    (tmp_path / "l.csv").write_text("item,annotator,score\na,x,4\na,y,5\nb,x,3\nb,y,2\nc,x,1\nc,y,1\n")
    shown, report = printed_report(capsys, tmp_path, tmp_path / "l.csv", "--bootstrap", 50)
    assert report["agreement"][0]["note"] == "3 items: a rough interval" and "3 items: a rough interval" in shown
    _, without = printed_report(capsys, tmp_path, tmp_path / "l.csv", "--bootstrap", 0)
    assert without["agreement"][0]["note"] is None
