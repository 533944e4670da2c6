"""The model card of a judge: typed data, filled by the user, computed, or taken from the release's record.

No number in the card is typed by hand: every one comes from the record, which also stands in the release's manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_card.rendering import licence_metadata, metadata_of, render
from t2i_judge.records import OVERALL
from t2i_judge.runs.selftest.battery import Selftest
from t2i_judge.runs.selftest.report import markdown

TEMPLATE = Path(__file__).with_name("model.md.jinja")
PIPELINE_TAG = "image-text-to-text"
METRICS = {"spearman": "spearmanr", "kendall_tau_b": "kendalltau"}  # ours -> the Hub's metric ids


@dataclass(frozen=True)
class Result:
    """A row of `results.json`: agreement of one judge with one reference on one split and aspect."""

    judge: str
    split: str
    aspect: str
    against: str
    simulated: bool
    n: int
    n_failed: int
    spearman: float | None
    spearman_ci: tuple[float, float] | None
    kendall_tau_b: float | None
    kendall_tau_b_ci: tuple[float, float] | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Result:
        """Read a row; keys beyond ours are left aside."""
        known: dict[str, Any] = {name: row.get(name) for name in cls.__dataclass_fields__}
        return cls(**known)


@dataclass(frozen=True)
class ModelCard:
    """Everything that the model card says.

    Attributes:
        repo_id, tag, bench_id, distill_id, metric_id: Hub ids and the git tag (computed).
        base_id, embedded_base: the base's Hub id, this repository's own when the base stands in `base/` (computed).
        size: bytes of the weights (computed).
        judge: name of the released judge in the results.
        record: the release's record; its `release` section is what the user gave in the recipe.
        aspects: the aspects of the headline.
        overridden: checks of the gate whose findings the releaser accepted; the card says so.
        results: the rows of the record's results.
    """

    repo_id: str
    tag: str
    bench_id: str
    distill_id: str
    metric_id: str
    base_id: str
    embedded_base: bool
    size: int
    judge: str
    record: Mapping[str, Any]
    aspects: tuple[str, ...]
    overridden: tuple[str, ...] = ()
    results: list[Result] = field(default_factory=list)

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], folder: Path, aspects: tuple[str, ...], overridden: tuple[str, ...] = ()
    ) -> ModelCard:
        """The card of the model repository that stands in `folder`.

        Args:
            record: the release's record, as its manifest holds it.
            folder: the staged repository; only the sizes of its files are read.
            aspects: the aspects of its headline figures.
            overridden: names of the gate's checks whose findings were accepted.
        """
        release, ids = record["release"], record["repositories"]
        embedded = (folder / "base").is_dir()
        return cls(
            repo_id=ids["model"],
            tag=f"v{release['version']}",
            bench_id=ids["bench"],
            distill_id=ids["distill"],
            metric_id=ids["metric"],
            base_id=ids["model"] if embedded else record["base"]["model"],
            embedded_base=embedded,
            size=sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
            judge=main_judge(record),
            record=record,
            aspects=aspects,
            overridden=overridden,
            results=[Result.from_row(row) for row in record["results"]["rows"]],
        )

    @property
    def native(self) -> bool:
        """Whether transformers has the base's architecture; MiniCPM-V-2.6's is in this library."""
        return self.record["base"].get("model_type") != "minicpmv"

    @property
    def four_bit(self) -> Mapping[str, Any] | None:
        """The 4-bit weights that the judge is loaded with; None for others."""
        settings = self.record["judge"].get("quantization")
        return settings if settings and not settings.get("rounded") else None

    @property
    def selftest(self) -> str | None:
        """The table of the selftests of the judge and of those beside it, as Markdown; None without one."""
        made = selftests(self.record["results"])
        return markdown([Selftest.from_json(one) for one in made]) if made else None

    @property
    def headline(self) -> list[Result]:
        """The judge's own headline rows against the reference that the bar is set on, split by split."""
        rows = [row for row in self.results if row.judge == self.judge and row.aspect in self.aspects]
        reference = rows[0].against if rows else None
        return [row for row in rows if row.against == reference]

    def metadata(self) -> dict[str, Any]:
        """The card's front matter: what the Hub indexes."""
        from huggingface_hub import EvalResult, ModelCardData

        release = self.record["release"]
        model_index = [
            EvalResult(
                task_type=PIPELINE_TAG,
                task_name="Judging text-to-image models",
                dataset_type=self.bench_id,
                dataset_name=self.bench_id.split("/")[1],
                dataset_split=row.split,
                metric_type=hub_name,
                metric_name=f"{hub_name} with {row.against}{_of(row)}{' (simulated)' if row.simulated else ''}",
                metric_value=round(value, 4),
            )
            for row in self.headline
            for ours, hub_name in METRICS.items()
            if (value := getattr(row, ours)) is not None
        ]
        data = ModelCardData(
            **licence_metadata(release, "license_model"),
            language="en",
            library_name="peft",
            pipeline_tag=PIPELINE_TAG,
            base_model=self.base_id,
            base_model_relation="adapter",
            datasets=[self.bench_id, self.distill_id],
            metrics=sorted(METRICS.values()),
            tags=["t2i-judge", "text-to-image", "evaluation", "lora", *(["simulated"] if release["simulated"] else [])],
            model_name=self.repo_id.split("/")[1],
            eval_results=model_index or None,
        )
        return data.to_dict()

    def render(self) -> str:
        """The card as Markdown with front matter."""
        return render(TEMPLATE, self.metadata(), card=self, record=self.record, release=self.record["release"])

    def eval_results(self) -> str | None:
        """The same headline figures in the newer form, for `.eval_results/t2i-judge-bench.yaml`; None without any."""
        import yaml
        from huggingface_hub import EvalResultEntry
        from huggingface_hub._eval_results import eval_result_entries_to_yaml

        entries = [
            EvalResultEntry(
                dataset_id=self.bench_id,
                task_id=row.split if row.aspect == OVERALL else f"{row.split}_{row.aspect}",
                value=round(row.spearman, 4),
                notes=f"Spearman with {row.against}{_of(row)}{', simulated' if row.simulated else ''}; n={row.n}",
            )
            for row in self.headline
            if row.spearman is not None
        ]
        if not entries:
            return None
        return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def _of(row: Result) -> str:
    return "" if row.aspect == OVERALL else f", {row.aspect}"


def selftests(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The selftest of a release's judge, then those of the judges beside it; none where the judge has none."""
    return [results["selftest"], *results.get("selftests_beside", {}).values()] if "selftest" in results else []


def main_judge(record: Mapping[str, Any]) -> str:
    """The name under which results list the judge that is released: the recipe's, else the name in its judge.json."""
    names = {row["judge"] for row in record["results"]["rows"]}
    recipe = record["release"]["recipe"]
    return recipe if recipe in names else record["judge"].get("name", recipe)


def check_metadata(card: str) -> list[str]:
    """What keeps a model card's front matter from being valid, in words; empty when it is valid."""
    from huggingface_hub import ModelCardData

    fields = metadata_of(card)
    wanted = ("license", "library_name", "pipeline_tag", "base_model", "base_model_relation", "datasets", "tags")
    problems = [f"metadata key {key} is missing" for key in wanted if not fields.get(key)]
    try:
        ModelCardData(**fields, ignore_metadata_errors=False)
    except (TypeError, ValueError, KeyError) as error:
        problems.append(f"metadata: {error}")
    return problems
