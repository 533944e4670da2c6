"""`t2i-judge score`: every kind of table, resume, other runs refused, memory, a cluster that loses a worker."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

from t2i_judge.cli import judge_arguments, main
from t2i_judge.cli.run_files import BOARD_FILES, RUN_FILES, refuse_others
from t2i_judge.errors import UserError
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.spreadsheets import SCORES_COLUMNS
from t2i_judge.judges.fake import FakeJudge
from t2i_judge.records import Judgement
from t2i_judge.served.prices import DATED
from tests.judge_folders import make_judge
from tests.slow_pictures import progressive

ROWS = [{"prompt": f"prompt {n}", "image": f"{n}.png", "generator": f"g{n % 2}"} for n in range(23)]


def write(folder, kind: str) -> str:
    """The rows as a table of that kind; returns its name on the command line."""
    from datasets import Dataset

    if kind == "folder":
        (folder / "data").mkdir()
        Dataset.from_list(ROWS).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        return str(folder)
    path = folder / f"table.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as out:
            table = csv.DictWriter(out, ROWS[0])
            table.writeheader()
            table.writerows(ROWS)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        Dataset.from_list(ROWS).to_parquet(path, batch_size=7)
    return str(path)


def lines(out) -> list[dict]:
    return [json.loads(line) for path in sorted((out / "shards").glob("*.jsonl")) for line in path.open()]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "folder"])
def test_every_kind_of_table_gives_the_same_scores(tmp_path, kind, capsys):
    source, out = write(tmp_path, kind), tmp_path / "out"
    assert (
        main(["score", source, "--judge", "fake", "--out", str(out), "--shard-size", "5", "--keep", "generator"]) == 0
    )
    judged = lines(out)
    assert [row["prompt"] for row in judged] == [row["prompt"] for row in ROWS]
    assert [Judgement.from_json(row).image_id for row in judged] == [f"{n:08d}" for n in range(23)]
    assert len(list((out / "shards").glob("*.json"))) == 5
    with (out / "scores.csv").open() as table:
        scores = list(csv.DictReader(table))
    assert [row["generator"] for row in scores] == [row["generator"] for row in ROWS]
    summary = json.loads((out / "summary.json").read_text())
    overall = [float(row["overall"]) for row in scores]
    assert summary["means"]["overall"] == {"mean": pytest.approx(np.mean(overall)), "n": 23}
    assert (summary["n"], summary["n_failed"], summary["coverage"]) == (23, {}, 1.0)
    assert "23 items" in capsys.readouterr().out


def test_a_run_goes_on_where_a_shard_is_missing(tmp_path, monkeypatch):
    source, out = write(tmp_path, "csv"), tmp_path / "out"
    arguments = ["score", source, "--judge", "fake", "--out", str(out), "--shard-size", "5"]
    assert main(arguments) == 0
    before = (out / "scores.csv").read_bytes()
    (out / "shards" / "000001.json").unlink()
    (out / "shards" / "000003.json").write_text("torn {")
    done = []
    from t2i_judge.judges.fake import FakeJudge

    real = FakeJudge.score
    monkeypatch.setattr(FakeJudge, "score", lambda self, i, p, *a, **k: done.append(p[0]) or real(self, i, p, *a, **k))
    assert main(arguments) == 0
    assert done == ["prompt 5", "prompt 15"]
    assert (out / "scores.csv").read_bytes() == before
    assert main(arguments) == 0
    assert len(done) == 2


def test_another_run_in_the_same_folder_is_refused(tmp_path, capsys):
    source, out = write(tmp_path, "csv"), tmp_path / "out"
    assert main(["score", source, "--judge", "fake", "--out", str(out)]) == 0
    assert main(["score", source, "--judge", "fake", "--out", str(out), "--shard-size", "7"]) == 2
    error = capsys.readouterr().err
    assert "is the folder of another run. size was 500 and is 7" in error and "calls.sqlite" not in error
    (out / "calls.sqlite").touch()
    assert main(["score", source, "--judge", "fake", "--out", str(out), "--shard-size", "7"]) == 2
    assert "with a copy of calls.sqlite (it has the replies that are paid for)" in capsys.readouterr().err


def test_a_dataset_replaced_under_its_name_is_judged_again(tmp_path, capsys):
    from datasets import Dataset

    (tmp_path / "set").mkdir()
    source, out = write(tmp_path / "set", "folder"), tmp_path / "out"
    arguments = ["score", source, "--judge", "fake", "--shard-size", "5", "--keep", "generator"]
    assert main([*arguments, "--out", str(out)]) == 0
    rows = [row | {"prompt": "another"} if n == 1 else row | {"generator": "g9"} if n == 7 else row
            for n, row in enumerate(ROWS[:21])]  # fmt: skip
    Dataset.from_list(rows).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    capsys.readouterr()
    assert main([*arguments, "--out", str(out)]) == 0
    assert "Judged again: 4 items with a changed row." in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "fresh")]) == 0
    for name in ("scores.csv", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_weights_trained_again_in_place_judge_again(tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    Image.effect_noise((24, 24), 60).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("prompt,image\na cat,a.png\na dog,a.png\n")
    folder = make_judge(tmp_path / "judge")
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"direct+hf:{folder}", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    before = lines(tmp_path / "out")
    capsys.readouterr()
    assert main(arguments) == 0 and "judged again" not in capsys.readouterr().err
    assert lines(tmp_path / "out") == before
    card = folder / "judge.json"
    weights = next(folder.rglob("adapter_model.safetensors"), None) or next(folder.glob("*.safetensors"))
    save_file({name: -3 * tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    if card.is_file():
        card.write_text(json.dumps({n: v for n, v in json.loads(card.read_text()).items() if n != "revision"}))
    assert main(arguments) == 0
    assert "Judged again: 2 items with another judge." in capsys.readouterr().err
    after = lines(tmp_path / "out")
    assert {line["judge"]["revision"] for line in before}.isdisjoint(line["judge"]["revision"] for line in after)


def test_other_questions_at_the_same_path_are_another_run(tmp_path, served, capsys):
    from tests.metrics.judges.test_teacher import QUESTIONS, verdict

    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("prompt,image\na cat,a.png\n")
    known = tmp_path / "known.jsonl"
    questions = [vars(question) for question in QUESTIONS]
    known.write_text(json.dumps({"prompt": "a cat", "questions": questions}) + "\n")
    served.respond = lambda request, n: served.completion(verdict())
    out = tmp_path / "out"
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"openai:m@{served.url}", "--out", str(out)]
    arguments += ["--decompositions", str(known)]
    assert main(arguments) == 0
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "decompositions": str(known)}))  # as runs had it before
    assert main(arguments) == 0 and json.loads((out / "run.json").read_text()) == record
    assert len(served.calls) == 1
    questions[0] = {**questions[0], "text": "Is it another question?"}
    known.write_text(json.dumps({"prompt": "a cat", "questions": questions}) + "\n")
    assert main(arguments) == 2
    assert "is the folder of another run. sha256 of decompositions was" in capsys.readouterr().err


def test_isolated_images_score_as_others_and_a_slow_one_ends(tmp_path, monkeypatch, capsys):
    for number, color in enumerate(("red", "blue")):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{number}.png")
    (tmp_path / "2.jpg").write_bytes(progressive(scans=53, size=(7000, 7000)))
    rows = [{"prompt": "a red cube", "image": name} for name in ("0.png", "2.jpg", "1.png")]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(judge_arguments, "apart", partial(judge_arguments.apart, seconds=0.3))
    command = ["score", str(tmp_path / "table.jsonl"), "--judge", "tiny", "--limit"]
    assert main([*command, "3", "--out", str(tmp_path / "apart"), "--isolate-images"]) == 1
    assert main([*command, "1", "--out", str(tmp_path / "here")]) == 1
    first, slow, _ = lines(tmp_path / "apart")
    assert first == lines(tmp_path / "here")[0]
    assert (slow["status"], slow["reason"]) == ("image_error", "it takes too long to decode")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["table.csv", "--prompt-column", "promt"], "nearest is 'prompt'"),
        (["table.csv", "--judge", "fakir"], "no judge 'fakir'"),
        (["table.csv", "--max-cost", "3"], "Only served judges support it"),
        (["table.csv", "--shard-size", "0"], "Give a number from 1 to"),
        (["table.csv", "--shard-size", "999999999999999999999"], "Give a number from 1 to"),
        (["table.csv", "--limit", "999999999999999999999"], "Give a number from 1 to"),
        (["table.csv", "--workers", "0"], "Give a number from 1 to"),
        (["table.csv", "--judge", "dreambench+openai:m", "--protocol", "staged"], "Only openai:MODEL"),
        (["table.csv", "--judge", "direct+openai:m", "--protocol", "staged"], "Only openai:MODEL"),
        (["table.csv", "--judge", "openai:m", "--kind", "style"], "Only dreambench+... judges"),
        (["table.csv", "--judge", "openai:m", "--without", "planning"], "Only dreambench+... judges"),
        (["table.csv", "--judge", "openai:m", "--quantization", "nf4"], "Only tiny and hf: judges support it"),
        (["table.csv", "--judge", "clip:m", "--quantization", "nf4"], "Only tiny and hf: judges support it"),
        (["table.csv", "--judge", "dreambench+clip:m"], "no judge 'dreambench+clip:m'"),
    ],
)
def test_wrong_calls_are_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    write(tmp_path, "csv")
    monkeypatch.chdir(tmp_path)
    command = ["score", *arguments, "--out", "out", *([] if "--judge" in arguments else ["--judge", "fake"])]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_served_judge_with_broken_images_inside_a_parquet(tmp_path, served, capsys):
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    from tests.metrics.judges.test_teacher import QUESTIONS, decomposition, has_image, verdict

    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    Image.new("RGB", (8, 8)).save(tmp_path / "exif.png", exif=b"Exif\0\0no TIFF header")
    broken = [b"broken", (tmp_path / "exif.png").read_bytes()]
    cells = [{"bytes": data, "path": None} for data in (picture.read_bytes(), *broken)] + [None]
    rows = [{"prompt": "a cat", "image": cell} for cell in cells]
    features = Features({"prompt": Value("string"), "image": ImageFeature()})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "t.parquet")
    served.respond = lambda request, n: served.completion(verdict() if has_image(request) else decomposition())
    judge, out = f"openai:m@{served.url}", tmp_path / "out"
    assert main(["score", str(tmp_path / "t.parquet"), "--judge", judge, "--out", str(out)]) == 1
    assert [line["status"] for line in lines(out)] == ["ok", "image_error", "image_error", "image_error"]
    assert "failed: 3 image_error" in capsys.readouterr().out
    assert len(served.calls) == 2
    known = tmp_path / "known.jsonl"
    known.write_text(json.dumps({"prompt": "a cat", "questions": [vars(q) for q in QUESTIONS]}) + "\n")
    arguments = ["--judge", judge, "--out", str(tmp_path / "out2"), "--decompositions", str(known)]
    assert main(["score", str(tmp_path / "t.parquet"), *arguments]) == 1
    assert len(served.calls) == 3  # a new folder has a new cache, but the decomposition was there


def test_max_cost_stops_and_the_next_run_goes_on(tmp_path, served, capsys):
    from tests.metrics.judges.test_teacher import decomposition, has_image, verdict

    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"cat {n},a.png\n" for n in range(20)))
    (tmp_path / "prices.yaml").write_text("m: {input: 100, output: 1000}\n")  # a reply: 0.03 dollars
    served.respond = lambda request, n: served.completion(verdict() if has_image(request) else decomposition())
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"openai:m@{served.url}", "--out", str(tmp_path / "out")]
    arguments += ["--shard-size", "3", "--concurrency", "2", "--prices", str(tmp_path / "prices.yaml")]
    assert main([*arguments, "--max-cost", "4.5"]) == 2
    assert "of $4.5" in capsys.readouterr().err
    assert 2 < len(served.calls) < 40
    assert main([*arguments, "--max-cost", "100"]) == 0
    assert len(served.calls) == 40  # nothing was asked twice
    assert f"at prices of {DATED} or of --prices" in capsys.readouterr().out


def test_a_server_that_goes_away_leaves_the_shard_undone_and_failures_can_be_retried(tmp_path, served, capsys):
    from tests.metrics.judges.test_teacher import decomposition, has_image, verdict

    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"cat {n},a.png\n" for n in range(4)))
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"openai:m@{served.url}", "--out", str(tmp_path / "out")]
    arguments += ["--shard-size", "2"]

    def respond(request, n):
        if {"cat 2", "cat 3"} & set(re.findall(r"cat \d", json.dumps(served.calls))):
            return served.failure(503)
        return served.completion(verdict() if has_image(request) else decomposition())

    served.respond = respond
    assert main(arguments) == 2
    assert "answers no call" in capsys.readouterr().err
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", "ok"]
    refusal = served.completion(None, refusal="not today")
    served.respond = lambda request, n: (
        refusal
        if "cat 3" in json.dumps(request)
        else served.completion(verdict() if has_image(request) else decomposition())
    )
    assert main(arguments) == 1
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", "ok", "ok", "refused"]
    served.respond = lambda request, n: served.completion(verdict() if has_image(request) else decomposition())
    assert main(arguments) == 1
    before = len(served.calls)
    assert main([*arguments, "--retry-failed"]) == 0
    assert len(served.calls) == before + 2  # the one that was refused: its decomposition and its judgement


def test_a_trial_of_some_rows_goes_on_with_all(tmp_path, monkeypatch, capsys):
    """It was refused, and another folder paid for the first rows again."""
    asked, score = [], FakeJudge._score
    monkeypatch.setattr(FakeJudge, "_score", lambda self, items, *a: asked.append(len(items)) or score(self, items, *a))
    arguments = ["score", write(tmp_path, "csv"), "--judge", "fake", "--shard-size", "4", "--out", str(tmp_path / "o")]
    for limit in (["--limit", "1"], ["--limit", "6"], [], []):
        assert main([*arguments, *limit]) == 0
    assert sum(asked) == 23 and [line["prompt"] for line in lines(tmp_path / "o")] == [row["prompt"] for row in ROWS]
    assert "Judged again" not in capsys.readouterr().err
    assert main([*arguments, "--limit", "6"]) == 2 and "limit was None and is 6" in capsys.readouterr().err


def test_a_file_of_its_user_below_judges_is_no_run_s(tmp_path):
    """It stopped every command that wrote into the folder above, though only judges with numbers have runs there."""
    own = tmp_path / "o" / "judges" / "mine" / "scores.csv"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert main(["score", write(tmp_path, "csv"), "--judge", "fake", "--out", str(tmp_path / "o")]) == 0
    refuse_others(tmp_path / "o", BOARD_FILES)
    own.parent.rename(own.parent.with_name("2"))
    refuse_others(tmp_path / "o", RUN_FILES)
    with pytest.raises(UserError, match=r"scores.csv is there, and no run.json"):
        refuse_others(tmp_path / "o", BOARD_FILES)


@pytest.mark.parametrize("status", [400, 413, 500, 503])
def test_a_shard_of_items_that_a_server_rejects_is_done(tmp_path, served, status):
    from tests.metrics.judges.test_teacher import decomposition, has_image, verdict

    for number in range(3):
        Image.new("RGB", (8, 8), (100 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"cat {n},{n}.png\n" for n in range(3)))
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"openai:m@{served.url}", "--out", str(tmp_path / "out")]

    def respond(request, n):
        if "cat 2" in json.dumps(request) and has_image(request):
            return served.failure(status, "I do not like this picture")
        return served.completion(verdict() if has_image(request) else decomposition())

    served.respond = respond
    assert main([*arguments, "--shard-size", "2"]) == 1
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", "ok", "transport"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ('{"explanation": "", "score": 11, "naturalness": 11, "artifacts": 1}', "out_of_range"),
        ("I'm sorry, but I can't assist with that.", "refused"),
        ("Well.", "unparsable"),
    ],
)
def test_retry_failed_asks_what_failed_and_nothing_else(tmp_path, served, reply, status):
    good = '{"explanation": "as asked", "score": 9, "naturalness": 8, "artifacts": 4}'
    for number in range(3):
        Image.new("RGB", (8, 8), (100 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"cat {n},{n}.png\n" for n in range(3)))
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"direct+openai:m@{served.url}"]
    arguments += ["--out", str(tmp_path / "out")]
    served.respond = lambda request, n: served.completion(reply if "cat 1" in json.dumps(request) else good)
    assert main(arguments) == 1
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", status, "ok"]
    served.respond = lambda request, n: served.completion(good)
    served.calls.clear()
    assert main([*arguments, "--retry-failed"]) == 0
    assert len(served.calls) == 1 and "cat 1" in json.dumps(served.calls)
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok"] * 3
    assert not list((tmp_path / "out/shards").glob("*.retry"))


def test_retry_failed_keeps_the_answers_to_a_prompt_s_questions(tmp_path, served):
    """A judge of one question has another template for questions: each item was asked again."""
    from tests.metrics.judges.test_vqa import QUESTIONS, told

    for number in range(3):
        Image.new("RGB", (8, 8), (100 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("prompt,image\n" + "".join(f"cat {n},{n}.png\n" for n in range(3)))
    asked = [{"prompt": f"cat {n}", "questions": [vars(QUESTIONS[0]) | {"text": f"A cat {n}?"}]} for n in range(3)]
    (known := tmp_path / "known.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in asked))
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", f"vqa+openai:m@{served.url}"]
    arguments += ["--out", str(tmp_path / "out"), "--decompositions", str(known)]
    good = told(served, {"Yes": 0.9})
    served.respond = lambda request, n: served.failure(503) if "cat 1" in json.dumps(request) else good
    assert main(arguments) == 1
    assert [line["status"] for line in lines(tmp_path / "out")] == ["ok", "transport", "ok"]
    (tmp_path / "out/calls.sqlite").unlink()
    served.respond = lambda request, n: good
    served.calls.clear()
    assert main([*arguments, "--retry-failed"]) == 0
    assert len(served.calls) == 1 and "cat 1" in json.dumps(served.calls)


def test_an_address_without_a_server_is_one_line(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("prompt,image\na,b.png\n")
    judge = "openai:m@http://127.0.0.1:9/v1"
    assert main(["score", str(tmp_path / "t.csv"), "--judge", judge, "--out", str(tmp_path / "out")]) == 2
    assert "no answer from http://127.0.0.1:9/v1" in capsys.readouterr().err


MEASURE = "import sys; from t2i_judge.cli import main; raise SystemExit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_memory_stays_flat_at_a_hundred_thousand_rows():
    from recipes.performance.client import score_rss

    assert score_rss()["value"] < 1.1  # which raises above 1 GB


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("prompt,image\n" + "".join(f"a prompt {n},{n}.png\n" for n in range(20_000)))
    command = [sys.executable, "-c", MEASURE, "score", str(table), "--judge", "fake", "--out", str(out)]
    for wait in (0.6, 1.0, 1.4):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    judged = lines(out)
    assert [row["prompt"] for row in judged] == [f"a prompt {n}" for n in range(20_000)]


RAY = """
import os, signal, sys, time
import ray
from ray.cluster_utils import Cluster
from t2i_judge.cli import judge_arguments, main
from t2i_judge.cli.run_files import BOARD_FILES, RUN_FILES, refuse_others
from t2i_judge.errors import UserError

sys.path.insert(0, sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
cluster.add_node(num_cpus=2, object_store_memory=100_000_000)
ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": sys.argv[1]}})
code = main(sys.argv[2:])
ray.shutdown()
cluster.shutdown()
raise SystemExit(code)
"""
# A fake judge whose first process dies in the middle of its second shard.
DYING = """
import os
from pathlib import Path
from t2i_judge.judges import fake as fake_judge

class FakeJudge(fake_judge.FakeJudge):
    def score(self, images, prompts, *args, **kwargs):
        died = Path(os.environ["DIED"])
        if "prompt 7" in prompts and not died.exists():
            died.write_text(str(os.getpid()))
            os.kill(os.getpid(), 9)
        return super().score(images, prompts, *args, **kwargs)

fake_judge.FakeJudge = FakeJudge
"""


@pytest.mark.slow
def test_a_cluster_gives_the_same_files_though_a_worker_dies(tmp_path):
    pytest.importorskip("ray")
    source = write(tmp_path, "parquet")
    plain, spread, died = tmp_path / "plain", tmp_path / "spread", tmp_path / "died"
    assert main(["score", source, "--judge", "fake", "--out", str(plain), "--shard-size", "4"]) == 0
    (tmp_path / "sitecustomize.py").write_text(DYING)  # every worker process reads it
    arguments = ["score", source, "--judge", "fake", "--out", str(spread), "--shard-size", "4", "--engine", "ray"]
    environment = {**os.environ, "DIED": str(died), "RAY_DEDUP_LOGS": "0", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", RAY, str(tmp_path), *arguments, "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert died.exists()
    assert (spread / "scores.csv").read_bytes() == (plain / "scores.csv").read_bytes()


@pytest.mark.parametrize("name", SCORES_COLUMNS)
def test_no_column_of_scores_csv_stands_there_twice(tmp_path, capsys, name):
    source, out = tmp_path / "table.csv", tmp_path / "out"
    source.write_text(f"prompt,image,{name}\na cat,a.png,1\n" if name != "prompt" else "prompt,image\na cat,a.png\n")
    code = main(["score", str(source), "--judge", "fake", "--out", str(out), "--keep", name])
    if name == "prompt":  # the same column; `--by prompt` keeps it, too
        assert code == 0
        assert (out / "scores.csv").read_text().splitlines()[0] == ",".join(SCORES_COLUMNS)
        assert [row["prompt"] for row in iter_rows(str(out / "scores.csv"))] == ["a cat"]
    else:
        assert code == 2 and not out.exists()
        assert f"Column '{name}' cannot be kept. The file scores.csv has a column of its own" in capsys.readouterr().err
