"""The base of a build stands still: its commit is looked up once, by the Hub or the cache, and told when main moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.loopback.hub.server import Running
from recipes.recipe.bases import moved, pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Base, Recipe, check, load_recipe
from t2i_judge.errors import UserError
from tests.loopback_hub import loopback
from tests.recipes.hub_bases import TINY_MINICPM, put_base, write_minicpm

NOWHERE = "f" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with loopback(tmp_path / "hub") as running:
        yield running


def on(**base: str | None) -> Recipe:
    recipe = load_recipe("minicpm-v-2.6")
    return replace(recipe, base=Base(**{"model": TINY_MINICPM, **base}))


def another(folder: Path) -> Path:
    """The same base with other words on its card: one more commit."""
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def test_the_commit_is_looked_up_once_and_stays(hub: Running, tmp_path: Path) -> None:
    base, build = write_minicpm(tmp_path / "base"), tmp_path / "build"
    first = put_base(hub, base)
    assert pinned(on(), build).base.revision == first
    second = put_base(hub, another(base))
    assert second != first and pinned(on(), build).base.revision == first
    assert pinned(pinned(on(), build), build).base.revision == first  # pinned again, by a step that calls another
    assert json.loads(BuildFolder(build).base.path.read_text())["commit"] == first
    assert pinned(on(), tmp_path / "another build").base.revision == second
    line = moved(on(), first)
    assert line and second[:12] in line and first[:12] in line and "\n" not in line
    assert moved(on(), second) is None and moved(on(revision=first), first) is None


def test_a_branch_a_tag_and_a_commit_are_commits(hub: Running, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    base = write_minicpm(tmp_path / "base")
    first = put_base(hub, base)
    HfApi(endpoint=hub.endpoint, token="hf_lab").create_tag(TINY_MINICPM, tag="v1")
    second = put_base(hub, another(base))
    for number, (revision, commit) in enumerate({"v1": first, "main": second, first: first}.items()):
        assert pinned(on(revision=revision), tmp_path / str(number)).base.revision == commit
    build = tmp_path / "0"  # a recipe that names another revision gets it
    assert pinned(on(revision="main"), build).base.revision == second


def test_without_a_connection_the_cache_knows(hub: Running, tmp_path: Path) -> None:
    commit = put_base(hub, write_minicpm(tmp_path / "base"))
    pinned(on(), tmp_path / "one")
    hub.stop()
    assert pinned(on(), tmp_path / "two").base.revision == commit
    assert moved(on(), commit) is None
    with pytest.raises(UserError, match=r"Cannot find the base lab/other at v2.*connection"):
        pinned(on(model="lab/other", revision="v2"), tmp_path / "three")


@pytest.mark.parametrize(("base", "words"), [
    ({"model": "lab/none"}, "Cannot find the base lab/none"),
    ({"revision": "v9"}, f"Cannot find the base {TINY_MINICPM} at v9"),
    ({"model": "no/such/folder"}, "Cannot find the base no/such/folder"),
])  # fmt: skip
def test_a_base_that_is_not_there_is_one_line(hub: Running, tmp_path: Path, base, words) -> None:
    put_base(hub, write_minicpm(tmp_path / "base"))
    with pytest.raises(UserError, match=words) as error:
        pinned(on(**base), tmp_path / "build")
    assert "\n" not in str(error.value)


def test_a_folder_is_the_model_that_its_id_names(hub: Running, tmp_path: Path) -> None:
    folder = write_minicpm(tmp_path / "base")
    commit = put_base(hub, folder)
    recipe = pinned(on(model=str(folder), id=TINY_MINICPM), tmp_path / "build")
    assert (recipe.base.source, recipe.base.hub_id, recipe.base.revision) == (str(folder), TINY_MINICPM, commit)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=f"model.safetensors in base differs from that of {TINY_MINICPM}"):
        pinned(on(model=str(folder), id=TINY_MINICPM), tmp_path / "another build")


def test_a_folder_trains_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = write_minicpm(tmp_path / "base")
    assert pinned(on(model=str(folder), id="lab/unknown"), tmp_path / "1").base.revision is None
    assert pinned(on(model=str(folder), id="lab/unknown", revision=NOWHERE), tmp_path / "2").base.revision == NOWHERE


def test_a_folder_from_nowhere_has_no_commit(tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    assert pinned(recipe, tmp_path) == recipe and not BuildFolder(tmp_path).base.path.exists()


@pytest.mark.parametrize("published", [True, False])
def test_a_base_on_the_hub_is_never_a_folder_of_its_name(tmp_path: Path, monkeypatch, published: bool) -> None:
    (tmp_path / "lab" / "base").mkdir(parents=True)
    (tmp_path / "deep" / "lab" / "base").mkdir(parents=True)

    def checked(**base: str) -> Base:
        recipe = on(**base)
        check(replace(recipe, release=replace(recipe.release, publish_base=published)))
        return recipe.base

    with monkeypatch.context() as here:
        here.chdir(tmp_path)  # transformers would take the folder, wherever the checkout is
        with pytest.raises(UserError, match=r"base.model 'lab/base' is one on the Hub, and a folder here"):
            checked(model="lab/base")
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    for own in ({}, {"id": "lab/base"}):
        with pytest.raises(UserError, match=r"a folder here has that name.*Write ./lab/base"):
            checked(model="lab/base", **own)
    assert checked(model="lab/base", id="lab/other").folder == tmp_path / "lab" / "base"  # an id is a folder's
    for path in ("./lab/base", "deep/lab/base", str(tmp_path / "lab" / "base")):
        assert checked(model=path, id="lab/base").folder == tmp_path / path
    assert checked(model="lab/another").folder is None


def test_a_folder_needs_its_id_unless_it_is_published(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"base.model is the folder .*Add base.id.*publish_base"):
        check(on(model=str(tmp_path)))
    check(on(model=str(tmp_path), id="lab/base"))
    recipe = on(model=str(tmp_path))
    check(replace(recipe, release=replace(recipe.release, publish_base=True)))
    for wrong in ("base", "a/b/c", ""):
        with pytest.raises(UserError, match="The id of a model is OWNER/NAME"):
            check(on(model=str(tmp_path), id=wrong))
    with pytest.raises(UserError, match="says which model of the Hub a folder has"):
        check(on(id="lab/other"))
