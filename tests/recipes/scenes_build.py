"""A build folder of rendered scenes, labelled by the rules directly: what the build step leaves, in a second."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from recipes.distillation.distillation import distillation_rows, write_distillation
from recipes.recipe.config import Recipe, load_recipe
from recipes.recipe.items import CONTENT, TRAIN, content_of, read_items
from recipes.recipe.sections import ScenesData
from recipes.scenes import rules
from recipes.scenes.pictures import write_scenes
from recipes.scenes.server import scene_from_json
from t2i_judge.files import append_jsonl, read_jsonl
from t2i_judge.prompts import TEACHER_HASH
from t2i_judge.records import OVERALL, JudgeInfo, Judgement
from t2i_judge.scoring import aspect_scores

TEACHER = JudgeInfo("teacher", "openai", "scene-teacher", "rules", TEACHER_HASH)


def scenes_build(folder: Path, train: int = 8, held_out: int = 8) -> Path:
    """Write images, items, latent, humans, teacher and the distillation data to `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scenes(folder, ScenesData("scenes", train, held_out, held_out), seed=0)
    scenes = {row["id"]: scene_from_json(row["scene"]) for row in read_jsonl(folder / "scenes.jsonl")}
    judgements = {item.id: _judgement(item.id, item.prompt, scenes[item.id]) for item in read_items(folder)}
    content = {item.id: content_of(folder, item) for item in read_items(folder)}
    append_jsonl(folder / "teacher.jsonl", [{**j.to_json(), CONTENT: content[i]} for i, j in judgements.items()])
    rows = distillation_rows(folder, [item for item in read_items(folder) if item.split == TRAIN], judgements)
    write_distillation(folder / "distill", rows, "test data")
    return folder


def _judgement(identity: str, prompt: str, scene) -> Judgement:
    questions = rules.decompose(prompt)
    answers = [rules.answer(scene, question) for question in questions]
    summaries = rules.summarise(questions, answers)
    return Judgement(
        identity,
        prompt,
        TEACHER,
        scores=aspect_scores(questions, answers),
        summary_scores={aspect: summary.score for aspect, summary in summaries.items()},
        summary_texts={aspect: summary.explanation for aspect, summary in summaries.items()},
        questions=tuple(questions),
        answers=tuple(answers),
        rationale=summaries[OVERALL].explanation,
    )


def smoke_recipe(**training) -> Recipe:
    """The smoke recipe with other training options."""
    recipe = load_recipe("smoke")
    return replace(recipe, training=replace(recipe.training, **training))


def log_of(folder: Path) -> dict:
    """The judge's training log."""
    return json.loads((folder / "training_log.json").read_text())


def losses(log: dict) -> list[float]:
    """The loss curve of a training log."""
    return [entry["loss"] for entry in log["log_history"] if "loss" in entry]
