"""Makes a benchmark for personalised generation from your own keywords and images, as DreamBench++ was built.

    python -m recipes.build_personalised --keywords keywords.csv --images FOLDER --out build/personalised

    1 images    each with keyword, licence, source (FOLDER/images.csv, begun for you)     recipes.benchmarks.subjects
    2 confirm   a person says which show one clear subject on a clean background          recipes.benchmarks.subjects
    3 prompts   of rising difficulty, by the teacher, near-duplicates dropped             benchmarks.graded_prompts
    4 dataset   OUT/data/test-*.parquet with reference_image, category, difficulty; BUILT.json last

What was confirmed or paid for is kept. Run the same command again to continue.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_card.rendering import render
from recipes.benchmarks.graded_prompts import COUNTS, LEVELS, PROMPTS_HASH, Written, write_prompts
from recipes.benchmarks.subjects import CATEGORIES, DECISIONS, Subject, confirm, read_keywords, read_subjects
from recipes.distillation.own_files import CARD, check_own, replaced
from recipes.distillation.parquet import DEFAULT_CONFIG, card_metadata, write_split
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import ROOT
from recipes.recipe.sections import Teacher
from t2i_judge.arguments import WrittenFolder
from t2i_judge.cli.served_arguments import add_served, served_options
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.running import command
from t2i_judge.runs.locks import held
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

if TYPE_CHECKING:
    from datasets import Features

SPLIT = "test"
TEMPLATE = ROOT / "dataset_card" / "personalised.md.jinja"
_OF_THE_BUILD = tuple(path.name for path in (BuildFolder(Path()).calls, BuildFolder(Path()).built.path))
_OF_THE_IMAGE = ("keyword", "category", "license", "source", "author", "photorealistic")


def features() -> Features:
    """`datasets.Features` of the set: one row per prompt."""
    from datasets import Features, Image, Value

    text = Value("string")
    names = ("id", "prompt", "keyword", "category", "difficulty", "license", "source", "author")
    return Features({**dict.fromkeys(names, text), "photorealistic": Value("bool"), "reference_image": Image()})


def rows_of(folder: Path, subjects: Sequence[Subject], written: Mapping[str, Written]) -> list[dict[str, Any]]:
    """One row per prompt; ids are CATEGORY_NN_KEYWORD-K as in the published set, NN counting a category's images."""
    rows, numbers = [], Counter[str]()
    for subject in subjects:
        number = numbers[subject.category]
        numbers[subject.category] += 1
        name = f"{subject.category}_{number:02d}_{'_'.join(subject.keyword.split())}"
        known = {column: getattr(subject, column) for column in _OF_THE_IMAGE}
        rows += [
            {
                "id": f"{name}-{k}",
                "prompt": prompt.text,
                "difficulty": prompt.level,
                "reference_image": folder / subject.file,
                **known,
            }
            for k, prompt in enumerate(written[subject.sha256].prompts)
        ]
    return rows


def write_dataset(out: Path, rows: Sequence[Mapping[str, Any]], teacher: str) -> None:
    """Parquet with the images inside, and a card that lists every image's licence, in place of an earlier build's.

    Raises:
        UserError: a file that no build wrote stands where the dataset would.
    """
    with replaced(out, (DEFAULT_CONFIG,)) as folder:
        write_split(rows, features(), folder, DEFAULT_CONFIG, SPLIT)
        write_atomic(folder / CARD, _card(folder, rows, teacher))


def _card(folder: Path, rows: Sequence[Mapping[str, Any]], teacher: str) -> str:
    head = {"license": "other", **card_metadata(folder)}
    counts = Counter((row["category"], row["difficulty"]) for row in rows)
    names = {
        "teacher": f"{teacher} (template {PROMPTS_HASH})",
        "prompts": len(rows),
        "images": {row["id"].rpartition("-")[0]: row for row in rows},
        "levels": LEVELS,
        "counts": {category: [counts[category, level] for level in LEVELS] for category in CATEGORIES},
    }
    return render(TEMPLATE, head, **names)


def build(
    keywords: Path,
    images: Path,
    out: Path,
    backend: OpenAIBackend,
    counts: Mapping[str, int] = COUNTS,
    ask: Any = input,
) -> dict[str, Any]:
    """Carry out all four steps. Returns what BUILT.json says: images, prompts, undecided, refused, incomplete.

    Raises:
        UserError: a table is wrong, an image has no licence, nobody confirmed any image, the teacher wrote nothing, or
            a file that no build wrote stands where the set would.
    """
    check_own(out, (DEFAULT_CONFIG,))
    out.mkdir(parents=True, exist_ok=True)
    subjects = confirm(read_subjects(images, read_keywords(keywords)), out / DECISIONS, ask)
    chosen = [subject for subject in subjects if subject.confirmed]
    undecided = sum(subject.confirmed is None for subject in subjects)
    if not chosen:
        raise UserError(
            "No image is confirmed",
            f"A person's yes or no is missing for {undecided} of {counted(len(subjects), 'image')}",
            "Run the command in a terminal, or fill in the column confirmed of images.csv",
        )
    BuildFolder(out).built.remove()
    written = write_prompts(backend, chosen, counts)
    incomplete = {subject.file: reason for subject in chosen if (reason := written[subject.sha256].reason)}
    rows = rows_of(images, chosen, written)
    if not rows:
        raise UserError("The teacher wrote no prompt", next(iter(incomplete.values()), ""), "Try another teacher")
    write_dataset(out, rows, backend.model)
    record = {
        "images": len(chosen),
        "prompts": len(rows),
        "undecided": undecided,
        "declined": sum(subject.confirmed is False for subject in subjects),
        "incomplete": incomplete,
        "spent": asdict(backend.usage),
    }
    write_atomic(BuildFolder(out).built.path, json.dumps(record, indent=1) + "\n")
    return record


@command("build_personalised")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code, 1 if prompts are missing."""
    arguments = parse(argv)
    counts = {level: getattr(arguments, level) for level in LEVELS}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise UserError(
            f"The numbers of prompts are {counts}", "A set needs at least one prompt", "Ask for at least one prompt"
        )
    backend = OpenAIBackend(
        arguments.teacher,
        arguments.base_url,
        cache=BuildFolder(arguments.out).calls,
        **served_options(arguments),
    )
    try:
        backend.check()
        ask = input if sys.stdin.isatty() else None
        with held(arguments.out):
            record = build(arguments.keywords, arguments.images, arguments.out, backend, counts, ask)
    finally:
        backend.close()
    say(f"built {arguments.out}: {json.dumps(record, ensure_ascii=False)}")
    return 1 if record["incomplete"] else 0


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="recipes.build_personalised", description="Keywords and images -> a set.")
    parser.add_argument(
        "--keywords", type=Path, required=True, help=f"table: keyword, category ({', '.join(CATEGORIES)})"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder with KEYWORD/*.jpg and images.csv")
    parser.add_argument(
        "--out",
        type=WrittenFolder((DEFAULT_CONFIG, CARD, DECISIONS, *_OF_THE_BUILD)),
        required=True,
        help="folder of the set; give the same one again to continue",
    )
    parser.add_argument("--teacher", default=Teacher.model, help="model that writes the prompts (%(default)s)")
    parser.add_argument("--base-url", help="an OpenAI-compatible server (default: OpenAI's)")
    add_served(parser, "the teacher's server")
    for level, count in COUNTS.items():
        help_ = f"{level} prompts per image (%(default)s)"
        parser.add_argument(
            f"--{level.replace('_', '-')}", dest=level, type=int, default=count, metavar="N", help=help_
        )
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
