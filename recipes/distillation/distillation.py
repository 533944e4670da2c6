"""The distillation dataset: every sub-task of the teacher's judgements, as the student will be asked and should answer.

Config `data` (default): one row per image, with its samples. Config `sft`: the same as `images` + `messages`, one
conversation per image and one per prompt (its decomposition, without a picture), for any trainer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distillation.parquet import DEFAULT_CONFIG, card_metadata, image_cell, write_split
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import TRAIN, Item
from t2i_judge.decompose import to_lines
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.prompts import SUMMARY_SCORE, score_to_level, student_prompt, told_answer, told_answers
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Answer, Judgement, Question, Status, count_statuses
from t2i_judge.scoring import aspects_of

if TYPE_CHECKING:
    from datasets import Features

SFT = "sft"
Sample = dict[str, str]
Row = dict[str, Any]


def distil(
    recipe: Recipe, build: BuildFolder, items: Sequence[Item], judgements: Mapping[str, Judgement]
) -> dict[str, Any]:
    """Parquet of the training split, in place of an older one; returns the counts for the build's marker.

    Raises:
        UserError: nothing was judged that could be learnt.
    """
    learnt = [item for item in items if item.split == TRAIN]
    rows = distillation_rows(build.root, learnt, judgements, recipe.answers_first)
    if not rows:
        raise UserError("No training image was judged", "There is nothing to learn from", f"See {build.teacher}")
    shutil.rmtree(build.distill, ignore_errors=True)
    write_distillation(build.distill, rows, f"Distillation data of the recipe {recipe.name}")
    return {
        "items": len(items),
        "left_out": build.drawn.read().get("left_out", 0),
        "prompts": len({item.prompt for item in items}),
        "failed": count_statuses(judgement.status for judgement in judgements.values()),
        "distillation_rows": len(rows),
        "samples": sum(len(row["samples"]) for row in rows),
    }


def distillation_features() -> Features:
    """`datasets.Features` of the default config."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features(
        {
            "id": text,
            "prompt": text,
            "image": Image(),
            "reference_image": Image(),
            "generator": text,
            "teacher": {"model": text, "snapshot": text, "template_hash": text},
            "samples": List({"task": text, "question": text, "answer": text}),
        }
    )


def sft_features() -> Features:
    """`datasets.Features` of the config `sft`."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    turn = {"role": text, "content": List({"type": text, "text": text})}
    return Features({"images": List(Image()), "messages": List(turn)})


def samples_of(judgement: Judgement, answers_first: bool = False) -> list[Sample]:
    """Every sub-task that the teacher did for an image. What failed has no sample; nothing is filled in.

    `answers_first`: explanations and summaries come after the answers, which the student is told.
    """
    samples = [_decomposition(judgement.prompt, judgement.questions)]
    for question, answer in zip(judgement.questions, judgement.answers, strict=True):
        samples += _about_question(question, answer, answers_first)
    return samples + list(_summaries(judgement, answers_first))


def _decomposition(prompt: str, questions: Sequence[Question]) -> Sample:
    personalised = aspects_of(questions) == PERSONALISED_ASPECTS
    asked = student_prompt("decompose", prompt=prompt, personalised=personalised)
    return _sample("decompose", asked, to_lines(questions))


def _about_question(question: Question, answer: Answer, answers_first: bool) -> Iterator[Sample]:
    if answer.status is not Status.OK:
        return
    if answer.text:
        yield _sample("answer", student_prompt("answer", question), answer.text)
    if answer.explanation:
        told = told_answer(question, answer.text, answer.matches) if answers_first else None
        yield _sample("explain", student_prompt("explain", question, answers=told), answer.explanation)
    if answer.score is not None:
        yield _sample("score", student_prompt("score", question), score_to_level(answer.score))


def _summaries(judgement: Judgement, answers_first: bool) -> Iterator[Sample]:
    """What the teacher wrote about each aspect and the whole, with its own score for it."""
    answers = {
        question: told_answer(question, answer.text, answer.matches)
        for question, answer in zip(judgement.questions, judgement.answers, strict=True)
    }
    for aspect in (*aspects_of(judgement.questions), OVERALL):
        text, score = judgement.summary_texts.get(aspect), judgement.summary_scores.get(aspect)
        if text and score is not None:
            task = "summarise_overall" if aspect == OVERALL else "summarise"
            target = f"{text}{SUMMARY_SCORE}{score_to_level(score)}"
            told = told_answers(answers, aspect) if answers_first else None
            yield _sample(task, student_prompt(task, prompt=judgement.prompt, aspect=aspect, answers=told), target)


def _sample(task: str, question: str, answer: str) -> Sample:
    return {"task": task, "question": question, "answer": answer}


def distillation_rows(
    folder: Path, items: Iterable[Item], judgements: Mapping[str, Judgement], answers_first: bool = False
) -> list[Row]:
    """Rows of the default config, images as files, for the items whose judgement is OK; as `samples_of`."""
    rows = []
    for item in items:
        judgement = judgements[item.id]
        if judgement.status is not Status.OK:
            continue
        judge = judgement.judge
        rows.append(
            {
                "id": item.id,
                "prompt": item.prompt,
                "image": folder / item.image,
                "reference_image": folder / item.reference_image if item.reference_image else None,
                "generator": item.generator,
                "teacher": {"model": judge.model, "snapshot": judge.revision, "template_hash": judge.template_hash},
                "samples": samples_of(judgement, answers_first),
            }
        )
    return rows


def sft_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """The same as conversations: a prompt's decomposition once, then an image's other samples turn by turn."""
    decomposed: set[str] = set()
    for row in rows:
        first, *others = row["samples"]
        if row["prompt"] not in decomposed:
            decomposed.add(row["prompt"])
            yield {"images": [], "messages": _conversation([first], 0)}
        images = [image_cell(row[name]) for name in ("image", "reference_image") if row[name]]
        if others:
            yield {"images": images, "messages": _conversation(others, len(images))}


def _conversation(samples: Sequence[Sample], images: int) -> list[dict[str, Any]]:
    turns = []
    for number, sample in enumerate(samples):
        shown = [{"type": "image", "text": None}] * (images if number == 0 else 0)
        turns.append({"role": "user", "content": [*shown, {"type": "text", "text": sample["question"]}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": sample["answer"]}]})
    return turns


def write_distillation(folder: Path, rows: Sequence[Row], title: str, split: str = "train") -> None:
    """Both configs as parquet with the images inside, and a README that `datasets.load_dataset` reads."""
    import yaml

    write_split(rows, distillation_features(), folder, DEFAULT_CONFIG, split)
    write_split(list(sft_rows(rows)), sft_features(), folder, SFT, split)
    head = card_metadata(folder)
    text = f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {title}\n\n{__doc__}"
    write_atomic(folder / "README.md", text)
