"""What a judge of scenes can do, held against scenes and prompts that it has not seen, whose truth is known.

    python -m recipes.tiny.measure                                    # the judge that ships
    python -m recipes.tiny.measure --judge hf:build/tiny-shipped/adapter --output figures.json

Neither a build nor a teacher is needed: the images are rendered anew, by default the held-out ones of `tiny` or
`tiny-personalised`, whichever the judge is for. Measured are the scores (Spearman with the latent quality, failures)
and the judge's own decompositions of prompts; of judges without a reference also errors before and after a calibration
that was fitted on the other split, answers by kind, whether words are true of the scene and agree with answers and
scores (`reading`), and speed.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from recipes.scenes import personalised, personalised_rules, rules
from recipes.scenes.latent import quality
from recipes.scenes.render import make_scenes
from recipes.scenes.world import sample_prompt
from recipes.tiny import figures
from recipes.tiny.figures import Shown
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.distilled import OneForwardJudge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.weights import find_weights
from t2i_judge.records import OVERALL, PERSONALISED_ASPECTS, Judgement
from t2i_judge.running import command
from t2i_judge.terminal import say

SPLITS = ("new_prompts", "new_pairs")
_BATCH, _QUESTIONS, _RUNS = 16, 12, 5  # of the timing: images per batch, questions per image, batches


@dataclass(frozen=True)
class Plan:
    """How much is measured: images of each split, of how many of them words are read, prompts to take apart; a seed."""

    images: int = 400
    explained: int = 100
    prompts: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Held:
    """Held-out images of one split, and what is known of them; a reference image each, or none."""

    shown: list[Shown]
    pictures: list[Any]
    references: list[Any]


def measure(judge: OneForwardJudge, plan: Plan) -> dict[str, Any]:
    """All figures of a judge distilled on scenes, but its size; of a personalised one those of scores and prompts."""
    make = _personalised if judge.personalised else _plain
    held = {split: make(split, plan) for split in SPLITS}
    judged = {split: _judge(judge, of) for split, of in held.items()}
    aspects = PERSONALISED_ASPECTS if judge.personalised else (OVERALL,)
    found: dict[str, Any] = {split: figures.scores(held[split].shown, judged[split], aspects) for split in SPLITS}
    texts = held_out_prompts(plan, judge.personalised)
    teacher = personalised_rules if judge.personalised else rules
    found["decompositions"] = figures.decompositions(texts, judge.decompose(texts), teacher.decompose)
    if judge.personalised:
        return found
    for split, other in zip(SPLITS, reversed(SPLITS)):
        fitted_on, measured_on = (held[other].shown, judged[other]), (held[split].shown, judged[split])
        found[split]["mean_absolute_error"] = figures.calibrated(fitted_on, measured_on)
    for split, of in held.items():
        some = Held(of.shown[: plan.explained], of.pictures[: plan.explained], of.references[: plan.explained])
        found[split] |= figures.words(some.shown, _judge(judge, some, explain=True))
    return found | {"milliseconds_an_image": milliseconds(judge, list(held.values()))}


def _plain(split: str, plan: Plan) -> Held:
    samples = make_scenes(plan.images, plan.seed, split)
    shown = [Shown(prompt.text, scene, quality(prompt, scene)) for prompt, _, scene, _ in samples]
    return Held(shown, [image for *_, image in samples], [None] * len(samples))


def _personalised(split: str, plan: Plan) -> Held:
    samples = personalised.make_samples(plan.images, plan.seed, split)
    shown = [Shown(one.task.text, one.scene, {**personalised.quality(one.task, one.scene)}) for one in samples]
    return Held(shown, [one.image for one in samples], [one.reference_image for one in samples])


def _judge(judge: OneForwardJudge, of: Held, explain: bool = False) -> list[Judgement]:
    prompts = [one.prompt for one in of.shown]
    return judge.score(of.pictures, prompts, of.references, explain=explain, progress=True)


def held_out_prompts(plan: Plan, is_personalised: bool = False) -> list[str]:
    """So many different prompts, the splits taking turns."""
    sample = personalised.sample_task if is_personalised else sample_prompt
    chance, texts = random.Random(f"{plan.seed}/prompts"), dict[str, None]()
    while len(texts) < plan.prompts:
        texts[sample(chance, SPLITS[len(texts) % len(SPLITS)]).text] = None
    return list(texts)


def milliseconds(judge: OneForwardJudge, held: Sequence[Held]) -> float | None:
    """Of one core, for an image with twelve questions that are given, in a batch of 16: the median of a few batches.

    None where no prompt has so many questions.
    """
    import torch

    images = [
        (picture, one.prompt, questions)
        for of in held
        for one, picture in zip(of.shown, of.pictures)
        if len(questions := rules.decompose(one.prompt)) == _QUESTIONS
    ]
    if not images:
        return None
    batch = (images * _BATCH)[:_BATCH]
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(1 + _RUNS):
            start = time.process_time()
            judge.score([i for i, _, _ in batch], [p for _, p, _ in batch], questions=[q for _, _, q in batch])
            seconds.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return round(1000 * median(seconds[1:]) / _BATCH, 2)


def megabytes(name: JudgeName) -> float:
    """What the weights of a judge and of its base take on disk, in 10^6 bytes."""
    weights = find_weights(name.model, name.revision)
    folders = [Path(weights.base), *([weights.adapter] if weights.adapter else [])]
    return round(sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors")) / 1e6, 2)


@command("measure", "Run the same command again: it starts from the beginning.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="recipes.tiny.measure", description="Measure a judge of scenes.")
    parser.add_argument("--judge", default="tiny", help="tiny, hf:FOLDER or hf:OWNER/NAME (default: %(default)s)")
    parser.add_argument("--images", type=int, default=Plan.images, help="of each split (default: %(default)s)")
    parser.add_argument("--explained", type=int, default=Plan.explained, help="of them, with words (%(default)s)")
    parser.add_argument("--prompts", type=int, default=Plan.prompts, help="to take apart (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=Plan.seed, help="of images and prompts; 0: the recipes' own")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args(argv)
    name = JudgeName.parse(arguments.judge)
    judge = load_judge(name)
    if not isinstance(judge, OneForwardJudge):
        raise UserError(f"{arguments.judge} is no judge of scenes", "It asks no questions of its own", "Name one")
    plan = Plan(arguments.images, arguments.explained, arguments.prompts, arguments.seed)
    found = {"judge": arguments.judge, "revision": judge.info.revision, "plan": asdict(plan)}
    found |= measure(judge, plan) | {"megabytes": megabytes(name)}
    if arguments.output:
        write_atomic(arguments.output, json.dumps(found, indent=1) + "\n")
    for path, value, number in figures.table(found):
        shown = f"{value:.3f}" if isinstance(value, float) else value
        say(f"{path:45} {shown}{f'  of {number}' if number else ''}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
