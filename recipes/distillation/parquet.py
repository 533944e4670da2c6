"""Rows -> parquet shards with the images inside, and the `configs:` / `dataset_info:` of the card that goes with them.

A dataset folder has one sub-folder per config (`data` is the default); files are named `SPLIT-00000-of-00001.parquet`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_judge.files import open_new

if TYPE_CHECKING:
    from datasets import Features

DEFAULT_CONFIG = "data"
SHARD_BYTES = 256 * 1024 * 1024
_SHARD = re.compile(r"(?P<split>\w+)-\d{5}-of-\d{5}\.parquet")
Row = Mapping[str, Any]


def image_cell(image: str | Path | bytes | None, name: str | None = None) -> dict[str, Any] | None:
    """The Arrow value of a `datasets.Image()` cell: the file's own bytes, never a path that would be dead elsewhere.

    Args:
        image: file, its bytes, or None where there is no image.
        name: file name kept beside the bytes (default: the file's own, without its folder).
    """
    if image is None:
        return None
    if isinstance(image, bytes):
        return {"bytes": image, "path": name}
    return {"bytes": Path(image).read_bytes(), "path": name or Path(image).name}


def write_split(rows: Sequence[Row], features: Features, folder: Path, config: str, split: str) -> list[Path]:
    """Write a split's rows as shards of about `SHARD_BYTES`; images may be files (read shard by shard) or bytes.

    Returns:
        The files written. The same rows give the same bytes.
    """
    from datasets import Dataset, Image

    pictures = [name for name, feature in features.items() if isinstance(feature, Image)]
    shards = _cut(rows, pictures)
    written = []
    for number, shard in enumerate(shards):
        path = folder / config / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [{**row, **{name: image_cell(row[name]) for name in pictures}} for row in shard]
        columns = {name: [row.get(name) for row in cells] for name in features}  # also where there is no row
        with open_new(path) as file:
            Dataset.from_dict(columns, features=features).to_parquet(file)
        written.append(path)
    return written


def _cut(rows: Sequence[Row], pictures: Sequence[str]) -> list[Sequence[Row]]:
    """Runs of rows whose images together stay under `SHARD_BYTES`; at least one run, possibly empty."""
    shards, start, size = [], 0, 0
    for number, row in enumerate(rows):
        weight = sum(_weight(row[name]) for name in pictures)
        if size and size + weight > SHARD_BYTES:
            shards.append(rows[start:number])
            start, size = number, 0
        size += weight
    return [*shards, rows[start:]]


def _weight(image: str | Path | bytes | None) -> int:
    if image is None:
        return 0
    return len(image) if isinstance(image, bytes) else Path(image).stat().st_size


def splits(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Config -> split -> its shards, in order, as found in a dataset folder; the default config first."""
    shards: dict[str, dict[str, list[Path]]] = {}
    configs = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: (p.name != DEFAULT_CONFIG, p.name))
    for config in configs:
        for path in sorted(config.glob("*.parquet")):
            if match := _SHARD.fullmatch(path.name):
                shards.setdefault(config.name, {}).setdefault(match["split"], []).append(path)
    return shards


def row_counts(folder: Path) -> dict[str, int]:
    """`CONFIG/SPLIT` -> rows of a dataset folder, by the names that `datasets` knows; empty where there is none."""
    from pyarrow import parquet

    if not folder.is_dir():
        return {}
    return {
        f"{_config_name(config)}/{split}": sum(parquet.read_metadata(path).num_rows for path in paths)
        for config, shards in splits(folder).items()
        for split, paths in shards.items()
    }


def card_metadata(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """`configs` and `dataset_info` of a dataset's card, computed from the files of its folder."""
    return {"configs": card_configs(folder), "dataset_info": card_dataset_info(folder)}


def card_configs(folder: Path) -> list[dict[str, Any]]:
    """The `configs:` entries of a dataset card."""
    return [
        {
            "config_name": _config_name(config),
            "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in by_split],
            **({"default": True} if config == DEFAULT_CONFIG else {}),
        }
        for config, by_split in splits(folder).items()
    ]


def card_dataset_info(folder: Path) -> list[dict[str, Any]]:
    """The `dataset_info:` entries of a dataset card: features, rows and bytes, read from the parquet files."""
    return [_info(config, by_split) for config, by_split in splits(folder).items()]


def _info(config: str, by_split: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    from datasets import Features
    from pyarrow import parquet

    sizes = []
    for split, paths in by_split.items():
        metadata = [parquet.read_metadata(path) for path in paths]
        groups = [footer.row_group(index) for footer in metadata for index in range(footer.num_row_groups)]
        num_bytes = sum(group.total_byte_size for group in groups)
        sizes.append(
            {"name": split, "num_bytes": num_bytes, "num_examples": sum(footer.num_rows for footer in metadata)}
        )
    features = Features.from_arrow_schema(parquet.read_schema(next(iter(by_split.values()))[0]))
    return {
        "config_name": _config_name(config),
        "features": features._to_yaml_list(),
        "splits": sizes,
        "download_size": sum(path.stat().st_size for paths in by_split.values() for path in paths),
        "dataset_size": sum(size["num_bytes"] for size in sizes),
    }


def _config_name(config: str) -> str:
    return "default" if config == DEFAULT_CONFIG else config
