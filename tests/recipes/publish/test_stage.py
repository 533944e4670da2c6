"""A stage: complete, loadable through the public doors, the same from the same inputs, left alone while they stay."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.hub.repositories import repositories
from recipes.publish import stage_spaces
from recipes.publish.gate import check_release
from recipes.publish.manifest import VOLATILE_POINTERS, changed, read_manifest
from recipes.publish.release_record import release_record, without
from recipes.publish.stage import bench_rows, copy_model, stage_release
from recipes.publish.verify import open_door
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT, load_recipe
from t2i_judge import __version__
from t2i_judge.errors import UserError
from t2i_judge.t2i_judge import tree_hash
from tests.recipes.staged import StagedRelease, stage_synthetic
from tests.recipes.synthetic import ANNOTATORS, GENERATORS, synthetic_build, synthetic_recipe


def test_every_repository_stands_complete(staged_once: StagedRelease) -> None:
    names, stage = repositories(staged_once.recipe), staged_once.stage
    for repository in names:
        folder = repository.folder(stage)
        assert {"README.md", "manifest.json"} <= {path.name for path in folder.iterdir()}
    model = names.model.folder(stage)
    assert {path.name for path in model.iterdir()} >= {
        "adapter_model.safetensors",
        "judge.json",
        "base",
        ".eval_results",
    }
    assert not [path for path in stage.rglob("*") if path.suffix in (".bin", ".pyc") or path.name == "__pycache__"]
    assert {"index.html", "requirements.txt", "metric.py", "judges", "weights", "t2i_judge.py"} <= {
        path.name for path in names.metric.folder(stage).iterdir()
    }
    demo = names.demo.folder(stage)
    assert (demo / "app.py").is_file() and (demo / "t2i_judge" / "weights" / "tiny" / "adapter").is_dir()


def test_datasets_load_whole_and_streaming_from_the_stage(staged_once: StagedRelease) -> None:
    names = repositories(staged_once.recipe)
    for repository in (names.bench, names.distill):
        place = {"name": str(repository.folder(staged_once.stage)), "revision": None}
        outcome = open_door(repository.name, "dataset", place, offline=True)
        assert outcome.opened, outcome.detail
    assert outcome.found["rows"] == {"default/train": 9}


def test_the_benchmark_holds_annotators_and_judges_of_every_held_out_image(staged_once: StagedRelease) -> None:
    rows = list(bench_rows(BuildFolder(staged_once.build)))
    assert len(rows) == 4 * len(GENERATORS) and {row["split"] for row in rows} == {"new_prompts", "new_pairs"}
    for row in rows:
        assert {score["annotator"] for score in row["human_scores"]} == set(ANNOTATORS)
        assert {score["judge"] for score in row["baselines"]} == {"tiny", "base", "direct", "teacher"}
        assert row["questions"]


def test_an_adapter_names_its_base_by_id_and_never_by_folder(staged_once: StagedRelease) -> None:
    model = repositories(staged_once.recipe).model
    config = json.loads((model.folder(staged_once.stage) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "NAMESPACE/t2i-judge-synthetic"


def test_the_metric_is_stamped_with_its_release(staged_once: StagedRelease) -> None:
    folder = repositories(staged_once.recipe).metric.folder(staged_once.stage)
    stamped = dict(re.findall(r'^([A-Z]+) = "(.*?)"', (folder / "t2i_judge.py").read_text(), re.M))
    judge = "hf:NAMESPACE/t2i-judge-synthetic@v1.0.0"
    assert stamped == {
        "VERSION": __version__, "REPOSITORY": "NAMESPACE/t2i_judge", "TAG": "synthetic-v1.0.0", "JUDGE": judge,
        "TREE": tree_hash(folder),
    }  # fmt: skip


def test_requirements_are_pinned(staged_once: StagedRelease) -> None:
    for repository in (repositories(staged_once.recipe).metric, repositories(staged_once.recipe).demo):
        lines = (repository.folder(staged_once.stage) / "requirements.txt").read_text().splitlines()
        assert lines and all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines), lines
    assert any(line.startswith("pillow-heif==") for line in lines), "the demo reads what an iPhone writes"


def test_the_manifest_names_every_file_and_all_that_made_them(staged_once: StagedRelease) -> None:
    manifest = read_manifest(staged_once.stage)
    assert changed(staged_once.stage, manifest) == []
    files = {p.relative_to(staged_once.stage).as_posix() for p in staged_once.stage.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json"}
    record = manifest["record"]
    assert record["versions"]["torch"] and record["seeds"] and record["commands"]
    assert record["teacher"]["snapshots"] == ["rules-1"] and record["base"]["digest"].startswith("sha256:")
    assert record["results"] == json.loads((staged_once.stage / "results.json").read_text())
    assert set(manifest["fingerprints"]) == {repository.name for repository in repositories(staged_once.recipe)}


def test_two_stages_of_the_same_commit_differ_in_volatile_fields_only(tmp_path: Path) -> None:
    one, two = (stage_synthetic(tmp_path / name) for name in ("one", "two"))
    log = two.build / "training_log.json"
    log.write_text(json.dumps({**json.loads(log.read_text()), "seconds": 99.9}))
    shutil.rmtree(two.stage)
    two = stage_synthetic(tmp_path / "two")
    left, right = (without(read_manifest(found.stage), VOLATILE_POINTERS) for found in (one, two))
    assert left == right
    assert read_manifest(two.stage)["volatile"] == list(VOLATILE_POINTERS)


def test_a_stage_is_left_alone_while_its_inputs_stay(tmp_path: Path) -> None:
    staged = stage_synthetic(tmp_path)
    before = (staged.stage / "manifest.json").stat().st_mtime_ns
    compiled = staged.stage / "spaces" / "t2i_judge" / "__pycache__"  # somebody imported the library from there
    compiled.mkdir()
    (compiled / "metric.cpython-311.pyc").write_bytes(b"compiled")
    stage_synthetic(tmp_path)
    assert (staged.stage / "manifest.json").stat().st_mtime_ns == before and not compiled.exists()
    stage_synthetic(tmp_path, namespace="me")
    assert (
        "me/t2i-judge-synthetic" in (repositories(staged.recipe).model.folder(staged.stage) / "README.md").read_text()
    )


def test_a_stage_that_was_changed_is_made_again(tmp_path: Path) -> None:
    first = stage_synthetic(tmp_path)
    cards = [repository.folder(first.stage) / "README.md" for repository in repositories(first.recipe)]
    written = cards[0].read_bytes()
    cards[0].write_bytes(written + b"my note")
    cards[1].unlink()
    again = stage_release(first.recipe, "1.0.0", build=first.build, stage=first.stage)
    assert not changed(again, read_manifest(again)) and cards[0].read_bytes() == written and cards[1].is_file()


def test_a_stage_names_the_commit_that_its_changes_went_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staged before a commit, pushed after it: the manifest must lead to that commit. A clean one leads already."""
    told = {"sha": "a" * 40, "modified": True}
    for module in ("stage", "release_record"):
        monkeypatch.setattr(f"recipes.publish.{module}.commit", lambda: dict(told))
    staged = stage_synthetic(tmp_path)
    told.update(sha="b" * 40, modified=False)
    assert read_manifest(stage_synthetic(tmp_path).stage)["record"]["commit"] == told
    told.update(sha="c" * 40)
    stage_synthetic(tmp_path)
    assert read_manifest(staged.stage)["record"]["commit"]["sha"] == "b" * 40


def test_a_stage_that_failed_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    staged = stage_synthetic(tmp_path)
    (staged.build / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"Cannot read results\.json.*recipes\.evaluate_judge"):
        stage_synthetic(tmp_path)
    assert changed(staged.stage, read_manifest(staged.stage)) == []


def test_only_a_stage_is_ever_replaced(tmp_path: Path) -> None:
    staged = stage_synthetic(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    stage_release(staged.recipe, "1.0.0", build=staged.build, stage=mine)
    assert (mine / "manifest.json").is_file(), "an empty folder is free to take"
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"mine has thesis\.txt, which is no file of the staged release"):
        stage_release(staged.recipe, "1.0.1", build=staged.build, stage=mine)
    (mine / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"mine is not a staged release.*--stage"):
        stage_release(staged.recipe, "1.0.0", build=staged.build, stage=mine)
    assert (mine / "thesis.txt").is_file()
    with pytest.raises(UserError, match="not a staged release"):
        stage_release(staged.recipe, "1.0.0", build=staged.build, stage=mine / "thesis.txt")


@pytest.mark.parametrize("ending", ["", ".part", ".old"])
def test_what_only_has_a_manifest_is_no_stage(tmp_path: Path, ending: str) -> None:
    """A browser's extension has a file of that name, and a clone of a published repository has ours."""
    staged = stage_synthetic(tmp_path)
    clone = repositories(staged.recipe).model.folder(staged.stage)
    for name, source in (("extension", None), ("clone", clone)):
        if source:
            shutil.copytree(source, tmp_path / f"{name}{ending}")
        else:
            (tmp_path / f"{name}{ending}").mkdir()
            (tmp_path / f"{name}{ending}" / "manifest.json").write_text('{"name": "my extension"}')
        with pytest.raises(UserError, match=rf"{name}{ending} (is not a staged release|is in the way)"):
            stage_release(staged.recipe, "1.0.0", build=staged.build, stage=tmp_path / name)
        assert (tmp_path / f"{name}{ending}" / "manifest.json").is_file()


def test_a_killed_removal_is_ended_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = stage_synthetic(tmp_path)

    def killed(path: Path) -> None:
        shutil.rmtree(path)
        raise KeyboardInterrupt

    monkeypatch.setattr("recipes.recipe.own_folders.shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        stage_synthetic(tmp_path, version="1.0.1")
    (old := tmp_path / "release.old" / "manifest.json").unlink(missing_ok=True)
    monkeypatch.undo()
    assert old.parent.is_dir()
    stage_synthetic(tmp_path, version="1.0.2")
    assert not old.parent.exists() and changed(staged.stage, read_manifest(staged.stage)) == []


@pytest.mark.parametrize("ending", ["part", "old"])
def test_no_folder_beside_a_stage_is_removed_but_ours(tmp_path: Path, ending: str) -> None:
    staged = stage_synthetic(tmp_path)
    (mine := staged.stage.with_name(f"release.{ending}")).mkdir()
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=rf"release\.{ending} is in the way"):
        stage_synthetic(tmp_path, version="1.0.1")
    assert (mine / "thesis.txt").read_text() == "mine"
    assert changed(staged.stage, read_manifest(staged.stage)) == []


def test_a_stage_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the last moment: the old stage or none, never half a one; the next run ends it."""
    staged, rename = stage_synthetic(tmp_path), Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        stage_synthetic(tmp_path, version="1.0.1")
    assert not staged.stage.exists()
    monkeypatch.undo()
    again = stage_synthetic(tmp_path, version="1.0.1")
    assert changed(again.stage, read_manifest(again.stage)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "build", "release"]


def test_a_missing_adapter_is_one_line(tmp_path: Path) -> None:
    staged = stage_synthetic(tmp_path)
    (staged.build / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"There is no adapter.*recipes\.train"):
        stage_release(staged.recipe, "1.0.0", build=staged.build, stage=staged.stage)


def test_a_stage_is_made_again_when_its_recipe_has_changed(tmp_path: Path) -> None:
    """A recipe may lie anywhere: cards have the licence that it names now, and the gate knows an older one."""
    staged = stage_synthetic(tmp_path)
    release = replace(staged.recipe.release, license_data="cc-by-nc-4.0", limits="Never seen at night.")
    recipe = replace(staged.recipe, release=release)
    found = [str(finding) for finding in check_release(recipe, staged.stage)]
    assert len(found) == 2 and all(text.startswith("[changed] release.li") for text in found), found
    stage_release(recipe, "1.0.0", build=staged.build, stage=staged.stage)
    names = repositories(recipe)
    assert "Never seen at night." in (names.model.folder(staged.stage) / "README.md").read_text()
    assert "license: cc-by-nc-4.0" in (names.bench.folder(staged.stage) / "README.md").read_text()


def test_the_record_says_how_a_recipe_is_called_and_not_where_it_lies(tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text("extends: smoke\nname: synthetic\n")
    build = BuildFolder(synthetic_build(tmp_path / "build"))
    for asked, called in (
        (str(file), "mine.yaml"), ("smoke", "smoke"), ("minicpm-v-2.6/24gb", "minicpm-v-2.6-24gb"),
        (str(ROOT / "recipes" / "smoke" / "recipe.yaml"), "smoke"),
    ):  # fmt: skip
        recipe = load_recipe(asked)
        record = release_record(replace(recipe, base=synthetic_recipe().base), build, None, "1.0.0")
        assert recipe.typed == asked and record["commands"] == [f"make release RECIPE={called} VERSION=1.0.0"]


def test_a_stage_is_made_again_when_packages_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = stage_synthetic(tmp_path)
    version = stage_spaces.metadata.version
    later = SimpleNamespace(version=lambda name: "99.0" if name == "gradio" else version(name))
    monkeypatch.setattr(stage_spaces, "metadata", later)
    stage_synthetic(tmp_path)
    demo = repositories(staged.recipe).demo.folder(staged.stage)
    assert "gradio==99.0\n" in (demo / "requirements.txt").read_text()


def test_a_stage_is_made_again_when_its_base_has_changed(tmp_path: Path) -> None:
    staged = stage_synthetic(tmp_path)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "other"}')
    stage_release(staged.recipe, "1.0.0", build=staged.build, stage=staged.stage)
    base = repositories(staged.recipe).model.folder(staged.stage) / "base" / "config.json"
    assert json.loads(base.read_text()) == {"model_type": "other"}


def test_a_base_passes_on_none_of_this_machine_s_other_files(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("Offer of 4.2 million.")
    hub = tmp_path / "hub" / "models--lab--base"
    base = hub / "snapshots" / "abc"
    for folder in (base, hub / "blobs"):
        folder.mkdir(parents=True)
    (hub / "blobs" / "123").write_text("{}")
    (base / "config.json").symlink_to("../../blobs/123")  # as the Hub's cache has it
    copy_model(base, tmp_path / "stage")
    assert not (tmp_path / "stage" / "config.json").is_symlink()
    (base / "special_vocab.txt").symlink_to(tmp_path / "home" / "diary.txt")
    with pytest.raises(UserError, match=r"special_vocab\.txt is a link out of its folder"):
        copy_model(base, tmp_path / "stage")
    assert not (tmp_path / "stage" / "special_vocab.txt").exists()
