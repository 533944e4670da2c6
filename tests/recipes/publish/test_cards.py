"""Rendered cards against golden ones; every number from the record; valid metadata; usage blocks that run.

python -m tests.recipes.publish.test_cards      # writes the golden cards anew, after a change that was meant
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import model_card
from dataset_card.card import DatasetCard
from dataset_card.card import check_metadata as check_dataset
from model_card.card import ModelCard
from model_card.card import check_metadata as check_model
from model_card.rendering import _environment, cell, interval, listed, metadata_of, number, python_blocks, sentence
from recipes.distillation.parquet import card_metadata
from recipes.hub.repositories import repositories
from recipes.publish.manifest import read_manifest
from recipes.publish.stage_spaces import METRIC_TEMPLATE, check_space_metadata
from t2i_judge.records import OVERALL
from tests.caches import new_home
from tests.recipes.staged import StagedRelease, stage_synthetic

GOLDEN = Path(__file__).parents[2] / "data" / "cards"
COPIES = Path(__file__).parents[3] / "dataset_card" / "_copies.md"
CARDS = ("bench", "distill", "model", "metric")
TEMPLATES = {
    "bench": ("dataset_card/bench.md.jinja", "dataset_card/_shared.md.jinja"),
    "distill": ("dataset_card/distill.md.jinja", "dataset_card/_shared.md.jinja"),
    "model": ("model_card/model.md.jinja",),
    "metric": ("model_card/metric.md.jinja",),
}
NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?")
# All that a template may say in digits by itself: scales, the level of the intervals, papers, years, Python's own.
TYPED_BY_HAND = {"0", "1", "2", "4", "10", "95", "2024", "2025", "2411.15488", "2406.16855"}


def card_of(staged: StagedRelease, name: str) -> str:
    repository = getattr(repositories(staged.recipe), name)
    return (repository.folder(staged.stage) / "README.md").read_text(encoding="utf-8")


def stable(card: str) -> str:
    """A card without the sizes of compressed files, which change with the version of the Parquet writer."""
    card = re.sub(r"(num_bytes|download_size|dataset_size): \d+", r"\1: 0", card)
    return re.sub(r"(\| `\w+` \| `\w+` \| \d+ \|) [\d,]+ \|", r"\1 0 |", card)


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_the_golden_ones(staged_once: StagedRelease, name: str) -> None:
    golden = (GOLDEN / f"{name}.md").read_text(encoding="utf-8")
    assert stable(card_of(staged_once, name)) == golden, "meant? then run python -m tests.recipes.publish.test_cards"


def test_what_was_compared_on_equal_terms_stands_on_the_model_card(staged_once: StagedRelease) -> None:
    record = read_manifest(staged_once.stage)["record"]
    row = {"group": "direct", "side": "direct", "split": "new_prompts", "images": 90, "labels": 91, "steps": 5_000}
    row |= {"learning_rate": 0.002, "batch": 4, "cpu_seconds": [61.2, 59.8], "spearman": 0.512, "ci": [0.4, 0.6]}
    row |= {"by_seed": [0.5, 0.524], "n_failed": [0, 3], "n": 40}
    apart = {"a": "decomposed", "b": "direct", "split": "new_prompts", "n": 37, "difference": 0.25, "ci": None}
    fair = {regime: {"rows": [row], "differences": [apart]} for regime in ("same steps", "same CPU time")}
    folder = repositories(staged_once.recipe).model.folder(staged_once.stage)

    def rendered(**learning: Any) -> str:
        return ModelCard.from_record({**record, "learning": learning}, folder, (OVERALL,)).render()

    line = "| direct | new_prompts | 5,000 | 0.002 | 4 | 61, 60 | 0.512 | [0.400, 0.600] | 0.500, 0.524 | 0, 3 of 40 |"
    assert rendered(fair=fair).count(line) == 2
    assert "- decomposed minus direct, new_prompts, the 37 images that all scored: 0.250 –" in rendered(fair=fair)
    assert "efficiency.png" not in rendered(fair=fair)
    drawn = rendered(efficiency={"rows": [row]})
    assert "(efficiency.png)" in drawn
    assert "| direct | new_prompts | 90 | 91 | 0.512 | [0.400, 0.600] |" in drawn
    assert "equal terms" not in rendered()


def test_what_was_paid_is_said_with_what_is_only_known_at_most(staged_once: StagedRelease) -> None:
    """A run that was killed has noted all that its open calls can cost; their answers may have cost nothing."""
    record = read_manifest(staged_once.stage)["record"]
    record = {**record, "cost": {**record["cost"], "paid": 0.16}}
    folder = repositories(staged_once.recipe).model.folder(staged_once.stage)
    assert "at most 0.16 US dollars were paid" in ModelCard.from_record(record, folder, (OVERALL,)).render()


def figures(value: Any) -> Iterator[str]:
    """Every way in which a card may write the numbers of a record, those inside its texts included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(str(key))
            yield from figures(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from figures(inner)
    elif isinstance(value, str):
        yield from NUMBER.findall(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from NUMBER.findall(f"{value:,}")
        yield from NUMBER.findall(f"{value:g} {value:.3f} {value:.2f} {value}")


@pytest.mark.parametrize("name", CARDS)
def test_every_number_in_a_card_is_in_the_record(staged_once: StagedRelease, root: Path, name: str) -> None:
    record = read_manifest(staged_once.stage)["record"]
    card = card_of(staged_once, name)
    known = {*figures(record), *TYPED_BY_HAND}
    if name in ("bench", "distill"):
        folder = getattr(repositories(staged_once.recipe), name).folder(staged_once.stage)
        known |= set(figures(DatasetCard.from_record(name, record, **card_metadata(folder)).dataset_info))
        known |= set(NUMBER.findall(COPIES.read_text(encoding="utf-8")))  # written by recipes.leakage --measure
    if name == "model":
        folder = repositories(staged_once.recipe).model.folder(staged_once.stage)
        known |= set(figures(sum(path.stat().st_size for path in folder.rglob("*.safetensors"))))
    body = card.split("\n---\n", 1)[1]
    assert {figure for figure in NUMBER.findall(body) if figure not in known} == set()


@pytest.mark.parametrize("name", CARDS)
def test_no_figure_is_typed_into_a_template(root: Path, name: str) -> None:
    for path in TEMPLATES[name]:
        text = re.sub(r"{[{%].*?[%}]}", "", (root / path).read_text(encoding="utf-8"), flags=re.S)
        assert set(NUMBER.findall(text)) <= TYPED_BY_HAND, path


def test_metadata_is_valid_and_points_to_the_release(staged_once: StagedRelease) -> None:
    assert check_model(card_of(staged_once, "model")) == []
    assert check_dataset(card_of(staged_once, "bench")) == check_dataset(card_of(staged_once, "distill")) == []
    assert check_space_metadata(card_of(staged_once, "metric")) == []
    found = metadata_of(card_of(staged_once, "model"))
    assert (found["library_name"], found["pipeline_tag"]) == ("peft", "image-text-to-text")
    assert (found["base_model"], found["base_model_relation"]) == ("NAMESPACE/t2i-judge-synthetic", "adapter")
    assert found["datasets"] == ["NAMESPACE/t2i-judge-bench-synthetic", "NAMESPACE/t2i-judge-distill-synthetic"]
    assert found["metrics"] == ["kendalltau", "spearmanr"] and "simulated" in found["tags"]
    assert metadata_of(card_of(staged_once, "metric"))["sdk"] == "static"


def test_results_stand_in_the_card_and_in_eval_results(staged_once: StagedRelease) -> None:
    from huggingface_hub import ModelCardData
    from huggingface_hub._eval_results import parse_eval_result_entries

    data = ModelCardData(**metadata_of(card_of(staged_once, "model")))
    values = {(r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    assert values[("new_prompts", "spearmanr")] == 0.91 and len(values) == 4
    folder = repositories(staged_once.recipe).model.folder(staged_once.stage)
    entries = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results" / "t2i-judge-bench.yaml").read_text()))
    assert [(e.task_id, e.value) for e in entries] == [("new_prompts", 0.91), ("new_pairs", 0.91)]
    assert all("simulated" in e.notes for e in entries)


def test_a_judge_without_any_score_has_no_figures_to_index(staged_once: StagedRelease) -> None:
    record = json.loads(json.dumps(read_manifest(staged_once.stage)["record"]))
    for row in record["results"]["rows"]:
        row.update(spearman=None, kendall_tau_b=None)
    card = ModelCard.from_record(record, repositories(staged_once.recipe).model.folder(staged_once.stage), (OVERALL,))
    assert card.eval_results() is None and "model-index" not in card.metadata()


@pytest.mark.parametrize("name", CARDS)
def test_the_first_line_says_simulated_or_real(staged_once: StagedRelease, name: str) -> None:
    body = card_of(staged_once, name).split("\n---\n", 1)[1]
    assert body.strip().split("\n\n")[1].startswith("**Simulated:**")


def test_a_real_release_says_real(staged_once: StagedRelease) -> None:
    record = dict(read_manifest(staged_once.stage)["record"])
    record["release"] = {**record["release"], "simulated": False}
    names = repositories(staged_once.recipe)
    bench = DatasetCard.from_record("bench", record, **card_metadata(names.bench.folder(staged_once.stage))).render()
    assert "**Real:**" in bench and "imulated" not in bench.split("\n---\n")[1].split("## Licence")[0]
    model = ModelCard.from_record(record, names.model.folder(staged_once.stage), (OVERALL,)).render()
    assert "imulated" not in model.split("\n---\n")[1].split("## Results")[0]


def test_a_benchmark_without_human_scores_promises_none(staged_once: StagedRelease) -> None:
    record = dict(read_manifest(staged_once.stage)["record"])
    record["data"] = {**record["data"], "annotators": {}, "agreement": {}}
    folder = repositories(staged_once.recipe).bench.folder(staged_once.stage)
    card = DatasetCard.from_record("bench", record, **card_metadata(folder)).render().split("\n---\n", 1)[1]
    assert "No human scores." in card and '"ratings"' not in card and "alpha" not in card


def test_prompts_with_markdown_do_not_break_a_table() -> None:
    assert cell("a | b\n<script>") == "a \\| b &lt;script>"
    assert cell("![x](http://a) [y](http://b)") == "\\!\\[x\\](http://a) \\[y\\](http://b)"
    assert cell("\\[y](http://b)").startswith("\\\\\\["), "a backslash of the text's own frees no bracket"
    assert (number(None), number(0.12345), number(1234567)) == ("–", "0.123", "1,234,567")
    assert (interval([0.1, 0.25]), interval(None)) == ("[0.100, 0.250]", "–")
    assert listed({"lr": 1e-4, "steps": 6}) == "lr (0.0001), steps (6)" and listed({}) == "–"
    assert sentence("for laptops") == "For laptops."


@pytest.mark.parametrize("name", ["bench", "distill"])
def test_usage_blocks_of_the_dataset_cards_run(staged_once: StagedRelease, name: str) -> None:
    blocks = python_blocks(card_of(staged_once, name))
    assert blocks
    for block in blocks:
        assert run_block(block, staged_once)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model", "metric"])
def test_usage_blocks_of_the_model_and_metric_cards_run(smoke_release: Path, name: str) -> None:
    from recipes.recipe.config import load_recipe

    staged = StagedRelease(load_recipe("smoke"), smoke_release, smoke_release)
    for block in python_blocks(card_of(staged, name)):
        assert run_block(block, staged)


def run_block(block: str, staged: StagedRelease) -> str:
    """Run a usage block as its reader would, on the staged folders instead of the Hub; returns what it prints."""
    names = repositories(staged.recipe)
    for repository in names:
        folder = str(repository.folder(staged.stage).resolve())
        block = re.sub(rf"{re.escape(repository.id(None))}(@v[\d.]+)?(?=\")", folder, block)
    block = re.sub(r'snapshot_download\((".*?"), revision=".*?"\)', r"\1", block)  # it is here already
    assert "NAMESPACE" not in block
    judge = f"hf:{names.model.folder(staged.stage).resolve()}"  # not on the Hub yet, where the script names it
    block = block.replace("metric.compute(", f"metric.compute(judge={judge!r}, ")
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": new_home(Path(empty, "hf"))}
        run = subprocess.run(
            [sys.executable, "-c", block], cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def write_golden() -> None:
    """Write the golden cards anew."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        staged = stage_synthetic(Path(folder))
        for name in CARDS:
            (GOLDEN / f"{name}.md").write_text(stable(card_of(staged, name)), encoding="utf-8")


if __name__ == "__main__":
    write_golden()
    print(f"{len(CARDS)} cards in {GOLDEN}; templates: {METRIC_TEMPLATE.parent.name}, dataset_card")


@pytest.mark.parametrize("people", [0, 1, 2])
def test_the_card_of_real_data_says_where_images_come_from_and_who_rated_them(staged_once, people: int) -> None:
    record = json.loads(json.dumps(read_manifest(staged_once.stage)["record"]))
    record["release"] |= {"simulated": False, "image_provenance": "photographs of my own"}
    record["data"] |= {"annotators": dict.fromkeys(["ann", "bob"][:people], 3), "rated_on": [1, 5] if people else None}
    folder = repositories(staged_once.recipe).bench.folder(staged_once.stage)
    bench, distill = (
        DatasetCard.from_record(n, record, **card_metadata(folder)).render() for n in ("bench", "distill")
    )
    assert all("**Real:** images: Photographs of my own." in card for card in (bench, distill))
    assert "image generators," not in bench and "no person rated them" in distill
    assert ("No human scores." in bench) == ("No person rated them" in bench) == (people == 0)
    assert {1: "1 annotator, named below", 2: "2 annotators, named below"}.get(people, "No person") in bench
    assert ("from 1 to 5" in bench) == bool(people)


@pytest.mark.parametrize("template", ["model_card/model.md.jinja", "dataset_card/distill.md.jinja"])
def test_what_a_server_calls_its_model_stays_text_on_a_card(template: str) -> None:
    path = Path(model_card.__file__).parents[1] / template
    (place,) = re.findall(r"\{\{ record\.teacher\.model [^\n]*?\}\} \(\{\{[^\n]*?\}\}\)", path.read_text())
    hostile = "x\n# Agreement: 0.99\n<img src=y> ![a](b)"
    teacher = {"model": hostile, "snapshots": [hostile]}
    shown = _environment(path.parent).from_string(place).render(record={"teacher": teacher})
    assert "\n" not in shown and "<img" not in shown and "](" not in shown.replace("\\]", "").replace("\\[", "")
