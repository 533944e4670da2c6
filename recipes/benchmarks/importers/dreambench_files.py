"""DreamBench++'s published files as rows: generated images, people's ratings, GPT's ratings.

Layouts: samples/METHOD/{src_image,text,tgt_image}/COLLECTION/K_0.*, where COLLECTION is CATEGORY_NN_KEYWORD and K the
prompt's number; GROUP/*-METHOD.json with {"COLLECTION-K": [concept preservation, prompt following]}; and
{concept_preservation,prompt_following}_SETTING/METHOD/*.json with collection_id, prompt_index and score.
Items are named METHOD-COLLECTION-K everywhere, so that nothing depends on the order of files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recipes.benchmarks.graded_prompts import COUNTS
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import open_plain, read_json
from t2i_judge.inputs.places import is_below
from t2i_judge.records import PERSONALISED_ASPECTS

FAMILIES = {
    "textual_inversion_sd": "tuned",
    "dreambooth_sd": "tuned",
    "dreambooth_lora_sdxl": "tuned",
    "blip_diffusion": "tuning-free",
    "ip_adapter_vit_g_sdxl": "tuning-free",
    "ip_adapter_plus_vit_h_sdxl": "tuning-free",
    "emu2": "mllm",
}
EMBEDDINGS = {  # file -> the axis that its cosines are about
    "dino": "concept_preservation",
    "clipi": "concept_preservation",
    "clipt": "prompt_following",
}
_SETTINGS = re.compile(r"_(?:gs|scale|step|seed)\d")  # what follows the method in a folder's name
_COLLECTION = re.compile(r"(?P<category>.+?)_(?P<number>\d+)_(?P<keyword>.+)", re.DOTALL)
_FIRST = re.compile(r"(?P<k>\d+)_0")
_LONGEST = 100_000  # bytes of a prompt
_LEVELS = [level for level, count in COUNTS.items() for _ in range(count)]  # by K
Key = tuple[str, str]  # collection, K


def read_samples(samples: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the items table, and the ids of prompts that a method made no image for.

    Raises:
        UserError: no method in the layout, an image without its prompt or its source image, or a link that leads out.
    """
    rows, missing = [], []
    for folder in sorted(path.parent for path in samples.glob("*/tgt_image")):
        method = _SETTINGS.split(folder.name)[0]
        made, texts, sources = (_files(folder / name, samples) for name in ("tgt_image", "text", "src_image"))
        missing += [item_id(method, key) for key in texts.keys() - made.keys()]
        for key, image in made.items():
            if key not in texts or key not in sources:
                lacks = "text" if key not in texts else "src_image"
                raise UserError(
                    f"{image} has no {lacks}", "An image needs a prompt and a source", "Complete the download"
                )
            rows.append(_row(method, key, image, texts[key], sources[key]))
    if not rows:
        raise UserError(
            f"There are no samples in {samples}",
            "Samples are files METHOD/tgt_image/COLLECTION/K_0.*",
            "Name their folder",
        )
    return rows, sorted(missing)


def _files(folder: Path, samples: Path) -> dict[Key, Path]:
    """(collection, K) -> the first file of each prompt; further samples (K_1 ...) were rated by nobody."""
    files = {}
    for path in sorted(folder.glob("*/*")):
        if match := _FIRST.fullmatch(path.stem):
            if not is_below(path, samples):
                raise UserError(f"{path} leads out of {samples}", "It would be published", "Complete the download")
            files[path.parent.name, match["k"]] = path
    return files


def read_rated_items(ratings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the items table without images, out of the ratings: the prompt is called by its collection and number."""
    rows = {}
    for item in dict.fromkeys(str(rating["id"]) for rating in ratings):
        method, _, prompt = item.partition("-")
        collection, _, k = prompt.rpartition("-")
        rows[item] = {"id": item, "prompt": prompt, "generator": method} | _attributes(method, (collection, k))
    return list(rows.values())


def read_embedding_ratings(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the scores table from data_{dino,clipi,clipt}_rating/METHOD.json, cosines (100 of theirs are 1 here)."""
    for name, aspect in EMBEDDINGS.items():
        for path in sorted((folder / f"data_{name}_rating").glob("*.json")):
            for key, score in _json(path).items():
                collection, _, k = key.rpartition("-")
                number = _number(score, path)
                yield {
                    "item": item_id(path.stem, (collection, k.removesuffix("_0"))),
                    "judge": name,
                    "aspect": aspect,
                    "score": None if number is None else number / 100,
                    "low": -1,
                    "high": 1,
                }


def _prompt(path: Path) -> str:
    """The text of a file. Raises `UserError` where it is no text, or longer than any prompt."""
    fix = "Complete the download"
    try:
        with open_plain(path) as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise UserError(f"{path} is no prompt", f"It has more than {_LONGEST:,} bytes", fix)
        return text.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}", error.strerror or str(error), fix) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text", str(error), fix) from error


def _row(method: str, key: Key, image: Path, text: Path, source: Path) -> dict[str, Any]:
    return {
        "id": item_id(method, key),
        "prompt": " ".join(_prompt(text).split()),
        "image": str(image.resolve()),
        "reference_image": str(source.resolve()),
        "generator": method,
    } | _attributes(method, key)


def _attributes(method: str, key: Key) -> dict[str, Any]:
    """What a collection's name says; `subject` keeps animals and people apart, who are both of category live."""
    collection, k = key
    match = _COLLECTION.fullmatch(collection)
    category = match["category"] if match else None
    return {
        "family": FAMILIES.get(method),
        "category": "live" if category and category.startswith("live_subject") else category,
        "subject": category.removeprefix("live_subject_") if category else None,
        "difficulty": _LEVELS[int(k)] if re.fullmatch(r"\d{1,3}", k) and int(k) < len(_LEVELS) else None,
        "keyword": match["keyword"].replace("_", " ") if match else None,
    }


def item_id(method: str, key: Key) -> str:
    """METHOD-COLLECTION-K."""
    return "-".join((method, *key))


def read_human_ratings(folder: Path) -> Iterator[dict[str, Any]]:
    """Ratings as a recipe's `evaluation.ratings` has them; each group of annotators is one annotator."""
    for path in sorted(folder.glob("*/*-*.json")):
        group, method = path.parent.name, path.stem.rpartition("-")[2]
        for name, scores in _json(path).items():
            if not name.strip():
                raise UserError(f"{path}: a rating has no name", "It is COLLECTION-K", "Complete the download")
            if not isinstance(scores, list) or len(scores) != len(PERSONALISED_ASPECTS):
                raise UserError(
                    f"{path}: {quoted(name[:100])} is rated {repr(scores)[:100]}",
                    "A rating is a pair of scores",
                    "Complete the download",
                )
            for aspect, score in zip(PERSONALISED_ASPECTS, scores):
                row = {"id": f"{method}-{name}", "annotator": group, "aspect": aspect, "question_id": None}
                yield {**row, "score": _number(score, path), "explanation": None}


def read_gpt_ratings(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the scores table: `full`, `full2` and `full3` are runs of the judge gpt-full, other settings judges."""
    for aspect in PERSONALISED_ASPECTS:
        for path in sorted(folder.glob(f"{aspect}_*/*/*.json")):
            setting, method = path.parent.parent.name.removeprefix(f"{aspect}_"), path.parent.name
            record = _json(path, "collection_id", "prompt_index", "score")
            name, run = (setting.rstrip("0123456789"), setting[-1]) if setting.startswith("full") else (setting, "")
            yield {
                "item": item_id(method, (str(record["collection_id"]), str(record["prompt_index"]))),
                "judge": f"gpt-{name}",
                "run": run if run.isdigit() else "1",
                "aspect": aspect,
                "score": _number(record["score"], path),
            }


def _json(path: Path, *names: str) -> Mapping[str, Any]:
    """A JSON object that has these names. Raises `UserError` for anything else."""
    record = read_json(path, "complete the download")
    if not isinstance(record, dict) or not record.keys() >= set(names):
        wanted = f"It should have {', '.join(names)}" if names else "It should be an object"
        raise UserError(f"{path} is not in the published layout", wanted, "Complete the download")
    return record


def _number(score: Any, path: Path) -> float | None:
    """A rating, None for a gap: the files write those as null or NaN. Raises `UserError` for what is no number."""
    if score is None or score != score:
        return None
    try:
        number = None if isinstance(score, bool) else float(score)
    except (OverflowError, TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number):
        shown = repr(score)[:100]
        raise UserError(f"{path}: score {shown}", "It is not a number", "Complete the download")
    return number
