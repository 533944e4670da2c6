"""Examples fit the judge that the Space opens with."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from app import build
from examples import of_benchmark, of_scenes
from judging import JudgeDesk


def test_pictures_of_the_benchmark_are_examples_for_a_judge_of_any_picture(benchmark):
    found = of_benchmark(benchmark)
    assert len(found.single) == len(found.labels) == 4
    prompts = {item.prompt for item in benchmark.items}
    assert {prompt for _, prompt in found.single} <= prompts
    for path, _ in found.single:
        with Image.open(path) as image:
            assert image.size == (112, 112)
    for several, prompt in found.several:
        assert 2 <= len(several) <= 4
        assert prompt in prompts
        assert all(Path(path).is_file() for path, _ in several)


def test_the_embedded_judge_gets_scenes_and_another_does_not(benchmark, store):
    def labels(*judges: str) -> list[str]:
        demo = build(JudgeDesk(judges, lambda name: None), benchmark, store)
        components = demo.get_config_file()["components"]
        return [label for each in components for label in each["props"].get("sample_labels") or ()]

    assert "not a scene: declined" in labels("tiny")
    assert of_scenes().labels[0] in labels("tiny")
    assert "not a scene: declined" not in labels("hf:me/judge", "tiny")
    assert of_benchmark(benchmark).labels[0] in labels("hf:me/judge", "tiny")
