"""The cards of a release's two datasets, benchmark and distillation data: typed data + template, like the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_card.rendering import licence_metadata, metadata_of, render

HERE = Path(__file__).parent
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class DatasetCard:
    """What both dataset cards say.

    Attributes:
        template: `bench` or `distill`.
        repo_id, tag, model_id: Hub ids and the git tag.
        configs, dataset_info: metadata computed from the parquet files themselves.
        record: the release's record; licence, provenance and personal data come from its `release` section.
    """

    template: str
    repo_id: str
    tag: str
    model_id: str
    configs: list[dict[str, Any]]
    dataset_info: list[dict[str, Any]]
    record: Mapping[str, Any]

    @classmethod
    def from_record(
        cls, template: str, record: Mapping[str, Any], configs: list[dict[str, Any]], dataset_info: list[dict[str, Any]]
    ) -> DatasetCard:
        """The card of one of the two datasets of a release's record."""
        return cls(
            template=template,
            repo_id=record["repositories"][template],
            tag=f"v{record['release']['version']}",
            model_id=record["repositories"]["model"],
            configs=configs,
            dataset_info=dataset_info,
            record=record,
        )

    @property
    def rows(self) -> dict[str, int]:
        """Split -> rows of the default config."""
        return {split["name"]: split["num_examples"] for split in self.dataset_info[0]["splits"]}

    def metadata(self) -> dict[str, Any]:
        """The card's front matter: what the Hub indexes, and what `load_dataset` reads."""
        release, total = self.record["release"], sum(self.rows.values())
        tags = ["t2i-judge", "text-to-image", "evaluation", *(["simulated"] if release["simulated"] else [])]
        return {
            **licence_metadata(release, "license_data"),
            "language": ["en"],
            "task_categories": ["image-text-to-text", "text-to-image"],
            "pretty_name": self.repo_id.split("/")[1],
            "size_categories": [next((name for bound, name in SIZES if total < bound), "n>1M")],
            "tags": tags,
            "configs": self.configs,
            "dataset_info": self.dataset_info,
        }

    def render(self) -> str:
        """The card as Markdown with front matter."""
        template = HERE / f"{self.template}.md.jinja"
        return render(template, self.metadata(), card=self, record=self.record, release=self.record["release"])


def check_metadata(card: str) -> list[str]:
    """What keeps a dataset card's front matter from being valid, in words; empty when it is valid."""
    from huggingface_hub import DatasetCardData

    fields = metadata_of(card)
    wanted = ("license", "configs", "dataset_info", "pretty_name", "task_categories", "tags")
    problems = [f"metadata key {key} is missing" for key in wanted if not fields.get(key)]
    try:
        DatasetCardData(**fields, ignore_metadata_errors=False)
    except (TypeError, ValueError, KeyError) as error:
        problems.append(f"metadata: {error}")
    return problems
