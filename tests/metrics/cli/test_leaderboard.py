"""`t2i-judge leaderboard` as its user runs it: folders or a table, a judge on loopback, and what is odd in them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from recipes.loopback.http import started
from t2i_judge.cli import main
from t2i_judge.cli.run_files import BATCHES, BOARD_FILES, OTHERS, QUESTIONS
from t2i_judge.inputs import images
from t2i_judge.prompts import PAIR_HASH
from tests.metrics.runs.test_lines import LINES, forge

PROMPTS = [f"a thing number {number} on a table" for number in range(12)]


@pytest.fixture(scope="module")
def teacher() -> Iterator[str]:
    """A server that finds sharp pictures good."""
    with started("tests.recipes.photo_teacher") as url:
        yield url


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def calls(url: str) -> int:
    with urllib.request.urlopen(f"{url}/stats") as response:
        return json.load(response)["calls"]


def picture(number: int, blur: float = 0.0) -> Image.Image:
    noise = np.random.default_rng(number).normal(128, 20 + 5 * number, (96, 96)).clip(0, 255)
    image = Image.fromarray(noise.astype("uint8")).convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def write_images(folder: Path, blur: float = 0.0, count: int = len(PROMPTS)) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        picture(number, blur).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Arguments of two generators, one of them soft, and a text file of prompts."""
    write_images(tmp_path / "sharp"), write_images(tmp_path / "soft", 2)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    named = [f"--images={name}={tmp_path / name}" for name in ("sharp", "soft")]
    return [*named, f"--prompts={tmp_path / 'prompts.txt'}", f"--out={tmp_path / 'run'}"]


def run(teacher: str, arguments: Sequence[str], judge: str = "openai:photo-teacher") -> int:
    return main(["leaderboard", "--judge", f"{judge}@{teacher}", *arguments])


def board(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "run" / "leaderboard.json").read_text())


def test_isolated_images_are_decoded_by_no_part_of_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for images that are alike and the report's small pictures decoded them here."""
    for generator in "ab":
        write_images(tmp_path / generator, count=2)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    here, opened = [], images._open
    monkeypatch.setattr(images, "_open", lambda *args, **options: here.append(args) or opened(*args, **options))
    folders = [f"--images={name}={tmp_path / name}" for name in "ab"]
    command = ["leaderboard", *folders, f"--prompts={tmp_path / 'prompts.txt'}", "--judge", "tiny"]
    assert main([*command, "--out", str(tmp_path / "run"), "--isolate-images"]) == 0
    assert here == []
    assert main([*command, "--out", str(tmp_path / "other")]) == 0
    assert here


def test_two_folders_and_a_key_give_an_answer_and_a_second_run_asks_nothing(
    tmp_path: Path, folders: list[str], teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = calls(teacher)
    assert run(teacher, [*folders, "--detect", "0.5"]) == 0
    assert calls(teacher) - before == 12 + 24
    result = board(tmp_path)
    assert [(g["name"], g["n"], g["rank"]) for g in result["generators"]] == [
        ("sharp", 12, [1, 1]),
        ("soft", 12, [2, 2]),
    ]
    (pair,) = result["pairs"]
    assert pair["decided"] and pair["n"] == pair["wins"] == 12 and result["prompts_needed"] >= 2
    assert result["judge"]["model"] == "photo-teacher" and result["bradley_terry"] is None
    text = (tmp_path / "run" / "leaderboard.md").read_text()
    shown = capsys.readouterr().out
    assert "sharp is better" in text and "| sharp" not in shown and text.splitlines()[0].strip("# ") in shown
    assert run(teacher, folders) == 0 and calls(teacher) - before == 36
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"run.json", "shards", "scores.csv", "summary.json"}


def test_a_board_says_that_not_all_images_are_compared_for_variety(
    tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i_judge.boards.spread.MOST", 2)
    for name, count in (("many", 3), ("few", 2)):
        for image in write_images(tmp_path / name, count=count).glob("*.png"):
            image.with_suffix(".txt").write_text(PROMPTS[0])
    named = [f"--images={name}={tmp_path / name}" for name in ("many", "few")]
    assert run(teacher, [*named, f"--out={tmp_path / 'run'}"]) == 0
    said = [warning for warning in board(tmp_path)["warnings"] if warning.startswith("variety: ")]
    assert len(said) == 1 and "1 generator has more than 2 images of a prompt" in said[0]
    assert said[0] in (tmp_path / "run" / "leaderboard.md").read_text()


def test_a_further_generator_and_a_changed_image_cost_their_own_calls_only(
    tmp_path: Path, folders: list[str], teacher: str
) -> None:
    assert run(teacher, [*folders, "--shard-size", "4"]) == 0
    before = calls(teacher)
    write_images(tmp_path / "middling", 1)
    more = [f"--images=middling={tmp_path / 'middling'}", *folders, "--shard-size", "4"]
    assert run(teacher, more) == 0
    assert calls(teacher) - before == 12 and len(board(tmp_path)["generators"]) == 3
    picture(40).save(tmp_path / "soft" / "003.png")
    assert run(teacher, more) == 0
    assert calls(teacher) - before == 13


def test_a_table_with_a_column_of_generators_and_pictures_in_its_cells(tmp_path: Path, teacher: str) -> None:
    import io

    import pandas

    def png(number: int, blur: float) -> dict:
        out = io.BytesIO()
        picture(number, blur).save(out, "PNG")
        return {"bytes": out.getvalue(), "path": None}

    rows = [
        {"prompt": prompt, "image": png(number, blur), "model": name, "category": "even" if number % 2 else "odd"}
        for number, prompt in enumerate(PROMPTS)
        for name, blur in (("../sharp", 0.0), ("soft", 2.0))
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    arguments = [str(tmp_path / "table.parquet"), "--generator", "model", f"--out={tmp_path / 'run'}"]
    assert run(teacher, arguments) == 0
    result = board(tmp_path)
    assert [g["name"] for g in result["generators"]] == ["../sharp", "soft"] and result["pairs"][0]["decided"]
    assert set(result["generators"][0]["categories"]) == {"even", "odd"}
    assert not (tmp_path / "sharp").exists() and len(list((tmp_path / "run" / "images").iterdir())) == 24


def test_seeds_spread_and_what_is_missing(tmp_path: Path, teacher: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, blur in (("one", 0.0), ("many", 1.0)):
        for number in range(12):
            for seed in range(2):
                folder = tmp_path / name / f"{number:05d}" / "samples"
                folder.mkdir(parents=True, exist_ok=True)
                same = name == "one"
                picture(number if same else number + 12 * seed, blur).save(folder / f"{seed:04d}.png")
            (folder.parent / "metadata.jsonl").write_text(json.dumps({"tag": "t", "prompt": PROMPTS[number]}))
    (tmp_path / "many" / "00003" / "samples" / "0001.png").write_bytes(b"no image")
    for seed in range(2):
        (tmp_path / "one" / "00004" / "samples" / f"{seed:04d}.png").unlink()
    arguments = [f"--images={name}={tmp_path / name}" for name in ("one", "many")]
    assert run(teacher, [*arguments, f"--out={tmp_path / 'run'}"]) == 0
    result = board(tmp_path)
    one, many = result["generators"]
    assert (one["n"], one["missing"]) == (22, 1) and (many["n"], many["n_failed"]) == (23, {"image_error": 1})
    assert result["pairs"][0]["n"] == 11
    assert any("one has no image for 1 of 12 prompts: 'a thing number 4" in warning for warning in result["warnings"])
    assert one["spread"]["near_identical"]["mean"] > many["spread"]["near_identical"]["mean"]
    assert many["spread"]["near_identical"]["n"] == 11 and many["spread"]["score_sd"]["n"] == 11


def test_two_judges_and_an_order_of_checkpoints(tmp_path: Path, folders: list[str], teacher: str) -> None:
    second = ["--judge", f"direct+openai:photo-teacher@{teacher}"]
    assert run(teacher, [*folders, "--ordered", *second]) == 0
    result = board(tmp_path)
    assert result["ordered"]["best"] == "sharp" and len(result["ordered"]["ci"]) == 2
    assert len(result["judges"]) == 2 and len(result["boards"]) == 1 and "kendall_tau_b" in result["agreement"]
    form = {"generators", "pairs", "bradley_terry", "detectable", "judge", "prompts", "warnings"}
    assert form <= result.keys() and form <= result["boards"][0].keys()
    assert [point["name"] for point in result["ordered"]["curve"]] == ["sharp", "soft"]
    assert result["ordered"]["against"][0]["first"]["decided"]
    assert "Kendall" in (tmp_path / "run" / "leaderboard.md").read_text()


def test_the_selftest_s_verdict_on_the_judge_is_named(
    tmp_path: Path, folders: list[str], teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server names a snapshot in its replies, which the selftest's judge did not have before the first one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    assert run(teacher, folders) == 0 and board(tmp_path)["judge"]["selftest"] is None
    assert board(tmp_path)["judge"]["revision"]
    rows = [f"{prompt},sharp/{number:03d}.png" for number, prompt in enumerate(PROMPTS)]
    (tmp_path / "items.csv").write_text("\n".join(["prompt,image", *rows]) + "\n")
    out = tmp_path / "selftest.json"
    main(
        [
            "selftest",
            str(tmp_path / "items.csv"),
            "--quick",
            "--judge",
            f"openai:photo-teacher@{teacher}",
            f"--json={out}",
        ]
    )
    said = json.loads(out.read_text())
    assert said["judge"]["revision"] == board(tmp_path)["judge"]["revision"]
    assert run(teacher, folders) == 0
    found = board(tmp_path)["judge"]["selftest"]
    assert found["verdict"] == said["verdict"] and found["n"] == said["n"]
    assert f"{said['verdict']} on {said['n']} items" in (tmp_path / "run" / "leaderboard.md").read_text()


def comparisons(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "run" / "comparisons.jsonl").read_text().splitlines()]


def test_it_writes_what_it_declares(tmp_path: Path, folders: list[str], teacher: str) -> None:
    second = ["--judge", f"direct+openai:photo-teacher@{teacher}", "--pairs", "1"]
    assert run(teacher, [*second, *folders[1:]]) == 0
    assert run(teacher, [*second, *folders]) == 0
    not_here = {QUESTIONS, BATCHES}  # of a set with questions; with --batch
    written = {path.name for path in (tmp_path / "run").iterdir() if path.name[0] != "."}
    assert written == {*BOARD_FILES} - not_here
    assert {path.name for path in (tmp_path / "run" / OTHERS / "2").iterdir() if path.name[0] != "."} < written


def test_pairs_are_compared_in_both_orders_and_earlier_ones_add_up(
    tmp_path: Path, folders: list[str], teacher: str
) -> None:
    write_images(tmp_path / "middling", 1)
    more = [f"--images=middling={tmp_path / 'middling'}", *folders]
    assert run(teacher, [*more, "--pairs", "1"]) == 0
    lines, before = comparisons(tmp_path), calls(teacher)
    assert len(lines) == 12 and len({line["prompt_id"] for line in lines}) == 12
    assert run(teacher, [*more, "--pairs", "all"]) == 0
    assert calls(teacher) - before == 2 * 24 and comparisons(tmp_path)[:12] == lines
    assert run(teacher, [*more, "--pairs", "all"]) == 0 and calls(teacher) - before == 48
    result = board(tmp_path)
    assert result["comparisons"] == {"n": 36, "ties": 0, "flips": 0, "failed": 0}
    wins = [line for line in comparisons(tmp_path) if {line["a"], line["b"]} == {"sharp", "soft"}]
    assert all(line["winner"] == line["first"] == line["second"] == "a" and line["a"] == "sharp" for line in wins)
    assert {"image_a", "image_b", "status", "reason"} <= wins[0].keys()
    assert result["bradley_terry"] is None and any("Bradley-Terry" in warning for warning in result["warnings"])


def test_two_servers_of_one_model_are_told_apart_without_their_addresses(
    tmp_path: Path, folders: list[str], teacher: str
) -> None:
    """Both stood under one name on the board."""
    other = teacher.replace("127.0.0.1", "localhost")
    assert run(teacher, [*folders, "--judge", f"openai:photo-teacher@{other}"]) == 0
    names = ["openai:photo-teacher", "openai:photo-teacher (server 2)"]
    assert [judge["name"] for judge in board(tmp_path)["judges"]] == names
    for file in ("leaderboard.json", "leaderboard.md", "report.html"):
        text = (tmp_path / "run" / file).read_text()
        assert names[1] in text and "127.0.0.1" not in text and "localhost" not in text


def test_a_board_is_of_one_largest_side_and_says_it(
    tmp_path: Path, folders: list[str], teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(teacher, [*folders, "--pairs", "1", "--max-image-side", "48"]) == 0
    assert board(tmp_path)["judge"]["max_image_side"] == 48
    assert any("at most 48 pixels" in warning for warning in board(tmp_path)["warnings"])
    before = calls(teacher)
    for other in ([], ["--max-image-side", "64"]):
        assert run(teacher, [*folders, "--pairs", "all", *other]) == 2
        assert "max_image_side was 48 and is " in capsys.readouterr().err
    assert calls(teacher) == before
    record = json.loads((path := tmp_path / "run" / "run.json").read_text())
    path.write_text(json.dumps({**record, "max_image_side": None}))  # as of a run with the default
    assert run(teacher, [*folders, "--pairs", "1"]) == 0
    assert not any("pixels" in warning for warning in board(tmp_path)["warnings"])


def test_a_judge_of_places_makes_ties_that_are_counted_as_flips(
    tmp_path: Path, folders: list[str], teacher: str
) -> None:
    assert run(teacher, folders, "pair+openai:first") == 0
    result = board(tmp_path)
    assert result["comparisons"] == {"n": 12, "ties": 12, "flips": 12, "failed": 0}
    assert [entry["strength"] for entry in result["bradley_terry"]] == pytest.approx([0, 0])
    assert not result["pairs"][0]["decided"] and result["generators"][0]["n_failed"] == {"skipped": 12}


def test_a_changed_order_of_generators_costs_nothing_and_a_changed_image_its_own_pairs(
    tmp_path: Path, folders: list[str], teacher: str
) -> None:
    assert run(teacher, [*folders, "--pairs", "all"]) == 0
    before, (first, *others) = calls(teacher), comparisons(tmp_path)
    lines = [{**first, "template_hash": "of an older version"}, *others]
    (tmp_path / "run" / "comparisons.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run(teacher, [folders[1], folders[0], *folders[2:], "--pairs", "all"]) == 0
    assert {line["template_hash"] for line in comparisons(tmp_path)} == {PAIR_HASH}
    assert calls(teacher) == before and board(tmp_path)["comparisons"]["n"] == 12
    picture(41).save(tmp_path / "soft" / "003.png")
    assert run(teacher, [*folders, "--pairs", "all"]) == 0
    assert calls(teacher) - before == 1 + 2  # its judgement, its pair in both orders
    assert board(tmp_path)["comparisons"]["n"] == 12 and len(comparisons(tmp_path)) == 13


def test_what_it_takes_is_said_first_and_one_cap_holds_for_all_judges(
    tmp_path: Path, folders: list[str], teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.yaml").write_text("photo-teacher: {input: 100, output: 1000}\n")  # a call: 0.3 dollars
    paid = [*folders, f"--prices={tmp_path / 'prices.yaml'}", "--concurrency=1"]
    second = ["--judge", f"direct+openai:photo-teacher@{teacher}"]
    assert run(teacher, [*paid, *second, "--max-cost", "15"]) == 2  # 36 calls are 10.8, 48 more are too many
    error = capsys.readouterr().err
    assert "24 images, 12 decompositions + 24 calls" in error and "at most $15.00" in error
    assert "at most $4.20" in error and "which may not be enough" in error and "Stopped at $" in error
    before = calls(teacher)
    assert run(teacher, [*paid, *second, "--max-cost", "20"]) == 0 and calls(teacher) - before < 48
    capsys.readouterr()
    assert run(teacher, [*paid, *second]) == 0 and "images" not in capsys.readouterr().err.replace(
        "match no images", ""
    )


@pytest.mark.parametrize("size", ["12", "500"])
def test_what_is_judged_again_for_other_questions_is_said_with_the_cost(
    tmp_path: Path, folders: list[str], teacher: str, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    """Of a shard with one image to judge, all were announced."""
    assert run(teacher, [*folders, f"--shard-size={size}"]) == 0
    by = json.loads((tmp_path / "run" / LINES).open().readline())["judge"]
    forge(tmp_path / "run", judge={**by, "template_hash": "of an older version"})
    write_images(tmp_path / "middling", 1)
    capsys.readouterr()
    (tmp_path / "run" / "calls.sqlite").unlink()  # or the forged one's reply is there
    before = calls(teacher)
    assert run(teacher, [f"--images=middling={tmp_path / 'middling'}", *folders, f"--shard-size={size}"]) == 0
    told = capsys.readouterr().err
    assert size != "12" or "another judge, or by other questions" in told
    assert "photo-teacher" in told and "13 images, 12 decompositions + 13 calls" in told
    assert calls(teacher) - before == 12 + 13


@pytest.mark.parametrize(("bound", "code"), [("0.0", 0), ("9.99", 1)])
def test_fail_below_is_for_machines(tmp_path: Path, folders: list[str], teacher: str, bound: str, code: int) -> None:
    assert run(teacher, [*folders, "--fail-below", bound]) == code


def test_fail_below_says_3_where_the_run_could_not_be_made(tmp_path: Path, folders: list[str]) -> None:
    gone = ["leaderboard", "--judge", "openai:photo-teacher@http://127.0.0.1:9", *folders]
    assert main(gone) == 2 and main([*gone, "--fail-below", "5"]) == 3
    assert main([*gone, "--fail-below", "5", "--images=soft=elsewhere"]) == 2  # a user's mistake stays one


def test_fail_below_makes_no_mistake_undecided(tmp_path: Path, folders: list[str], teacher: str, capsys) -> None:
    assert run(teacher, folders) == 0
    asked = [*folders, "--fail-below", "5"]
    for mistake, told in [
        (["--seed=3"], "is the folder of another run"),
        (["--decompositions=nowhere.jsonl"], "Cannot read decompositions from nowhere.jsonl"),
    ]:
        capsys.readouterr()
        assert run(teacher, [*asked, *mistake]) == 2
        assert told in capsys.readouterr().err
    assert run(teacher, asked, "hf:nowhere") == 2


@pytest.mark.slow
def test_a_cluster_makes_the_same_board(tmp_path: Path, folders: list[str], teacher: str) -> None:
    pytest.importorskip("ray")
    assert run(teacher, [*folders, "--engine=ray", "--shard-size=6"]) == 0
    spread = board(tmp_path)
    assert run(teacher, [*folders[:-1], f"--out={tmp_path / 'here'}", "--shard-size=6"]) == 0
    assert json.loads((tmp_path / "here" / "leaderboard.json").read_text())["generators"] == spread["generators"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There are no images"),
        (["--images=a=sharp", "--images=a=soft"], "--images names 'a' twice"),
        (["--images=sharp"], "A generator needs a name"),
        (["--images=a=sharp", "--prompts=short.txt"], "short.txt has 2 lines, sharp 12 images"),
        (["--images=a=sharp", "--prompts=other.csv"], "no prompt matches an image of sharp"),
        (["--images=a=sharp", "--prompts=wrong.csv"], "wrong.csv has no column 'prompt'"),
        (["--images=a=empty"], "empty has no images"),
        (["--images=a=sharp"], "has 12 images, none with a prompt"),
        (["table.csv"], "table.csv needs --generator"),
        (["table.csv", "--generator=who"], "table.csv has no column 'who'"),
        (["--images=a=sharp", "--judge=tiny", "--judge=tiny"], "--judge names the same judge twice"),
        (["--images=a=sharp", "--pairs=0"], "--pairs is 0"),
        (["--images=a=sharp", "--detect=0"], "--detect is 0.0"),
        (["--images=a=sharp", "--fail-below=nan"], "--fail-below is nan"),
        (["--images=a=sharp", "--from=sharp"], "--from needs --prompts"),
        (["--images=a=sharp", "--prompts=nowhere"], "--prompts nowhere is neither a file nor a prompt set"),
        (["--images=a=sharp", "--judge=tiny", "--judge=pair+openai:m"], "Only the first judge compares images"),
        (["--images=a=sharp", "--pairs=all"], "tiny answers with levels"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    folders: list[str],
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("one\ntwo\n")
    (tmp_path / "other.csv").write_text("prompt,id\nx,9999\n")
    (tmp_path / "wrong.csv").write_text("text,id\nx,000\n")
    (tmp_path / "table.csv").write_text("prompt,image,model\nx,sharp/000.png,a\n")
    assert main(["leaderboard", *arguments, "--out=run"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_images_that_match_no_prompt_are_named(tmp_path: Path, folders: list[str], teacher: str) -> None:
    rows = "".join(f"{prompt},{number:03d}.png\n" for number, prompt in enumerate(PROMPTS[:11]))
    (tmp_path / "prompts.csv").write_text(f"prompt,image\n{rows}a cat,cat.png\n")
    assert run(teacher, [*folders, f"--prompts={tmp_path / 'prompts.csv'}"]) == 0
    result = board(tmp_path)
    table = tmp_path / "prompts.csv"
    assert f"sharp: left out, without a prompt in {table}: '011.png'" in result["warnings"]
    assert f"no image for 1 prompt of {table}: 'a cat'" in result["warnings"]
    assert result["pairs"][0]["n"] == 11


def test_labels_stand_beside_the_judge_and_a_bad_table_is_told_before_anything_is_paid(
    tmp_path: Path, folders: list[str], teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "people.csv"
    labels.write_text("generator,prompt,mos\n" + "".join(f"soft,{prompt},4\nsharp,{prompt},2\n" for prompt in PROMPTS))
    before = calls(teacher)
    assert run(teacher, [*folders, "--labels", str(labels)]) == 2 and calls(teacher) == before
    assert "--label-columns" in capsys.readouterr().err
    assert run(teacher, [*folders, "--labels", str(labels), "--label-columns", "mos", "--by-hand"]) == 0
    people = board(tmp_path)["people"]
    assert people["chosen_by_hand"] and [g["n_labelled"] for g in people["generators"]] == [12, 12]
    assert people["pairs"][0]["mean"] is None and "at least 30 are needed" in people["pairs"][0]["note"]
    assert people["pairs"][0]["judge"] > 0 and "chosen by hand" in (tmp_path / "run" / "leaderboard.md").read_text()
    plan = ["label-plan", str(tmp_path / "run"), "--width", "1", "--labels", str(labels), "--label-columns", "mos"]
    assert main(plan) == 0 and "label next: 0 images" in capsys.readouterr().out
    assert main([*plan[:4], "--out", str(tmp_path / "next.csv")]) == 0
    lines = (tmp_path / "next.csv").read_text().splitlines()
    assert len(lines) == 25 and lines[0].startswith("id,generator,prompt") and lines[0].endswith(",label")
