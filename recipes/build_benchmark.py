"""Makes a benchmark dataset from your own images, prompts and annotations, or from a published benchmark's files.

    python -m recipes.build_benchmark items.csv --annotations ratings.csv --out build/my-bench
    python -m recipes.build_benchmark FOLDER --out build/my-bench           items.*, annotations.*, baselines.* in it
    python -m recipes.build_benchmark FOLDER --layout t2i-eval-bench --out build/t2i-eval-bench
    python -m recipes.build_benchmark build/my-bench --check                 is this dataset what it should be?

The result loads with `load_dataset(FOLDER)` and, for statistics without images, `load_dataset(FOLDER, "ratings")`.
Every row and every image is checked first. `own_tables` and `importers` in `recipes.benchmarks` say what they read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_card.rendering import render
from recipes.benchmarks.benchmark import RATINGS_CONFIG, benchmark_features, check_rows, ratings, write_benchmark
from recipes.benchmarks.importers import LAYOUTS, read_layout
from recipes.benchmarks.own_tables import OwnTables, read_own
from recipes.distillation.image_metadata import without_metadata
from recipes.distillation.own_files import CARD, replaced
from recipes.distillation.parquet import DEFAULT_CONFIG, card_metadata
from recipes.publish.release_record import agreement_by_aspect
from recipes.recipe.config import ROOT
from t2i_judge.arguments import WrittenFolder
from t2i_judge.cli.places import TABLE
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import write_atomic
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.records import OVERALL
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

TEMPLATE = ROOT / "dataset_card" / "imported.md.jinja"
Row = dict[str, Any]
_BATCH, _LISTED = 256, 20
_SPLIT = re.compile(r"[a-zA-Z0-9_]+")


def build(
    rows: Sequence[Row], out: Path, license_: str = "unknown", left_out: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Check the rows and their images, then write dataset and card to `out`; returns rows by split.

    Raises:
        UserError: a row does not fit (the message names the first one, its column and value, and the fix), a file that
            no build wrote stands where the dataset would, or another process builds there.
    """
    check_images(rows)
    check_rows(rows)
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(row.get("split") or "test", []).append(row)
    for split in by_split:
        if not _SPLIT.fullmatch(split):
            raise UserError(
                f"The split is named {quoted(split)}", "A split's name has letters, digits and _", "Rename it"
            )
    with replaced(out, (DEFAULT_CONFIG, RATINGS_CONFIG)) as folder:
        write_benchmark(folder, by_split)
        write_atomic(folder / CARD, _card(by_split, folder, out.name, license_, left_out or {}))
    return {split: len(members) for split, members in by_split.items()}


def check_images(rows: Sequence[Row]) -> None:
    """Raise `UserError` that lists the images that cannot be opened, because they would break loading the dataset."""
    if broken := list(broken_images(rows).values()):
        more = f"; and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
        fix = "Replace them, or leave them out and count them with --skip-broken"
        images = counted(len(broken), "image")
        raise UserError(f"{images} cannot be used: {'; '.join(broken[:_LISTED])}{more}", "", fix)


def broken_images(rows: Sequence[Row]) -> dict[int, str]:
    """Position of each row with an image that cannot be opened -> row, column, image and reason."""
    from t2i_judge.progress import Progress

    broken: dict[int, str] = {}
    for position, row in enumerate(Progress(rows, unit="image", delay=3, leave=False)):
        for column in ("image", "reference_image"):
            if (image := row.get(column)) is not None:
                try:
                    load_image(image)
                except ImageError as error:
                    place = f"row {position + 1} (id {row.get('id')!r}), column {column}: {_shown(image)}"
                    broken.setdefault(position, f"{place} ({error.reason})")
    return broken


def _shown(image: object) -> str:
    return f"{len(image)} bytes" if isinstance(image, bytes) else str(image)


def _card(
    by_split: Mapping[str, Sequence[Row]], folder: Path, name: str, license_: str, left_out: Mapping[str, int]
) -> str:
    rows = [row for members in by_split.values() for row in members]
    scores = [{"id": row["id"], **score} for row in rows for score in row["human_scores"] if score["score"] is not None]
    attributes = dict.fromkeys(name for row in rows for name in row.get("attributes") or ())
    head = {
        "license": license_,
        "pretty_name": name,
        "task_categories": ["image-text-to-text", "text-to-image"],
        "tags": ["t2i-judge", "text-to-image", "evaluation"],
        **card_metadata(folder),
    }
    return render(
        TEMPLATE,
        head,
        name=name,
        split=next(iter(by_split)),
        rated_split=next((split for split, members in by_split.items() if ratings(members)), None),
        sources=Counter(row["source"] for row in rows),
        attributes="".join(f", `{name}`" for name in attributes),
        annotators=Counter(score["annotator"] for score in scores),
        agreement=agreement_by_aspect(scores),
        left_out=left_out,
    )


def check(dataset: str) -> dict[str, int]:
    """Check whether a dataset (folder or Hub id) is a benchmark: rows, images and the long table. Returns rows by
    split.

    Raises:
        UserError: it cannot be loaded, a row does not fit, or config `ratings` is not what the rows say.
    """
    by_split = _load(dataset)
    every = [row for rows in by_split.values() for row in rows]
    if lacking := benchmark_features().keys() - every[0].keys() if every else set():
        raise UserError(
            f"{dataset} has no column {quoted(min(lacking))}", "Every benchmark has it", "Build the dataset again"
        )
    check_rows(every)
    check_images(every)
    expected = {split: long for split, rows in by_split.items() if (long := ratings(rows))}
    splits = _load(dataset, RATINGS_CONFIG) if expected else {}
    for split in expected | splits:
        if splits.get(split) != expected.get(split):
            raise UserError(
                f"{dataset}: config {RATINGS_CONFIG}, split {split} differs from human_scores",
                "Both must have the same ratings",
                "Build the dataset again",
            )
    return {split: len(rows) for split, rows in by_split.items()}


def _load(dataset: str, config: str | None = None) -> dict[str, list[Row]]:
    """Split -> rows, image bytes as they are stored."""
    from datasets import load_dataset

    try:
        loaded = load_dataset(dataset, config)
    except Exception as error:  # whatever the Hub client, the network or a builder raises is one line for the user
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"Cannot load {dataset}" + f" ({config})" * bool(config), reason, "Build it again") from error
    return {
        split: [_plain(row) for batch in data.with_format("arrow").iter(_BATCH) for row in batch.to_pylist()]
        for split, data in loaded.items()
    }


def _plain(row: Row) -> Row:
    return {
        **row,
        **{name: row[name] and _bytes(name, row[name]) for name in ("image", "reference_image") if name in row},
    }


def _bytes(name: str, stored: Any) -> Any:
    """Of an image as datasets stores it."""
    if not (isinstance(stored, dict) and "bytes" in stored):
        reason = "A benchmark stores images as the Image feature of datasets does"
        raise UserError(f"The column {name} holds {quoted(str(stored))}", reason, "Build it with this command")
    return stored["bytes"]


@command("build_benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _arguments(argv)
    left_out: Mapping[str, int] = {}
    if arguments.check:
        counts = check(arguments.source)
    else:
        rows, left_out = _read(arguments)
        if arguments.skip_broken:
            broken = broken_images(rows)
            rows = [row for position, row in enumerate(rows) if position not in broken]
            left_out = {**left_out, "row whose image is broken": len(broken)}
        if arguments.strip_metadata:
            rows = [_stripped(row) for row in rows]
        counts = build(rows, arguments.out, arguments.license, left_out)
    for reason, count in left_out.items():
        if count:
            say(f"Left out: {count} x {reason}", file=sys.stderr)
    listed = ", ".join(f"{counted(count, 'row')} in {split}" for split, count in counts.items())
    say(f"{arguments.source if arguments.check else arguments.out}: {listed}")
    return 0


def _read(arguments: argparse.Namespace) -> tuple[list[Row], Mapping[str, int]]:
    source = Path(arguments.source)
    if not source.exists():
        raise UserError(f"There is no file or folder {source}", "", "Check the path")
    if arguments.out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UserError(
            f"{arguments.out} is the folder of the source",
            "Source and dataset would mix",
            "Name another folder with --out",
        )
    if arguments.layout:
        imported = read_layout(arguments.layout, source, arguments.images)
        return [{"split": arguments.split, **row} for row in imported.rows], imported.left_out
    tables = OwnTables(
        items=source,
        images=arguments.images,
        annotations=arguments.annotations,
        baselines=arguments.baselines,
        ratings=_names(arguments.ratings),
        aspect=arguments.aspect,
        attributes=_names(arguments.attributes),
        split=arguments.split,
    )
    return read_own(tables), {}


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (listed or "").split(",") if name.strip())


def _stripped(row: Row) -> Row:
    """The row with images that carry no EXIF, GPS or XMP; others are left as they are, byte for byte."""
    return {**row, **{name: without_metadata(row[name]) for name in ("image", "reference_image") if row.get(name)}}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="recipes.build_benchmark", description="Images and annotations -> dataset.")
    parser.add_argument(
        "source", type=TABLE, help="table of items, or folder; with --check a dataset's folder or Hub id"
    )
    parser.add_argument(
        "--out", type=WrittenFolder((DEFAULT_CONFIG, RATINGS_CONFIG, CARD)), help="folder of the dataset"
    )
    parser.add_argument("--check", action="store_true", help="build nothing; check this dataset")
    parser.add_argument("--layout", choices=sorted(LAYOUTS), help="a published benchmark's files (default: your own)")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder that image paths start from")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="people's ratings, in any layout")
    parser.add_argument("--baselines", type=Path, metavar="TABLE", help="item, judge, revision, aspect, score, status")
    parser.add_argument("--ratings", metavar="COL,COL", help="columns of the items' table, one per annotator")
    parser.add_argument("--aspect", default=OVERALL, help="what --ratings rate (%(default)s)")
    parser.add_argument("--attributes", metavar="COL,COL", help="further columns of the items' table to keep")
    parser.add_argument("--split", default="test", help="split of rows that name none (%(default)s)")
    parser.add_argument("--license", default="unknown", help="SPDX id, for the card")
    parser.add_argument("--skip-broken", action="store_true", help="leave out and count rows with a broken image")
    parser.add_argument(
        "--strip-metadata", action="store_true", help="re-save images that carry EXIF, GPS, XMP or text"
    )
    arguments = parser.parse_args(argv)
    if not arguments.check and arguments.out is None:
        parser.error("Name a folder with --out, or a dataset with --check")
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
