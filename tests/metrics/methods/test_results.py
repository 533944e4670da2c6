"""The report on personalised generators, and its command, recomputed from a table small enough to check by hand."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from t2i_judge.cli import main
from t2i_judge.cli.methods import read_judges
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl
from t2i_judge.methods.report import PRODUCT, MethodItem, Rating
from t2i_judge.methods.results import Judged, in_brief, method_results, to_text
from t2i_judge.records import JudgeInfo, Judgement, Status

CP, PF = "concept_preservation", "prompt_following"
# Two methods, two prompts. Both people agree; the judge gives 10 where they give 4, and so on, but knows not y2.
ITEMS = {
    "x1": MethodItem("x", "one", "tuned", "live", "easy"),
    "x2": MethodItem("x", "two", "tuned", "live", "hard"),
    "y1": MethodItem("y", "one", "tuning-free", "live", "easy"),
    "y2": MethodItem("y", "two", "tuning-free", "object", "hard"),
}
PEOPLE = {"x1": (4, 2), "x2": (2, 4), "y1": (0, 4), "y2": (4, 0)}
RATINGS = [Rating(i, who, a, s) for i, pair in PEOPLE.items() for who in "pq" for a, s in zip((CP, PF), pair)]
JUDGE = {CP: {"x1": 10.0, "x2": 5.0, "y1": 0.0}, PF: {"x1": 5.0, "x2": 10.0, "y1": 10.0}}
HIGHER = {CP: {"x1": 10.0, "x2": 7.5, "y1": 2.5}, PF: JUDGE[PF]}


def results(*runs, **options):
    return method_results(ITEMS, RATINGS, [Judged("j", runs or [JUDGE], (0, 10))], draws=50, **options)


def board(found, scorer, **by):
    rows = [row for row in found["leaderboard"] if row["scorer"] == scorer and row["by"] == by]
    return {row["method"] or row["family"]: row for row in rows}


def test_everything_stands_on_one_scale():
    """Of y, people's CP is (0 + 4) / 2 of 4, so is PF, and CP*PF is 1/2 * 1/2."""
    found = results()
    people = board(found, "people")
    assert people["x"]["scores"] == {CP: 0.75, PF: 0.75, PRODUCT: 0.5625}
    assert people["y"]["scores"] == {CP: 0.5, PF: 0.5, PRODUCT: 0.25}
    assert board(found, "j")["x"]["scores"] == people["x"]["scores"]
    assert (board(found, "j")["y"]["n"], board(found, "j")["y"]["n_failed"]) == (1, 1)


def test_by_family_category_and_difficulty():
    found = results()
    assert board(found, "people")["tuned"]["scores"][CP] == 0.75
    assert board(found, "people", category="live")["y"]["scores"][PF] == 1.0
    assert board(found, "people", category="object")["y"]["n"] == 1
    assert board(found, "people", difficulty="hard")["x"]["scores"] == {CP: 0.5, PF: 1.0, PRODUCT: 0.5}


def test_agreement_and_bias_of_several_runs():
    """The second run is .25 above people on two of three items: biases 0 and 1/6, sd 1/6 / sqrt 2."""
    found = results(JUDGE, HIGHER)
    rows = {(row["aspect"], row["method"]): row for row in found["agreement"]}
    assert rows[CP, None]["human_human"] == rows[PF, None]["judge_human"] == 1.0
    assert rows[CP, None]["judge_human"] < 1.0 and rows[CP, None]["judge_human_sd"] > 0
    assert (rows[CP, None]["runs"], rows[CP, None]["n_failed"]) == (2, 2)
    bias = {row["aspect"]: row for row in found["bias"]}
    assert bias[CP]["bias"] == pytest.approx(1 / 12)
    assert bias[CP]["sd"] == pytest.approx(1 / 6 / 2**0.5)
    assert bias[PF] == {"judge": "j", "aspect": PF, "bias": 0.0, "sd": 0.0}
    assert board(found, "j")["x"]["scores"][CP] == pytest.approx((1 + 0.625) / 2)


def test_items_that_the_table_leaves_out_count_in_no_figure():
    """Of a table of one method only, the bias was that of all methods."""
    only = {name: item for name, item in ITEMS.items() if item.method == "x"}
    kept = method_results(only, RATINGS, [Judged("j", [HIGHER], (0, 10))], draws=50)
    own = {aspect: {name: score for name, score in scores.items() if name in only} for aspect, scores in HIGHER.items()}
    alone = [rating for rating in RATINGS if rating.item in only]
    assert kept == method_results(only, alone, [Judged("j", [own], (0, 10))], draws=50)


def test_the_order_of_rows_changes_nothing():
    backwards = {CP: dict(reversed(JUDGE[CP].items())), PF: dict(reversed(JUDGE[PF].items()))}
    other = method_results(ITEMS, RATINGS[::-1], [Judged("j", [backwards], (0, 10))], draws=50)
    assert other == results()


def test_a_cosine_is_compared_on_the_unit_interval():
    found = method_results(ITEMS, RATINGS, [Judged("dino", [{CP: {"x1": 0.9, "x2": 0.8}}], (-1.0, 1.0))], draws=0)
    assert found["bias"][0]["bias"] == pytest.approx(0.85 - 0.75)
    assert [row["aspect"] for row in found["bias"]] == [CP]
    assert {row["aspect"] for row in found["agreement"]} == {CP}
    assert board(found, "dino")["x"]["scores"] == {CP: pytest.approx(0.85), PF: None, PRODUCT: None}
    assert (board(found, "dino")["x"]["n_failed"], board(found, "dino")["y"]["n_failed"]) == (0, 2)


@pytest.mark.parametrize(("judge", "range_"), [("j", (0, 4)), ("people", (0, 10))])
def test_a_score_outside_its_range_is_refused(judge, range_):
    people_range = (0, 4) if judge == "j" else (0, 3)
    with pytest.raises(UserError, match=f"{judge} gave"):
        method_results(ITEMS, RATINGS, [Judged("j", [JUDGE], range_)], people_range, draws=0)


def test_a_judge_that_failed_everywhere_stands_in_the_table():
    found = method_results(ITEMS, RATINGS, [Judged("mute", [{}], (0, 10))], draws=0)
    row = next(row for row in found["agreement"] if row["method"] is None)
    assert (row["judge_human"], row["n_failed"]) == (None, 4)
    assert "mute" in to_text(in_brief(found))


@pytest.fixture
def written(tmp_path):
    """The same tables as files: judgements of one run, a plain table of another."""
    items = [{"id": i, "generator": t.method, "prompt": t.prompt, "family": t.family} for i, t in ITEMS.items()]
    append_jsonl(tmp_path / "items.jsonl", items)
    rows = ["item,annotator,aspect,question,score"]
    rows += [f"{r.item},{r.annotator},{r.aspect},,{r.score}" for r in RATINGS[::-1]]
    rows += ["x1,p,concept_preservation,q1,0", "x1,z,prompt_following,,", "gone,p,prompt_following,,1"]
    (tmp_path / "ratings.csv").write_text("\n".join(rows) + "\n")
    info = JudgeInfo("j", "local", "m", "r")
    made = [Judgement(i, "p", info, scores={CP: JUDGE[CP][i], PF: JUDGE[PF][i]}) for i in JUDGE[CP]]
    made.append(Judgement("y2", "p", info, status=Status.REFUSED, reason="no"))
    append_jsonl(tmp_path / "judged.jsonl", [judgement.to_json() for judgement in made[::-1]])
    runs = [f"{i},k,{run},{CP},{s}" for run in (1, 2) for i, s in (("x1", 4), ("x2", ""), ("y2", 3))]
    (tmp_path / "scores.csv").write_text("\n".join(["item,judge,run,aspect,score", *runs]) + "\n")
    return tmp_path


def test_the_command_joins_tables_by_item(written, capsys):
    out = written / "report.json"
    command = ["methods", str(written / "items.jsonl"), "--ratings", str(written / "ratings.csv")]
    scores = ["--scores", str(written / "judged.jsonl"), "--scores", str(written / "scores.csv")]
    assert main([*command, *scores, "--bootstrap", "50", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    mine = {name: [row for row in found[name] if row.get("judge") == "j"] for name in ("agreement", "bias")}
    plain = {i: MethodItem(t.method, t.prompt, t.family) for i, t in ITEMS.items()}
    expected = json.loads(json.dumps(method_results(plain, RATINGS, [Judged("j", [JUDGE], (0, 10))], draws=50)))
    assert mine == {name: expected[name] for name in mine}
    assert {row["runs"] for row in found["agreement"] if row["judge"] == "k"} == {2}
    shown = capsys.readouterr()
    assert "'gone'" in shown.err and "Leaderboard by people" in shown.out


def test_runs_of_a_served_judge_are_told_apart_by_their_seed(written, served, capsys):
    """`t2i-judge score --seed N` twice, several shards each, then the report with its spread."""
    Image.new("RGB", (8, 8)).save(written / "i.png")
    rows = [json.loads(line) | {"image": "i.png", "reference": "i.png"} for line in (written / "items.jsonl").open()]
    append_jsonl(written / "table.jsonl", rows)

    def respond(request, n):
        return served.completion(json.dumps({"reasoning": "so", "score": n % 3 + request["seed"]}))

    served.respond = respond
    judge = ["--judge", f"dreambench+openai:m@{served.url}", "--shard-size", "2", "--concurrency", "1"]
    columns = ["--id-column", "id", "--reference-column", "reference"]
    runs = []
    for seed in ("0", "1"):
        runs += ["--scores", str(written / f"run{seed}")]
        table = str(written / "table.jsonl")
        assert main(["score", table, "--out", runs[-1], "--seed", seed, *judge, *columns]) == 0
    assert {request["seed"] for request in served.calls} == {0, 1}
    assert main(["score", table, "--out", runs[-1], "--seed", "0", *judge, *columns]) == 2  # another run's folder
    out = written / "report.json"
    tables = [str(written / "items.jsonl"), "--ratings", str(written / "ratings.csv"), "--json", str(out)]
    assert main(["methods", *tables, *runs, "--bootstrap", "0"]) == 0
    [whole] = [r for r in json.loads(out.read_text())["agreement"] if r["aspect"] == CP and r["method"] is None]
    assert (whole["runs"], whole["n_failed"]) == (2, 0)
    assert whole["judge_human_sd"] is not None


def test_parts_of_one_run_and_a_recipe_s_attributes(written):
    """Subjects and styles are judged apart, with criteria of their own, and are one run all the same."""
    lines = (written / "judged.jsonl").read_text().splitlines(keepends=True)
    for name, part in (("a", lines[:2]), ("b", lines[2:])):
        (written / f"{name}.jsonl").write_text("".join(part))
    rows = [json.loads(line) for line in (written / "items.jsonl").open()]
    nested = [{**row, "family": None, "attributes": {"family": row["family"]}} for row in rows]
    append_jsonl(written / "recipe.jsonl", [{k: v for k, v in row.items() if v is not None} for row in nested])
    found = []
    for items, scores in (("items", ["judged.jsonl"]), ("recipe", ["a.jsonl", "b.jsonl"])):
        out = written / "report.json"
        source = ",".join(str(written / name) for name in scores)
        tables = [str(written / f"{items}.jsonl"), "--ratings", str(written / "ratings.csv"), "--scores", source]
        assert main(["methods", *tables, "--bootstrap", "0", "--json", str(out)]) == 0
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    assert {row["family"] for row in found[0]["leaderboard"]} == {"tuned", "tuning-free"}


def test_an_image_without_its_reference_is_a_gap(written):
    """CLIP gives it a CLIPScore, on another range and of no axis."""
    info = JudgeInfo("clip:m", "local", "m", "r")
    judged = [
        Judgement("x1", "p", info, scores={CP: 0.9, PF: 0.2}, score_range=(-1, 1)),
        Judgement("x2", "p", info, scores={"overall": 0.7}, score_range=(0, 2.5)),
    ]
    append_jsonl(written / "clip.jsonl", [judgement.to_json() for judgement in judged])
    [judge] = read_judges([str(written / "clip.jsonl")], (0, 4))
    assert (judge.score_range, judge.runs[0][CP]) == ((-1, 1), {"x1": 0.9, "x2": None})


def test_mistakes_in_tables_are_one_line(written, capsys):
    command = ["methods", str(written / "items.jsonl"), "--ratings", str(written / "ratings.csv")]
    assert main([*command, "--method-column", "model"]) == 2
    assert "no 'model'" in capsys.readouterr().err
    (written / "twice.csv").write_text(f"item,judge,aspect,score\nx1,k,{CP},4\nx1,k,{CP},3\n")
    assert main([*command, "--scores", str(written / "twice.csv")]) == 2
    assert "twice" in capsys.readouterr().err
    for option, value in (("--bootstrap", "-1"), ("--bootstrap", "9" * 21), ("--seed", "-1")):
        assert main([*command, option, value]) == 2
        assert value in capsys.readouterr().err
    assert main([*command, "--range", "4,0"]) == 2
    assert "is not a range" in capsys.readouterr().err


def table(path, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return str(path)


def test_aspects_of_other_names_are_never_dropped_in_silence(tmp_path, capsys):
    items = table(tmp_path / "i.csv", [("id", "prompt", "generator"), *((f"x{k}", f"p{k}", "m") for k in range(4))])
    rows = [(f"x{k}", who, aspect, k + (who == "q")) for k in range(3) for who in "pq" for aspect in ("SC", "PQ")]
    ratings = table(tmp_path / "r.csv", [("item", "annotator", "aspect", "score"), *rows])
    scores = table(
        tmp_path / "s.csv", [("item", "judge", "aspect", "score"), *((f"x{k}", "j", "SC", k) for k in range(4))]
    )
    assert main(["methods", items, "--ratings", ratings, "--scores", scores, "--bootstrap", "0"]) == 2
    assert "no known aspect. It has SC (6), PQ (6)" in capsys.readouterr().err
    named = ["--aspects", "SC=concept_preservation"]
    assert main(["methods", items, "--ratings", ratings, "--scores", scores, "--bootstrap", "0", *named]) == 0
    shown = capsys.readouterr()
    assert "left out: PQ (6)" in shown.err and "  0.375" in shown.out  # the mean of people's scores, of 4
    assert main(["methods", items, "--ratings", ratings, "--aspects", "SC=quality"]) == 2
    assert "Write OWN=AXIS" in capsys.readouterr().err


def test_a_rating_that_is_given_twice_is_refused(written, capsys):
    """It would count twice in people's means: fifty rows of one person would be fifty people."""
    twice = [*RATINGS, RATINGS[0]._replace(score=0)]
    with pytest.raises(UserError, match="'p' rated concept_preservation of 'x1' twice"):
        method_results(ITEMS, twice, [], draws=0)
    with (written / "ratings.csv").open("a") as file:
        file.write(f"x1,p,{CP},,0\n" * 50)
    assert main(["methods", str(written / "items.jsonl"), "--ratings", str(written / "ratings.csv")]) == 2
    assert "twice" in capsys.readouterr().err


@pytest.fixture
def run_folder(written):
    """A run of judge r: a shard that is done, of which three judgements failed with scores, and one that is not."""
    shards = written / "run" / "shards"
    shards.mkdir(parents=True)
    line = {"prompt": "p", "judge": {"name": "r"}, "score_range": [0, 4], "reason": None}
    failed = {**line, "status": "refused", "scores": {CP: 4.0, PF: 4.0}}
    fine = {**line, "status": "ok", "scores": {CP: 2.0, PF: 2.0}, "image_id": "x1"}
    append_jsonl(shards / "000000.jsonl", [fine, *({**failed, "image_id": i} for i in ("x2", "y1", "y2"))])
    (shards / "000000.json").write_text("{}")
    append_jsonl(shards / "000001.jsonl", [{**fine, "image_id": i} for i in ("x2", "y1", "y2")])
    return written / "run"


def test_only_judgements_that_are_ok_in_shards_that_are_done_count(written, run_folder, capsys):
    [judge] = read_judges([str(run_folder)], (0, 4))
    assert judge.runs[0][CP] == {"x1": 2.0, "x2": None, "y1": None, "y2": None}
    assert "3 judgements count as failed: 3 refused" in capsys.readouterr().err
    found = method_results(ITEMS, RATINGS, [judge], draws=0)
    counts = {name: (row["n"], row["n_failed"]) for name, row in board(found, "r").items()}
    assert counts == {"x": (1, 1), "y": (0, 2), "tuned": (1, 1), "tuning-free": (0, 2)}
    (run_folder / "shards" / "000000.json").unlink()
    with pytest.raises(UserError, match=r"has no judged items\. None of its shards is done"):
        read_judges([str(run_folder)], (0, 4))


def test_a_plain_table_s_score_of_a_judgement_that_failed_is_a_failure(tmp_path, capsys):
    rows = ["item,judge,aspect,score,status", f"x1,j,{CP},4,refused", f"x2,j,{CP},3,ok", f"y1,j,{CP},2,"]
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n")
    [judge] = read_judges([str(tmp_path / "scores.csv")], (0, 4))
    assert judge.runs == [{CP: {"x1": None, "x2": 3.0, "y1": 2.0}}]
    assert "1 judgement count as failed: 1 refused" in capsys.readouterr().err


def test_too_many_methods_or_annotators_are_one_line():
    """Every two are compared: 400 annotators of one item took minutes for many methods."""
    many = {str(n): MethodItem(f"m{n}", "p") for n in range(201)}
    with pytest.raises(UserError, match="201 generators; at most 200"):
        method_results(many, [], [], draws=0)
    crowd = [Rating("x1", str(n), CP, n % 5) for n in range(500)]
    with pytest.raises(UserError, match=r"249,500 pairs of annotators.*at most 200,000"):
        method_results(ITEMS, crowd, [], draws=0)
    assert method_results(ITEMS, crowd[:300], [], draws=0)["agreement"] == []


def test_no_judge_stands_in_the_place_of_people():
    """A table whose judge was called "people" had its scores in the board of people's."""
    for name in ("people", "People "):
        with pytest.raises(UserError, match="in the place of people's"):
            method_results(ITEMS, RATINGS, [Judged(name, [JUDGE], (0, 10))], draws=0)
    whole = {name: replace(item, method="all") for name, item in ITEMS.items()}
    with pytest.raises(UserError, match="all methods together"):
        method_results(whole, RATINGS, [], draws=0)


def test_annotators_of_different_items_are_no_pairs():
    """Of a thousand people who rated an item each, none is compared with another."""
    crowd = [Rating(str(n % 500), str(n), CP, n // 500) for n in range(1000)]
    items = {str(n): MethodItem("m", str(n)) for n in range(500)}
    found = method_results(items, crowd, [Judged("j", [{CP: {"0": 1.0}}], (0, 4))], draws=0)
    [whole] = [row for row in found["agreement"] if row["method"] is None]
    assert whole["human_human_joint"] == pytest.approx(1 - 1 / (500 / 999), abs=1e-9)


ODD = [None, 0, 1e308, 10**400, "x", [], {}, [1], [[0], [4]], True]


PLACES = ["image_id", "judge", "judge.name", "reason", "scores", f"scores.{CP}", "score_range", "answers", "status"]


@pytest.mark.parametrize("place", [name.split(".") for name in PLACES], ids=PLACES)
def test_any_value_in_a_judgement_is_read_or_one_line(written, run_folder, place, capsys):
    shard = run_folder / "shards" / "000000.jsonl"
    line = json.loads(shard.read_text().splitlines()[0])
    command = ["methods", str(written / "items.jsonl"), "--ratings", str(written / "ratings.csv"), "--bootstrap", "0"]
    for odd in ODD:
        changed = json.loads(json.dumps(line))
        (changed[place[0]] if place[1:] else changed)[place[-1]] = odd
        shard.write_text(json.dumps(changed) + "\n")
        assert main([*command, "--scores", str(run_folder)]) in (0, 2), odd
        assert "bug" not in capsys.readouterr().err


@pytest.mark.parametrize("ends", [(4, 4), (4, 0), (-1e308, 1e308)])
def test_a_range_without_a_length_is_refused(ends):
    with pytest.raises(UserError, match="j declares the range"):
        method_results(ITEMS, RATINGS, [Judged("j", [{CP: {"x1": float(ends[0])}}], ends)], draws=0)
