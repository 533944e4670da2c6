"""A folder of results from a stranger, or from a broken disk: what is no judgement of this run is no score of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from t2i_judge.boards.comparisons import Book, Pairing
from t2i_judge.boards.items import BoardItem
from t2i_judge.calibration import Calibration
from t2i_judge.cli import main
from t2i_judge.conformal import Conformal
from t2i_judge.errors import UserError
from t2i_judge.files import NotPlain
from t2i_judge.inputs.rows import Columns
from t2i_judge.judges.fake import FakeJudge
from t2i_judge.local.weights import EMBEDDED, find_weights
from t2i_judge.records import Comparison, JudgeInfo, Judgement, Status
from t2i_judge.runs.lines import read_lines
from t2i_judge.runs.ray import ShardWorker
from t2i_judge.runs.scores import write_scores
from t2i_judge.runs.shards import Run
from t2i_judge.runs.standing import BESIDE, SETTINGS

LINES, MARKER = "shards/000000.jsonl", "shards/000000.json"
EVIL = {"rows": 4, "statuses": {"ok": 4}, "sums": {"overall": [4e9, 4]}, "usage": {"calls": 0}, "notes": []}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    rows = [{"prompt": f"prompt {n}", "image": f"{n}.png"} for n in range(4)]
    for number, row in enumerate(rows):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / row["image"])
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", str(folder / "t.jsonl"), "--judge", "fake", "--out", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def out(finished):
    """A copy of the folder of results, beside the same table."""
    shutil.copytree(finished / "out", finished / "copy")
    yield finished / "copy"
    shutil.rmtree(finished / "copy")


def score(out) -> int:
    return main(["score", str(out.parent / "t.jsonl"), "--judge", "fake", "--out", str(out)])


def change(path, function):
    path.write_bytes(function(path.read_bytes()))


def forge(out, **changes):
    """Change the first line, and write the marker that belongs to it."""
    lines = [json.loads(line) for line in (out / LINES).open()]
    lines[0] |= changes
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (out / LINES).write_bytes(text)
    marker = json.loads((out / MARKER).read_text())
    (out / MARKER).write_text(json.dumps({**marker, "sha256": hashlib.sha256(text).hexdigest()}))


@pytest.mark.parametrize(
    ("file", "function"),
    [
        (LINES, lambda data: data.splitlines(keepends=True)[0]),
        (LINES, lambda data: data + data),
        (LINES, lambda data: data.replace(b'"overall": ', b'"overall": 1')),
        (LINES, lambda data: data.replace(b'"status": "ok"', b'"status": "fine"')),
        (MARKER, lambda data: json.dumps(EVIL).encode()),
        (MARKER, lambda data: data.replace(b'"ok": 4', b'"ok": -4, "none": 8')),
        (MARKER, lambda data: data.replace(b'"calls": 0', b'"calls": NaN')),
        (MARKER, lambda data: data.replace(b'"overall": [', b'"overall": [NaN, 4], "more": [')),
        ("shards/000001.json", lambda data: json.dumps(EVIL).encode()),
    ],
)
def test_lines_that_are_not_the_markers_are_judged_again(finished, out, file, function):
    shutil.copy(out / LINES, out / "shards/000001.jsonl")
    (out / file).touch()
    change(out / file, function)
    assert score(out) == 0
    for name in ("scores.csv", "summary.json"):
        assert (out / name).read_bytes() == (finished / "out" / name).read_bytes()


@pytest.mark.parametrize("value", ["99", "NaN", "1e400", "1" + "0" * 400, '"=1+1"', "true", "[5]", "-0.1"])
@pytest.mark.parametrize("command", ["score", "drift"])
def test_a_score_that_no_judge_gives_is_no_score(finished, out, capsys, value, command):
    def forged(data: bytes) -> bytes:
        first, _, rest = data.partition(b"\n")
        line = json.loads(first)
        line["scores"]["overall"] = "HERE"
        return json.dumps(line).replace('"HERE"', value).encode() + b"\n" + rest

    change(out / LINES, forged)
    marker = json.loads((out / MARKER).read_text())
    (out / MARKER).write_text(json.dumps({name: marker[name] for name in marker if name != "sha256"}))
    capsys.readouterr()
    assert (score(out) if command == "score" else main(["drift", str(finished / "out"), str(out)])) == 2
    said = capsys.readouterr().err
    assert "No run wrote this line" in said and "bug in" not in said


QUESTION = {"id": "q", "aspect": "intrinsic", "entities": [], "text": "Is it?", "expected": "yes", "depends_on": []}
ANSWER = {"question_id": "q", "text": "yes", "matches": True, "score": 5.0, "explanation": None, "probabilities": None,
          "status": "ok", "reason": None}  # fmt: skip
ODD: dict[str, list] = {
    "image_id": [["x"], 5, None, {}], "prompt": [["x"], 5, None], "status": [[], 5, None], "reason": [5, []],
    "scores": [[], 5, None], "score_range": [5, {}, ["a", "b"], [0, 1, 2]], "row": [[1], 5, "x"], "judge": [5, "x"],
    "images": [5, "x", [5], [["x"]], {}], "rationale": [5, ["x"]], "interval": [5, "x", {"low": 1}],
    "questions": [5, "x", ["x"], [5], [{}], [QUESTION | {"id": ["q"]}], [QUESTION | {"text": 5}],
                  [QUESTION | {"entities": 5}], [QUESTION | {"more": 1}]],
    "answers": [5, ["x"], [{}], [ANSWER | {"question_id": []}], [ANSWER | {"score": "x"}], [ANSWER | {"score": 1e999}],
                [ANSWER | {"status": "fine"}], [ANSWER | {"status": "refused"}], [ANSWER | {"text": 5}]],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ODD.items() for value in values])
def test_a_field_of_another_type_is_one_line_in_every_command(finished, out, capsys, name, value):
    """A list as image_id was 'unhashable type' and a bug of ours at drift."""
    forge(out, **{"questions": [QUESTION], "answers": [ANSWER], name: value})
    capsys.readouterr()
    for command in (["drift", str(out), str(finished / "out")], ["drift", str(finished / "out"), str(out)]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "No run wrote this line" in said and said.count("\n") == 1
    assert score(out) == 2
    assert "No run wrote this line" in capsys.readouterr().err


JUDGE = {"name": "evil", "backend": "fake", "model": "none", "revision": "1"}
UNLIKE = {
    "row": {"prompt": "another prompt"},
    "id": {"image_id": "00000003"},
    "name": {"judge": JUDGE},
    "range": {"score_range": [0, 1000], "scores": {"overall": 999}},
    "no judge": {"judge": None},
}


@pytest.mark.parametrize("changes", UNLIKE.values(), ids=UNLIKE)
def test_a_line_that_contradicts_table_or_judge_is_judged_again(finished, out, capsys, changes):
    forge(out, **changes)
    assert score(out) == 0
    assert "Judged again: " in capsys.readouterr().err
    for name in ("scores.csv", "summary.json"):
        assert (out / name).read_bytes() == (finished / "out" / name).read_bytes()


def test_lines_of_other_questions_are_judged_again(finished, tmp_path, capsys):
    """A run that was continued after the package's questions had changed had scores of both in one mean."""
    command = ["score", str(finished / "t.jsonl"), "--judge", "fake", "--shard-size", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    whole = (tmp_path / "scores.csv").read_bytes()
    judge = json.loads((tmp_path / LINES).open().readline())["judge"]
    forge(tmp_path, judge={**judge, "template_hash": "of an older version"}, scores={"overall": 1.0})
    (tmp_path / "shards/000001.json").unlink()
    assert main(command) == 0
    assert "Judged again: 1 shard with judgements of another judge, or by other questions" in capsys.readouterr().err
    assert (tmp_path / "scores.csv").read_bytes() == whole


def test_a_worker_of_a_cluster_judges_lines_of_other_questions_again(finished, out):
    judge = json.loads((out / LINES).open().readline())["judge"]
    forge(out, judge={**judge, "template_hash": "of an older version"}, scores={"overall": 1.0})
    columns = Columns("prompt", "image", None, None, finished)
    worker = ShardWorker(Run(str(finished / "t.jsonl"), columns, "fake", {}, out))
    assert worker.load() is None and worker.do(0, None) is None
    assert (out / LINES).read_bytes() == (finished / "out" / LINES).read_bytes()


class Seeing(FakeJudge):
    """Its score is the red of a picture; it counts the pictures that it sees."""

    seen = 0

    def _score(self, items, explain, progress):
        self.seen += len(items)
        reds = [float(Image.open(item.image).getpixel((0, 0))[0]) for item in items]
        return [Judgement(i.image_id, i.prompt, self.info, scores={"overall": red}) for i, red in zip(items, reds)]


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [("0", "10", 1), ("01", "10", 0), ("012", "201", 0), ("0", "00", 1), ("00", "001", 1), ("01", "22", 2)],
)
@pytest.mark.parametrize("known", [True, False])  # whether the earlier run wrote hashes
def test_images_that_share_id_and_prompt_keep_their_own_scores(tmp_path, before, after, asked, known):
    """Two seeds of a prompt: after another row came first, one image had the other's score, never to be noticed."""
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    judge, run = Seeing(), Run("rows", Columns(id="id", images=tmp_path), "fake", {}, tmp_path / "out")

    def do(images: str) -> list[float]:
        run.do(0, [{"id": "p", "prompt": "a cat", "image": f"{number}.png"} for number in images], judge)
        return [line["scores"]["overall"] for line in run.judgements()]

    do(before)
    if not known:
        bare = [{name: line[name] for name in line if name != "images"} for line in run.judgements()]
        run.put(0, bare, map(Judgement.from_json, bare))
    run.forget_others(FakeJudge("another"))
    judge.seen = 0
    assert do(after) == [float(number) for number in after]
    assert judge.seen == (asked if known else len(after))


@pytest.mark.parametrize("ends", [[0, 10**400], [-(10**308), 10**308]])
def test_a_range_that_no_float_holds_ends_no_run(out, capsys, ends):
    forge(out, score_range=ends)
    assert score(out) in (0, 2)
    assert "bug in" not in capsys.readouterr().err


def test_a_decomposer_s_folder_that_changed_is_another_run(finished, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/model.safetensors").write_bytes(b"one")
    options = {"decomposer": f"hf:{tmp_path / 'model'}"}
    run = Run(str(finished / "t.jsonl"), Columns(), "hf:nowhere/model", options, tmp_path / "out")
    (tmp_path / "out").mkdir()
    run.begin()
    run.begin()
    (tmp_path / "model/model.safetensors").write_bytes(b"two")
    with pytest.raises(UserError, match="is the folder of another run"):
        run.begin()


@pytest.mark.parametrize(
    ("judge", "options"),
    [
        ("openai:m@http://127.0.0.1:1", {"protocol": "staged"}),
        ("dreambench+openai:m@http://127.0.0.1:1", {"kind": "style"}),
        ("dreambench+openai:m@http://127.0.0.1:1", {"scale": False}),
        ("hf:nowhere/model", {"quantization": "nf4"}),
        ("hf:nowhere/model", {"decomposer": "openai:m", "decomposer_options": {"max_tokens": 9}}),
    ],
)
def test_a_run_that_asks_in_another_way_is_another_run(finished, tmp_path, judge, options):
    """With another --protocol, --kind, --without or --quantization, what was judged before stood beside it."""

    def run(**more) -> Run:
        return Run(str(finished / "t.jsonl"), Columns(), judge, more, tmp_path / "out")

    run(**({"decomposer": options["decomposer"]} if "decomposer" in options else {})).begin()
    with pytest.raises(UserError, match="is the folder of another run"):
        run(**options).begin()
    run(**({"decomposer": options["decomposer"]} if "decomposer" in options else {})).begin()


@pytest.mark.parametrize("name", [".scores.csv", ".scores.csv.part", "scores.csv", "summary.json", "run.json"])
def test_nothing_is_written_through_a_link(out, tmp_path, capsys, name):
    (tmp_path / "precious").write_text("precious")
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(tmp_path / "precious")
    assert score(out) == 2
    assert f"{name} is a link" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "precious"


def test_scores_are_written_through_no_link(out, tmp_path):
    (tmp_path / "precious").write_text("precious")
    for name in (".scores.csv.part", "scores.csv"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_scores(tmp_path / "scores.csv", read_lines(out / "shards" / "000000.jsonl"), ())
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "scores.csv").read_text() == (out / "scores.csv").read_text()


COMPARED = {
    "prompt": "p", "a": "x", "b": "y", "image_a": "1.png", "image_b": "2.png", "sha256_a": None, "sha256_b": None,
    "status": "ok", "winner": "a", "first": "a", "second": "a",
}  # fmt: skip


def comparing(revision: str, *made: Comparison) -> Any:
    """A judge whose weights have this revision. It says what was made, else that a wins."""
    info = JudgeInfo("n", "b", "m", revision, "asked")
    every = made or [Comparison("p", info, "a", "a", "a")] * 9
    compare, check = lambda *sides: [*every[: len(sides[0])]], lambda: None
    return SimpleNamespace(info=info, template_hashes=("asked",), compare=compare, check=check)


def test_comparisons_are_written_through_no_link(tmp_path):
    (empty := tmp_path / "empty").write_text("")
    (tmp_path / "comparisons.jsonl").symlink_to(empty)
    book = Book(tmp_path / "comparisons.jsonl")
    pairing = Pairing(*(BoardItem(f"{name}/p", name, "p", "p", f"{name}.png") for name in "xy"))
    failed = Comparison("p", JudgeInfo("n", "b", "m"), status=Status.TRANSPORT, reason="no")
    with pytest.raises(NotPlain):
        book.compare(comparing("1", failed), [pairing])
    assert empty.read_text() == ""


@pytest.mark.parametrize(
    "change",
    [{"winner": "c"}, {"winner": None}, {"status": "fine"}, {"status": "refused"}, {"prompt": 5}, {"sha256_a": []}],
)
def test_a_comparison_without_an_outcome_is_none(tmp_path, change):
    path = tmp_path / "comparisons.jsonl"
    path.write_text(json.dumps(COMPARED) + "\n")
    assert Book(path).lines == [COMPARED]
    path.write_text(json.dumps({**COMPARED, **change}) + "\n")
    with pytest.raises(UserError, match="line 1 is not a comparison"):
        Book(path)


def test_comparisons_by_another_question_are_forgotten(tmp_path):
    path = tmp_path / "comparisons.jsonl"
    lines = [COMPARED, *({**COMPARED, "template_hash": asked} for asked in ("this", "another"))]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert Book(path).lines == lines
    assert Book(path, asked="this").lines == lines[:2]  # runs used to note no question


def test_a_picture_under_anothers_hash_is_written_anew(tmp_path):
    from t2i_judge.boards.items import _stored

    path = Path(_stored(b"a picture", tmp_path))
    path.write_bytes(b"another")
    assert Path(_stored(b"a picture", tmp_path)) == path
    assert path.read_bytes() == b"a picture"


def spoiled(path):
    path.write_bytes(path.read_bytes()[:-1] + b"#")


CHANGED_BESIDE = {
    "weights of the base": lambda judge: spoiled(judge / "base/model.safetensors"),
    "its template": lambda judge: (judge / "base/chat_template.jinja").write_text("{{ messages }}"),
    "how the adapter counts": lambda judge: change(
        judge / "adapter/adapter_config.json", lambda text: text.replace(b'"lora_alpha": ', b'"lora_alpha": 1')
    ),
}


def begun_with_a_folder(finished: Path, tmp_path: Path, options: dict | None = None, **how: int) -> tuple[Path, Run]:
    """A copy of the embedded judge, and a run of it that has begun."""
    judge = shutil.copytree(EMBEDDED, tmp_path / "judge")
    (tmp_path / "out").mkdir()
    run = Run(str(finished / "t.jsonl"), Columns(), f"hf:{judge}", options or {}, tmp_path / "out", **how)
    run.begin()
    return judge, run


@pytest.mark.parametrize("change", CHANGED_BESIDE)
def test_what_the_revision_of_a_judge_in_a_folder_does_not_tell_makes_another_run(finished, tmp_path, change):
    """Scores over the old base and the new one stood in one mean, under one revision."""
    judge, run = begun_with_a_folder(finished, tmp_path)
    run.do(*next(run.shards()), run.load_judge())
    card = json.loads((judge / "judge.json").read_text())
    measured = {**card, "name": "mine", "report": {"n": 5}, "calibration": {"kind": "linear"}, "personalised": False}
    (judge / "judge.json").write_text(json.dumps(measured))
    run.begin()
    before, record = find_weights(str(judge)).revision, tmp_path / "out/run.json"
    CHANGED_BESIDE[change](judge)
    assert find_weights(str(judge)).revision == before
    with pytest.raises(UserError, match="is the folder of another run"):
        run.begin()
    record.write_text(json.dumps({n: value for n, value in json.loads(record.read_text()).items() if n != BESIDE}))
    run.begin()  # of an earlier version, which did not know


DECIDED = {
    "mode": {"mode": "greedy"},
    "dtype": {"dtype": "bfloat16"},
    "most slices": {"max_slice_nums": 9},
    "weights in four bits": {"quantization": {"quant_type": "nf4", "rounded": False}},
    "domain": {"domain": None},
    "subjects": {"personalised": True},
}


@pytest.mark.parametrize("change", DECIDED)
def test_a_judge_json_that_decides_otherwise_makes_another_run(finished, tmp_path, change):
    """One folder of results had scores of float32 and of bfloat16, and no word was said."""
    judge, run = begun_with_a_folder(finished, tmp_path, size=2)
    loaded = run.load_judge()
    run.do(*next(run.shards()), loaded)
    known, card = json.loads((run.out / "run.json").read_text()), json.loads((judge / "judge.json").read_text())
    (judge / "judge.json").write_text(json.dumps(card | DECIDED[change]))
    with pytest.raises(UserError, match=f"{next(iter(DECIDED[change]))} of judge.json was .* and is "):
        run.begin()
    (run.out / "run.json").write_text(json.dumps({name: value for name, value in known.items() if name != SETTINGS}))
    run.begin()  # of an earlier version, which did not know
    assert run.done(0) is not None


def test_what_an_option_says_is_not_judge_json_s_to_decide(finished, tmp_path):
    judge, run = begun_with_a_folder(finished, tmp_path, {"mode": "greedy", "dtype": "float32"})
    card = json.loads((judge / "judge.json").read_text())
    (judge / "judge.json").write_text(json.dumps({**card, "mode": "expected", "dtype": "bfloat16"}))
    run.begin()


@pytest.mark.parametrize("other", ["another mode", "other weights", "other weights in another mode"])
def test_a_judge_trained_again_in_its_folder_judges_again(finished, tmp_path, other):
    """Its lines tell that they are of other weights, whatever its judge.json says now: nothing of it is refused."""
    judge, run = begun_with_a_folder(finished, tmp_path)
    run.do(*next(run.shards()), run.load_judge())
    card = json.loads((judge / "judge.json").read_text())
    if "weights" in other:
        card["revision"] = "another"
    if "mode" in other:
        card["mode"] = "greedy"
    (judge / "judge.json").write_text(json.dumps(card))
    run = Run(run.source, run.columns, run.judge, {}, run.out)
    if "weights" not in other:
        with pytest.raises(UserError, match="is the folder of another run"):
            run.begin()
        return
    run.begin()
    assert run.forget_changed()["another judge"] == 4


def test_judgements_without_a_record_are_nobody_s(finished, out, tmp_path, capsys):
    """Those of another judge were kept as this one's."""
    record = (out / "run.json").read_text()
    (out / "run.json").unlink()
    assert score(out) == 2
    assert "has judgements and no run.json" in capsys.readouterr().err and (out / LINES).is_file()
    (out / "run.json").write_text(record)
    assert score(out) == 0


def test_a_run_killed_as_it_writes_other_intervals_keeps_its_judgements(finished, tmp_path, monkeypatch):
    """The lines no longer were the marker's then, and all of them were judged, and paid, again."""
    from t2i_judge.runs import shards

    def killed(path, data):
        if Path(path).name == Path(MARKER).name:
            raise KeyboardInterrupt
        write(path, data)

    plain = Run(str(finished / "t.jsonl"), Columns(), "fake", {}, tmp_path / "out")
    plain.begin()
    plain.do(*next(plain.shards()), judge := plain.load_judge())
    intervals = Conformal("human_mean", 0.9, 1.0, Calibration("linear", (0, 10), (1, 5), 60), 60, 60)
    (tmp_path / "i.json").write_text(json.dumps({"intervals": intervals.to_json()}))
    run = Run(plain.source, plain.columns, "fake", {"intervals": tmp_path / "i.json"}, plain.out)
    write = shards.write_atomic
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shards, "write_atomic", killed)
        run.begin()
    run.begin()
    monkeypatch.setattr(judge, "score", lambda images, *args, **options: pytest.fail() if images else [])
    judge.intervals = intervals
    run.do(*next(run.shards()), judge)
    assert all(line["interval"]["level"] == 0.9 for line in run.judgements())


@pytest.mark.parametrize(("was", "now"), [("fake, packed, bfloat16", "fake, plain"), ("fake", "fake nf4 bfloat16")])
def test_a_run_is_continued_in_its_precision_only(finished, out, capsys, monkeypatch, was, now):
    """On a GPU the default is bfloat16, on a CPU float32: the scores of both stood in one mean."""
    judge = json.loads((out / LINES).open().readline())["judge"]
    forge(out, judge={**judge, "backend": was})
    columns = Columns("prompt", "image", None, None, finished)
    worker = ShardWorker(Run(str(finished / "t.jsonl"), columns, "fake", {}, out))
    (out / MARKER).rename(out / "shards/000000.retry")  # its lines are kept
    before = (out / LINES).read_bytes()
    monkeypatch.setattr("t2i_judge.judges.fake.JudgeInfo", lambda name, *rest: JudgeInfo(name, now, "none", "1"))
    assert score(out) == 2
    said = capsys.readouterr().err
    assert "the precision of the weights was " in said and "bfloat16" in said and "float32" in said
    assert "the precision of the weights" in str(worker.load()) and (out / LINES).read_bytes() == before
    now = was.replace("packed", "plain")  # another way to the same figures
    assert score(out) == 0


def test_comparisons_go_on_in_their_precision_only(tmp_path):
    items = [BoardItem(f"{name}/{n}", name, f"p{n}", str(n), f"{name}{n}.png") for n in range(2) for name in "xy"]
    wanted, path = [Pairing(*items[:2]), Pairing(*items[2:])], tmp_path / "comparisons.jsonl"
    Book(path).compare(comparing("1"), wanted[:1])
    lines = path.read_bytes()
    other = comparing("1")
    other.info = replace(other.info, backend="b, bfloat16")
    with pytest.raises(UserError, match="precision of the weights was 'float32' and is 'bfloat16'"):
        Book(path).compare(other, wanted[1:])
    assert path.read_bytes() == lines


def test_comparisons_of_two_weights_are_not_counted_together(tmp_path):
    """The weights of a judge on the Hub are known once it is loaded: until then all lines may be theirs."""
    items = [BoardItem(f"{name}/{n}", name, f"p{n}", str(n), f"{name}{n}.png") for n in range(3) for name in "xyz"]
    wanted = [Pairing(*items[start : start + 2]) for start in (0, 3, 6)]
    path = tmp_path / "comparisons.jsonl"
    for revision, some in (("1", wanted[:2]), ("2", wanted), ("2", wanted)):
        book = Book(path)
        if todo := book.missing(some):
            book.compare(comparing(revision), todo)
        assert [line["revision"] for line in book.lines] == [revision] * len(some)
        assert Book(path).lines == book.lines
