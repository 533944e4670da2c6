"""`evaluate.load("me/t2i_judge")` from a Hub, without the package: public, private, by revision, offline again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.hub.repositories import repositories
from recipes.loopback.hub.server import Running
from recipes.publish.push import Push
from recipes.publish.stage import stage_release
from tests.caches import new_home
from tests.metrics.test_evaluate_module import HIDE, SEEN
from tests.recipes.staged import StagedRelease
from tests.recipes.synthetic import synthetic_recipe

pytestmark = pytest.mark.slow
LOAD = HIDE + SEEN + 'print("RESULT", json.dumps(seen(evaluate.load("me/t2i_judge", "meta", {options}))))'


@pytest.fixture(scope="module")
def stages(staged_once: StagedRelease, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Version -> the release staged for `me`: read only."""
    folder, recipe, build = tmp_path_factory.mktemp("stages"), staged_once.recipe, staged_once.build
    return {
        version: stage_release(recipe, version, "me", build=build, stage=folder / version)
        for version in ("1.0.0", "1.1.0")
    }


def release(stages: dict[str, Path], version: str, private: bool = False) -> Path:
    """Push the metric of a version; returns its staged folder."""
    recipe, stage = synthetic_recipe(), stages[version]
    Push(recipe, stage, "me", f"v{version}", "hf_me", private, False, say=lambda line: None).run(("metric",))
    return repositories(recipe).metric.folder(stage)


def process(running: Running, folder: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": running.endpoint, "HF_HOME": new_home(folder / "home"), **variables}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def result(running: Running, folder: Path, code: str, **variables: str) -> Any:
    done = process(running, folder, code, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)[1])


def test_from_the_hub_and_again_offline(stages: dict[str, Path], running: Running, tmp_path: Path) -> None:
    release(stages, "1.0.0")
    value, module, _ = result(running, tmp_path, LOAD.format(options=""))
    assert value == 0.8 and "spaces--me--t2i_judge" in module
    running.stop()
    for offline in ("1", "0"):  # said to be offline, and merely without a network
        assert result(running, tmp_path, LOAD.format(options=""), HF_HUB_OFFLINE=offline)[:2] == [value, module]


def test_two_releases_by_their_revisions_in_one_process(
    stages: dict[str, Path], running: Running, tmp_path: Path
) -> None:
    release(stages, "1.0.0")
    release(stages, "1.1.0")
    code = HIDE + (
        "import json\nscripts = [sys.modules[type(evaluate.load('me/t2i_judge', 'meta', revision=r)).__module__]\n"
        "           for r in ('synthetic-v1.0.0', 'synthetic-v1.1.0', None)]\n"
        "print('RESULT', json.dumps([[s.TAG, s.JUDGE, s.metric.__file__] for s in scripts]))"
    )
    first, second, default = result(running, tmp_path, code)
    assert first[:2] == ["synthetic-v1.0.0", "hf:me/t2i-judge-synthetic@v1.0.0"]
    assert second[:2] == ["synthetic-v1.1.0", "hf:me/t2i-judge-synthetic@v1.1.0"] and default == second
    assert Path(first[2]).is_relative_to(tmp_path) and Path(second[2]).is_relative_to(tmp_path)


def test_a_private_release_opens_with_its_token_only(stages: dict[str, Path], running: Running, tmp_path: Path) -> None:
    release(stages, "1.0.0", private=True)
    assert process(running, tmp_path, LOAD.format(options="")).returncode
    assert result(running, tmp_path, LOAD.format(options=""), HF_TOKEN="hf_me")[0] == 0.8


def test_a_library_that_was_replaced_under_the_tag_never_runs(
    stages: dict[str, Path], running: Running, tmp_path: Path
) -> None:
    folder = release(stages, "1.0.0")
    mark = tmp_path / "ran"
    other = (folder / "__init__.py").read_bytes() + f"\nopen({str(mark)!r}, 'w').close()\n".encode()
    from huggingface_hub import HfApi

    api = HfApi(running.endpoint, token="hf_me")
    api.upload_file(path_or_fileobj=other, path_in_repo="__init__.py", repo_id="me/t2i_judge", repo_type="space")
    api.delete_tag("me/t2i_judge", tag="synthetic-v1.0.0", repo_type="space")
    api.create_tag("me/t2i_judge", tag="synthetic-v1.0.0", repo_type="space")
    done = process(running, tmp_path, LOAD.format(options=""))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "differs from what this script was released with" in last and not mark.exists()


def test_code_in_the_working_directory_under_the_metrics_name_never_runs(
    stages: dict[str, Path], running: Running, tmp_path: Path
) -> None:
    folder, mark = tmp_path / "me" / "t2i_judge", tmp_path / "ran"
    folder.mkdir(parents=True)
    for name in ("metric.py", "__init__.py"):
        (folder / name).write_text(f"open({str(mark)!r}, 'w').close()\n")
    staged = release(stages, "1.0.0")
    assert "spaces--me--t2i_judge" in result(running, tmp_path, LOAD.format(options=""))[1] and not mark.exists()
    for path in staged.glob("[!.]*.py"):  # all of the released library, but for its script
        if path.name != "t2i_judge.py":
            (folder / path.name).write_bytes(path.read_bytes())
    assert "spaces--me--t2i_judge" in result(running, tmp_path, LOAD.format(options=""))[1]
