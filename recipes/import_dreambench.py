"""Turns DreamBench++'s published files into tables: generated images, people's ratings, GPT's ratings.

    python -m recipes.import_dreambench --samples samples --out tables \\
        --human-ratings data_human_rating/raw_data --gpt-ratings data_gpt_rating
    t2i-judge methods tables/items.csv --ratings tables/ratings.jsonl --scores tables/gpt.csv

Without --samples, the items are those that people rated; agreement and leaderboards need no images.

`recipes/benchmarks/importers/dreambench_files.py` knows the layouts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.importers.dreambench_files import (
    read_embedding_ratings,
    read_gpt_ratings,
    read_human_ratings,
    read_rated_items,
    read_samples,
)
from recipes.recipe.items import to_jsonl
from t2i_judge.arguments import WrittenFolder
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.inputs.spreadsheets import guarded
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

ITEMS, RATINGS, SCORES, EMBEDDING_SCORES = "items.csv", "ratings.jsonl", "gpt.csv", "embeddings.csv"


def write_tables(tables: Mapping[Path, Iterable[Mapping[str, Any]]]) -> None:
    """Write each table, as JSON Lines or as CSV with the first row's columns, guarded; all of them or none.

    Raises:
        UserError: a table has no row, or where it goes stands another file: nothing tells whether that is somebody's.
    """
    texts = {path: _text(path, list(rows)) for path, rows in tables.items()}
    new = {path: text for path, text in texts.items() if not (path.exists() and path.read_bytes() == text)}
    if there := next((path for path in new if path.exists()), None):
        raise UserError(f"{there} is there already", "It has other rows than these", "Move it, or use another --out")
    for path, text in new.items():
        write_atomic(path, text)


def _text(path: Path, rows: Sequence[Mapping[str, Any]]) -> bytes:
    if not rows:
        raise UserError(
            f"There is nothing to write to {path.name}", "No file with the published layout was found", "See --help"
        )
    if path.suffix == ".jsonl":
        return to_jsonl(rows).encode()
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: guarded(cell) for name, cell in row.items()} for row in rows)
    return out.getvalue().encode()


@command("import_dreambench")
def main(argv: Sequence[str] | None = None) -> int:
    """Import the downloaded files; returns the exit code."""
    parser = Parser(prog="recipes.import_dreambench", description="DreamBench++'s files -> tables.")
    parser.add_argument(
        "--samples", type=Path, metavar="FOLDER", help="folder with one sub-folder per method; optional"
    )
    parser.add_argument(
        "--out",
        type=WrittenFolder((ITEMS, RATINGS, SCORES, EMBEDDING_SCORES)),
        required=True,
        help="folder for the tables",
    )
    parser.add_argument("--human-ratings", type=Path, metavar="FOLDER", help="folder with one sub-folder per group")
    parser.add_argument(
        "--gpt-ratings", type=Path, metavar="FOLDER", help="folder with one sub-folder per aspect and setting"
    )
    parser.add_argument(
        "--embedding-ratings", type=Path, metavar="FOLDER", help="folder with data_dino_rating and similar files"
    )
    arguments = parser.parse_args(argv)
    if not arguments.samples and not arguments.human_ratings:
        raise UserError(
            "There are no items", "Items come from images or from ratings", "Add --samples or --human-ratings"
        )
    if arguments.samples:
        rows, missing = read_samples(arguments.samples)
    else:
        rows, missing = read_rated_items(read_human_ratings(arguments.human_ratings)), []
    tables: dict[str, Iterable[Mapping[str, Any]]] = {ITEMS: rows}
    if arguments.human_ratings:
        tables[RATINGS] = read_human_ratings(arguments.human_ratings)
    if arguments.gpt_ratings:
        tables[SCORES] = read_gpt_ratings(arguments.gpt_ratings)
    if arguments.embedding_ratings:
        tables[EMBEDDING_SCORES] = read_embedding_ratings(arguments.embedding_ratings)
    write_tables({arguments.out / name: table for name, table in tables.items()})
    shown = f", for instance {missing[0]}" if missing else ""
    methods = len({row["generator"] for row in rows})
    what = "image" if arguments.samples else "rated item"
    say(f"{counted(len(rows), what)} of {counted(methods, 'method')}; {len(missing)} missing{shown}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
