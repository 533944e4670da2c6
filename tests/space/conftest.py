"""The Space as tests see it: a small benchmark written by the project's own writer, a running app, a browser."""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "space"), str(ROOT)]  # the Space's modules import each other flat, as on the Hub

from composer import EXAMPLES, draw, faithful, scene_of, with_choice  # noqa: E402
from scenes import rules  # noqa: E402
from scenes.annotators import ANNOTATORS, rate  # noqa: E402
from scenes.render import make_scenes, render_reference  # noqa: E402
from t2i_judge.records import OVERALL  # noqa: E402
from t2i_judge.scoring import aspect_scores  # noqa: E402
from tests.waiting import PATIENCE  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def patient_http() -> Iterator[None]:
    """A machine that is busy may take longer than the five seconds of httpx, or Gradio's three for its own page."""
    import httpx

    usual = httpx.get.__kwdefaults__["timeout"]  # one object, for all that say nothing else
    with pytest.MonkeyPatch.context() as patch:
        for phase in ("connect", "read", "write", "pool"):
            patch.setattr(usual, phase, PATIENCE)
        patch.setattr("gradio.networking.url_ok", lambda url: httpx.head(url).status_code < 400)
        yield


def _row(index: int, sample, personalised: bool) -> dict:
    prompt, generator, scene, image = sample
    rng = random.Random(f"row/{index}")
    questions = [] if personalised else rules.decompose(prompt.text)
    answers = [rules.answer(scene, question) for question in questions]
    scores = aspect_scores(questions, answers)
    people = [
        {"annotator": name, "question_id": None, **rating}
        for name in ANNOTATORS
        for rating in rate(prompt, scene, name, rng)
    ]
    row = {
        "id": f"item-{index}" + ("-own" if personalised else ""),
        "prompt": prompt.text,
        "image": _png(image),
        "reference_image": None,
        "generator": generator,
        "source": "scenes",
        "questions": [asdict(question) for question in questions],
        "human_scores": people,
        "baselines": _baselines(scores, rng) if scores.get(OVERALL) is not None else [],
    }
    if personalised:
        row["reference_image"] = _png(render_reference(prompt.entities[0], rng))
        row["human_scores"] = [
            {
                "annotator": name,
                "aspect": aspect,
                "question_id": None,
                "score": float(rng.randint(0, 4)),
                "explanation": None,
            }
            for name in ANNOTATORS
            for aspect in ("concept_preservation", "prompt_following")
        ]
    return row


def _baselines(scores: dict, rng: random.Random) -> list[dict]:
    rows = []
    for judge, noise in (("teacher", 0.0), ("direct", 2.5)):
        for aspect, score in scores.items():
            if score is not None:
                lost = judge == "direct" and rng.random() < 0.1
                value = None if lost else min(10.0, max(0.0, score + rng.gauss(0, noise)))
                status = "refused" if lost else "ok"
                rows.append({"judge": judge, "revision": "1", "aspect": aspect, "score": value, "status": status})
    return rows


def _png(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def benchmark_folder(tmp_path_factory) -> Path:
    """42 scenes by seven generators, and 6 personalised items with reference pictures, as the release writes them."""
    from recipes.benchmarks.benchmark import write_benchmark

    rows = [_row(index, sample, False) for index, sample in enumerate(make_scenes(42, 5, "new_prompts"))]
    rows += [_row(index, sample, True) for index, sample in enumerate(make_scenes(6, 9, "new_pairs"))]
    folder = tmp_path_factory.mktemp("bench") / "t2i-judge-bench-test"
    write_benchmark(folder, {"new_prompts": rows[:42], "new_pairs": rows[42:]})
    (folder / "README.md").write_text(CONFIGS)
    return folder


CONFIGS = """---
configs:
- config_name: default
  default: true
  data_files:
  - {split: new_prompts, path: data/new_prompts-*.parquet}
  - {split: new_pairs, path: data/new_pairs-*.parquet}
---
"""


@pytest.fixture(scope="session")
def benchmark(benchmark_folder):
    """The same, as the Space reads it."""
    from benchmark import read_benchmark

    return read_benchmark(str(benchmark_folder))


@pytest.fixture
def store(tmp_path):
    """An empty store of annotations in a folder."""
    from annotation_store import AnnotationStore, FolderShelf

    return AnnotationStore(FolderShelf(tmp_path / "annotations"))


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[str]:
    """Full name of a served judge: the loopback teacher, a second a reply; it knows `served_scene` alone."""
    import json

    from recipes.loopback.http import started
    from recipes.scenes.server import SCENES, scene_to_json
    from t2i_judge.inputs.images import encode_image

    composition = served_scene()
    row = {"sha256": encode_image(draw(composition)).sha256, "scene": scene_to_json(scene_of(composition))}
    folder = tmp_path_factory.mktemp("served")
    (folder / SCENES).write_text(json.dumps(row) + "\n")
    with started("recipes.scenes.server", [str(folder), "--delay", "1"]) as url:
        yield f"openai:scene-teacher@{url}"


def served_scene():
    """One circle too many and in the wrong colour."""
    return with_choice(faithful(EXAMPLES[0], 5), 1, count=3, color="red")


@pytest.fixture(scope="session")
def desk(served):
    """The judges of the Space under test: the embedded one, and a served one over HTTP."""
    from judging import JudgeDesk
    from t2i_judge.judges.loading import load_judge

    return JudgeDesk(["tiny", served], load_judge)


@pytest.fixture(scope="session")
def board_run(tmp_path_factory) -> Path:
    """A run folder of `t2i-judge leaderboard` with two generators."""
    from tests.metrics.boards.boards_on_disk import answers_of, pictures, questions_of, write_run

    def say(generator: str, prompt: int, seed: int):
        return questions_of(prompt), answers_of(7, 9 if generator == "ours" else 3)

    folder = tmp_path_factory.mktemp("board") / "spring run"
    write_run(folder, ["ours", "theirs"], [f"p{n}" for n in range(12)], say, pictures(folder.parent / "images"))
    return folder


@pytest.fixture(scope="session")
def space(desk, benchmark, board_run, tmp_path_factory) -> Iterator[str]:
    """URL of the running Space."""
    from annotation_store import AnnotationStore, FolderShelf
    from app import build, launch_options

    store = AnnotationStore(FolderShelf(tmp_path_factory.mktemp("annotations")))
    demo = build(desk, benchmark, store, runs=[str(board_run)])
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield url.rstrip("/")
    demo.close()


@pytest.fixture
def visit(chromium, space):
    """Open the Space as a new visitor: `visit(dark=True, width=390)`. The browser's console must stay clean."""
    contexts, said = [], []

    def open_page(dark: bool = False, width: int = 1280, height: int = 1000):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{space}/?__theme={'dark' if dark else 'light'}")
        page.wait_for_selector("#run")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == [], "the browser's console has errors"


@pytest.fixture
def shoot():
    """Keep a screenshot in the folder named by SCREENSHOTS (space/assets in a checkout); do nothing without it."""

    def keep(page, name: str, height: int | None = None) -> None:
        folder = os.environ.get("SCREENSHOTS")
        if not folder:
            return
        size = page.viewport_size
        page.wait_for_timeout(400)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
        page.screenshot(path=Path(folder) / f"{name}.png", clip=clip, full_page=True)

    return keep


@pytest.fixture(scope="session")
def paired(benchmark):
    """The benchmark as if seven generators had been given each prompt: 126 pairs."""
    plain = [item for item in benchmark.items if not item.has_reference]
    items = [replace(i, prompt=plain[n // 7 * 7].prompt, generator=f"g{n % 7}") for n, i in enumerate(plain[:42])]
    return replace(benchmark, items=items)


@pytest.fixture(scope="module")
def bare_app(tmp_path_factory):
    """A running Space without judges and benchmark."""
    from annotation_store import AnnotationStore, FolderShelf
    from app import build, launch_options
    from judging import JudgeDesk

    demo = build(JudgeDesk([], lambda name: None), None, AnnotationStore(FolderShelf(tmp_path_factory.mktemp("a"))))
    demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    yield demo
    demo.close()


@pytest.fixture(scope="module")
def line(bare_app):
    """Plain HTTP to it."""
    import httpx

    with httpx.Client(base_url=bare_app.local_url.rstrip("/"), timeout=60) as client:
        yield client
