"""The two benchmarks that are called GenAI-Bench.

genai_image.json (arXiv 2406.13743): {number: {prompt, models: {MODEL: [three ratings from 1 to 5]}}}, images
MODEL/NUMBER.jpeg.

The arena (arXiv 2406.04485): a dataset of pairs with prompt (or source, target and instruct prompt), left and right
model and image, vote_type; judges' verdicts in results/TASK/JUDGE/pairwise.jsonl. Each pair becomes two rows, ID-left
and ID-right. The four votes are two bits, good or not: leftvote 1/0, rightvote 0/1, tievote 1/1, bothbad_vote 0/0, so
that nothing of a vote is lost; verdicts likewise. A bare A=B does not say which tie it is: no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recipes.benchmarks.importers.common import (
    Imported,
    as_record,
    as_score,
    field,
    find_image,
    judged,
    new_row,
    rated,
    read_json,
    text_of,
)
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import read_jsonl
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.stats.agreement import HUMAN_VOTES

NAME, RATED = "genai-bench", "genai_image.json"
SIDES = ("left", "right")
GOOD = {"A>B": (1.0, 0.0), "B>A": (0.0, 1.0), "A=B=Good": (1.0, 1.0), "A=B=Bad": (0.0, 0.0)}  # (left, right)
Line = Mapping[str, Any]


def read(source: Path, images: Path | None) -> Imported:
    """Rows of either benchmark. `source`: genai_image.json or its folder, or a folder with the pairs of one task.

    Pairs lie in the dataset's parquet files, or in the `pairwise.jsonl` of any judge (then without images).
    """
    path = source / RATED if source.is_dir() else source
    if path.name == RATED and path.is_file():
        return _rated_images(path, images)
    folder = source if source.is_dir() else source.parent
    verdicts = sorted(folder.glob("**/pairwise.jsonl"))
    tables = sorted(folder.glob("**/*.parquet")) if source.is_dir() else [source]
    pairs = [line for table in tables for line in iter_rows(table)] or list(read_jsonl(verdicts[0]) if verdicts else ())
    if not pairs:
        raise UserError(
            f"There are no pairs in {source}",
            f"Pairs are in {RATED}, parquet files or pairwise.jsonl",
            "Name their folder",
        )
    tasks = sorted({path.parent.parent.name for path in verdicts})
    if len(tasks) > 1:
        raise UserError(
            f"{source} has the tasks {', '.join(tasks)}", "Their pairs have the same numbers", "Name one of them"
        )
    judges = {path.parent.name: _by_pair(path) for path in verdicts}
    return Imported([row for number, pair in enumerate(pairs) for row in _pair(number, pair, judges)])


def _by_pair(path: Path) -> dict[int, Line]:
    """A judge's lines by the number of their pair."""
    pairs: dict[int, Line] = {}
    for number, line in enumerate(read_jsonl(path), 1):
        where = f"{path}, line {number}"
        pairs[field(as_record(line, where), "idx", int, where)] = line
    return pairs


def _rated_images(path: Path, images: Path | None) -> Imported:
    imported = Imported()
    for number, record in read_json(path, dict, NAME).items():
        where = f"{path.name}, {number}"
        prompt, models = text_of(as_record(record, where), "prompt", where), field(record, "models", dict, where)
        for model in models:
            ratings = field(models, model, list, where)
            imported.rows.append(
                new_row(
                    f"{number}_{model}",
                    prompt,
                    NAME,
                    image=find_image(images, [f"{model}/{number}"]),
                    generator=model,
                    human_scores=[rated(f"annotator_{n}", as_score(score)) for n, score in enumerate(ratings, 1)],
                )
            )
    return imported


def _pair(number: int, pair: Line, judges: Mapping[str, Mapping[int, Line]]) -> Iterator[dict[str, Any]]:
    vote = pair.get("vote_type", pair.get("human_vote"))
    if vote and (not isinstance(vote, str) or vote not in HUMAN_VOTES):
        raise UserError(f"Pair {number}, vote: {quoted(vote)}", "", f"A vote is one of {', '.join(HUMAN_VOTES)}")
    prompt = next((pair[key] for key in ("prompt", "target_prompt", "instruct_prompt") if pair.get(key)), "")
    good = GOOD[HUMAN_VOTES[vote]] if vote else (None, None)
    for side, name in enumerate(SIDES):
        yield new_row(
            f"{number:04d}-{name}",
            prompt,
            NAME,
            image=_bytes(pair, (f"{name}_image", f"{name}_output_image")),
            reference_image=_bytes(pair, ("source_image",)),
            generator=pair.get(f"{name}_model"),
            human_scores=[rated("vote", good[side])] if vote else [],
            baselines=[
                judged(judge, GOOD.get(_verdict(lines[number]), (None, None))[side])
                for judge, lines in judges.items()
                if number in lines
            ],
        )


def _verdict(line: Line) -> str:
    """A judge's verdict without brackets; [[A>>B]] says the same as [[A>B]]."""
    return str(line.get("model_vote") or "").strip("[]").replace(">>", ">")


def _bytes(pair: Line, names: Iterable[str]) -> bytes | None:
    """The image of the first of these columns that there is, as a dataset's parquet file stores it."""
    found = next((pair[name].get("bytes") for name in names if isinstance(pair.get(name), Mapping)), None)
    return found if isinstance(found, bytes) else None  # text would be taken for the path of a file
