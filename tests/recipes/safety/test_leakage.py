"""Train and benchmark share nothing: copies are caught, look-alikes are not, and how often both go wrong is known."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from datasets import Features, Value
from datasets import Image as Feature
from PIL import Image

from recipes.distillation.copies import Overlap, fingerprints, image_overlaps
from recipes.distillation.parquet import DEFAULT_CONFIG, write_split
from recipes.hub.repositories import repositories
from recipes.leakage import CARD_TABLE, main
from recipes.recipe.config import load_recipe
from recipes.recipe.items import normalise
from recipes.recipe.markers import Marker
from recipes.safety import leakage
from recipes.safety.alterations import ALTERATIONS, caught, false_alarms, photographs, tiles
from recipes.safety.leakage import (
    COPIES,
    ErrorRates,
    dataset_overlaps,
    error_rates,
    known_rates,
    overlaps_between,
    prompt_overlaps,
)
from recipes.scenes.render import make_scenes


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [sample[3] for sample in make_scenes(12, 5)]


@pytest.mark.parametrize("kind", COPIES)
def test_an_altered_copy_is_caught(scenes: list[Image.Image], kind: str) -> None:
    train = fingerprints((str(n), png(picture)) for n, picture in enumerate(scenes))
    bench = fingerprints([("copy", COPIES[kind](scenes[3]))])
    assert list(image_overlaps(train, bench)) == [Overlap("image", "3", "copy")]


def test_the_same_file_is_named_as_such(scenes: list[Image.Image]) -> None:
    train = fingerprints((str(n), png(picture)) for n, picture in enumerate(scenes))
    assert list(image_overlaps(train, fingerprints([("x", png(scenes[0]))]))) == [Overlap("bytes", "0", "x")]


def test_other_scenes_and_broken_files_are_no_copies(scenes: list[Image.Image]) -> None:
    train = fingerprints([(str(n), png(picture)) for n, picture in enumerate(scenes)] + [("broken", b"not an image")])
    others = [(str(n), png(sample[3])) for n, sample in enumerate(make_scenes(30, 77, "new_prompts"))]
    assert list(image_overlaps(train, fingerprints([*others, ("also broken", b"nor this")]))) == []
    assert list(image_overlaps(train, fingerprints([]))) == []


def test_memory_stays_bounded_and_the_answer_the_same(scenes: list[Image.Image], monkeypatch) -> None:
    train = fingerprints((str(n), png(picture)) for n, picture in enumerate(scenes))
    bench = fingerprints((str(n), COPIES["JPEG quality 90"](picture)) for n, picture in enumerate(scenes))
    whole = list(image_overlaps(train, bench))
    monkeypatch.setattr("recipes.distillation.copies._PAIRS", 24)
    assert list(image_overlaps(train, bench)) == whole and len(whole) == len(scenes)


@pytest.mark.parametrize("twin", ["A  red  CIRCLE!", "a red circle", "a red circle.", "ａ red circle"])
def test_prompts_are_compared_normalised(twin: str) -> None:
    assert normalise(twin) == "a red circle"
    assert list(prompt_overlaps({"t": "a red circle"}, {"b": twin})) == [Overlap("prompt", "a red circle", twin)]
    assert list(prompt_overlaps({"t": "two red circles"}, {"b": twin})) == []


def test_error_rates_on_the_embedded_world() -> None:
    rates = error_rates(scenes=30, seed=3)
    assert max(rates.missed.values()) <= 0.05 and rates.alarms == 0 and rates.pairs == 900
    assert np.isfinite(list(rates.missed.values())).all() and "copies missed" in str(rates)
    assert "0 false of 900" in rates.summary


def test_error_rates_are_measured_once_for_a_finder_and_its_scenes(monkeypatch, tmp_path) -> None:
    known, measured = Marker(tmp_path / "ERROR_RATES.json"), []

    def measure(scenes: int, seed: int) -> ErrorRates:
        measured.append((scenes, seed))
        return ErrorRates({"half size": 0.25}, 1, scenes * scenes)

    monkeypatch.setattr(leakage, "_measured", measure)
    first = error_rates(2, known=known)
    assert error_rates(2, known=known) == first == ErrorRates({"half size": 0.25}, 1, 4) and measured == [(2, 0)]
    assert error_rates(3, known=known).pairs == 9 and error_rates(3, 1, known).pairs == 9 and len(measured) == 3
    for name, other in (("FINDER", "another"), ("_SCENES", tmp_path)):
        monkeypatch.setattr(leakage, name, other)
        error_rates(3, 1, known)
    assert len(measured) == 5


def test_what_was_measured_is_of_this_finder_and_another_is_measured(monkeypatch, tmp_path) -> None:
    """Else `python -m recipes.leakage --measure --write` has to be run again."""
    monkeypatch.setattr(leakage, "_measured", lambda scenes, seed: ErrorRates({"half size": 0.5}, 0, scenes))
    rates = known_rates(Marker(tmp_path / "ERROR_RATES.json"))
    assert rates.pairs == 40_000 and set(rates.missed) == set(COPIES) and not list(tmp_path.iterdir())
    monkeypatch.setattr(leakage, "FINDER", "another")
    assert known_rates(Marker(tmp_path / "ERROR_RATES.json")) == ErrorRates({"half size": 0.5}, 0, 20)


@pytest.mark.parametrize("options", [["--write"], ["--images", "photographs"], ["--images", "photographs", "--write"]])
def test_what_belongs_to_measuring_is_not_passed_over_without_it(options: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as told:
        main(["--recipe", "smoke", *options])
    assert told.value.code == 2 and "belong to --measure" in capsys.readouterr().err


def test_the_command_prints_the_error_rates_with_and_without_a_release(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("recipes.leakage.known_rates", lambda known: ErrorRates({"half size": 0.0}, 0, 100))
    monkeypatch.setattr("recipes.leakage.stage_folder", lambda recipe: tmp_path)
    assert main(["--recipe", "smoke"]) == 2
    printed = capsys.readouterr()
    assert "copies missed" in printed.out and "smoke is not staged" in printed.err
    names = repositories(load_recipe("smoke"))
    picture = {"image": png(Image.new("RGB", (40, 40), "red")), "reference_image": None}
    for repository, prompt in ((names.distill, "A red circle!"), (names.bench, "a red circle")):
        features = Features(id=Value("string"), prompt=Value("string"), image=Feature(), reference_image=Feature())
        row = {"id": prompt, "prompt": prompt, **picture}
        write_split([row], features, repository.folder(tmp_path), DEFAULT_CONFIG, "test")
    assert main(["--recipe", "smoke", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["error_rates"]["pairs"] == 100 and {one["kind"] for one in found["overlaps"]} == {"bytes", "prompt"}
    assert main(["--recipe", "smoke"]) == 1
    printed = capsys.readouterr().out
    assert "the same image file" in printed and "the same prompt" in printed and "2 overlaps" in printed


def test_altered_photographs_are_caught_and_neighbours_are_not() -> None:
    """Four photographs here; `python -m recipes.leakage --measure` has all of them, and the table of the card."""
    pictures = photographs()[:4]
    rates = caught(pictures)
    assert rates == dict.fromkeys(ALTERATIONS, 1.0)
    alarms = false_alarms(tiles(pictures[:3], most=60))
    assert alarms.count == 0 and alarms.pairs > 1000


def test_drawings_are_no_parts_of_one_another() -> None:
    prints = [
        fingerprints((str(n), png(sample[3])) for n, sample in enumerate(make_scenes(60, seed))) for seed in (5, 77)
    ]
    assert [overlap for overlap in image_overlaps(*prints) if overlap.kind == "part"] == []


def test_an_image_that_nobody_can_open_is_named(tmp_path) -> None:
    features = Features(id=Value("string"), prompt=Value("string"), image=Feature(), reference_image=Feature())
    whole = png(Image.new("RGB", (40, 40), "red"))
    for name, picture in (("train", b"torn"), ("bench", whole)):
        row = {"id": name, "prompt": name, "image": picture, "reference_image": None}
        write_split([row], features, tmp_path / name, DEFAULT_CONFIG, "test")
    (overlap,) = dataset_overlaps(tmp_path / "train", tmp_path / "bench")
    assert overlap.kind == "broken" and "cannot be opened" in str(overlap)


def test_what_was_found_among_the_same_files_is_not_sought_again(
    scenes: list[Image.Image], tmp_path, monkeypatch
) -> None:
    train = [(f"t{n}", png(picture)) for n, picture in enumerate(scenes[:4])] + [("torn", b"no image")]
    bench = [("b0", png(scenes[1])), ("b1", COPIES["half size"](scenes[2])), ("b2", png(scenes[1]))]
    marker = Marker(tmp_path / "OVERLAPS.json")
    found = overlaps_between(lambda: train, lambda: bench, marker)
    copies = {("bytes", "t1", "b0"), ("bytes", "t1", "b2"), ("image", "t2", "b1"), ("broken", "torn", "")}
    assert {(one.kind, one.train, one.bench) for one in found} == copies
    assert found == overlaps_between(lambda: train, lambda: bench)

    def refuse(images):
        raise AssertionError("looked at again")

    monkeypatch.setattr("recipes.safety.leakage.fingerprints", refuse)
    renamed = [(f"x{name}", data) for name, data in reversed(bench)]
    again = overlaps_between(lambda: train, lambda: renamed, marker)
    assert {(one.kind, one.train, one.bench[-2:]) for one in again} == copies
    with pytest.raises(AssertionError, match="looked at again"):
        overlaps_between(lambda: train, lambda: [*bench, ("b3", png(scenes[5]))], marker)


def test_the_card_tells_what_is_caught() -> None:
    lines = [line for line in CARD_TABLE.read_text().splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == list(ALTERATIONS)
