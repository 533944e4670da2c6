"""`make space` shows the release that was asked for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from gradio_client import Client

from recipes.recipe.config import load_recipe
from recipes.space import main, prepare


def test_before_a_release_the_checkouts_own_space_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("recipes.hub.repositories.ROOT", tmp_path)
    app, variables = prepare(load_recipe("tiny"))
    assert app.is_file() and app.parent.name == "space" and variables == {}
    assert main(["--recipe", "smoke"]) == 2
    assert "smoke is not staged. run make release RECIPE=smoke first." in capsys.readouterr().err


@pytest.mark.slow
def test_the_staged_release_is_shown_and_left_as_it_is(smoke_build, root):
    """Started and interrupted as its user does: the page shows the smoke benchmark, the stage stays unchanged."""
    stage = root / "build" / "release-smoke"
    before = {path: path.stat().st_mtime_ns for path in stage.rglob("*")}
    command = [sys.executable, "-u", "-m", "recipes.space", "--recipe", "smoke"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": "7881"}
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
        space.wait(30)
    assert {path: path.stat().st_mtime_ns for path in stage.rglob("*")} == before
