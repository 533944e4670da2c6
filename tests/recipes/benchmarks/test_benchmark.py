"""The benchmark's contract: what a row must be, how it is told when it is not, and that it loads as it was written."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from recipes.benchmarks.benchmark import benchmark_features, check_rows, ratings, write_benchmark
from recipes.distillation.parquet import card_metadata, image_cell, write_split
from t2i_judge.errors import UserError


def png(color: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (color, color, color)).save(out, "PNG")
    return out.getvalue()


def row(identity: str = "a", **changes) -> dict:
    question = {"id": "q1", "aspect": "intrinsic", "entities": ["cat"], "text": "Is there a cat?", "expected": "yes"}
    return {
        "id": identity,
        "prompt": "a cat",
        "image": png(),
        "reference_image": None,
        "generator": "g",
        "source": "s",
        "questions": [question],
        "human_scores": [
            {"annotator": "ann", "aspect": "overall", "score": 7.0, "explanation": "fine"},
            {"annotator": "ann", "aspect": "intrinsic", "question_id": "q1", "score": None},
        ],
        "baselines": [{"judge": "j", "revision": "1", "aspect": "overall", "score": 5.5, "status": "ok"}],
        **changes,
    }


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    from datasets import load_dataset

    write_benchmark(tmp_path, {"test": [row("a"), row("b", image=None)], "new": [row("c")]})
    write_card(tmp_path)
    loaded = load_dataset(str(tmp_path), split="test")
    assert loaded.features == benchmark_features()
    assert loaded["id"] == ["a", "b"] and loaded[1]["image"] is None
    assert loaded[0]["human_scores"][0] == {
        "annotator": "ann", "aspect": "overall", "question_id": None, "score": 7.0, "explanation": "fine",
    }  # fmt: skip
    assert loaded[0]["image"].size == (8, 8)
    assert loaded[0]["questions"][0]["depends_on"] == []
    streamed = load_dataset(str(tmp_path), split="new", streaming=True)
    assert next(iter(streamed))["baselines"] == loaded[0]["baselines"]


def test_the_long_table_leaves_gaps_out(tmp_path: Path) -> None:
    from datasets import load_dataset

    write_benchmark(tmp_path, {"test": [row("a")]})
    write_card(tmp_path)
    expected = {"item": "a", "annotator": "ann", "aspect": "overall", "question": None, "score": 7.0}
    assert ratings([row("a")]) == [expected]
    assert load_dataset(str(tmp_path), "ratings", split="test").to_list() == [expected]


def write_card(folder: Path) -> None:
    import yaml

    head = card_metadata(folder)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n")


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_benchmark(tmp_path / name, {"test": [row("a"), row("b")]})
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.parquet")]
    assert len(files) == 2
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_large_splits_are_cut_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    monkeypatch.setattr("recipes.distillation.parquet.SHARD_BYTES", 2 * len(png(9)))
    image = tmp_path / "cat.png"
    image.write_bytes(png(9))
    rows = [row(str(n), image=image) for n in range(5)]
    files = write_split(
        [r | {"baselines": []} for r in map(_whole, rows)], benchmark_features(), tmp_path, "data", "test"
    )
    assert [path.name for path in files] == [f"test-0000{n}-of-00003.parquet" for n in range(3)]
    write_card(tmp_path)
    loaded = load_dataset(str(tmp_path), split="test")
    assert loaded["id"] == list("01234") and loaded[4]["image"].getpixel((0, 0)) == (9, 9, 9)


def _whole(found: dict) -> dict:
    return {**found, "human_scores": [], "questions": []}


def test_images_travel_as_bytes_and_never_as_paths(tmp_path: Path) -> None:
    image = tmp_path / "folder" / "cat.png"
    image.parent.mkdir()
    image.write_bytes(png())
    assert image_cell(image) == {"bytes": png(), "path": "cat.png"}
    assert image_cell(None) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, r"Row 1 \(id 'a'\), column prompt: ' '.*Fill in prompt"),
        ({"image": "no/such.png"}, r"column image: 'no/such\.png'.*no such file"),
        ({"human_scores": [{"annotator": "x", "aspect": "beauty", "score": 1}]}, "'beauty'.*Use one of appearance"),
        (
            {"human_scores": [{"annotator": "x", "aspect": "overall", "score": "7"}]},
            "column score: '7'.*Write a number",
        ),
        ({"human_scores": [{"annotator": "x", "aspect": "overall", "score": float("nan")}]}, "column score: nan"),
        ({"human_scores": [{"annotator": "", "aspect": "overall", "score": 1}]}, "Name the annotator"),
        ({"human_scores": [{"annotator": "x", "aspect": "overall", "question_id": "q9", "score": 1}]}, "'q9'.*no such"),
        ({"human_scores": [{"annotator": "x", "aspect": "overall", "score": 1}] * 2}, "scored it twice"),
        ({"baselines": [{"judge": "j", "aspect": "overall", "score": 1, "status": "fine"}]}, "'fine'.*not a status"),
        ({"baselines": [{"judge": "j", "aspect": "overall", "score": 1, "status": "refused"}]}, "cannot have a score"),
        ({"questions": [{"id": "q1", "aspect": "intrinsic"}]}, "not a question"),
    ],
)
def test_what_does_not_fit_is_told_by_row_column_value_and_fix(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_rows([row("a", **changes)])
    assert "\n" not in str(caught.value)


def test_an_id_may_stand_once_only() -> None:
    with pytest.raises(UserError, match=r"Row 3 \(id 'a'\), column id.*Row 1 has the same"):
        check_rows([row("a"), row("b"), row("a")])
