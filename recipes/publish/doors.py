"""Opens one public door of a release as a stranger would: `python -P .../doors.py DOOR JSON_ARGUMENTS`.

`recipes.publish.verify` runs it in a separate process, with an empty cache, in an empty folder. It prints one line of
JSON. Of this project it imports only what the door itself needs.
"""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = 2
SPACE_SECONDS = 120


def open_dataset(name: str, revision: str | None) -> dict[str, Any]:
    """Rows of every config and split, loaded whole; the first row of each streamed and held against it."""
    from datasets import get_dataset_config_names, load_dataset

    rows = {}
    for config in get_dataset_config_names(name, revision=revision):
        whole = load_dataset(name, config, revision=revision)
        streamed = load_dataset(name, config, revision=revision, streaming=True)
        for split, data in whole.items():
            text = [column for column in data.column_names if "image" not in column]
            if data.num_rows and next(iter(streamed[split].select_columns(text))) != data.select_columns(text)[0]:
                raise ValueError(f"{config}/{split}: streaming returns a different first row")
            if data.num_rows:
                data[0]  # decodes the images
            rows[f"{config}/{split}"] = data.num_rows
    return {"rows": rows}


def _bench_rows(
    bench: str, split: str, revision: str | None, known_as: str | None
) -> tuple[list[Any], list[str], list[Any]]:
    """The first images that the judge of that name has judged, or the first of all if it has judged none."""
    from datasets import load_dataset

    data = load_dataset(bench, split=split, revision=revision)
    judged = [
        number
        for number, scores in enumerate(data["baselines"])
        if any(score["judge"] == known_as and score["status"] == "ok" for score in scores)
    ]
    rows = data.select((judged or range(len(data)))[:ROWS])[:]
    return rows["image"], rows["prompt"], rows["reference_image"]


def open_judge(
    name: str, bench: str, split: str, bench_revision: str | None, known_as: str | None = None
) -> dict[str, Any]:
    """Judge benchmark images by the released model."""
    from t2i_judge import load_judge

    images, prompts, references = _bench_rows(bench, split, bench_revision, known_as)
    judgements = load_judge(name).score(images, prompts, references)
    return {
        "statuses": [str(judgement.status) for judgement in judgements],
        "scores": [dict(f.scores) for f in judgements],
    }


def open_metric(
    name: str,
    revision: str | None,
    bench: str,
    split: str,
    bench_revision: str | None,
    known_as: str | None = None,
    judge: str | None = None,
) -> dict[str, Any]:
    """Judge the same images through `evaluate.load`, while the package t2i_judge cannot be imported.

    `judge` None takes the default, which the release has stamped into the script.
    """
    sys.modules["t2i_judge"] = None  # type: ignore[assignment]
    import evaluate

    images, prompts, references = _bench_rows(bench, split, bench_revision, known_as)
    if any(reference is not None for reference in references):
        wanted: list[Any] = [{"prompt": p, "reference_image": r} for p, r in zip(prompts, references)]
    else:
        wanted = prompts
    metric = evaluate.load(name, **({"revision": revision} if revision else {}))
    return {"result": metric.compute(predictions=images, references=wanted, **({"judge": judge} if judge else {}))}


def open_space(folder: str) -> dict[str, Any]:
    """Compile every module of the Space. A static Space must have its page; a gradio Space must start and answer."""
    import yaml

    modules = sorted(Path(folder).rglob("*.py"))
    for module in modules:
        py_compile.compile(str(module), cfile="module.pyc", doraise=True)
    card = yaml.safe_load(Path(folder, "README.md").read_text(encoding="utf-8").split("---")[1])
    if card["sdk"] == "static":
        page = Path(folder, card.get("app_file", "index.html")).read_text(encoding="utf-8")
        return {"modules": len(modules), "page": len(page)}
    own = shutil.copytree(folder, "space")  # gradio writes beside the modules that it runs
    return {"modules": len(modules), "seconds": _answers(own, card.get("app_file", "app.py"))}


def _answers(folder: str, app: str) -> float:
    """Seconds until the Space's front page answers. Raises TimeoutError, or RuntimeError with the app's last words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PORT": str(port),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, app], cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            while time.monotonic() - start < SPACE_SECONDS:
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{app} ended: {log.read().decode(errors='replace').strip()[-300:]}")
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
                        json.load(answer)
                        return time.monotonic() - start
                except OSError:
                    time.sleep(0.3)
        finally:
            process.kill()
            process.wait()
    raise TimeoutError(f"{app} did not answer within {SPACE_SECONDS} s")


DOORS: dict[str, Callable[..., dict[str, Any]]] = {
    "dataset": open_dataset,
    "judge": open_judge,
    "metric": open_metric,
    "space": open_space,
}


def main(door: str, arguments: str) -> None:
    """Open a door, print what is behind it or why it stays shut, and end this process at once.

    Without delay, because an open stream reads ahead in threads, which sometimes abort an interpreter that shuts down.
    """
    try:
        print("\n" + json.dumps(DOORS[door](**json.loads(arguments)), default=str), flush=True)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
