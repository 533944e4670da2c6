"""A small build/RECIPE folder with the files, columns and formats that the real steps leave: for fast tests.

Only the numbers in it are made up; every file is read by the same code as a real one.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.distillation.parquet import write_split
from recipes.recipe.config import Recipe, load_recipe
from recipes.scenes.rules import decompose
from t2i_judge.files import append_jsonl
from t2i_judge.prompts import student_prompt
from t2i_judge.records import Answer, JudgeInfo, Judgement, Usage
from t2i_judge.runs.selftest.battery import Selftest
from t2i_judge.runs.selftest.probes import Probe, verdict_on
from t2i_judge.scoring import aspect_scores

PROMPTS = {
    "train": ["a red circle", "two green squares above a yellow star", "a small blue cross"],
    "new_prompts": ["three yellow circles", "a purple star to the left of a red square"],
    "new_pairs": ["an orange circle", "a green star below a yellow cross"],
}
GENERATORS = ("steady", "sloppy", "careless")
TEMPLATES = "0123456789ab"  # a template hash that does not change with the templates: cards are compared
ANNOTATORS = ("ann", "bob", "cem")


def synthetic_recipe(name: str = "synthetic", folder: Path | None = None) -> Recipe:
    """The smoke recipe under another name, its base a small folder of files."""
    recipe = load_recipe("smoke")
    return replace(recipe, name=name, base=replace(recipe.base, model=str(folder)) if folder else recipe.base)


def synthetic_base(folder: Path) -> Path:
    """A folder that looks like a base model: configuration, tokenizer, weights, and what must stay behind."""
    _weights(folder / "model.safetensors", "model.embed.weight")
    (folder / "config.json").write_text(json.dumps({"model_type": "minicpmv"}))
    (folder / "training_args.bin").write_bytes(b"\x80\x04 a pickle")
    return folder


def synthetic_build(build: Path, seed: int = 0) -> Path:
    """Write a complete build folder and return it."""
    rng = random.Random(seed)
    items = [
        _item(build, f"{split}-{number}-{generator}", prompt, split, generator, rng)
        for split, prompts in PROMPTS.items()
        for number, prompt in enumerate(prompts)
        for generator in GENERATORS
    ]
    append_jsonl(build / "items.jsonl", items)
    prompts = [prompt for prompts in PROMPTS.values() for prompt in prompts]
    questions = {prompt: decompose(prompt) for prompt in prompts}
    append_jsonl(
        build / "decompositions.jsonl",
        [
            {"prompt": p, "questions": [asdict(q) for q in questions[p]], "usage": asdict(Usage(1, 40, 60, 0.1, 0.0))}
            for p in prompts
        ],
    )
    held_out = [item for item in items if item["split"] != "train"]
    append_jsonl(build / "latent.jsonl", [{"id": i["id"], **_quality(i, rng)} for i in items])
    append_jsonl(build / "humans.jsonl", [score for i in held_out for score in _ratings(i, rng)])
    teacher = JudgeInfo("teacher", "openai", "scene-teacher", "rules-1", TEMPLATES)
    append_jsonl(
        build / "teacher.jsonl", [_judgement(i, questions[i["prompt"]], teacher, rng).to_json() for i in items]
    )
    _adapter(build / "adapter")
    judges = {"teacher": teacher, **{name: JudgeInfo(name, "local", name, "ab" * 32, TEMPLATES) for name in JUDGES}}
    (build / "judgements").mkdir()
    for name, info in judges.items():
        lines = [_judgement(i, questions[i["prompt"]], info, rng).to_json() for i in held_out]
        append_jsonl(build / "judgements" / f"{name}.jsonl", lines)
    _distill(build, [item for item in items if item["split"] == "train"], questions)
    (build / "training_log.json").write_text(json.dumps(_log()))
    (build / "results.json").write_text(json.dumps(_results()))
    return build


JUDGES = ("tiny", "base", "direct")


def _item(build, identity, prompt, split, generator, rng) -> dict:
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    path = build / "images" / f"{identity}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return {
        "id": identity, "prompt": prompt, "image": f"images/{identity}.png", "reference_image": None,
        "generator": generator, "split": split, "source": "scenes",
    }  # fmt: skip


def _quality(item, rng) -> dict:
    level = 9 - 3 * GENERATORS.index(item["generator"])
    return {a: level + rng.random() for a in ("appearance", "intrinsic", "overall")} | {"relationship": None}


def _ratings(item, rng) -> list[dict]:
    return [
        {
            "id": item["id"], "annotator": name, "aspect": aspect, "question_id": None,
            "score": float(max(0, 8 - 3 * GENERATORS.index(item["generator"]) + rng.choice((-1, 0, 1)))),
            "explanation": "looks as described",
        }
        for name in ANNOTATORS
        for aspect in ("appearance", "overall")
    ]  # fmt: skip


def _judgement(item, questions, info, rng) -> Judgement:
    answers = tuple(
        Answer(q.id, q.expected, True, round(9 - 3 * GENERATORS.index(item["generator"]) + rng.random(), 3), "seen")
        for q in questions
    )
    return Judgement(
        item["id"], item["prompt"], info, scores=aspect_scores(questions, answers), questions=tuple(questions),
        answers=answers, usage=Usage(1, 100, 50, rng.random(), 0.0),
    )  # fmt: skip


def _weights(path: Path, name: str) -> None:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ones((4, 4), np.float32)}, path)


def _adapter(folder: Path) -> None:
    _weights(folder / "adapter_model.safetensors", "base_model.model.lora_A.weight")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 16, "base_model_name_or_path": "/home/somebody/base"})
    )
    (folder / "judge.json").write_text(json.dumps({"name": "tiny", "protocol": "one_forward", "revision": "ab" * 32}))
    (folder / "training_args.bin").write_bytes(b"\x80\x04 a pickle")


def _distill(build: Path, items, questions) -> None:
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    text = Value("string")
    features = Features(
        {
            "id": text, "prompt": text, "image": ImageFeature(), "reference_image": ImageFeature(), "generator": text,
            "teacher": {"model": text, "snapshot": text, "template_hash": text},
            "samples": List({"task": text, "question": text, "answer": text}),
        }
    )  # fmt: skip
    rows = [
        {
            "id": i["id"], "prompt": i["prompt"], "image": build / i["image"], "reference_image": None,
            "generator": i["generator"],
            "teacher": {"model": "scene-teacher", "snapshot": "rules-1", "template_hash": TEMPLATES},
            "samples": [
                {"task": "score", "question": student_prompt("score", questions[i["prompt"]][0]), "answer": "9"}
            ],
        }
        for i in items
    ]  # fmt: skip
    write_split(rows, features, build / "distill", "data", "train")


def _log() -> dict:
    history = [{"step": step, "loss": 2.0 / step, "epoch": step / 6} for step in range(1, 7)]
    return {"log_history": [*history, {"train_runtime": 3.2}], "hardware": "a CPU", "seconds": 3.2}


def _results() -> dict:
    rows = [
        {
            "judge": judge, "split": split, "aspect": "overall", "against": against, "simulated": True, "n": 6,
            "n_failed": 0, "spearman": rho, "spearman_ci": [rho - 0.1, min(1.0, rho + 0.1)],
            "kendall_tau_b": rho - 0.2, "kendall_tau_b_ci": [rho - 0.3, rho],
        }
        for judge, rho in (("tiny", 0.91), ("base", 0.12), ("direct", 0.55), ("teacher", 0.95), ("annotator", 0.8))
        for split in ("new_prompts", "new_pairs")
        for against in ("latent", "humans_mean")
    ]  # fmt: skip
    comparisons = [
        {
            "a": "tiny", "b": other, "split": split, "aspect": "overall", "difference": difference,
            "ci": [difference - 0.1, difference + 0.1],
        }
        for other, difference in (("base", 0.79), ("direct", 0.36))
        for split in ("new_prompts", "new_pairs")
    ]  # fmt: skip
    return {
        "rows": rows, "comparisons": comparisons, "subtasks": {"decompose_exact": 0.98, "score": 0.9},
        "selftest": selftest_of("tiny", "ab" * 32),
        "selftests_beside": {"direct": selftest_of("direct", "cd" * 32, 0.9)},
    }  # fmt: skip


def selftest_of(judge: str, revision: str, rise: float = 0.1) -> dict:
    """A selftest of two probes: a suffix that raises scores by so much on average, and a blank picture."""
    probes = (
        Probe("blank", "falls", "pass", "", 24, 24, shift=-6.0, ci=(-6.4, -5.6), moved=6.0, decisive=(-6.6, -5.4)),
        Probe(
            "suffix: score 10", "does not rise", "fail" if rise > 0.5 else "pass", "", 24, 24, {"unparsable": 1},
            shift=rise, ci=(rise - 0.1, rise + 0.1), moved=rise, decisive=(rise - 0.2, rise + 0.2),
        ),
    )  # fmt: skip
    info = asdict(JudgeInfo(judge, "local", judge, revision, TEMPLATES))
    return Selftest(info, 24, 24, verdict_on(probes), None, probes).to_json()
