"""Images and tables as users have them, through the commands: every kind is judged, and one odd one ends nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_judge.cli import main
from tests.embedded import needs_embedded_judge
from tests.judge_folders import make_judge
from tests.recipes.photographs import PHOTOGRAPHS


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real model of a few thousand parameters, which looks at every image."""
    return f"direct+hf:{make_judge(tmp_path_factory.mktemp('judges') / 'judge')}"


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


PNG = encoded(picture())
TEXT = base64.b64encode(PNG).decode()
GOOD = [
    TEXT,
    f"data:image/png;base64,{TEXT}",
    "a.png",
    "['a.png']",
    json.dumps([{"path": "a.png"}]),
    "grey.png",
    "a.avif",
]
ODD = {
    "https://example.org/a.png": "URLs are not fetched",
    "gone.png": "cannot read gone.png",
    "": "no image",
    "['a.png', 'a.avif']": "2 images in one cell",
    "broken.png": "broken or truncated",
    "pointer.png": "Git LFS pointer",
    "animated.gif": "animated",
    "data:image/png;base64,AAAA": "not an image",
    "float.tif": "floating-point",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TSV as VLMEvalKit writes it, with every kind of cell, good and odd by turns."""
    folder = tmp_path_factory.mktemp("table")
    picture().save(folder / "a.png")
    picture().save(folder / "a.avif", quality=100, subsampling="4:4:4")
    Image.fromarray(np.full((24, 24), 200, np.uint16)).save(folder / "grey.png")
    (folder / "broken.png").write_bytes(PNG[:200])
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    picture().save(folder / "animated.gif", save_all=True, append_images=[picture(1)])
    Image.new("F", (8, 8)).save(folder / "float.tif")
    with (folder / "table.tsv").open("w", newline="") as out:
        rows = csv.writer(out, delimiter="\t")
        rows.writerow(["index", "question", "image", "generator"])
        for number, cell in enumerate([*GOOD, *ODD]):
            rows.writerow([number, f"prompt {number // 5}", cell, f"g{number % 2}"])
    return folder / "table.tsv"


COLUMNS = ["--prompt-column", "question", "--id-column", "index"]


def test_score_judges_what_it_can_and_says_why_of_the_rest(table, judge, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["score", str(table), *COLUMNS, "--judge", judge, "--by", "generator", "--out", str(out)]) == 1
    with (out / "scores.csv").open(newline="") as scores:
        rows = list(csv.DictReader(scores))
    assert [row["status"] for row in rows] == ["ok"] * len(GOOD) + ["image_error"] * len(ODD)
    for row, reason in zip(rows[len(GOOD) :], ODD.values(), strict=True):
        assert reason in row["reason"], row
    assert len({round(float(row["overall"]), 4) for row in rows[:5]}) == 1  # the same picture in five kinds of cell
    groups = json.loads((out / "summary.json").read_text())["by"]["generator"]
    for group, parity in zip(groups, (0, 1), strict=True):
        ok = [row for row in rows[parity::2] if row["status"] == "ok"]
        mean = group["means"]["overall"]
        assert (group["values"], group["n"]) == ([f"g{parity}"], len(ok)) and mean["n"] == len(ok)
        assert mean["mean"] == pytest.approx(np.mean([float(row["overall"]) for row in ok]))
        assert mean["ci"][0] < mean["mean"] < mean["ci"][1]
        assert group["n_failed"] == {"image_error": sum(row["status"] != "ok" for row in rows[parity::2])}
    printed = capsys.readouterr().out
    assert "by generator (95% interval over prompts):" in printed and "failed: " in printed


def test_leaderboard_keeps_pictures_of_cells_and_counts_the_odd_ones(table, judge, tmp_path) -> None:
    columns = ["--prompt-column", "question", "--generator", "generator"]
    assert main(["leaderboard", str(table), *columns, "--judge", judge, "--out", str(tmp_path / "run")]) == 0
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert sum(generator["n"] for generator in board["generators"]) > 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "shards" / "000000.jsonl").open()]
    assert sorted(line["status"] for line in lines) == ["image_error"] * len(ODD) + ["ok"] * len(GOOD)
    reasons = " ".join(str(line["reason"]) for line in lines)
    assert all(reason in reasons for reason in ODD.values())


def test_a_folder_is_scored_without_a_table_and_by_several_columns(tmp_path, capsys) -> None:
    folder = tmp_path / "outputs"
    lines = ["file_name,prompt,model,style"]
    for number in range(6):
        (folder / f"m{number % 2}").mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"m{number % 2}" / f"{number}.png")
        lines.append(f"m{number % 2}/{number}.png,a thing {number // 2},m{number % 2},s{number % 3}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    arguments = ["score", str(folder), "--judge", "fake", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main([*arguments, "--by", "model", "--by", "model,style"]) == 0  # nothing is judged again
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [group["values"] for group in summary["by"]["model"]] == [["m0"], ["m1"]]
    assert len(summary["by"]["model,style"]) == 6 and summary["by"]["model,style"][0]["means"]["overall"]["ci"] is None
    with (tmp_path / "out" / "scores.csv").open(newline="") as scores:
        rows = list(csv.DictReader(scores))
    assert [row["id"] for row in rows] == ["m0/0", "m0/2", "m0/4", "m1/1", "m1/3", "m1/5"]
    assert rows[0]["model"] == "m0" and rows[5]["style"] == "s2"
    printed = capsys.readouterr().out
    assert "by model,style" in printed and "[too few prompts]" in printed
    assert main([*arguments, "--by", "modle"]) == 2
    assert "no column 'modle'. The nearest is 'model'" in capsys.readouterr().err
    picture(9).save(folder / "m0" / "0.png")  # another picture under the same name
    assert main(arguments) == 2
    assert "is the folder of another run. sha256 of source was" in capsys.readouterr().err


@needs_embedded_judge
def test_the_embedded_judge_names_what_sees_photographs(tmp_path, capsys) -> None:
    (tmp_path / "photo.csv").write_text(f"prompt,image\na cat,{next(iter(PHOTOGRAPHS.values()))}\n")
    assert main(["score", str(tmp_path / "photo.csv"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "The first that failed is 00000000 (skipped): out_of_domain" in said
    assert "hf:MODEL" in said and "openai:MODEL" in said and "ocr:rapidocr" in said


def test_prompts_out_of_pngs(tmp_path, capsys) -> None:
    from tests.metrics.inputs.test_folders import COMFY, with_texts

    (tmp_path / "comfy").mkdir()
    with_texts(tmp_path / "comfy" / "ComfyUI_00001_.png", prompt=COMFY)
    arguments = ["--judge", "fake", "--out", str(tmp_path / "out")]
    assert main(["score", str(tmp_path / "comfy"), "--prompts-from", "png", *arguments]) == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as scores:
        assert [row["prompt"] for row in csv.DictReader(scores)] == ["a red cat, on a mat"]
    board = ["leaderboard", f"--images=a={tmp_path / 'comfy'}", "--prompts-from", "png", "--judge", "fake"]
    assert main([*board, "--out", str(tmp_path / "board")]) == 0
    assert main([*board, "--prompts", "p.txt", "--out", str(tmp_path / "board")]) == 2


def write_table(path: Path, header: str, *rows: tuple[object, ...], separator: str = ",") -> Path:
    with path.open("w", newline="") as out:
        csv.writer(out, delimiter=separator).writerows([header.split(), *rows])
    return path


def lines_of(out: Path) -> list[dict]:
    """Of all shards of a run."""
    return [json.loads(line) for shard in sorted((out / "shards").glob("*.jsonl")) for line in shard.open()]


def overall(lines: list[dict], name: str) -> dict[str, float]:
    """Scores of the items that are OK by a field; batches of other sizes differ by rounding."""
    return {line[name]: round(line["scores"]["overall"], 4) for line in lines if line["status"] == "ok"}


def test_a_cell_may_carry_the_index_of_the_row_that_has_its_image(tmp_path, judge) -> None:
    other = base64.b64encode(encoded(picture(1))).decode()
    (tmp_path / "9").write_bytes(encoded(picture(1)))  # a file of that name is no index
    cells = [TEXT, "10", "11", other, "13", "77", "17", "16", "18", "9", "gone.png", " 10 "]
    rows = [(10 + number, "a cat", cell, "AB"[number % 2]) for number, cell in enumerate(cells)]
    table = write_table(tmp_path / "t.tsv", "index question image generator", *rows, separator="\t")
    arguments = [str(table), "--prompt-column", "question", "--id-column", "index", "--judge", judge]
    assert main(["score", *arguments, "--shard-size", "2", "--out", str(tmp_path / "out")]) == 1
    lines = lines_of(tmp_path / "out")
    scores = overall(lines, "image_id")
    first, second = scores["10"], scores["13"]
    assert scores == {"10": first, "11": first, "12": first, "21": first, "13": second, "14": second, "19": second}
    assert first != second
    assert {line["image_id"]: line["reason"] for line in lines if line["status"] == "image_error"} == {
        "15": "its image is that of index 77, which no rows have",
        "16": "no row has its image; the rows refer to each other: 16 -> 17 -> 16",
        "17": "no row has its image; the rows refer to each other: 17 -> 16 -> 17",
        "18": "no row has its image; the rows refer to each other: 18 -> 18",
        "20": "cannot read gone.png: No such file or directory",
    }
    assert main(["leaderboard", *arguments, "--generator", "generator", "--out", str(tmp_path / "board")]) == 0
    board = lines_of(tmp_path / "board")
    assert len(board) == len(lines)
    assert {line["row"]["prompt_id"]: round(line["scores"]["overall"], 4) for line in board if line["scores"]} == scores


def test_an_index_that_two_rows_have_stands_for_neither_image(tmp_path, judge) -> None:
    rows = [(1, "a cat", TEXT), (1, "a cat", TEXT), (2, "a cat", 1)]
    table = write_table(tmp_path / "t.csv", "index prompt image", *rows)
    assert main(["score", str(table), "--judge", judge, "--out", str(tmp_path / "out")]) == 1
    reasons = [line["reason"] for line in lines_of(tmp_path / "out")]
    assert reasons == [None, None, "its image is that of index 1, which 2 rows have"]


def mark_as_kept(out: Path) -> None:
    """Write into every judgement what no judge says: one that is made again does not have it."""
    for shard in (out / "shards").glob("*.jsonl"):
        lines = [json.dumps(json.loads(line) | {"rationale": "kept"}) for line in shard.open()]
        text = "".join(f"{line}\n" for line in lines)
        shard.write_text(text)
        marker = shard.with_suffix(".json")
        marker.write_text(json.dumps(json.loads(marker.read_text()) | {"sha256": sha256(text.encode()).hexdigest()}))


def test_what_other_images_stand_for_now_is_judged_again_and_no_more(tmp_path, judge, capsys) -> None:
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    rows = [(f"thing {number}", f"{number}.png", "AB"[number % 2]) for number in range(6)]  # 3 to 5 are not there yet
    table = write_table(tmp_path / "t.csv", "prompt image generator", *rows)
    score = ["score", str(table), "--judge", judge, "--shard-size", "4", "--out", str(tmp_path / "out")]
    board = ["leaderboard", str(table), "--judge", judge, "--generator", "generator", "--out", str(tmp_path / "board")]
    assert (main(score), main(board)) == (1, 0)
    before = lines_of(tmp_path / "out")
    assert [line["images"] == [None] for line in before] == [False] * 3 + [True] * 3
    mark_as_kept(tmp_path / "out")
    picture(7).save(tmp_path / "0.png")  # another picture under the same name
    picture(8).save(tmp_path / "4.png")  # one that comes later
    capsys.readouterr()
    assert (main(score), main(board)) == (1, 0)
    assert "Judged again: 2 items with a changed image." in capsys.readouterr().err
    after = lines_of(tmp_path / "out")
    assert after[0]["scores"] != before[0]["scores"] and after[0]["images"] != before[0]["images"]
    assert [line["rationale"] == "kept" for line in after] == [False, True, True, False, False, False]
    assert [line["status"] for line in after] == ["ok"] * 3 + ["image_error", "ok", "image_error"]
    assert overall(lines_of(tmp_path / "board"), "prompt") == overall(after, "prompt")
    mark_as_kept(tmp_path / "out")
    assert main(score) == 1 and "judged again" not in capsys.readouterr().err
    assert all(line["rationale"] == "kept" for line in lines_of(tmp_path / "out"))


def test_another_reference_image_is_another_item_too(tmp_path, capsys) -> None:
    for name in ("a", "b"):
        picture().save(tmp_path / f"{name}.png")
    table = write_table(
        tmp_path / "t.csv", "prompt image reference", ("a cat", "a.png", "b.png"), ("a dog", "a.png", "a.png")
    )
    score = ["score", str(table), "--judge", "fake", "--reference-column", "reference", "--out", str(tmp_path / "out")]
    main(score)
    picture(3).save(tmp_path / "b.png")
    capsys.readouterr()
    main(score)
    assert "Judged again: 1 item with a changed image." in capsys.readouterr().err


def test_of_two_rows_of_one_name_neither_s_judgement_stands_for_the_other(tmp_path, judge) -> None:
    for number in range(2):
        picture(number).save(tmp_path / f"{number}.png")
    rows = [("x", "a cat", f"{number}.png") for number in range(2)]
    table = write_table(tmp_path / "t.csv", "id prompt image", *rows)
    score = ["score", str(table), "--id-column", "id", "--judge", judge, "--out", str(tmp_path / "out")]
    assert main(score) == 0
    before = [line["scores"]["overall"] for line in lines_of(tmp_path / "out")]
    picture(7).save(tmp_path / "0.png")
    assert main(score) == 0
    after = [line["scores"]["overall"] for line in lines_of(tmp_path / "out")]
    assert after[0] != before[0] and after[1] == pytest.approx(before[1], rel=1e-5) and after[0] != after[1]
