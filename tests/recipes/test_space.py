"""`make space` shows the release that was asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request

import pytest
from gradio_client import Client

from recipes.hub.repositories import repositories, stage_folder
from recipes.recipe.config import load_recipe
from recipes.space import main, prepare
from tests.users_shell import blocks, users_environment


def test_before_a_release_the_checkouts_own_space_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("recipes.hub.repositories.ROOT", tmp_path)
    app, variables = prepare(load_recipe("tiny"))
    assert app.is_file() and app.parent.name == "space" and variables == {}
    assert main(["--recipe", "smoke"]) == 2
    assert "smoke is not staged. Run make release RECIPE=smoke first." in capsys.readouterr().err


def test_a_real_release_opens_with_the_staged_model(tmp_path, monkeypatch):
    """Its name on the Hub is not there yet; the copy names the folder, the stage is left as it is."""
    monkeypatch.setattr("recipes.hub.repositories.ROOT", tmp_path)
    monkeypatch.setattr("recipes.space.ROOT", tmp_path)
    recipe = load_recipe("minicpm-v-2.6")
    stage = stage_folder(recipe)
    demo, model = (repository.folder(stage) for repository in (repositories(recipe).demo, repositories(recipe).model))
    demo.mkdir(parents=True)
    record = {"release": {"recipe": recipe.name}, "repositories": repositories(recipe).ids(None)}
    (stage / "manifest.json").write_text(json.dumps({"record": record}))
    (demo / "app.py").write_text("")
    (demo / "release.json").write_text(json.dumps({"judge": "hf:NAMESPACE/t2i-judge-x@v1.0.0", "space_judge": None}))
    app, _ = prepare(recipe)
    assert json.loads((app.parent / "release.json").read_text()) == {"judge": f"hf:{model}", "space_judge": None}
    assert "NAMESPACE" in (demo / "release.json").read_text()
    (demo / "release.json").write_text(json.dumps({"judge": "tiny"}))
    app, _ = prepare(recipe)
    assert json.loads((app.parent / "release.json").read_text()) == {"judge": "tiny"}


@pytest.mark.slow
def test_the_staged_release_is_shown_and_left_as_it_is(smoke_build, root):
    """Started by the guide's command and interrupted: the page shows the smoke benchmark, the stage stays unchanged."""
    stage = root / "build" / "release-smoke"
    before = {path: path.stat().st_mtime_ns for path in stage.rglob("*")}
    [typed] = blocks((root / "space" / "README.md").read_text(encoding="utf-8"), "sh")
    command = ["bash", "-c", f"exec env {typed.strip().replace('7860', '7881')} RECIPE=smoke"]
    environment = users_environment(HF_HUB_OFFLINE="1", PYTHONUNBUFFERED="1")
    environment.pop("BENCHMARK", None)
    space = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert space.stdout is not None
        url = next(match[0] for line in space.stdout if (match := re.search(r"http://\S+", line)))
        with urllib.request.urlopen(url) as page:
            assert page.status == 200
        assert Client(url, verbose=False).predict(api_name="/leaderboard")
    finally:
        os.killpg(space.pid, signal.SIGINT)
        space.wait(120)
    assert {path: path.stat().st_mtime_ns for path in stage.rglob("*")} == before
