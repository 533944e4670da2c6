"""Whose repositories stand on the Hub: a second recipe never replaces a first, by what its manifests there say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.hub.client import Hub
from recipes.hub.repositories import PARTS, Repository, repositories
from recipes.loopback.hub.server import Running
from recipes.publish import gate
from recipes.publish.gate import check_release
from recipes.publish.push import Push
from recipes.publish.push_plan import plan, print_plan
from recipes.publish.stage import stage_release
from recipes.publish.standing import names_on_hub, standing
from recipes.recipe.config import Recipe
from recipes.recipe.sections import RepositoryNames
from t2i_judge.errors import UserError
from tests.recipes.publish.test_push import SENDING, commits, contents, on_hub
from tests.recipes.staged import StagedRelease, slim_spaces
from tests.recipes.synthetic import synthetic_recipe


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate asks the Hub as whoever releases."""
    monkeypatch.setenv("HF_TOKEN", "hf_me")


class Releases:
    """Recipes that are made from one build and released into one namespace."""

    def __init__(self, staged: StagedRelease, folder: Path) -> None:
        self.staged, self.folder = staged, folder

    def recipe(self, name: str, simulated: bool = False, **release: Any) -> Recipe:
        own = self.staged.recipe
        return replace(own, name=name, release=replace(own.release, simulated=simulated, **release))

    def stage(self, recipe: Recipe, version: str = "1.0.0", **options: Any) -> Path:
        names = names_on_hub(recipe, Hub("me", "hf_me"))
        place = self.folder / f"{recipe.name}-{version}"
        return stage_release(recipe, version, "me", build=self.staged.build, stage=place, names=names, **options)

    def gate(self, recipe: Recipe, stage: Path) -> set[str]:
        found = check_release(recipe, stage, (), "me")
        return {finding.check for finding in found if finding.check.startswith("replaces")}

    def release(self, recipe: Recipe, version: str = "1.0.0", **options: Any) -> list[str]:
        """Staged, let through the gate, pushed; returns what was said."""
        stage, said = self.stage(recipe, version, **options), []
        assert self.gate(recipe, stage) == set()
        Push(recipe, stage, "me", f"v{version}", "hf_me", say=said.append, sleep=lambda seconds: None).run(PARTS)
        return said


@pytest.fixture
def releases(
    staged_once: StagedRelease, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Releases]:
    """With Spaces of a few files, and a gate that looks at the Hub alone: these are what takes time."""
    monkeypatch.setattr(gate, "CHECKS", (gate._in_the_way,))
    with slim_spaces(tmp_path / "library"):
        yield Releases(staged_once, tmp_path / "stages")


def put(running: Running, repository: Repository, path: str, content: bytes) -> None:
    """A file that somebody commits to a repository's main branch."""
    repo = on_hub(running, repository)
    repo.commit("refs/heads/main", repo.resolve("main"), "mine", "me", [("add", path, repo.blob(content))])


def tags(running: Running, repository: Repository) -> list[str]:
    return sorted(on_hub(running, repository).git("tag").decode().split())


def collections(running: Running) -> dict[str, list[str]]:
    """Title -> entries, by name."""
    there = json.loads((running.hub.root / "collections.json").read_text()).values()
    return {c["title"]: [item["id"].split("/")[1] for item in c["items"]] for c in there}


def owner(running: Running, repository: Repository) -> str:
    repo = on_hub(running, repository)
    return json.loads(repo.read(repo.file(repo.resolve("main"), "manifest.json")))["release"]["recipe"]


def test_names_and_tags_carry_the_recipe(releases: Releases) -> None:
    names = repositories(releases.recipe("minicpm-v-2.6-24gb"))
    assert [repository.id("me") for repository in names] == [
        "me/t2i-judge-bench-minicpm-v-2.6-24gb", "me/t2i-judge-distill-minicpm-v-2.6-24gb",
        "me/t2i-judge-minicpm-v-2.6-24gb", "me/t2i_judge", "me/t2i-judge-demo",
    ]  # fmt: skip
    tags = [repository.tag("v1.0.0") for repository in names]
    assert tags == ["v1.0.0"] * 3 + ["minicpm-v-2.6-24gb-v1.0.0"] * 2
    own = repositories(releases.recipe("a", repositories=RepositoryNames(bench="photos", model="my-judge")))
    assert [r.name for r in own] == ["photos", "t2i-judge-distill-a", "my-judge", "t2i_judge", "t2i-judge-demo"]


def test_a_second_real_recipe_leaves_the_firsts_metric_and_demo_alone(releases: Releases, running: Running) -> None:
    first, second = releases.recipe("first"), releases.recipe("second.b")
    releases.release(first)
    names, before = repositories(first), {r: commits(on_hub(running, r)) for r in repositories(first)}
    said = releases.release(second)
    [line] = [line for line in said if "not changed" in line]
    assert "belong to the recipe first" in line and "hf:me/t2i-judge-second.b@v1.0.0" in line and "\n" not in line
    assert {r: commits(on_hub(running, r)) for r in names} == before
    assert tags(running, names.metric) == tags(running, names.demo) == ["first-v1.0.0"]
    assert tags(running, repositories(second).model) == ["v1.0.0"]
    push = Push(second, releases.stage(second), "me", "v1.0.0", "hf_me", say=said.append)
    push.run(("model",))
    assert said[-1].endswith("is complete"), "metric and demo are not waited for"
    assert collections(running) == {
        "t2i-judge: first": [
            "t2i-judge-bench-first", "t2i-judge-distill-first", "t2i_judge", "t2i-judge-demo", "t2i-judge-first",
        ],
        "t2i-judge: second.b": ["t2i-judge-bench-second.b", "t2i-judge-distill-second.b", "t2i-judge-second.b"],
    }  # fmt: skip


def test_a_simulated_owner_yields_to_the_first_real_one_and_stays_released(
    releases: Releases, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    sim, real = releases.recipe("sim", simulated=True), releases.recipe("real")
    releases.release(sim)
    metric, demo = repositories(sim).metric, repositories(sim).demo
    releases.release(real)
    assert owner(running, metric) == owner(running, demo) == "real"
    assert tags(running, metric) == tags(running, demo) == ["real-v1.0.0", "sim-v1.0.0"]
    assert "simulated" not in on_hub(running, demo).card("main")["tags"]
    assert "t2i_judge" not in collections(running)["t2i-judge: sim"]
    before = len(running.hub.calls)
    assert [line for line in releases.release(sim) if "not changed" in line], "the other way round"
    assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == [], "nothing of it differs"
    assert owner(running, metric) == "real"
    print_plan(releases.stage(sim), "me", PARTS, "hf_me")
    assert "not changed" in (planned := capsys.readouterr().out) and "A push would send 0 bytes" in planned
    releases.release(sim, "1.0.1")
    assert tags(running, repositories(sim).model) == ["v1.0.0", "v1.0.1"]
    assert tags(running, metric) == ["real-v1.0.0", "sim-v1.0.0"] and owner(running, metric) == "real"


def test_a_recipe_may_take_metric_and_demo_over(releases: Releases, running: Running) -> None:
    first = releases.recipe("first")
    releases.release(first)
    releases.release(releases.recipe("second", default_judge=True))
    assert owner(running, repositories(first).demo) == owner(running, repositories(first).metric) == "second"
    assert collections(running)["t2i-judge: second"][2:4] == ["t2i_judge", "t2i-judge-demo"]
    assert "t2i_judge" not in collections(running)["t2i-judge: first"]
    sim = releases.recipe("sim", simulated=True, default_judge=True)
    assert releases.gate(sim, releases.stage(sim)) == {"replaces_real"}


@pytest.mark.parametrize("simulated", [True, False])
def test_the_same_release_twice_sends_nothing_and_a_bump_what_differs(
    releases: Releases, running: Running, simulated: bool
) -> None:
    recipe = releases.recipe("again", simulated=simulated)
    releases.release(recipe, overridden=("baseline",))
    before = len(running.hub.calls)
    shutil.rmtree(releases.folder / "again-1.0.0")
    releases.release(recipe, overridden=("baseline", "license", "replaces_real"))
    assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == []
    releases.release(recipe, "1.1.0")
    names = repositories(recipe)
    old, new = (contents(on_hub(running, names.bench), version) for version in ("v1.0.0", "v1.1.0"))
    assert {path for path in new if old[path] != new[path]} == {"README.md", "manifest.json"}
    assert tags(running, names.demo) == ["again-v1.0.0", "again-v1.1.0"]


def test_a_commit_of_the_checkout_alone_is_no_other_release(
    releases: Releases, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staged before a commit, pushed, and staged again after it: the same files, and the version stays as it is."""
    told = {"sha": "a" * 40, "modified": True}
    for module in ("stage", "release_record"):
        monkeypatch.setattr(f"recipes.publish.{module}.commit", lambda: dict(told))
    recipe = releases.recipe("committed")
    releases.release(recipe)
    told.update(sha="b" * 40, modified=False)
    before = len(running.hub.calls)
    said = releases.release(recipe)
    assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == []
    assert len([line for line in said if line.endswith("up to date")]) == 5


def test_an_interrupted_release_goes_on_from_any_repository(releases: Releases, running: Running) -> None:
    recipe = releases.recipe("stopped", simulated=True)
    stage = releases.stage(recipe)
    for part in PARTS:
        Push(recipe, stage, "me", "v1.0.0", "hf_me", say=lambda line: None).run((part,))
        assert releases.gate(recipe, stage) == set()
    releases.release(recipe)
    assert all(len(commits(on_hub(running, repository))) == 2 for repository in repositories(recipe))


def test_what_was_released_under_an_older_name_keeps_it(releases: Releases, running: Running) -> None:
    older = RepositoryNames(bench="t2i-judge-bench", distill="t2i-judge-distill")
    releases.release(releases.recipe("real", repositories=older))
    recipe, other = releases.recipe("real"), releases.recipe("other")
    releases.release(recipe, "1.0.1")
    bench = names_on_hub(recipe, Hub("me", "hf_me")).bench
    assert bench.name == "t2i-judge-bench" and tags(running, bench) == ["v1.0.0", "v1.0.1"]
    assert not on_hub(running, repositories(recipe).bench).exists
    assert names_on_hub(other, Hub("me", "hf_me")) == repositories(other), "another recipe's"
    releases.release(other)
    assert tags(running, repositories(other).bench) == ["v1.0.0"] and len(commits(on_hub(running, bench))) == 3


def test_another_recipes_repository_is_never_replaced_by_its_name(releases: Releases) -> None:
    releases.release(releases.recipe("first"))
    second = releases.recipe("second", repositories=RepositoryNames(bench="t2i-judge-bench-first"))
    assert releases.gate(second, releases.stage(second)) == {"replaces_other"}


def test_a_foreign_space_of_that_name_is_refused(releases: Releases, running: Running) -> None:
    """A Space that somebody filled, and that is no release, is nobody's to replace; one that was just made is."""
    real, sim = releases.recipe("real"), releases.recipe("sim", simulated=True)
    names = repositories(real)
    for repository in (names.metric, names.demo):
        on_hub(running, repository).create({"private": False, "sdk": repository.sdk}, "me")
    assert releases.gate(real, releases.stage(real)) == set()
    put(running, names.demo, "app.py", b"print()")
    assert standing(Hub("me", "hf_me"), names.demo).foreign
    assert releases.gate(real, releases.stage(real)) == {"replaces_other"}
    assert releases.gate(sim, releases.stage(sim)) == {"replaces_other"}


STARTER = b"""<!doctype html>
<html><head><meta charset="utf-8" /><title>My static Space</title><link rel="stylesheet" href="style.css" /></head>
<body><div class="card"><h1>Welcome to your static Space!</h1>
<p>You can modify this app directly by editing <i>index.html</i> in the Files and versions tab.</p>
<p>Also don't forget to check the
<a href="https://huggingface.co/docs/hub/spaces" target="_blank">Spaces documentation</a>.</p></div></body></html>
"""


@pytest.mark.parametrize(("key", "files", "foreign"), [
    ("model", {}, False),
    ("model", {"README.md": b"---\nlicense: mit\n---\n"}, False),
    ("model", {"README.md": b"---\nlicense: mit\n---\n# My own work, three years of it\n"}, True),
    ("model", {"README.md": b"---\ntags: [mine]\n---\n"}, True),
    ("model", {"README.md": b"---\ntags: [t2i-judge]\n---\n# A copy of a card\n", "notes.txt": b"mine"}, True),
    ("model", {"adapter_model.safetensors": b"MY WEIGHTS"}, True),
    ("bench", {"data/new_prompts-00000-of-00001.parquet": b"MY DATA"}, True),
    ("bench", {"manifest.json": b'{"release": "of something else"}'}, True),
    ("metric", {"index.html": STARTER, "style.css": b"body {}"}, False),
    ("metric", {"index.html": b"<h1>My page</h1>", "style.css": b"body {}"}, True),
    ("metric", {"index.html": STARTER.replace(b"</h1>", b"</h1><p>My thesis</p>"), "style.css": b"body {}"}, True),
])  # fmt: skip
def test_what_no_release_put_there_is_somebodys(
    running: Running, key: str, files: dict[str, bytes], foreign: bool
) -> None:
    """Nobody's is only what the Hub itself puts into a new repository."""
    repository = getattr(repositories(synthetic_recipe()), key)
    on_hub(running, repository).create({"private": False, "sdk": repository.sdk}, "me")
    for path, content in files.items():
        put(running, repository, path, content)
    there = standing(Hub("me", "hf_me"), repository)
    assert (there is not None) == foreign and (there is None or there.foreign)


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("card", [None, b"---\nlicense: mit\n---\n# My own work\n"])
def test_somebodys_model_or_data_of_that_name_is_refused(
    releases: Releases, running: Running, simulated: bool, card: bytes | None
) -> None:
    recipe = releases.recipe("mine", simulated=simulated)
    for repository in (repositories(recipe).model, repositories(recipe).bench):
        on_hub(running, repository).create({"private": False, "sdk": None}, "me")
        for path, content in (("config.json", b"{}"), *([("README.md", card)] if card else ())):
            put(running, repository, path, content)
    found = check_release(recipe, releases.stage(recipe), (), "me")
    assert [(f.check, f.where) for f in found] == [
        ("replaces_other", repositories(recipe).bench.name), ("replaces_other", repositories(recipe).model.name),
    ]  # fmt: skip
    assert "rename it there, or give this one another name" in str(found[0])


@pytest.mark.parametrize("files", ['["precious.bin"]', '[{"path": "x"}]', '{"precious.bin": {}}', "7", '{"files": 1}'])
def test_a_manifest_that_is_not_ours_deletes_nothing(releases: Releases, running: Running, files: str) -> None:
    """Somebody else's manifest.json has a list of files, too, or no list at all."""
    real = releases.recipe("real")
    names = repositories(real)
    on_hub(running, names.model).create({"private": False}, "me")
    put(running, names.model, "precious.bin", b"mine")
    put(running, names.model, "manifest.json", f'{{"files": {files}}}'.encode())
    changes = plan(Hub("me", "hf_me"), names.model, names.model.folder(releases.stage(real)))
    assert not changes.deleted and "manifest.json" in changes.changed


def test_a_collection_of_ones_own_is_left_alone(releases: Releases, running: Running) -> None:
    from huggingface_hub import HfApi

    api, real = HfApi(token="hf_me"), releases.recipe("real")
    mine = api.create_collection("t2i-judge: my favourites", namespace="me")
    metric = repositories(real).metric
    on_hub(running, metric).create({"private": False, "sdk": "static"}, "me")
    api.add_collection_item(mine.slug, metric.id("me"), "space", note="the best")
    releases.release(real)
    assert collections(running)["t2i-judge: my favourites"] == [metric.name]


def test_a_dry_run_shows_no_card_to_the_hub(
    releases: Releases, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "CHECKS", (gate._cards,))
    real = releases.recipe("real")
    stage, asked = releases.stage(real), []
    for sending in (False, True):
        before = len(running.hub.calls)
        assert not check_release(real, stage, (), "me", sending=sending)
        asked.append([call for call in running.hub.calls[before:] if call.startswith("POST")])
    assert not asked[0] and len(asked[1]) == 5


def test_main_never_goes_back_to_an_older_version(releases: Releases, running: Running) -> None:
    recipe = releases.recipe("again")
    for version in ("1.9.0", "1.10.0"):
        releases.release(recipe, version)
    before = len(running.hub.calls)
    for version in ("1.9.0", "1.2.0"):
        with pytest.raises(UserError, match=r"already has the release 1\.10\.0.*Use a higher VERSION"):
            releases.release(recipe, version)
    assert [call for call in running.hub.calls[before:] if SENDING.match(call)] == []
    releases.release(releases.recipe("other", default_judge=True), "1.0.0")
    assert owner(running, repositories(recipe).metric) == "other", "versions are of one recipe"


def test_an_old_demo_without_the_tag_is_known_by_its_manifest(releases: Releases, running: Running) -> None:
    """Older releases did not tag the demo's card; a card that somebody edited since speaks for itself."""
    sim = releases.recipe("sim", simulated=True)
    releases.release(sim)
    repo = on_hub(running, repositories(sim).demo)
    sha = repo.resolve("main")
    card = repo.read(repo.file(sha, "README.md")).replace(b"- simulated\n", b"")
    repo.commit("refs/heads/main", sha, "edited", "me", [("add", "README.md", repo.blob(card))])
    stage = releases.stage(sim)
    assert releases.gate(sim, stage) == {"replaces_real"}
    import hashlib

    manifest = json.loads(repo.read(repo.file(sha, "manifest.json")))
    manifest["files"]["README.md"]["sha256"] = hashlib.sha256(card).hexdigest()
    blob = repo.blob(json.dumps(manifest).encode())
    repo.commit("refs/heads/main", repo.resolve("main"), "as released", "me", [("add", "manifest.json", blob)])
    assert releases.gate(sim, stage) == set()
