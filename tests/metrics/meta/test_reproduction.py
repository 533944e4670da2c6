"""`t2i-judge reproduce`: every computable published figure, what cannot be computed, and folders of one's own.

The regression on the published tables runs where they lie in ../shared, and is skipped, with the reason, elsewhere.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import PurePosixPath

import numpy as np
import pandas
import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.tables import read_table
from t2i_judge.meta import rules
from t2i_judge.meta.answers import item_scores, read_answers
from t2i_judge.meta.evaluation import meta_evaluate
from t2i_judge.meta.reproduction import folder_of, reproduce, shipped
from t2i_judge.meta.sources import read_sources
from t2i_judge.meta.upstream import LAYOUTS
from t2i_judge.stats.agreement import average, fleiss_kappa, human_ceiling, krippendorff_alpha, spearman
from tests.metrics.meta.upstream_files import ratings_file, source_of, votes_file, write_set
from tests.shared import SHARED, shared


def counts(result):
    return Counter((outcome.group, outcome.status) for outcome in result.outcomes)


def rebuilt_ratings(_path):
    """DSG's ratings as upstream lays them out, from the table beside raw/; workers are called w1 ... there."""
    lines = list(iter_rows(shared("meta_eval/dsg_tifa160/likert.csv")))
    return ratings_file(
        {
            (line["model"], line["prompt_id"], line["source_id"]): {w: line[w] for w in WORKERS if line[w]}
            for line in reversed(lines)
        }
    )


def rebuilt_votes(path):
    """A judge's votes as upstream lays them out, from the table beside raw/."""
    judge = PurePosixPath(path).parent.name
    task = PurePosixPath(path).parts[1]
    if not (SHARED / f"meta_eval/genai_bench_votes/{task}.csv").is_file():
        return votes_file([(vote, "[[A>B]]") for vote in ("leftvote", "rightvote")])
    lines = iter_rows(shared(f"meta_eval/genai_bench_votes/{task}.csv"))
    verdicts = [(line["human_vote"], line.get(f"judge_{judge}")) for line in lines]
    return votes_file([(vote, f"[[{verdict}]]" if verdict else None) for vote, verdict in verdicts])


REBUILT = {
    "likert.csv": rebuilt_ratings, "image_edition.csv": rebuilt_votes, "image_generation.csv": rebuilt_votes,
    "video_generation.csv": rebuilt_votes,
}  # fmt: skip
# The votes on videos are nowhere here: what can be tested is that its rules read a table of that shape.
HERE = ("tifa160", "dsg_tifa160", "genai_bench_edit", "genai_bench_generation", "imagenhub")
WORKERS = [f"w{n}" for n in range(1, 6)]


def regression(name, folder):
    """A shipped set's rules and figures on upstream's files, as far as ../shared holds them, the others rebuilt.

    A rebuilt file has another sha256 than upstream's, so the set's sources.json is written anew with the one that it
    has; files that are there as published keep theirs, and are checked by it.
    """
    raw, tables = shared("meta_eval/raw"), {}
    for table, origin in read_sources(folder_of(name), LAYOUTS).items():
        entries = []
        for source in origin.files:
            path = f"{source.repository.replace('/', '+')}/{source.path}"
            is_here = (raw / path).is_file()
            data = (raw / path).read_bytes() if is_here else REBUILT[table](source.path)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            stated = {key: value for key, value in vars(source).items() if value is not None}
            entries.append(stated if is_here else source_of(source.repository, source.path, data))
        tables[table] = (origin.layout, entries)
    return str(write_set(folder / name, name, tables, json.loads((folder_of(name) / "published.json").read_text())))


def test_tifa160_thirty_of_thirty():
    assert counts(reproduce("tifa160", source_folder=shared("meta_eval/raw"))) == {("figures", "equal"): 30}


@pytest.mark.parametrize("name", ["genai_bench_edit", "genai_bench_generation"])
def test_genai_bench_every_judge_those_without_a_verdict_too(tmp_path, name):
    result = reproduce(regression(name, tmp_path), source_folder=tmp_path)
    assert counts(result) == {("figures", "equal"): 18}
    assert {o.path.split("/")[1] for o in result.outcomes if o.computed == 0} >= {"ottervideo", "kosmos2"}


def test_genai_bench_video_is_computed_by_its_rules_on_a_table_of_that_shape(tmp_path):
    result = reproduce(regression("genai_bench_video", tmp_path), source_folder=tmp_path)
    assert {outcome.computed for outcome in result.outcomes} == {50.0} and len(result.outcomes) == 18


def test_imagenhub_kappa_alpha_means_and_their_spread():
    result = reproduce("imagenhub", source_folder=shared("meta_eval/raw"))
    assert counts(result) == {("agreement of raters", "equal"): 194, ("model means", "equal"): 231}


@pytest.fixture(scope="module")
def dsg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dsg")
    return reproduce(regression("dsg_tifa160", folder), draws=2000, source_folder=folder)


def test_dsg_readme_and_paper(dsg):
    assert counts(dsg) == {
        ("README", "equal"): 36, ("README", "not computable"): 12,
        ("tables of the paper", "equal"): 61, ("tables of the paper", "explained"): 4,
    }  # fmt: skip
    assert {o.path for o in dsg.outcomes if o.status == "explained"} == {
        "table9/mplug/dsg_drop/kendall", "table9/instructblip/dsg/kendall",
        "table9/instructblip/dsg_drop/kendall", "table9/pali17b/dsg_drop/spearman",
    }  # fmt: skip
    assert all("/tifa/" in o.path and "TIFA's own questions" in o.note for o in dsg.outcomes if o.computed is None)


def test_dsg_policies_carry_n_coverage_and_clustered_intervals(dsg):
    published = {row.prediction: row for row in dsg.policies["dsg_published"]}
    expected = {"dsg/pali17b": (0.571, 0.458), "dsg/mplug": (0.463, 0.380), "dsg/instructblip": (0.442, 0.364)}
    for judge, (rho, tau) in expected.items():
        row = published[judge]
        assert (row.n, row.coverage) == (800, 1)
        assert round(row.figures["spearman"].value, 3) == rho and round(row.figures["kendall_tau_b"].value, 3) == tau
    assert published["dsg/pali17b"].figures["spearman"].ci == pytest.approx((0.503, 0.632), abs=0.01)
    for row in dsg.policies["unscored_excluded"]:
        assert (row.n, row.n_failed) == (795, {"skipped": 5})
    strict = {row.prediction: row.n_failed for row in dsg.policies["unparsable_excluded"]}
    assert strict["dsg/mplug"] == {"skipped": 5, "unparsable": 2}


def test_the_level_of_measurement_decides_whose_raters_agree_more():
    """By nominal alpha DSG's raters agree more than TIFA's, as its README says; by ordinal alpha less."""
    expected = {
        "dsg_tifa160/likert.csv": (0.397, 0.685, 0.684, 0.635),
        "tifa160/tifa160.csv": (0.375, 0.719, 0.680, 0.592),
    }
    raters = {"dsg_tifa160/likert.csv": WORKERS, "tifa160/tifa160.csv": ["human_1", "human_2"]}
    for name, alphas in expected.items():
        table = read_table(shared(f"meta_eval/{name}"), raters[name])
        (row,) = meta_evaluate(None, {rater: table.numbers(rater) for rater in raters[name]}).agreement
        assert tuple(round(alpha, 3) for alpha in row.krippendorff_alpha.values()) == alphas


def test_intervals_over_images_are_narrower_than_over_prompts():
    table = read_table(shared("meta_eval/dsg_tifa160/likert.csv"))
    answered = read_table(shared("meta_eval/dsg_tifa160/vqa_answers.csv"))
    answers = read_answers(answered, ["model", "prompt_id"], "qg", ["pali17b"])
    items = list(zip(table.labels("model"), table.labels("prompt_id"), strict=True))
    scores, _ = item_scores(answers["dsg"], items, "pali17b", "dependency", "dsg_published")
    raters = {worker: table.numbers(worker) for worker in WORKERS}
    for clusters, interval in ((None, (0.520, 0.617)), (table.labels("prompt_id"), (0.503, 0.632))):
        first = meta_evaluate(scores, raters, clusters=clusters, draws=2000).rows[0]
        assert first.against == "mean" and first.figures["spearman"].ci == pytest.approx(interval, abs=0.01)


def test_all_pass_on_the_command_line(capsys, tmp_path):
    out, files = tmp_path / "figures.json", tmp_path / "files"
    names = [regression(name, files) for name in HERE]
    assert main(["reproduce", *names, "--from", str(files), "--bootstrap", "0", "--json", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for line in (
        "tifa160, figures: 30 of 30 equal",
        "dsg_tifa160, README: 36 of 36 equal; 12 not computable",
        "dsg_tifa160, tables of the paper: 61 of 65 equal, 4 explained",
        "genai_bench_edit, figures: 18 of 18 equal",
        "genai_bench_generation, figures: 18 of 18 equal",
        "imagenhub, agreement of raters: 194 of 194 equal",
        "read from Yushi-Hu/tifa @ 8e37050f (Apache-2.0) : human_annotations/human_annotations_with_scores.json",
    ):
        assert line in printed
    assert set(json.loads(out.read_text())) == set(HERE)
    assert set(shipped()) == {
        *HERE,
        "evalmi_50k",
        "genai_bench_video",
        "geneval",
        "mmrb2",
        "viescore",
        "viescore_judges",
    }  # tested beside this module


def test_every_shipped_set_says_where_its_figures_were_published():
    for name in shipped():
        assert "@" in json.dumps(json.loads((folder_of(name) / "published.json").read_text())["_source"])


def test_a_folder_without_rules_is_read_by_those_of_the_set_whose_tables_it_holds(tmp_path):
    for table in ("dsg_tifa160/likert.csv", "dsg_tifa160/vqa_answers.csv", "tifa160/tifa160.csv"):
        shutil.copy(shared(f"meta_eval/{table}"), tmp_path)
    shutil.copy(folder_of("dsg_tifa160") / "published.json", tmp_path)
    (tmp_path / "tifa160.csv").rename(tmp_path / "joined.csv")
    with pytest.raises(
        UserError, match="does not have human_annotations"
    ):  # the joined table is then the published one
        reproduce(str(tmp_path), draws=0, source_folder=tmp_path)
    (tmp_path / "joined.csv").rename(tmp_path / "tifa160.csv")
    assert counts(reproduce(str(tmp_path), draws=0))["tables of the paper", "equal"] == 61


def test_a_small_table_by_the_name_of_a_shipped_one_needs_no_rules(tmp_path):
    (tmp_path / "tifa160.csv").write_text("human_1,human_2,human_avg,metric_m\n1,1,1,3\n2,2,2,2\n3,3,3,1\n4,4,4,0\n")
    (tmp_path / "published.json").write_text('{"metrics": {"m": {"kendall": -1, "labelled_spearman": 1}}}')
    assert [outcome.status for outcome in reproduce(str(tmp_path)).outcomes] == ["equal", "different"]


def test_a_changed_figure_and_a_changed_rating_are_caught(tmp_path, capsys):
    folder = tmp_path / "changed"
    shutil.copytree(folder_of("tifa160"), folder)
    (folder / "tifa160.csv").write_bytes(shared("meta_eval/tifa160/tifa160.csv").read_bytes())
    published = json.loads((folder / "published.json").read_text())
    published["metrics"]["bleu"]["kendall"] += 1e-9
    (folder / "published.json").write_text(json.dumps(published))
    assert main(["reproduce", str(folder)]) == 1
    assert "changed, figures: 29 of 30 equal, 1 DIFFERENT" in capsys.readouterr().out
    table = (folder / "tifa160.csv").read_text().replace(",5,5,5.0,", ",5,4,4.5,", 1)
    (folder / "tifa160.csv").write_text(table)
    assert counts(reproduce(str(folder)))["figures", "different"] > 20


def test_a_folder_of_ones_own(tmp_path):
    (tmp_path / "t.csv").write_text("h,k,judge\n1,1,2\n2,3,1\n3,3,5\n4,5,\n5,4,6\n")
    (tmp_path / "published.json").write_text('{"_note": 7, "judge": [0.8, 0.67, 9], "other": {"x": 1}}')
    rules = """
        table: t.csv
        raters: [h, k]
        lists: [spearman, kendall_tau_b]
        figures:
          - {match: [judge, "{how}"], compute: "{how}", prediction: judge, equal: {decimals: 1}}
          - {match: [other, "{judge}"], compute: mean, prediction: "{judge}", equal: {decimals: 1}}
    """
    (tmp_path / "figures.yaml").write_text(rules.replace("\n        ", "\n"))
    with pytest.raises(UserError, match="computes '2'"):
        reproduce(str(tmp_path))
    (tmp_path / "published.json").write_text('{"_note": 7, "judge": [0.8, 0.6], "other": {"x": 1}, "none": 1}')
    result = {o.path: (o.status, o.note) for o in reproduce(str(tmp_path)).outcomes}
    assert result["judge/spearman"] == ("equal", "") and result["judge/kendall_tau_b"][0] == "different"
    assert result["other/x"] == ("not computable", "the table has no column for it")
    assert result["none"] == ("not computable", "no rule of figures.yaml matches it")


@pytest.mark.parametrize("how", ["up", "whole", "link", "joined"])
def test_a_stranger_s_rules_name_no_table_elsewhere(tmp_path, how):
    private, folder = tmp_path / "private.csv", tmp_path / "set"
    folder.mkdir()
    private.write_text("id,pay\nx,120000\ny,90000\n")
    (folder / "t.csv").write_text("id\nx\ny\n")
    (folder / "link.csv").symlink_to(private)
    name = {"up": "../private.csv", "whole": str(private), "link": "link.csv", "joined": "t.csv"}[how]
    join = "join: {table: ../private.csv, key: id}\n" if how == "joined" else ""
    rule = "{match: [pay], compute: sum, prediction: pay, against: pay, equal: {decimals: 0}}"
    (folder / "figures.yaml").write_text(f"table: {name}\n{join}figures:\n  - {rule}\n")
    (folder / "published.json").write_text('{"pay": 1}')
    with pytest.raises(UserError, match=r"leads out of .*set\. Its rules"):
        reproduce(str(folder), draws=0)


def small(folder, published, *rules, head=""):
    """A folder with five items, two judges and votes, and these rules."""
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(
        "id,h,k,judge,perfect,vote,verdict,part\n1,1,1,2,1,leftvote,A>B,x\n2,2,3,1,2.5,tievote,A=B,x\n"
        "3,3,3,5,3,leftvote,B>A,y\n4,4,5,,4.5,rightvote,B>A,y\n5,5,4,6,4.5,bothbad_vote,,y\n"
    )
    (folder / "published.json").write_text(published if isinstance(published, str) else json.dumps(published))
    (folder / "figures.yaml").write_text(f"table: t.csv\nraters: [h, k]\n{head}figures:\n" + "\n".join(rules))
    return {outcome.path: outcome for outcome in reproduce(str(folder), draws=0).outcomes}


def test_a_part_of_the_items_is_what_every_kind_of_figure_stands_on(tmp_path):
    result = small(
        tmp_path,
        {"votes": {"x": 100, "y": 33.33}, "mean": {"x": 1.5, "y": 5.5, "1": 2}, "p": {"perfect": 0}, "tie": -0.004},
        '- {match: [votes, "{part}"], compute: four_class_accuracy, prediction: verdict, where: {part: "{part}"},'
        " equal: {decimals: 2}}",
        "- {match: [mean, 1], compute: mean, against: judge, where: {h: 1}, equal: {decimals: 1}}",
        '- {match: [mean, "{part:x|y}"], compute: mean, against: judge, where: {part: "{part}"}, equal: {decimals: 1}}',
        '- {match: [p, "{judge}"], compute: spearman_p, prediction: "{judge}", equal: {log10_decimals: 3}}',
        "- {match: [tie], compute: mean, against: h, where: {part: nowhere}, equal: {decimals: 2}}",
        head="votes: vote\n",
    )
    assert {path: outcome.status for path, outcome in result.items()} == {
        "votes/x": "equal", "votes/y": "equal", "mean/x": "equal", "mean/y": "equal", "mean/1": "equal",
        "p/perfect": "equal", "tie": "not computable",
    }  # fmt: skip


def test_agreement_pairs_and_averages_over_groups_have_rules(tmp_path):
    """On a made table: each against the library's own function."""
    rng = np.random.default_rng(0)
    rows = [
        [f"g{i % 4}", *(f"{v:.2f}" for v in rng.normal(size=2)), *rng.integers(1, 6, 3), "AB="[rng.integers(3)]]
        for i in range(48)
    ]
    text = "group,a,b,r1,r2,r3,vote\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n"
    (tmp_path / "t.csv").write_text(text.replace("=", "tie"))
    rules = """
        table: t.csv
        raters: [r1, r2, r3]
        votes: vote
        figures:
          - {match: [raters, "{how}"], compute: "{how}", equal: {decimals: 9}}
          - {match: [two, "{how}"], compute: "{how}", raters: [r1, r2], where: {group: g1}, equal: {decimals: 9}}
          - {match: [pairs, "{how}"], compute: "{how}", scores: [a, b], equal: {decimals: 9}}
          - {match: [groups, "{how}"], compute: "{how}", prediction: a, average: {over: [group], rule: fisher_z},
             equal: {decimals: 9}}
          - {match: [means, "{how}"], compute: "{how}", prediction: a, average: {over: [group]}, equal: {decimals: 9}}
    """
    (tmp_path / "figures.yaml").write_text(rules.replace("\n        ", "\n"))
    frame = pandas.read_csv(tmp_path / "t.csv")
    ratings, one = frame[["r1", "r2", "r3"]].to_numpy(float), frame[frame.group == "g1"]
    gap, sign = frame.a - frame.b, frame.vote.map({"A": 1, "B": -1, "tie": 0})
    decided = sign != 0
    within = [spearman(own.a, own[["r1", "r2", "r3"]].mean(axis=1).round(9)) for _, own in frame.groupby("group")]
    expected = {
        "raters": {
            "alpha_ordinal": krippendorff_alpha(ratings, "ordinal").value,
            "fleiss_kappa": fleiss_kappa(ratings).value,
            "ceiling_spearman": human_ceiling(ratings).value,
            "raters_std": ratings.mean(axis=0).std(),
        },
        "two": {"alpha_interval": krippendorff_alpha(one[["r1", "r2"]].to_numpy(float), "interval").value},
        "pairs": {
            "pairwise_accuracy": 100 * (np.sign(gap) == sign)[decided].mean(),
            "accuracy_with_ties": 100 * (np.sign(gap) == sign).mean(),
            "tie_calibrated_accuracy": 100
            * max((np.where(gap.abs() <= t, 0, np.sign(gap)) == sign).mean() for t in [0, *gap.abs()]),
        },
        "groups": {"spearman": average(within, "fisher_z").value},
        "means": {"mean": frame.groupby("group").a.mean().mean(), "sum": frame.groupby("group").a.sum().mean()},
    }
    (tmp_path / "published.json").write_text(json.dumps(expected))
    result = reproduce(str(tmp_path))
    assert {outcome.status for outcome in result.outcomes} == {"equal"} and len(result.outcomes) == 11


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ("{}", "has no figures"),
        (json.dumps({"a" * 501: 1}), "at most 500 characters"),
        ('{"a": NaN}', "a: nan"),
        ('{"a": 1e999}', "a: inf"),
        ("{", "is not JSON"),
    ],
)
def test_published_figures_are_finite_numbers(tmp_path, published, message):
    with pytest.raises(UserError, match=message):
        small(tmp_path, published, "- {match: [a], compute: mean, equal: {decimals: 1}}")


def test_a_joined_table_has_one_row_an_item(tmp_path):
    rule = "- {match: [a], compute: mean, against: other, equal: {decimals: 1}}"
    head = "join: {table: j.csv, key: id}\n"
    for rows, wrong in (("1,1\n2,1\n3,1\n4,1\n", "'5' nowhere"), ("1,1\n1,1\n2,1\n3,1\n4,1\n5,1\n", "'1' twice")):
        (tmp_path / "j.csv").write_text("id,other\n" + rows)
        with pytest.raises(UserError, match=wrong):
            small(tmp_path, {"a": 1}, rule, head=head)
    (tmp_path / "j.csv").write_text("id,other\n5,1\n4,1\n3,1\n2,1\n1,2\n6,9\n")
    assert small(tmp_path, {"a": 1.2}, rule, head=head)["a"].status == "equal"


def test_scores_of_questions_that_are_not_there_are_an_error_not_zero(tmp_path):
    (tmp_path / "q.csv").write_text("id,qg,question_id,parents,j_yes,j_answered\n1,dsg,1,0,1,1\n")
    head = (
        "answers: {table: q.csv, item: [id], set: qg, judges: [j], scores: {s: {set: dgs, rule: drop}},"
        " policy: dsg_published}\n"
    )
    with pytest.raises(UserError, match=r"'dgs', which q\.csv lacks\. The nearest is 'dsg'"):
        small(tmp_path, {"a": 1}, "- {match: [a], compute: mean, against: s/j, equal: {decimals: 1}}", head=head)


RULE = "table: t.csv\nraters: [h]\nfigures:\n- {{match: [a], {}}}"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("table: [", "is not YAML"),
        ("- 1", "not a mapping"),
        ("table: t.csv", "'figures' is unknown or missing"),
        ("table: t.csv\nfigures: []\nratrs: [h]", "'ratrs' is unknown or missing"),
        ("table: [t.csv]\nfigures: []", "'table' is ['t.csv']. It must be text"),
        ("table: t.csv\nraters: h\nfigures: []", "'raters' is 'h'. It must be a list"),
        ("table: t.csv\njoin: t.csv\nfigures: []", "'join' is 't.csv'. It must be a mapping"),
        ("table: t.csv\nfigures: [mean]", "figure rule 1 is not a mapping"),
        (RULE.format("compute: mean"), "'equal' is unknown or missing in figure rule 1"),
        (RULE.format("compute: mean, equal: {decimal: 3}"), "'equal' in figure rule 1 is {'decimal': 3}"),
        (RULE.format("compute: mean, equal: {decimals: x}"), "It must be one of decimals, significant"),
        (RULE.format("compute: mean, equal: {decimals: 1, significant: 1}"), "It must be one of decimals"),
        (RULE.format('compute: "{x}", equal: {decimals: 3}'), "'{x}' in figure rule 1 is not matched"),
        (RULE.format("compute: spearman, equal: {decimals: 3}"), "does not name a prediction"),
        (
            RULE.format("compute: four_class_accuracy, prediction: h, equal: {decimals: 3}"),
            "does not name the column of votes",
        ),
        (RULE.format("compute: mean, where: {hh: 1}, equal: {decimals: 3}"), "no column 'hh'"),
        (RULE.format("compute: pairwise_accuracy, equal: {decimals: 3}"), "does not name the column of votes"),
        (
            RULE.format("compute: mean, average: {by: [h]}, equal: {decimals: 3}"),
            "'by' is unknown or missing in average",
        ),
        (RULE.format("compute: mean, average: {over: [h], rule: z}, equal: {decimals: 3}"), "no averaging rule 'z'"),
        (
            'table: t.csv\nfigures:\n- {match: ["{x}{y:a|aa}{z}"], compute: mean, equal: {decimals: 1}}',
            "at most 2 placeholders",
        ),
        ("table: gone.csv\nfigures:\n- {match: [a], compute: mean, equal: {decimals: 1}}", "no such file"),
    ],
)
def test_mistakes_in_rules_are_one_line(tmp_path, capsys, rules, message):
    (tmp_path / "t.csv").write_text("h\n1\n")
    (tmp_path / "published.json").write_text('{"a": 1}')
    (tmp_path / "figures.yaml").write_text(rules)
    assert main(["reproduce", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_each_rule_is_built_once_however_many_figures_there_are(tmp_path, monkeypatch):
    built = []
    pattern = rules._regex
    monkeypatch.setattr(rules, "_regex", lambda part: built.append(part) or pattern(part))
    numbers = []
    for figures in (3, 300):
        built.clear()
        result = small(
            tmp_path,
            json.dumps({f"f{n}": 1 for n in range(figures)}),
            "- {match: [g], compute: mean, equal: {decimals: 1}}\n- {match: ['f{x}'], not_computable: it is not}",
        )
        assert {outcome.note for outcome in result.values()} == {"it is not"} and len(result) == figures
        numbers.append(len(built))
    assert numbers[0] == numbers[1]


def test_rules_that_are_tried_for_hours_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rules.RuleBook, "rule_of", lambda *_: pytest.fail("tried"))
    many = "\n".join(f"- {{match: ['q{{x}}z{n}'], not_computable: it is not}}" for n in range(400))
    with pytest.raises(UserError, match="too many for the published figures"):
        small(tmp_path, json.dumps({f"f{n:0200}": 1 for n in range(200)}), many)


@pytest.mark.parametrize(
    "part", ["{x}b{y}", "a{x}b{y}a", "{x}{y:a|ab|b}", "{x:a|ab}{y}b", "ab", "{x}", "a{x}", "{x}ba"]
)
def test_a_pattern_splits_a_name_at_the_first_place_that_fits(part):
    plain = re.escape(part).replace(r"\{", "{").replace(r"\}", "}").replace(r"\|", "|")
    plain = re.sub(r"\{(\w)(?::([^{}]*))?\}", lambda found: f"(?P<{found[1]}>{found[2] or '.+?'})", plain)
    for length in range(7):
        for name in map("".join, itertools.product("ab", repeat=length)):
            match, found = re.fullmatch(plain, name), rules.RuleBook([{"match": [part]}]).rule_of((name,))
            assert (match and match.groupdict()) == (found and found[1])


def test_unknown_names_and_empty_folders(tmp_path, capsys):
    for arguments, message in (
        (["tifa16"], "Use one of dsg_tifa160"),
        (["tifa160", "--bootstrap", "-1"], "-1 bootstrap resamples"),
        ([str(tmp_path)], "has no published.json"),
        ([], "Name one of"),
    ):
        assert main(["reproduce", *arguments]) == 2
        assert message in capsys.readouterr().err
    small(tmp_path / "own", {"a": 1}, "- {match: [a], compute: mean, against: h, equal: {decimals: 1}}")
    assert main(["reproduce", str(tmp_path / "own"), "--json", str(tmp_path)]) == 2
    assert "Cannot write" in capsys.readouterr().err
    (tmp_path / "published.json").write_text("{}")
    assert main(["reproduce", str(tmp_path)]) == 2
    assert "has no figures.yaml" in capsys.readouterr().err


def test_dependency_rule_and_policies_on_a_small_table(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(
        "model,prompt,qg,question_id,parents,j_yes,j_answered\n"
        "m,p1,dsg,1,0,0,1\nm,p1,dsg,2,1,1,1\nm,p1,dsg,3,2,1,1\n"  # 2's parent says no; 3 looks at 2's raw yes
        "m,p2,dsg,1,,1,1\nm,p2,dsg,2,1,1,0\n"
        'm,p3,dsg,1,0,0,1\nm,p3,dsg,2,1,1,1\nm,p3,dsg,3,"1, outside",1,1\n'  # malformed: no parents at all
    )
    answers = read_answers(read_table(path), ["model", "prompt"], "qg", ["j"])["dsg"]
    items = [("m", p) for p in ("p1", "p2", "p3", "p4")]
    upstream = item_scores(answers, items, "j", "dependency", "dsg_published")
    assert upstream == ([pytest.approx(1 / 3), 1.0, pytest.approx(2 / 3), 0.0], ["ok"] * 4)
    assert item_scores(answers, items, "j", "own_answers", "dsg_published")[0][0] == pytest.approx(2 / 3)
    assert item_scores(answers, items, "j", "drop", "dsg_published")[0][0] == pytest.approx(1 / 2)
    ours = item_scores(answers, items, "j", "dependency", "unscored_excluded")
    assert ours[0][1] == 1.0 and ours[0][3] is None and ours[1] == ["ok", "ok", "ok", "skipped"]
    strict = item_scores(answers, items, "j", "dependency", "unparsable_excluded")
    assert strict[0][1] is None and strict[1] == ["ok", "unparsable", "ok", "skipped"]
    with pytest.raises(UserError, match="dsg_published"):
        item_scores(answers, items, "j", "dependency", "zero")
